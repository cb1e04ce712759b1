"""The pending executions of one thing: their order, which of them is the front, and what the lists show.

Order (spec: data plane 4.5): all IN_PROGRESS before all QUEUED, within each by queue position.
`Thing.pending` is kept in queue order because a new execution always goes to its end.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from thingjobs_broker.core.state import Execution, Thing
from thingjobs_protocol.status import JobExecutionStatus as Status

Identity = tuple[str, int]
"""(job id, execution number): what `notify-next` compares (spec: data plane 5.2)."""


def front(thing: Thing, hidden: Collection[str] = ()) -> Execution | None:
    """Return the execution that `$next` stands for, or None. QUEUED ones of `hidden` jobs do not count (spec:
    control plane 6.3, "Closed").
    """
    if thing.in_progress_count:
        running = (current for current in thing.pending.values() if current.status is Status.IN_PROGRESS)
        return next(running)
    if not hidden:
        return next(iter(thing.pending.values()), None)
    return next((current for current in thing.pending.values() if current.job_id not in hidden), None)


def front_identity(thing: Thing, hidden: Collection[str] = ()) -> Identity | None:
    """Return what identifies the front, or None."""
    return identity(front(thing, hidden))


def identity(execution: Execution | None) -> Identity | None:
    """Return what identifies an execution, None for none."""
    return (execution.job_id, execution.execution_number) if execution else None


def in_progress(thing: Thing) -> list[Execution]:
    """Return the running executions, the earliest queued first."""
    if not thing.in_progress_count:
        return []
    running = (execution for execution in thing.pending.values() if execution.status is Status.IN_PROGRESS)
    return list(islice(running, thing.in_progress_count))


def visible(thing: Thing, hidden: Collection[str]) -> list[Identity]:
    """Return what identifies the pending executions that the device may see."""
    return [
        (current.job_id, current.execution_number)
        for current in thing.pending.values()
        if current.status is Status.IN_PROGRESS or current.job_id not in hidden
    ]


def shown(
    thing: Thing, count_max: int, hidden: Collection[str] = ()
) -> tuple[list[Execution], list[Execution]]:
    """Return the first `count_max` pending executions, as (IN_PROGRESS, QUEUED) (spec: data plane 9, A4)."""
    running = in_progress(thing)[:count_max]
    queued = (
        execution
        for execution in thing.pending.values()
        if execution.status is Status.QUEUED and execution.job_id not in hidden
    )
    return running, list(islice(queued, count_max - len(running)))
