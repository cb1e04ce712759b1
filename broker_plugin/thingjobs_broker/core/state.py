"""Everything the service knows, and `apply`, the only code that changes it, live and in recovery alike.

Executions are lean: interned names, no back references, so that a million of them fit in memory without work
for the garbage collector (no cycles, hence `gc=False`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgpack
import msgspec

from thingjobs_broker.core import records
from thingjobs_broker.core.timers import Timers
from thingjobs_protocol.status import PENDING, JobExecutionStatus, JobStatus, TargetSelection

if TYPE_CHECKING:
    from collections.abc import Callable

TIMELINE_BYTES_MAX: Final = 4096
"""Bound of one execution's stored timeline; beyond it the oldest entries are dropped."""


class Execution(msgspec.Struct, gc=False):
    """One job execution: one (thing, job, execution number). Times in ms since the epoch, 0 = not yet."""

    thing_name: str
    job_id: str
    execution_number: int
    queue_position: int
    queued_at_ms: int
    last_updated_at_ms: int
    retry_attempt: int = 0
    status: JobExecutionStatus = JobExecutionStatus.QUEUED
    version_number: int = 1
    started_at_ms: int = 0
    status_details: dict[str, str] | None = None
    in_progress_deadline_ms: int = 0
    step_deadline_ms: int = 0
    force_canceled: bool = False
    timeline: bytes = b""
    previous: Execution | None = None
    index_in_job: int = 0
    timer_tick: int = 0

    @property
    def deadline_ms(self) -> int:
        """When the execution times out: the earlier of its two timers, 0 without any (spec: data plane
        6.3).
        """
        total, step = self.in_progress_deadline_ms, self.step_deadline_ms
        return min(total, step) if total and step else total or step


class Thing(msgspec.Struct, gc=False):
    """A thing, its newest execution of each job, and its pending executions in queue order."""

    thing_name: str
    thing_id: str
    created_at_ms: int
    attributes: dict[str, str]
    version: int = 1
    executions: dict[str, Execution] = {}
    pending: dict[str, Execution] = {}
    in_progress_count: int = 0
    pending_revision: int = 0
    """Counts changes of the membership of the pending set, for `notify` (spec: data plane 5.2)."""


class Job(msgspec.Struct, gc=False):
    """A job and its executions in the order of their creation; a deleted one leaves None."""

    job_id: str
    created_at_ms: int
    created_by: str
    targets: list[str]
    target_selection: TargetSelection
    document: str
    description: str
    options: dict[str, Any]
    last_updated_at_ms: int
    status: JobStatus = JobStatus.IN_PROGRESS
    completed_at_ms: int = 0
    settled: bool = False
    force_canceled: bool = False
    reason_code: str = ""
    comment: str = ""
    counts: dict[JobExecutionStatus, int] = {}
    executions: list[Execution | None] = []
    timeline: list[tuple[int, str, str, str]] = []

    @property
    def pending_count(self) -> int:
        """Executions that are not terminal."""
        return self.counts[JobExecutionStatus.QUEUED] + self.counts[JobExecutionStatus.IN_PROGRESS]


