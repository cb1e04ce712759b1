"""Follows the schedules of jobs: startTime, maintenance windows, endTime (spec: control plane 6).

Where a job stands is decided in `schedule`; here its status and its executions follow.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from thingjobs_broker.core import execution, lifecycle, schedule
from thingjobs_broker.core.records import TurnChanged
from thingjobs_broker.core.schedule import CANCELED_AT_END, EndBehavior, Phase
from thingjobs_broker.core.state import BY_SERVICE, FORCED
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.status import JobStatus

if TYPE_CHECKING:
    from thingjobs_broker.core.state import Execution, Job
    from thingjobs_broker.core.step import Step

AT_LIMIT_LOOK_MS = 60_000
"""How soon a job that may not start, because too many are at work, is looked at again."""

END_TIME = "endTime"
OWED_SLICE = 250


def schedule_of(job: Job) -> schedule.Schedule:
    """Return the schedule of a job; without a configuration it is always open."""
    given = job.options.get("schedulingConfig")
    return schedule.compiled(msgspec.convert(given, schedule.SchedulingConfig) if given else None)


def follow(step: Step, job: Job, its: schedule.Schedule) -> int | None:
    """Give a job the status of its phase; return when to look again, None when the phase stays."""
    if job.ended:
        return None
    now_ms = step.now_ms
    phase = schedule.phase(its, now_ms)
    if phase is Phase.ENDED:
        _end(step, job, its.end_behavior)
        return None
    if phase is Phase.OPEN and job.status is JobStatus.SCHEDULED:
        if len(step.state.concurrent_jobs) >= step.ports.rules.concurrent_jobs_max:
            return _held(step, job, its)
        lifecycle.change_job(step, job, JobStatus.IN_PROGRESS, BY_SERVICE, turns=job.has_begun)
    elif phase is Phase.CLOSED and job.status is JobStatus.IN_PROGRESS:
        lifecycle.change_job(step, job, JobStatus.SCHEDULED, BY_SERVICE, turns=True)
    return schedule.next_look_ms(its, now_ms)


def turn(step: Step, job: Job, current: Execution) -> None:
    """Let one execution follow the opening or closing of a window, or the end of its job."""
    if job.ended and current.status in CANCELED_AT_END[_end_behavior(job)]:
        is_queued = current.status is Status.QUEUED
        event = execution.Input.CANCEL if is_queued else execution.Input.FORCE_CANCEL
        status = execution.next_status(current.status, event)
        assert status is not None, current
        thing = step.state.things[current.thing_name]
        cause = END_TIME if is_queued else FORCED
        lifecycle.transition(step, thing, current, status, by=BY_SERVICE, cause=cause)
    elif current.status is Status.QUEUED:
        step.turn(step.state.things[current.thing_name], job.namespace_id)


def give_owed(step: Step, job: Job) -> bool:
    """Give a slice of what could not be given while the window was closed; tell whether that was all."""
    names = list(islice(job.owed, OWED_SLICE))
    for name in names:
        thing = step.state.things.get(name)
        if thing is None:
            step.apply(TurnChanged(job.job_id, name, step.now_ms, "none"))
        else:
            lifecycle.queue_execution(step, thing, job, job.owed[name])
    return not job.owed


def first_status(config: schedule.SchedulingConfig | None, now_ms: int) -> JobStatus:
    """Return the status that a job is created with (spec: control plane 2.2)."""
    is_open = schedule.phase(schedule.compiled(config), now_ms) is Phase.OPEN
    return JobStatus.IN_PROGRESS if is_open else JobStatus.SCHEDULED


def shown(step: Step, job: Job) -> dict[str, Any]:
    """Return the next openings of a job with windows (spec: control plane 2.1), and nothing for others."""
    if not job.has_windows:
        return {}
    starts = schedule.next_starts(schedule_of(job), step.now_ms)
    return {"scheduledJobRollouts": [{"startTime": start} for start in starts]}


def _held(step: Step, job: Job, its: schedule.Schedule) -> int | None:
    """Too many jobs are at work: with windows it is canceled (A30), else it waits for its turn."""
    if its.windows and step.ports.rules.windowed_jobs_cancel_at_limit:
        comment = f"{step.ports.rules.concurrent_jobs_max} jobs were at work when its window opened"
        lifecycle.cancel_job(
            step, job, BY_SERVICE, force=False, reason_code="CONCURRENT_JOBS_LIMIT", comment=comment
        )
        return None
    return step.now_ms + AT_LIMIT_LOOK_MS


def _end(step: Step, job: Job, behavior: EndBehavior) -> None:
    """Nothing is created any more; the job is COMPLETED, never CANCELED, when all has ended (A13, V14)."""
    was_hidden = job.status is JobStatus.SCHEDULED
    lifecycle.change_job(
        step,
        job,
        JobStatus.IN_PROGRESS,
        BY_SERVICE,
        force=behavior is EndBehavior.FORCE_CANCEL,
        ended=True,
        turns=was_hidden or job.turns or behavior is not EndBehavior.STOP_ROLLOUT,
    )


def _end_behavior(job: Job) -> EndBehavior:
    return schedule_of(job).end_behavior
