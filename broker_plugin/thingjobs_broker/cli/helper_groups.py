"""Thing groups that stand for more things than a job may name: made for one job, and gone after its rollout.

A job takes the members of its groups during the rollout (spec: control plane A12), so that a group cannot go
before. Since a thing may be in ten groups only, whoever makes such a group clears away those that are done.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from thingjobs_broker.cli.broker_address import CALLS_MAX
from thingjobs_broker.cli.errors import CliError, RefusedError, UsageError
from thingjobs_broker.cli.output import printable
from thingjobs_protocol.limits import TARGETS_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from thingjobs_broker.cli.connection import Connection
    from thingjobs_broker.cli.output import Output

PREFIX: Final = "thingjobs-things-of-"
"""Followed by the id of the job."""

_OVER: Final = ("COMPLETED", "CANCELED")
ABANDONED_SECONDS: Final = 3600.0
"""A group whose job never came is not being filled any more."""


@asynccontextmanager
async def targets_for(
    connection: Connection, job_id: str, things: list[str], output: Output
) -> AsyncIterator[list[str]]:
    """Give targets for a job for these things: the group, and the things that can be in no further one.

    If no job comes of it, the group is deleted again, also after Ctrl-C.

    Raises:
        UsageError: too many things are in as many groups as they may be.
        RefusedError: the service refuses the group.

    """
    await clear_away(connection)
    name = PREFIX + job_id
    group = await connection.call("CreateThingGroup", thingGroupName=name)
    try:
        with output.progress(f"filling group {printable(name)}", len(things)) as advance:
            left_out = await _fill(connection, name, things, advance)
        yield [group["thingGroupArn"], *left_out]
    except BaseException:
        with suppress(CliError):
            await connection.call("DeleteThingGroup", thingGroupName=name)
        raise


async def clear_away(connection: Connection) -> None:
    """Delete the helper groups whose jobs have been rolled out, or never came."""
    pages = connection.pages("ListThingGroups", "thingGroups", None, namePrefixFilter=PREFIX)
    names = [group["groupName"] async for group in pages]
    for name in names:
        if await _is_done_with(connection, name):
            for operation in ("DeleteThingGroup", "DeleteDynamicThingGroup"):
                # It is of the other kind, or somebody else has done it.
                with suppress(RefusedError):
                    await connection.call(operation, thingGroupName=name)


async def _is_done_with(connection: Connection, name: str) -> bool:
    job_id = name.removeprefix(PREFIX)
    try:
        job = (await connection.call("DescribeJob", jobId=job_id))["job"]
        rollout = await connection.call("DescribeJobRollout", jobId=job_id)
    except RefusedError:
        with suppress(RefusedError):
            group = await connection.call("DescribeThingGroup", thingGroupName=name)
            created = group["thingGroupMetadata"]["creationDate"]
            return bool(await connection.now() - created > ABANDONED_SECONDS)
        return False
    return bool(rollout["isDone"]) or job["status"] in _OVER


async def _fill(
    connection: Connection, name: str, things: Iterable[str], advance: Callable[[], None]
) -> list[str]:
    """Add the things; return those that are in as many groups as they may be. Raises as `targets_for`."""
    import asyncio

    waiting = iter(things)
    left_out: list[str] = []

    async def add() -> None:
        for thing in waiting:
            try:
                await connection.call("AddThingToThingGroup", thingGroupName=name, thingName=thing)
            except RefusedError as error:
                if error.code == "InvalidRequestException":
                    left_out.append(thing)
                elif error.code != "ResourceNotFoundException":  # it was deleted meanwhile
                    raise
            advance()

    try:
        async with asyncio.TaskGroup() as adding:
            for _ in range(CALLS_MAX):
                adding.create_task(add())
    except* CliError as errors:
        raise _first(errors) from None
    if len(left_out) >= TARGETS_MAX:
        raise UsageError(
            f"{len(left_out)} things are in as many groups as a thing may be, such as {min(left_out)};"
            f" a job may name {TARGETS_MAX - 1} of them beside a group"
        )
    return sorted(left_out)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return one of many errors, which are all about the same trouble."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
