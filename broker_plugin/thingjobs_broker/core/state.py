"""Everything the service knows, and `apply`, the only code that changes it, live and in recovery alike."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgpack

from thingjobs_broker.core import clearing, histories, job_records, records, registry_records
from thingjobs_broker.core.entities import (
    NO_EXECUTIONS,
    Execution,
    Group,
    Job,
    Orders,
    Template,
    Thing,
    ThingType,
)
from thingjobs_broker.core.timers import Timers
from thingjobs_broker.core.untracked import untracked
from thingjobs_protocol.status import PENDING, JobExecutionStatus, JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from sortedcontainers import SortedDict, SortedList

    from thingjobs_broker.core.query import Query
    from thingjobs_broker.core.turning import Turning

__all__ = [
    "BY_DEVICE",
    "BY_SERVICE",
    "FORCED",
    "Execution",
    "Job",
    "State",
    "Thing",
    "timeline_entries",
]

TIMELINE_BYTES_MAX: Final = 4096
"""Bound of one execution's stored timeline; beyond it the oldest entries are dropped."""

BY_DEVICE: Final = "device"
BY_SERVICE: Final = "service"
FORCED: Final = "forced"
STEP_TIMER_SET: Final = "step timer set"
STEP_TIMER_CLEARED: Final = "step timer cleared"
TIMEOUT_CHANGED: Final = "timeout changed"


