"""A new job for the things on which an old one did not succeed.

What has ended is never run again, so a retry by hand is a job of its own (spec: control plane, A8, A10).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.cli.errors import RefusedError, UsageError
from thingjobs_broker.cli.helper_groups import targets_for
from thingjobs_protocol.limits import TARGETS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from thingjobs_broker.cli.connection import Connection
    from thingjobs_broker.cli.output import Output

COPIED: Final = (
    *("description", "jobExecutionsRolloutConfig", "abortConfig", "timeoutConfig"),
    *("jobExecutionsRetryConfig", "presignedUrlConfig", "destinationPackageVersions", "namespaceId"),
)
"""A schedule lies in the past, and groups would bring things that have succeeded."""

ID_CHARACTERS_MAX: Final = 64
ATTEMPTS_MAX: Final = 1000


class RetryOnly(StrEnum):
    """How a thing's last execution ended; in the words of a command line."""

    FAILED = "failed"
    TIMED_OUT = "timed-out"
    REJECTED = "rejected"
    CANCELED = "canceled"


async def retried(
    connection: Connection,
    job_id: str,
    only: Sequence[RetryOnly],
    new_id: str | None,
    output: Output,
) -> tuple[dict[str, Any], int]:
    """Create the job; return the answer, and for how many things it is.

    Raises:
        UsageError: there is nothing to retry.
        RefusedError: the service refuses it.

    """
    job = (await connection.call("DescribeJob", jobId=job_id))["job"]
    things = unsuccessful(await _summaries(connection, job, output), {each.name for each in only})
    if not things:
        kinds = " or ".join(each.value for each in only)
        raise UsageError(f"nothing to retry: the last execution of no thing of {job_id} is {kinds}")
    document = (await connection.call("GetJobDocument", jobId=job_id))["document"]
    request = {name: job[name] for name in COPIED if name in job} | {
        "jobId": new_id or await _free_id(connection, job_id),
        "document": document,
    }
    if len(things) <= TARGETS_MAX:
        return await connection.call("CreateJob", **request, targets=things), len(things)
    async with targets_for(connection, request["jobId"], things, output) as targets:
        return await connection.call("CreateJob", **request, targets=targets), len(things)


def unsuccessful(summaries: Iterable[Mapping[str, Any]], states: set[str]) -> list[str]:
    """Return the things whose last execution is in one of the states, in the order of their first one."""
    newest: dict[str, tuple[int, str]] = {}
    for summary in summaries:
        name = summary["thingArn"].rpartition("/")[2]
        shown = summary["jobExecutionSummary"]
        newest[name] = max(newest.get(name, (0, "")), (shown["executionNumber"], shown["status"]))
    return [name for name, (_, status) in newest.items() if status in states]


async def _summaries(connection: Connection, job: Mapping[str, Any], output: Output) -> list[dict[str, Any]]:
    total = sum(job.get("jobProcessDetails", {}).get(name, 0) for name in _COUNTERS)
    pages = connection.pages("ListJobExecutionsForJob", "executionSummaries", None, jobId=job["jobId"])
    with output.progress("reading executions", total) as advance:
        found = []
        async for summary in pages:
            found.append(summary)
            advance()
    return found


async def _free_id(connection: Connection, job_id: str) -> str:
    for number in range(1, ATTEMPTS_MAX):
        ending = f"-retry-{number}"
        candidate = job_id[: ID_CHARACTERS_MAX - len(ending)] + ending
        try:
            await connection.call("DescribeJob", jobId=candidate)
        except RefusedError as error:
            if error.code == "ResourceNotFoundException":
                return candidate
            raise
    raise UsageError(f"{job_id} was retried {ATTEMPTS_MAX} times; name the new job with --id")


_COUNTERS: Final = tuple(
    f"numberOf{state}Things"
    for state in (
        *("Queued", "InProgress", "Succeeded", "Failed", "Rejected", "TimedOut", "Canceled", "Removed"),
    )
)
