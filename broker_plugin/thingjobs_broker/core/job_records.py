"""What the records of jobs do to the state; `State.apply` calls these and nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thingjobs_broker.core import turning
from thingjobs_broker.core.entities import Job, Rollout
from thingjobs_broker.core.naming import group_of
from thingjobs_broker.core.untracked import untracked
from thingjobs_protocol.status import JobExecutionStatus, JobStatus, TargetSelection

if TYPE_CHECKING:
    from thingjobs_broker.core import records
    from thingjobs_broker.core.state import State

ACTIVE: Final = frozenset({JobStatus.SCHEDULED, JobStatus.IN_PROGRESS})
"""A job in any other status gets no further executions."""


def job_created(state: State, record: records.JobCreated) -> None:
    """A new job; with a rollout to come unless its executions follow one by one."""
    job = Job(
        job_id=record.job_id,
        created_at_ms=record.at_ms,
        created_by=record.by,
        targets=untracked(record.targets),
        target_selection=TargetSelection(record.target_selection),
        document=record.document,
        description=record.description,
        options=record.options,
        last_updated_at_ms=record.at_ms,
        status=JobStatus(record.status),
        counts=no_counts(),
        executions=untracked([]),
        timeline=untracked([]),
        barred=untracked(set()),
        rollout=None if record.is_rolled_out else Rollout(),
        document_source=record.document_source,
        authored_document=record.authored_document,
        index=len(state.job_order),
    )
    job.timeline.append((record.at_ms, "created", record.by, ""))
    state.jobs[record.job_id] = job
    state.job_order.append(job)
    index(state, job)
    state.last_at_ms = record.at_ms


def no_counts() -> dict[str, int]:
    """Return the counters of a job without executions."""
    return {status.value: 0 for status in JobExecutionStatus}


def job_changed(state: State, record: records.JobChanged) -> None:
    """A new status, the end of what followed from it, or the end of a schedule."""
    job = state.jobs[record.job_id]
    before, job.status = job.status, record.status
    was_hidden = record.job_id in state.closed_jobs
    job.last_updated_at_ms = record.at_ms
    job.settled = record.settled
    job.hides = was_hidden and record.status not in ACTIVE and not record.settled
    job.ended = job.ended or record.ended
    # What a canceled job has not said yet it says as it goes.
    job.turns = record.turns or (job.turns and record.status not in ACTIVE and not record.settled)
    if record.settled:
        job.completed_at_ms = record.at_ms
        job.timeline.append((record.at_ms, f"{record.status.value} settled", record.by, ""))
    else:
        job.force_canceled = record.force
        job.reason_code = record.reason_code
        job.comment = record.comment
        job.timeline.append((record.at_ms, record.status.value, record.by, record.comment))
    if job.status not in ACTIVE or job.ended:
        # What has no execution by now never gets one (spec: control plane 3.3, "Cancel/abort/endTime").
        job.rollout = None
        job.owed.clear()
        job.barred.clear()
    if job.rollout is not None:
        _pause_or_resume(job.rollout, before, job.status, record.at_ms)
    state.sweeps.pop(job.job_id, None)
    index(state, job)
    if record.turns:
        turning.begin(state, job, was_hidden=was_hidden, hides=record.job_id in state.closed_jobs)
    elif not job.turns:
        state.turnings.pop(job.job_id, None)
    state.last_at_ms = record.at_ms


def _pause_or_resume(rollout: Rollout, before: JobStatus, after: JobStatus, at_ms: int) -> None:
    """While a job is SCHEDULED again the clock of its windows stands still (spec: control plane 3.3)."""
    if not rollout.started_at_ms or before is after:
        return
    if after is JobStatus.SCHEDULED:
        rollout.paused_at_ms = at_ms
    elif rollout.paused_at_ms:
        rollout.started_at_ms += at_ms - rollout.paused_at_ms
        rollout.window_at_ms += at_ms - rollout.paused_at_ms
        rollout.paused_at_ms = 0


def job_updated(state: State, record: records.JobUpdated) -> None:
    """An operator changed what a job is told to do."""
    job = state.jobs[record.job_id]
    if record.description is not None:
        job.description = record.description
    if record.options is not None:
        job.options = job.options | record.options
    if record.targets is not None:
        _add_targets(state, job, record.targets, record.at_ms)
    if record.comment is not None:
        job.comment = record.comment
    job.last_updated_at_ms = record.at_ms
    job.timeline.append((record.at_ms, "updated", record.by, record.comment or ""))
    state.last_at_ms = record.at_ms


def _add_targets(state: State, job: Job, targets: list[str], at_ms: int) -> None:
    """Roll out what was added at the end of the targets, once the job has begun; one that has goes on."""
    first = len(job.targets)
    job.targets = untracked(targets)
    if job.rollout is None:
        job.rollout = Rollout(target_index=first, free_index=first, started_at_ms=at_ms)
    elif job.rollout.free_index < 0:
        job.rollout.free_index = first
    index(state, job)


def rollout_advanced(state: State, record: records.RolloutAdvanced) -> None:
    """A slice of the targets was looked at; the executions that it gave have records of their own."""
    job = state.jobs[record.job_id]
    state.last_at_ms = record.at_ms
    if record.is_done:
        job.rollout = None
        job.barred.clear()
        index(state, job)
        return
    rollout = job.rollout
    assert rollout is not None, record
    rollout.target_index = record.target_index
    rollout.after = record.after
    rollout.notified = record.notified
    rollout.started_at_ms = record.started_at_ms
    rollout.window_at_ms = record.window_at_ms
    rollout.left = record.left


def turn_changed(state: State, record: records.TurnChanged) -> None:
    """What a thing has to expect of a job, apart from the walk over the targets."""
    job = state.jobs[record.job_id]
    job.owed.pop(record.thing_name, None)
    job.barred.discard(record.thing_name)
    if record.turn == "owed":
        job.owed[record.thing_name] = record.retry_attempt
    elif record.turn == "barred":
        job.barred.add(record.thing_name)
    state.last_at_ms = record.at_ms


def job_turned(state: State, record: records.JobTurned) -> None:
    """Every execution has followed."""
    state.jobs[record.job_id].turns = False
    state.turnings.pop(record.job_id, None)
    state.last_at_ms = record.at_ms


def job_deleted(state: State, record: records.JobDeleted) -> None:
    """A job is gone, after its executions."""
    job = state.jobs.pop(record.job_id)
    assert not any(job.executions), record
    state.job_order[job.index] = None
    state.sweeps.pop(job.job_id, None)
    state.turnings.pop(job.job_id, None)
    state.windowed_jobs.discard(job.job_id)
    _forget(state, job)
    state.last_at_ms = record.at_ms


def index(state: State, job: Job) -> None:
    """Enter a job where it is looked for: among those of its groups, those at work, those being deleted."""
    if job.status not in ACTIVE:
        _forget(state, job)
    else:
        state.active_jobs.add(job.job_id)
        for target in job.targets:
            group_name = group_of(target)
            if group_name is not None:
                state.group_jobs.setdefault(group_name, {})[job.job_id] = job
    if job.has_windows:
        state.windowed_jobs.add(job.job_id)
    if job.hides or (job.status is JobStatus.SCHEDULED and job.has_begun):
        state.closed_jobs[job.job_id] = job
    else:
        state.closed_jobs.pop(job.job_id, None)
    if job.is_concurrent:
        state.concurrent_jobs[job.job_id] = job
    else:
        state.concurrent_jobs.pop(job.job_id, None)
    if job.status is JobStatus.DELETION_IN_PROGRESS:
        state.deleting_jobs[job.job_id] = job


def _forget(state: State, job: Job) -> None:
    state.active_jobs.discard(job.job_id)
    state.closed_jobs.pop(job.job_id, None)
    state.concurrent_jobs.pop(job.job_id, None)
    state.deleting_jobs.pop(job.job_id, None)
    for target in job.targets:
        group_name = group_of(target)
        jobs = state.group_jobs.get(group_name) if group_name is not None else None
        if group_name is not None and jobs is not None:
            jobs.pop(job.job_id, None)
            if not jobs:
                del state.group_jobs[group_name]