class State:
    """All things, jobs and executions. Rules read it; only `apply` writes it."""

    def __init__(self) -> None:
        self.things: dict[str, Thing] = {}
        self.thing_order: list[Thing | None] = untracked([])
        self.departed: dict[str, Thing] = {}
        """What holds the executions of things that were deleted; its other fields say nothing."""
        self.thing_types: dict[str, ThingType] = {}
        self.groups: dict[str, Group] = {}
        """By their ids, in the order of their creation; deleted ones until their members have left."""
        self.jobs: dict[str, Job] = {}
        self.job_order: list[Job | None] = untracked([])
        self.templates: dict[str, Template] = {}
        self.template_order: list[Template | None] = []
        self.group_timeouts: dict[str, tuple[int, int]] = {}
        """By thing group, default and maximum in minutes, 0 for none (spec: control plane B3, B5)."""
        self.tags: dict[str, dict[str, str]] = {}
        """By the ARN of a job, template or group."""
        self.indexing: dict[str, dict[str, Any]] = {
            "thingIndexingConfiguration": {"thingIndexingMode": "OFF"},
            "thingGroupIndexingConfiguration": {"thingGroupIndexingMode": "OFF"},
        }
        self.event_configurations: dict[str, bool] = {}
        self.events_configured_ms = 0, 0
        """First and last."""
        self.queue_position = 0
        self.last_at_ms = 0
        self.last_start: records.ServiceStarted | None = None
        self.timers = Timers()
        self.type_counts: dict[str, int] = {}
        """How many things have each type, of those that any has."""
        self.group_ids: dict[str, str] = {}
        """By the names of groups, deleted ones left out."""
        self.group_members: dict[str, SortedList[str]] = {}
        """By the id of a group, the names of its own members."""
        self.group_children: dict[str, SortedDict[int, str]] = {}
        # By the id of a group, "" for none: the groups directly below it, by their index.
        self.orders = Orders()
        self.groups_at_work: dict[str, Group] = {}
        """Those that build their membership, or whose members are leaving."""
        self.queries: dict[str, Query] = {}
        """By the id of a dynamic group."""
        self.group_jobs: dict[str, dict[str, Job]] = {}
        """By thing group, the active jobs that target it."""
        self.windowed_jobs: set[str] = untracked(set())
        """Those with maintenance windows, until they are deleted."""
        self.closed_jobs: dict[str, Job] = {}
        """Those outside their maintenance windows, whose QUEUED executions are hidden from devices."""
        self.active_jobs: set[str] = untracked(set())
        self.concurrent_jobs: dict[str, Job] = {}
        self.deleting_jobs: dict[str, Job] = {}
        """Those that count against a limit (spec: control plane 2.4, 10)."""
        self.sweeps: dict[str, int] = {}
        """By job, how far a pass over its executions has come. A restart begins it anew."""
        self.turnings: dict[str, Turning] = {}
        self.before_apply: Callable[[records.Record], None] | None = None
        """Who wants to look before a record changes anything: a snapshot that is being taken."""

    def holder(self, thing_name: str) -> Thing:
        """Return the thing, or what holds the executions of one that is gone; made anew if nothing does."""
        found = self.things.get(thing_name) or self.departed.get(thing_name)
        if found is None:
            found = self.departed[thing_name] = registry_records.departed(thing_name)
        return found

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
        if self.before_apply is not None:
            self.before_apply(record)
        self.APPLIERS[type(record)](self, record)

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
            index_in_job=len(job.executions),
        )
        thing.add(execution)
        histories.note(self, thing, execution)
        thing.enqueue(execution, job.namespace_id).pending_revision += 1
        job.executions.append(execution)
        job.counts[JobExecutionStatus.QUEUED.value] += 1
        job.owed.pop(thing.thing_name, None)
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
            execution.details = msgpack.packb(record.status_details) if record.status_details else b""
        self._note(execution, record)
        if record.timeout_minutes:
            execution.timeout_minutes = record.timeout_minutes
            if before is not after:
                execution.timeout_minutes_at_start = record.timeout_minutes
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
        job = self.jobs[execution.job_id]
        job.counts[before.value] -= 1
        job.counts[after.value] += 1
        if after is JobExecutionStatus.SUCCEEDED and job.rollout is not None:
            job.rollout.succeeded += 1
        if after is JobExecutionStatus.IN_PROGRESS:
            execution.started_at_ms = record.at_ms
            thing.queue(job.namespace_id).in_progress_count += 1
            return
        if before is JobExecutionStatus.IN_PROGRESS:
            thing.queue(job.namespace_id).in_progress_count -= 1
        execution.force_canceled = record.cause == FORCED
        thing.dequeue(execution, job.namespace_id)

    def _note(self, execution: Execution, record: records.ExecutionChanged) -> None:
        """Keep what the execution's own fields do not tell: step timers, and who ended it if not its
        device.
        """
        entry: tuple[object, ...]
        if record.status is JobExecutionStatus.IN_PROGRESS:
            if record.timeout_minutes and execution.status is JobExecutionStatus.IN_PROGRESS:
                entry = (
                    *(record.at_ms, TIMEOUT_CHANGED, record.by),
                    *(execution.timeout_minutes, record.timeout_minutes),
                )
                self._keep(execution, entry)
            if record.step_deadline_ms == execution.step_deadline_ms:
                return
            what = STEP_TIMER_SET if record.step_deadline_ms else STEP_TIMER_CLEARED
            deadlines_ms = execution.step_deadline_ms, record.step_deadline_ms
            entry = (record.at_ms, what, record.by, *deadlines_ms)
        elif record.by == BY_DEVICE:
            return
        else:
            entry = (record.at_ms, record.status.value, record.by, record.cause, "")
        self._keep(execution, entry)

    @staticmethod
    def _keep(execution: Execution, entry: tuple[object, ...]) -> None:
        timeline = execution.timeline + msgpack.packb(entry)
        execution.timeline = timeline if len(timeline) <= TIMELINE_BYTES_MAX else _shortened(timeline)

    def _execution_deleted(self, record: records.ExecutionDeleted) -> None:
        thing = self.holder(record.thing_name)
        execution = self.execution(thing, record.job_id, record.execution_number)
        assert execution is not None, record
        job = self.jobs[record.job_id]
        if execution.status in PENDING:
            if execution.status is JobExecutionStatus.IN_PROGRESS:
                thing.queue(job.namespace_id).in_progress_count -= 1
            thing.dequeue(execution, job.namespace_id)
            execution.in_progress_deadline_ms = execution.step_deadline_ms = 0
        # Of a job that is being deleted nobody gets another.
        if job.status is not JobStatus.DELETION_IN_PROGRESS:
            self._remember_number(thing, job, execution)
        self._unlink(thing, execution)
        histories.forget(self, execution)
        job.counts[execution.status.value] -= 1
        job.executions[execution.index_in_job] = None
        if not thing.executions:
            self.departed.pop(thing.thing_name, None)
        self.last_at_ms = record.at_ms

    @staticmethod
    def _remember_number(thing: Thing, job: Job, execution: Execution) -> None:
        """Keep what a later execution has to know of one that is being deleted."""
        if thing.executions[job.job_id] is execution:
            job.numbers_used[thing.thing_name] = execution.execution_number
        if execution.status is JobExecutionStatus.TIMED_OUT and "jobExecutionsRetryConfig" in job.options:
            job.deleted_time_outs.setdefault(thing.thing_name, []).append(execution.execution_number)

    @staticmethod
    def _unlink(thing: Thing, execution: Execution) -> None:
        newest = thing.executions[execution.job_id]
        if newest is execution:
            if execution.previous is None:
                del thing.executions[execution.job_id]
                thing.executions = thing.executions or NO_EXECUTIONS
            else:
                thing.executions[execution.job_id] = execution.previous
            return
        while newest.previous is not execution:
            assert newest.previous is not None
            newest = newest.previous
        newest.previous = execution.previous

    def _template_created(self, record: records.TemplateCreated) -> None:
        template = Template(
            record.template_id,
            record.at_ms,
            record.description,
            record.document,
            record.document_source,
            record.options,
            len(self.template_order),
        )
        self.templates[record.template_id] = template
        self.template_order.append(template)
        self.last_at_ms = record.at_ms

    def _template_deleted(self, record: records.TemplateDeleted) -> None:
        template = self.templates.pop(record.template_id)
        self.template_order[template.index] = None
        self.last_at_ms = record.at_ms

    def _service_started(self, record: records.ServiceStarted) -> None:
        self.last_start = record
        self.last_at_ms = record.at_ms

    def _clock_stepped(self, record: records.ClockStepped) -> None:
        """Move every running deadline with the clock."""
        for thing in self.things.values():
            for queue in thing.queues():
                queue.move_deadlines(record.delta_ms)
        for job in self.jobs.values():
            if job.rollout is not None and job.rollout.started_at_ms:
                job.rollout.started_at_ms += record.delta_ms
                job.rollout.window_at_ms += record.delta_ms
                if job.rollout.paused_at_ms:
                    job.rollout.paused_at_ms += record.delta_ms
        start = self.last_start
        if start is not None:
            self.last_start = records.ServiceStarted(
                start.at_ms + record.delta_ms, start.boot_id, start.uptime_ms
            )
        self.last_at_ms = record.at_ms + record.delta_ms

    def derive(self) -> None:
        """Build what follows from things, jobs and the executions of each job, all that a snapshot holds:
        what links things to executions, the pending sets, counters and timers.
        """
        pending: list[Execution] = []
        for thing in self.things.values():
            registry_records.index_thing(self, thing)
        registry_records.index_members(self)
        for job in self.jobs.values():
            job_records.index(self, job)
            job.counts = job_records.no_counts()
            for execution in job.executions:
                if execution is None:
                    continue
                job.counts[execution.status.value] += 1
                # In the order of the job's executions, each is newer than those before it.
                thing = self.holder(execution.thing_name)
                thing.add(execution)
                histories.note(self, thing, execution)
                if execution.status in PENDING:
                    pending.append(execution)
        pending.sort(key=attrgetter("queue_position"))
        for execution in pending:
            thing = self.things[execution.thing_name]
            queue = thing.enqueue(execution, self.jobs[execution.job_id].namespace_id)
            queue.in_progress_count += execution.status is JobExecutionStatus.IN_PROGRESS
            if deadline_ms := execution.deadline_ms:
                self.timers.schedule(execution, deadline_ms)

    APPLIERS: Final[dict[type[records.Record], Callable[[State, Any], None]]] = {
        records.ExecutionQueued: _execution_queued,
        records.ExecutionChanged: _execution_changed,
        records.ExecutionDeleted: _execution_deleted,
        records.ServiceStarted: _service_started,
        records.ClockStepped: _clock_stepped,
        records.StateCleared: clearing.state_cleared,
        records.JobCreated: job_records.job_created,
        records.JobChanged: job_records.job_changed,
        records.JobUpdated: job_records.job_updated,
        records.JobDeleted: job_records.job_deleted,
        records.RolloutAdvanced: job_records.rollout_advanced,
        records.TemplateCreated: _template_created,
        records.TemplateDeleted: _template_deleted,
        records.GroupTimeoutsChanged: registry_records.group_timeouts_changed,
        records.TagsChanged: registry_records.tags_changed,
        records.JobTurned: job_records.job_turned,
        records.TurnChanged: job_records.turn_changed,
        records.ThingCreated: registry_records.thing_created,
        records.ThingUpdated: registry_records.thing_updated,
        records.ThingDeleted: registry_records.thing_deleted,
        records.ThingGroupsChanged: registry_records.thing_groups_changed,
        records.ThingTypeCreated: registry_records.thing_type_created,
        records.ThingTypeChanged: registry_records.thing_type_changed,
        records.ThingTypeDeleted: registry_records.thing_type_deleted,
        records.GroupCreated: registry_records.group_created,
        records.GroupChanged: registry_records.group_changed,
        records.GroupDeleted: registry_records.group_deleted,
        records.GroupSwept: registry_records.group_swept,
        records.IndexingConfigured: registry_records.indexing_configured,
        records.EventsConfigured: registry_records.events_configured,
    }


def timeline_entries(timeline: bytes) -> list[tuple[int, str, str, Any, Any]]:
    """Return the stored timeline: (at_ms, what, by, previous value or cause, new value)."""
    unpacker = msgpack.Unpacker(use_list=False)
    unpacker.feed(timeline)
    return list(unpacker)


def _shortened(timeline: bytes) -> bytes:
    entries = timeline_entries(timeline)
    return b"".join(msgpack.packb(entry) for entry in entries[len(entries) // 2 :])
