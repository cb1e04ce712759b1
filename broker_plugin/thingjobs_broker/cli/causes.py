"""Why executions of a watched job did not succeed, counted: what devices gave as their reason, or what the
service did.

Attempts are counted, as the job's own counters count them (spec: control plane A6).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.cli.broker_address import CALLS_MAX
from thingjobs_broker.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thingjobs_broker.cli.connection import Connection

STATES: Final[Mapping[str, str]] = {
    "FAILED": "numberOfFailedThings",
    "TIMED_OUT": "numberOfTimedOutThings",
    "REJECTED": "numberOfRejectedThings",
    "CANCELED": "numberOfCanceledThings",
    "REMOVED": "numberOfRemovedThings",
}
"""The states that are no success, and what counts them."""

TOLD_BY_DEVICES: Final = ("FAILED", "REJECTED")
"""Those in which a device may have given a reason; the others are the service's doing."""

LOOKED_UP_MAX: Final = 1000
"""Executions whose reasons are asked for; of more, the counters tell the state alone."""

REASON_CHARACTERS_MAX: Final = 80

Cause = tuple[str, str]
"""A state and a reason, "" without one."""


class Causes:
    """The causes by now; asks for what is new only. `update`, then `counted`."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, int], Cause] = {}
        self._counts: dict[str, int] = {}

    async def update(self, connection: Connection, job: Mapping[str, Any]) -> None:
        """Look up the reasons of executions that have ended since.

        Raises:
            RefusedError: the job is gone.
            UnreachableError: so is the service.

        """
        details = job.get("jobProcessDetails", {})
        counts = {state: details.get(counter, 0) for state, counter in STATES.items()}
        for state in TOLD_BY_DEVICES:
            if counts[state] != self._counts.get(state, 0):
                await self._look_up(connection, job["jobId"], state)
        self._counts = counts

    def counted(self) -> list[tuple[str, str, int]]:
        """Return states, reasons and how often each, the most frequent first."""
        found = Counter(self._reasons.values())
        for state, count in self._counts.items():
            found[(state, "")] += max(count - sum(n for (s, _), n in found.items() if s == state), 0)
        ordered = sorted(found.items(), key=lambda each: (-each[1], each[0]))
        return [(state, reason, count) for (state, reason), count in ordered if count]

    async def _look_up(self, connection: Connection, job_id: str, state: str) -> None:
        pages = connection.pages(
            "ListJobExecutionsForJob", "executionSummaries", LOOKED_UP_MAX, jobId=job_id, status=state
        )
        listed = [_key(summary) async for summary in pages]
        unknown = iter([key for key in listed if key not in self._reasons])

        async def describe() -> None:
            for name, number in unknown:
                reply = await connection.call(
                    "DescribeJobExecution", jobId=job_id, thingName=name, executionNumber=number
                )
                self._reasons[name, number] = (state, reason_of(reply["execution"]))

        await asyncio.gather(*(describe() for _ in range(CALLS_MAX)))


def reason_of(execution: Mapping[str, Any]) -> str:
    """Return what a device gave as its reason, on one line, cut where it is long; "" without one."""
    text = printable(str(execution.get("statusDetails", {}).get("detailsMap", {}).get("reason", "")))
    return text if len(text) <= REASON_CHARACTERS_MAX else text[: REASON_CHARACTERS_MAX - 3] + "..."


def told(cause: tuple[str, str, int]) -> str:
    """Return a cause for people: `12 failed: disk full`."""
    state, reason, count = cause
    return f"{count} {state.lower().replace('_', ' ')}" + (f": {reason}" if reason else "")


def _key(summary: Mapping[str, Any]) -> tuple[str, int]:
    return summary["thingArn"].rpartition("/")[2], summary["jobExecutionSummary"]["executionNumber"]
