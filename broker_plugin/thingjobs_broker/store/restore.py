"""From the objects of a snapshot to the state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingjobs_broker.core.state import State
from thingjobs_broker.store import rows
from thingjobs_broker.store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator


class SnapshotUnreadable(StoreError):
    """A snapshot passed its checksums but is none that this version knows: written by a newer version."""


def restore(objects: Iterator[Any]) -> State:
    """Return the state that `objects` were captured from.

    Raises:
        SnapshotUnreadable: a row is of a shape, kind or status that this version does not know.
        SnapshotFailed: the disk refuses.

    """
    try:
        return _restore(objects)
    except (StopIteration, ValueError, LookupError, TypeError, AssertionError) as error:
        message = f"the snapshot is not readable by this version: {error!r}; run the version that wrote it"
        raise SnapshotUnreadable(message) from error


def _restore(objects: Iterator[Any]) -> State:
    state = State()
    mark, version, kept = next(objects)
    if mark != rows.MARK or version not in rows.VERSIONS_READ:
        message = f"expected rows of version {rows.VERSION} or older, found {version!r}"
        raise ValueError(message)
    rows.read_globals(state, kept)
    for kind, *rest in objects:
        if kind == rows.EXECUTIONS:
            _add_executions(state, *rest)
        elif kind == rows.THINGS:
            for row in rest[0]:
                index, thing = rows.read_thing(row)
                state.things[thing.thing_name] = state.thing_order[index] = thing
        elif kind == rows.JOB:
            job = rows.read_job(rest[0])
            state.jobs[job.job_id] = state.job_order[job.index] = job
        elif kind == rows.TURNS:
            _add_turns(state, *rest)
        elif kind in rows.TABLES:
            for row in rest[0]:
                rows.TABLES[kind].add(state, row)
        else:
            message = f"unknown kind of object {kind!r}"
            raise ValueError(message)
    # In the order of their creation, which is not that of the rows.
    state.things = {thing.thing_name: thing for thing in state.thing_order if thing}
    state.jobs = {job.job_id: job for job in state.job_order if job}
    state.derive()
    return state


def _add_turns(state: State, job_index: int, turns: list[list[Any]]) -> None:
    job = state.job_order[job_index]
    assert job is not None, job_index
    for row in turns:
        rows.add_turn(job, row)


def _add_executions(state: State, job_index: int, executions: list[list[Any]]) -> None:
    job = state.job_order[job_index]
    assert job is not None, job_index
    execution = None
    for row in executions:
        # The index comes first and the name second, in every version.
        execution = rows.read_execution(row, job.job_id, state.holder(row[1]).thing_name, execution)
        job.executions[row[0]] = execution
