"""The state as it is at one moment, captured in slices while it goes on changing.

What is about to change and was not captured yet is captured first (`before`), so the slices together are the
state at the moment of the beginning, exactly. Pure and on the thread of the state: rows leave as bytes.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgpack

from thingjobs_broker.core import records
from thingjobs_broker.store import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from thingjobs_broker.core.entities import Execution, Job
    from thingjobs_broker.core.state import State

SLICE_ROWS: Final = 200
SLICE_BYTES: Final = 256 * 1024
"""A slice ends at either: about half a millisecond. So does an object, which has a limit of its own."""


class Capture:
    """One capture, from its making to its last slice. `broken` says that it must be begun anew."""

    def __init__(self, state: State) -> None:
        """Begin. Until the end, `before` must see every record before it is applied to `state`."""
        self.broken = False
        self._state = state
        self._packer = msgpack.Packer()
        self._pack = self._packer.pack
        self._thing_index = 0
        self._things_taken: set[int] = set()
        """The things before this one have been captured, and these ahead of their turn."""
        self._job_index = 0
        self._execution_index = 0
        """All before this execution of this job has been captured, and so have all things once a job has."""
        self._things_end, self._jobs_end = len(state.thing_order), len(state.job_order)
        # Copied, not watched: it takes 20 ns an entry, and there are few.
        self._tables = {kind: getattr(state, table.attribute).copy() for kind, table in rows.TABLES.items()}
        self._lengths: dict[int, int] = {}
        """How many executions each job had that is captured and whose executions are not all."""
        self._taken: dict[int, set[int]] = {}
        """By job, the executions that were captured ahead of their turn."""
        self._turns: dict[int, Iterator[rows.Row]] = {}
        """By job, the turns that are yet to be captured of those there were when the job was."""
        self._ahead: list[bytes] = []
        self._things_ahead: list[bytes] = []
        self._slices = self._sweep(self._pack(rows.header(state)))

    def next_slice(self) -> list[bytes] | None:
        """Return objects of the snapshot, None after the last of them. Takes about half a millisecond."""
        return next(self._slices, None)

    def end(self) -> None:
        """Capture nothing more. One that is not at its end points to itself, and would keep the state."""
        self._slices.close()

    # What is about to change

    def before(self, record: records.Record) -> None:
        """Capture what `record` is going to change."""
        touch = _TOUCHED[type(record)]
        if touch is not None:
            touch(self, record)

    def take_thing(
        self, record: records.ThingUpdated | records.ThingDeleted | records.ThingGroupsChanged
    ) -> None:
        """What is kept of a thing itself is about to change, or to vanish."""
        thing = self._state.things[record.thing_name]
        if self._thing_index <= thing.index < self._things_end and thing.index not in self._things_taken:
            self._things_taken.add(thing.index)
            self._things_ahead += self._packed((rows.THINGS,), [rows.thing_row(thing.index, thing)])

    def take_job(self, record: records.ExecutionQueued | records.JobChanged | records.JobDeleted) -> None:
        """A job, or how many executions it has, is about to change."""
        self._take_job(self._state.jobs[record.job_id])

    def take_execution(self, record: records.ExecutionChanged | records.ExecutionDeleted) -> None:
        """An execution is about to change or to vanish."""
        thing, job = self._state.holder(record.thing_name), self._state.jobs[record.job_id]
        execution = self._state.execution(thing, record.job_id, record.execution_number)
        if execution is None or not self._take_job(job):
            return
        index = execution.index_in_job
        done = self._execution_index if job.index == self._job_index else 0
        taken = self._taken.setdefault(job.index, set())
        if done <= index < self._lengths[job.index] and index not in taken:
            taken.add(index)
            self._ahead += self._executions(job, [execution])

    def give_up(self, _: records.Record) -> None:
        """Everything is about to change."""
        self.broken = True

    def _take_job(self, job: Job) -> bool:
        """Capture a job ahead of its turn; tell whether any of its executions may still have to be."""
        if not self._job_index <= job.index < self._jobs_end:
            return False
        if job.index not in self._lengths:
            self._lengths[job.index] = len(job.executions)
            self._ahead.append(self._pack((rows.JOB, rows.job_row(job))))
            if job.owed or job.barred or job.numbers_used or job.deleted_time_outs:
                self._turns[job.index] = rows.turn_rows(job)
        return True

    # Everything in its turn

    def _sweep(self, header: bytes) -> Generator[list[bytes], None, None]:
        yield [header]
        for kind, table in rows.TABLES.items():
            entries = self._tables.pop(kind).items()
            for packed in self._packed((kind,), (table.to_row(name, value) for name, value in entries)):
                yield [packed]
        while self._thing_index < self._things_end:
            yield self._slice_of_things()
        while self._job_index < self._jobs_end:
            yield self._slice_of_jobs()

    def _slice_of_things(self) -> list[bytes]:
        """Go on for so many places, beginning with what was captured ahead meanwhile."""
        objects, self._things_ahead = self._things_ahead, []
        start = self._thing_index
        self._thing_index = end = min(start + SLICE_ROWS, self._things_end)
        found = (
            rows.thing_row(index, thing)
            for index, thing in enumerate(self._state.thing_order[start:end], start)
            if thing is not None and index not in self._things_taken
        )
        return [*objects, *self._packed((rows.THINGS,), found)]

    def _slice_of_jobs(self) -> list[bytes]:
        """Go on for so many rows, a job counted as one, beginning with what was captured ahead meanwhile."""
        objects, self._ahead = self._ahead, []
        left, size_bytes = SLICE_ROWS, 0
        while self._job_index < self._jobs_end and left > 0 and size_bytes < SLICE_BYTES:
            job = self._state.job_order[self._job_index]
            left -= 1
            if job is not None:
                self._take_job(job)
            turns = list(islice(self._turns.get(self._job_index, ()), max(left, 1)))
            if turns:
                left -= len(turns)
                found = [*self._ahead, *self._packed((rows.TURNS, self._job_index), turns)]
                size_bytes += sum(map(len, found))
                objects += found
                self._ahead.clear()
                continue
            if job is not None:
                executions = self._next_executions(job, max(left, 1))
                left -= len(executions)
                found = [*self._ahead, *self._executions(job, executions)]
                size_bytes += sum(map(len, found))
                objects += found
                self._ahead.clear()
            if job is None or self._execution_index == self._lengths[job.index]:
                self._lengths.pop(self._job_index, None)
                self._taken.pop(self._job_index, None)
                self._turns.pop(self._job_index, None)
                self._job_index += 1
                self._execution_index = 0
        return objects

    def _next_executions(self, job: Job, count_max: int) -> list[Execution]:
        """Return the next executions of the job whose turn it is, which is itself captured by now."""
        start = self._execution_index
        self._execution_index = end = min(start + count_max, self._lengths[job.index])
        taken = self._taken.get(job.index, ())
        return [
            execution
            for execution in job.executions[start:end]
            if execution is not None and execution.index_in_job not in taken
        ]

    def _executions(self, job: Job, executions: list[Execution]) -> Iterator[bytes]:
        found = (rows.execution_row(execution) for execution in executions)
        return self._packed((rows.EXECUTIONS, job.index), found)

    def _packed(self, head: tuple[int, ...], found: Iterable[rows.Row]) -> Iterator[bytes]:
        """Yield objects of `head` and a list of rows each: as few as the limits of a slice allow."""
        packed: list[bytes] = []
        size_bytes = 0
        for row in found:
            packed.append(self._pack(row))
            size_bytes += len(packed[-1])
            if len(packed) == SLICE_ROWS or size_bytes >= SLICE_BYTES:
                yield self._object(head, packed)
                packed, size_bytes = [], 0
        if packed:
            yield self._object(head, packed)

    def _object(self, head: tuple[int, ...], packed: list[bytes]) -> bytes:
        array_of = self._packer.pack_array_header
        return b"".join((array_of(len(head) + 1), *map(self._pack, head), array_of(len(packed)), *packed))


_TOUCHED: Final[dict[type[records.Record], Callable[[Capture, Any], None] | None]] = {
    records.ThingCreated: None,
    records.JobCreated: None,
    records.ExecutionQueued: Capture.take_job,
    records.ExecutionChanged: Capture.take_execution,
    records.ExecutionDeleted: Capture.take_execution,
    records.JobChanged: Capture.take_job,
    records.JobDeleted: Capture.take_job,
    records.JobUpdated: Capture.take_job,
    records.RolloutAdvanced: Capture.take_job,
    records.TurnChanged: Capture.take_job,
    records.JobTurned: Capture.take_job,
    records.TemplateCreated: None,
    records.TemplateDeleted: None,
    records.TagsChanged: None,
    records.GroupTimeoutsChanged: None,
    records.ThingUpdated: Capture.take_thing,
    records.ThingDeleted: Capture.take_thing,
    records.ThingGroupsChanged: Capture.take_thing,
    records.ThingTypeCreated: None,
    records.ThingTypeChanged: None,
    records.ThingTypeDeleted: None,
    records.GroupCreated: None,
    records.GroupChanged: None,
    records.GroupDeleted: None,
    records.GroupSwept: None,
    records.IndexingConfigured: None,
    records.EventsConfigured: None,
    records.ServiceStarted: None,
    records.ClockStepped: Capture.give_up,
    records.StateCleared: Capture.give_up,
}
"""What each kind of record changes of what a row keeps; None where it only adds, or changes the globals."""