class State:
    """All things, jobs and executions. Rules read it; only `apply` writes it."""

    def __init__(self) -> None:
        self.things: dict[str, Thing] = {}
        self.thing_order: list[Thing | None] = []
        self.jobs: dict[str, Job] = {}
        self.job_order: list[Job | None] = []
        self.queue_position = 0
        self.last_at_ms = 0
        self.last_start: records.ServiceStarted | None = None
        self.timers = Timers()
        self._appliers: dict[type[records.Record], Callable[[Any], None]] = {
            records.ThingCreated: self._thing_created,
            records.JobCreated: self._job_created,
            records.ExecutionQueued: self._execution_queued,
            records.ExecutionChanged: self._execution_changed,
            records.ExecutionDeleted: self._execution_deleted,
            records.JobChanged: self._job_changed,
            records.ServiceStarted: self._service_started,
            records.ClockStepped: self._clock_stepped,
        }

    def execution(self, thing: Thing, job_id: str, execution_number: int | None = None) -> Execution | None:
        """Return the newest execution of a job on a thing, or the one with that number."""
        execution = thing.executions.get(job_id)
        if execution_number is None:
            return execution
        while execution is not None and execution.execution_number != execution_number:
            execution = execution.previous
        return execution

    def apply(self, record: records.Record) -> None:
        """Bring the state to what it is after `record`."""
        self._appliers[type(record)](record)

    def _thing_created(self, record: records.ThingCreated) -> None:
        thing = Thing(record.thing_name, record.thing_id, record.at_ms, record.attributes)
        self.things[record.thing_name] = thing
        self.thing_order.append(thing)
        self.last_at_ms = record.at_ms

    def _job_created(self, record: records.JobCreated) -> None:
        job = Job(
            job_id=record.job_id,
            created_at_ms=record.at_ms,
            created_by=record.by,
            targets=record.targets,
            target_selection=TargetSelection(record.target_selection),
            document=record.document,
            description=record.description,
            options=record.options,
            last_updated_at_ms=record.at_ms,
            counts=dict.fromkeys(JobExecutionStatus, 0),
        )
        job.timeline.append((record.at_ms, "created", record.by, ""))
        self.jobs[record.job_id] = job
        self.job_order.append(job)
        self.last_at_ms = record.at_ms

    def _execution_queued(self, record: records.ExecutionQueued) -> None:
        thing = self.things[record.thing_name]
        job = self.jobs[record.job_id]
        execution = Execution(
            thing_name=thing.thing_name,
            job_id=job.job_id,
            execution_number=record.execution_number,
            queue_position=record.queue_position,
            queued_at_ms=record.at_ms,
            last_updated_at_ms=record.at_ms,
            retry_attempt=record.retry_attempt,
            previous=thing.executions.get(job.job_id),
            index_in_job=len(job.executions),
        )
        thing.executions[job.job_id] = execution
        thing.pending[job.job_id] = execution
        thing.pending_revision += 1
        job.executions.append(execution)
        job.counts[JobExecutionStatus.QUEUED] += 1
        self.queue_position = record.queue_position
        self.last_at_ms = record.at_ms

    def _execution_changed(self, record: records.ExecutionChanged) -> None:
        thing = self.things[record.thing_name]
        execution = self.execution(thing, record.job_id, record.execution_number)
        assert execution is not None, record
        before, after = execution.status, record.status
        # A removal leaves the version number and with it lastUpdatedAt (spec: data plane 4.3, 4.7).
        if record.version_number != execution.version_number:
            execution.version_number = record.version_number
            execution.last_updated_at_ms = record.at_ms
        if record.status_details is not None:
            execution.status_details = record.status_details or None
        self._note(execution, record)
        execution.in_progress_deadline_ms = record.in_progress_deadline_ms
        execution.step_deadline_ms = record.step_deadline_ms
        if after is not before:
            self._move(thing, execution, before, after, record)
        deadline_ms = execution.deadline_ms
        if deadline_ms:
            self.timers.schedule(execution, deadline_ms)
        self.last_at_ms = record.at_ms

    def _move(
        self,
        thing: Thing,
        execution: Execution,
        before: JobExecutionStatus,
        after: JobExecutionStatus,
        record: records.ExecutionChanged,
    ) -> None:
        execution.status = after
        counts = self.jobs[execution.job_id].counts
        counts[before] -= 1
        counts[after] += 1
        if after is JobExecutionStatus.IN_PROGRESS:
            execution.started_at_ms = record.at_ms
            thing.in_progress_count += 1
            return
        if before is JobExecutionStatus.IN_PROGRESS:
            thing.in_progress_count -= 1
        execution.force_canceled = record.cause == FORCED
        del thing.pending[execution.job_id]
        thing.pending_revision += 1

    def _note(self, execution: Execution, record: records.ExecutionChanged) -> None:
        """Keep what the execution's own fields do not tell: step timers, and who ended it if not its
        device.
        """
        if record.status is JobExecutionStatus.IN_PROGRESS:
            if record.step_deadline_ms == execution.step_deadline_ms:
                return
            what = STEP_TIMER_SET if record.step_deadline_ms else STEP_TIMER_CLEARED
            entry: tuple[object, ...] = (
                record.at_ms,
                what,
                record.by,
                execution.step_deadline_ms,
                record.step_deadline_ms,
            )
        elif record.by == BY_DEVICE:
            return
        else:
            entry = (record.at_ms, record.status.value, record.by, record.cause, "")
        timeline = execution.timeline + msgpack.packb(entry)
        execution.timeline = timeline if len(timeline) <= TIMELINE_BYTES_MAX else _shortened(timeline)

    def _execution_deleted(self, record: records.ExecutionDeleted) -> None:
        thing = self.things[record.thing_name]
        execution = self.execution(thing, record.job_id, record.execution_number)
        assert execution is not None, record
        if execution.status in PENDING:
            del thing.pending[record.job_id]
            thing.pending_revision += 1
            if execution.status is JobExecutionStatus.IN_PROGRESS:
                thing.in_progress_count -= 1
            execution.in_progress_deadline_ms = execution.step_deadline_ms = 0
        self._unlink(thing, execution)
        job = self.jobs[record.job_id]
        job.counts[execution.status] -= 1
        job.executions[execution.index_in_job] = None
        self.last_at_ms = record.at_ms

    @staticmethod
    def _unlink(thing: Thing, execution: Execution) -> None:
        newest = thing.executions[execution.job_id]
        if newest is execution:
            if execution.previous is None:
                del thing.executions[execution.job_id]
            else:
                thing.executions[execution.job_id] = execution.previous
            return
        while newest.previous is not execution:
            assert newest.previous is not None
            newest = newest.previous
        newest.previous = execution.previous

    def _job_changed(self, record: records.JobChanged) -> None:
        job = self.jobs[record.job_id]
        job.status = record.status
        job.last_updated_at_ms = record.at_ms
        job.settled = record.settled
        if record.settled:
            job.completed_at_ms = record.at_ms
            job.timeline.append((record.at_ms, f"{record.status.value} settled", record.by, ""))
        else:
            job.force_canceled = record.force
            job.reason_code = record.reason_code
            job.comment = record.comment
            job.timeline.append((record.at_ms, record.status.value, record.by, record.comment))
        self.last_at_ms = record.at_ms

    def _service_started(self, record: records.ServiceStarted) -> None:
        self.last_start = record
        self.last_at_ms = record.at_ms

    def _clock_stepped(self, record: records.ClockStepped) -> None:
        """Move every running deadline with the clock."""
        for thing in self.things.values():
            for execution in thing.pending.values() if thing.in_progress_count else ():
                if execution.in_progress_deadline_ms:
                    execution.in_progress_deadline_ms += record.delta_ms
                if execution.step_deadline_ms:
                    execution.step_deadline_ms += record.delta_ms
        start = self.last_start
        if start is not None:
            self.last_start = records.ServiceStarted(
                start.at_ms + record.delta_ms, start.boot_id, start.uptime_ms
            )
        self.last_at_ms = record.at_ms + record.delta_ms


BY_DEVICE: Final = "device"
BY_SERVICE: Final = "service"
FORCED: Final = "forced"
STEP_TIMER_SET: Final = "step timer set"
STEP_TIMER_CLEARED: Final = "step timer cleared"


def timeline_entries(timeline: bytes) -> list[tuple[int, str, str, Any, Any]]:
    """Return the stored timeline: (at_ms, what, by, previous value or cause, new value)."""
    unpacker = msgpack.Unpacker(use_list=False)
    unpacker.feed(timeline)
    return list(unpacker)


def _shortened(timeline: bytes) -> bytes:
    entries = timeline_entries(timeline)
    return b"".join(msgpack.packb(entry) for entry in entries[len(entries) // 2 :])
