"""`thingjobs job watch`: follows a job until it ends, through restarts of the broker.

Events tell when to ask and a timer asks anyway, so that a lost event delays the display and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.cli.causes import Causes
from thingjobs_broker.cli.errors import UnreachableError
from thingjobs_broker.cli.exit_codes import ExitCode
from thingjobs_broker.cli.output import complain, execution_count
from thingjobs_broker.cli.watch_display import Display, display_for
from thingjobs_broker.cli.watched import Snapshot
from thingjobs_protocol.topics import job_event_topic, job_execution_event_topic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thingjobs_broker.cli.command import Session
    from thingjobs_broker.cli.connection import Connection

RUNNING_SHOWN_MAX: Final = 5
SEARCHED_MAX: Final = 1000
"""A larger job is shown by its counters alone: finding its executions in progress costs too much."""

FAILURES_SHOWN_MAX: Final = 10
RECONNECT_SECONDS_MIN: Final = 0.5
RECONNECT_SECONDS_MAX: Final = 10.0

_NOT_GOOD: Final = ("FAILED", "TIMED_OUT", "REJECTED", "CANCELED", "REMOVED")


async def watch(session: Session, job_id: str, interval_seconds: float) -> ExitCode:
    """Show the job until it is over. The first connection must succeed; later ones are tried for ever."""
    delay_seconds, connected_before, complaint = RECONNECT_SECONDS_MIN, False, ""
    causes = Causes()
    with display_for(session.output) as display:
        while True:
            try:
                async with session.connect() as connection:
                    await _subscribe(connection, job_id)
                    connected_before, delay_seconds = True, RECONNECT_SECONDS_MIN
                    last = await _follow(connection, job_id, interval_seconds, display, causes)
                    failures = await _failures(connection, last.job)
                break
            except UnreachableError as error:
                if not connected_before:
                    raise
                if complaint != str(error):
                    complaint = str(error)
                    complain(f"{complaint}; trying again")
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(2 * delay_seconds, RECONNECT_SECONDS_MAX)
        display.ended(last, failures[:FAILURES_SHOWN_MAX], len(failures))
    succeeded = last.job["status"] == "COMPLETED" and not failures
    return ExitCode.OK if succeeded else ExitCode.NOT_SUCCEEDED


async def _subscribe(connection: Connection, job_id: str) -> None:
    root = connection.address.topic_root
    with contextlib.suppress(UnreachableError):  # without events the timer does it alone
        await connection.subscribe(
            job_event_topic(job_id, "+", root), job_execution_event_topic(job_id, "+", root)
        )


async def _follow(
    connection: Connection, job_id: str, interval_seconds: float, display: Display, causes: Causes
) -> Snapshot:
    while True:
        connection.changed.clear()
        snapshot = await _look(connection, job_id)
        await causes.update(connection, snapshot.job)
        snapshot = replace(snapshot, causes=tuple(causes.counted()))
        display.show(snapshot)
        if snapshot.is_over:
            return snapshot
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval_seconds):
                await connection.changed.wait()


async def _look(connection: Connection, job_id: str) -> Snapshot:
    described, now = await asyncio.gather(connection.call("DescribeJob", jobId=job_id), connection.now())
    job = described["job"]
    counts = job.get("jobProcessDetails", {})
    is_rolling_out = job["status"] == "IN_PROGRESS" and counts.get("processingTargets")
    rollout = await connection.call("DescribeJobRollout", jobId=job_id) if is_rolling_out else None
    if not counts.get("numberOfInProgressThings") or execution_count(job) > SEARCHED_MAX:
        return Snapshot(job, now, rollout=rollout)
    listed = await connection.call(
        "ListJobExecutionsForJob", jobId=job_id, status="IN_PROGRESS", maxResults=RUNNING_SHOWN_MAX
    )
    asked = [_describe(connection, job_id, summary) for summary in listed["executionSummaries"]]
    return Snapshot(job, now, tuple(await asyncio.gather(*asked)), rollout)


async def _describe(connection: Connection, job_id: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    reply = await connection.call(
        "DescribeJobExecution",
        jobId=job_id,
        thingName=summary["thingArn"].rpartition("/")[2],
        executionNumber=summary["jobExecutionSummary"]["executionNumber"],
    )
    execution: dict[str, Any] = reply["execution"]
    return execution


async def _failures(connection: Connection, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the last execution of each thing on which the job did not succeed; the first have details.

    The counters count attempts, and a retry may have succeeded (spec: control plane 2.3).
    """
    counts = job.get("jobProcessDetails", {})
    if execution_count(job) == counts.get("numberOfSucceededThings", 0):
        return []
    newest: dict[str, dict[str, Any]] = {}
    pages = connection.pages("ListJobExecutionsForJob", "executionSummaries", None, jobId=job["jobId"])
    async for summary in pages:
        known = newest.get(summary["thingArn"])
        if known is None or _number(known) < _number(summary):
            newest[summary["thingArn"]] = summary
    bad = [each for each in newest.values() if each["jobExecutionSummary"]["status"] in _NOT_GOOD]
    described = [await _describe(connection, job["jobId"], each) for each in bad[:FAILURES_SHOWN_MAX]]
    return described + bad[FAILURES_SHOWN_MAX:]


def _number(summary: Mapping[str, Any]) -> int:
    number: int = summary["jobExecutionSummary"]["executionNumber"]
    return number
