"""Who did what when, told from what the records left behind (spec: control plane B18). Read only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingjobs_broker.core.state import BY_DEVICE, TIMEOUT_CHANGED, timeline_entries
from thingjobs_protocol.status import TERMINAL

if TYPE_CHECKING:
    from thingjobs_broker.core.state import Execution, Job

Entry = dict[str, Any]
"""`at` in epoch seconds, `event`, `by`; `previous` and `new` deadlines, `previousMinutes` and
`newMinutes` of a timeout, or `cause` where they apply.
"""


def of_job(job: Job) -> list[Entry]:
    """Return the timeline of a job, oldest first."""
    return [
        {"at": at_ms / 1000, "event": event, "by": by} | ({"cause": cause} if cause else {})
        for at_ms, event, by, cause in job.timeline
    ]


def of_execution(execution: Execution, created_by: str) -> list[Entry]:
    """Return the timeline of an execution, oldest first.

    Queued, started and ended by the device are told by the execution's own fields; only the rest is stored.
    """
    entries = [{"at": execution.queued_at_ms / 1000, "event": "QUEUED", "by": created_by}]
    if execution.started_at_ms:
        entries.append({"at": execution.started_at_ms / 1000, "event": "IN_PROGRESS", "by": BY_DEVICE})
    stored = timeline_entries(execution.timeline)
    for at_ms, event, by, previous, new in stored:
        entry: Entry = {"at": at_ms / 1000, "event": event, "by": by}
        if event == TIMEOUT_CHANGED:
            minutes = {"previousMinutes": previous, "newMinutes": new}
            entry |= {name: value for name, value in minutes.items() if value}
        elif isinstance(new, int):
            deadlines = {"previous": previous, "new": new}
            entry |= {name: deadline_ms / 1000 for name, deadline_ms in deadlines.items() if deadline_ms}
        elif previous:
            entry["cause"] = previous
        entries.append(entry)
    told = bool(stored) and stored[-1][1] == execution.status.value
    if execution.status in TERMINAL and not told:
        ended_at = execution.last_updated_at_ms / 1000
        entries.append({"at": ended_at, "event": execution.status.value, "by": BY_DEVICE})
    return entries
