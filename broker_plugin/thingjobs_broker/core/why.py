"""Why a job does not run on a thing: a table of verdicts, of which the first that applies is given (our own
operation ExplainExecution; architecture, promise 10).

Each is computed from what the service knows. A verdict decides nothing; it only reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from thingjobs_broker.core import forecast, pending, schedule, scheduling, targets, timeline
from thingjobs_broker.core.lookups import find_job, find_thing
from thingjobs_broker.core.ports import Presence
from thingjobs_protocol.status import TERMINAL, JobStatus, TargetSelection
from thingjobs_protocol.status import JobExecutionStatus as Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.core import operations
    from thingjobs_broker.core.entities import Execution, Job, Thing
    from thingjobs_broker.core.step import Step

Facts = dict[str, Any]
"""What a verdict knows beside its code: `since` and `until` in epoch seconds, and what its sentence names."""

LOOKS_MAX: Final = 5000
"""Things that are looked at to count who comes first in a rollout; of more, all are counted."""

EXPLAINED_MAX: Final = 100
"""Jobs that are explained of one thing, the first in its queue."""


class Case(NamedTuple):
    """A job and a thing, and what both are at."""

    step: Step
    thing: Thing
    job: Job
    execution: Execution | None
    presence: Presence
    phase: schedule.Phase

    @property
    def status(self) -> Status | None:
        """The status of the newest execution, None without one."""
        return self.execution.status if self.execution is not None else None

    @property
    def is_waiting(self) -> bool:
        """Whether an execution waits for its device."""
        return self.status is Status.QUEUED

    @property
    def has_none(self) -> bool:
        """Whether the thing has never had an execution of the job."""
        return self.execution is None

    @property
    def may_get_one(self) -> bool:
        """Whether there is no execution that has not ended."""
        return self.execution is None or self.execution.status in TERMINAL


class Verdict(NamedTuple):
    """A row: `applies` returns the facts, None where another row decides."""

    code: str
    sentence: str
    """With the names of facts in braces."""
    applies: Callable[[Case], Facts | None]


def explain_execution(step: Step, request: operations.ExplainExecution, _by: str) -> dict[str, Any]:
    """Tell why a job does not run on a thing; without a job, of all that are active for it.

    Raises:
        ResourceNotFoundError: there is no such thing, or no such job.

    """
    thing = find_thing(step, request.thing_name)
    jobs = [find_job(step, request.job_id)] if request.job_id else _jobs_of(step, thing)
    explained = [explain(step, thing, job) for job in jobs[:EXPLAINED_MAX]]
    return {"thing": _thing(step, thing), "explanations": explained} | (
        {"more": len(jobs) - EXPLAINED_MAX} if len(jobs) > EXPLAINED_MAX else {}
    )


def explain(step: Step, thing: Thing, job: Job) -> dict[str, Any]:
    """Return the first verdict that applies, with its facts."""
    case = Case(
        *(step, thing, job, thing.executions.get(job.job_id)),
        step.ports.presences.of(thing.thing_name),
        schedule.phase(scheduling.schedule_of(job), step.now_ms),
    )
    for verdict in VERDICTS:
        facts = verdict.applies(case)
        if facts is not None:
            shown = {name: value for name, value in facts.items() if value is not None}
            status = {"executionStatus": case.status.value} if case.status is not None else {}
            return {
                "jobId": job.job_id,
                "jobStatus": job.status.value,
                **status,
                "verdict": verdict.code,
                "explanation": verdict.sentence.format_map(facts),
                **shown,
            }
    raise AssertionError(case)


# What applies. Without an execution that has not ended:


def _deleting(case: Case) -> Facts | None:
    return {} if case.job.status is JobStatus.DELETION_IN_PROGRESS else None


def _retry_owed(case: Case) -> Facts | None:
    if case.thing.thing_name not in case.job.owed or case.has_none:
        return None
    assert case.status is not None
    return {
        "last": case.status.value,
        "retry": case.job.owed[case.thing.thing_name],
        "until": _opening(case),
    }


def _timed_out(case: Case) -> Facts | None:
    current = case.execution
    if current is None or current.status is not Status.TIMED_OUT:
        return None
    timer = timeline.of_execution(current, case.job.created_by)[-1].get("cause", "timer")
    return {
        "attempt": current.execution_number,
        "timer": timer,
        "minutes": current.timeout_minutes or None,
        "since": current.last_updated_at_ms / 1000,
    }


def _ended(case: Case) -> Facts | None:
    """Nothing was left to do for the thing; why it ended is the last entry of its timeline."""
    current = case.execution
    if current is None or current.status not in TERMINAL:
        return None
    last = timeline.of_execution(current, case.job.created_by)[-1]
    reason = (current.status_details or {}).get("reason") or last.get("cause")
    return {
        "ended": f"{current.status.value} by {last['by']}" + (f", {reason}" if reason else ""),
        "attempt": current.execution_number,
        "since": current.last_updated_at_ms / 1000,
    }


def _execution_deleted(case: Case) -> Facts | None:
    return {} if case.has_none and case.thing.thing_name in case.job.numbers_used else None


def _job_canceled(case: Case) -> Facts | None:
    if not case.has_none or case.job.status is not JobStatus.CANCELED:
        return None
    why = case.job.comment or case.job.reason_code
    return {"why": f": {why}" if why else "", "since": case.job.last_updated_at_ms / 1000}


def _not_a_target(case: Case) -> Facts | None:
    return {} if case.has_none and not targets.covers(case.step, case.job, case.thing.thing_name) else None


def _job_over(case: Case) -> Facts | None:
    if not case.has_none or not (case.job.ended or case.job.status is JobStatus.COMPLETED):
        return None
    return {"since": (case.job.completed_at_ms or case.job.last_updated_at_ms) / 1000}


def _joined_later(case: Case) -> Facts | None:
    is_over = case.job.rollout is None and case.job.target_selection is TargetSelection.SNAPSHOT
    return {} if case.has_none and (case.thing.thing_name in case.job.barred or is_over) else None


def _not_begun(case: Case) -> Facts | None:
    is_waiting = case.has_none and case.phase is schedule.Phase.WAITING
    return {"until": _opening(case)} if is_waiting else None


def _window_closed_before(case: Case) -> Facts | None:
    is_closed = case.has_none and case.phase is schedule.Phase.CLOSED
    return {"until": _opening(case)} if is_closed else None


def _at_limit(case: Case) -> Facts | None:
    if not case.has_none or case.job.status is not JobStatus.SCHEDULED:
        return None
    return {"jobs": len(case.step.state.concurrent_jobs)}


def _rollout_not_there(case: Case) -> Facts | None:
    """The rollout takes things in order; it comes to this one if nobody before it falls out."""
    its = case.job.rollout
    if not case.has_none or its is None:
        return None
    ahead = targets.count_ahead(case.step, case.job, its, case.thing.thing_name, LOOKS_MAX)
    pace = forecast.of_rest(case.step, case.job, its, ahead + 1)
    return {"ahead": ahead, "until": _seconds(pace.ends_at_ms)}


def _about_to_come(case: Case) -> Facts | None:
    return {} if case.has_none else None


# With one that is QUEUED:


def _job_being_canceled(case: Case) -> Facts | None:
    is_canceled = case.is_waiting and case.job.status is JobStatus.CANCELED
    return {} if is_canceled else None


def _window_closed(case: Case) -> Facts | None:
    is_hidden = case.is_waiting and case.job.job_id in case.step.state.closed_jobs
    return {"until": _opening(case)} if is_hidden else None


def _offline(case: Case) -> Facts | None:
    if not case.is_waiting or case.presence.is_connected is not False:
        return None
    return {"since": _seconds(case.presence.since_ms or _seen_ms(case))}


def _behind(case: Case) -> Facts | None:
    queue = case.thing.queue(case.job.namespace_id)
    front = pending.front(queue, case.step.state.closed_jobs)
    if not case.is_waiting or front is None or front.job_id == case.job.job_id:
        return None
    since_ms = front.started_at_ms or front.queued_at_ms
    before = sum(
        current.status is Status.IN_PROGRESS or current.queue_position < _current(case).queue_position
        for current in queue.pending.values()
        if current is not case.execution and current.job_id not in case.step.state.closed_jobs
    )
    return {
        "behind": front.job_id,
        "is": "is IN_PROGRESS" if front.status is Status.IN_PROGRESS else "is QUEUED",
        "before": before,
        "since": since_ms / 1000,
    }


def _in_namespace(case: Case) -> Facts | None:
    """Whether its device listens there is not known."""
    namespace_id = case.job.namespace_id
    if not case.is_waiting or not namespace_id:
        return None
    return {"namespace": namespace_id, "since": _current(case).queued_at_ms / 1000}


def _not_subscribed(case: Case) -> Facts | None:
    is_deaf = case.is_waiting and case.presence.is_connected and case.presence.is_subscribed is False
    return {"since": _seconds(case.presence.since_ms)} if is_deaf else None


def _not_seen(case: Case) -> Facts | None:
    """Beside a broker that is not ours, requests are all that the service hears of a device."""
    seen_ms = _seen_ms(case)
    if not case.is_waiting or case.presence.is_connected is not None:
        return None
    if seen_ms is not None and seen_ms >= _current(case).queued_at_ms:
        return None
    ever = "has asked for nothing since the job was queued" if seen_ms else "has not been heard of"
    return {"ever": ever, "since": _seconds(seen_ms)}


def _not_taken(case: Case) -> Facts | None:
    return {"since": _current(case).queued_at_ms / 1000} if case.is_waiting else None


# With one that is IN_PROGRESS:


def _running_offline(case: Case) -> Facts | None:
    if case.status is not Status.IN_PROGRESS or case.presence.is_connected is not False:
        return None
    return _times(_current(case), case.presence.since_ms or _seen_ms(case))


def _running(case: Case) -> Facts | None:
    current = _current(case)
    return _times(current, current.started_at_ms)


def _times(current: Execution, since_ms: int | None) -> Facts:
    return {"since": _seconds(since_ms), "until": _seconds(current.deadline_ms or None)}


VERDICTS: Final = (
    Verdict("JOB_DELETED", "the job is being deleted", _deleting),
    Verdict("RETRY_OWED", "it ended {last}; retry {retry} follows when the window opens", _retry_owed),
    Verdict("TIMED_OUT", "attempt {attempt} has timed out ({timer}); no retry is left", _timed_out),
    Verdict("ENDED", "attempt {attempt} has ended: {ended}", _ended),
    Verdict("EXECUTION_DELETED", "its execution was deleted, and is not made again", _execution_deleted),
    Verdict("NOT_A_TARGET", "the job is not for this thing: it is no target, nor in one", _not_a_target),
    Verdict("JOB_CANCELED", "the job was canceled before its turn came{why}", _job_canceled),
    Verdict("JOB_OVER", "the job had ended before the thing could get it", _job_over),
    Verdict("JOINED_LATER", "it joined after the job, a SNAPSHOT, had taken its members", _joined_later),
    Verdict("NOT_BEGUN", "the job has not begun: its start time is to come", _not_begun),
    Verdict("WINDOW_CLOSED", "the job's maintenance window is closed", _window_closed_before),
    Verdict("AT_LIMIT", "{jobs} jobs are being rolled out or canceled, as many as may be", _at_limit),
    Verdict(
        "ROLLOUT_NOT_THERE", "the rollout is not there yet: {ahead} things come first", _rollout_not_there
    ),
    Verdict("ABOUT_TO_COME", "it is about to get its execution", _about_to_come),
    Verdict("JOB_CANCELED", "the job was canceled; this execution follows", _job_being_canceled),
    Verdict("WINDOW_CLOSED", "it waits: the job's maintenance window is closed", _window_closed),
    Verdict("OFFLINE", "the device is not connected", _offline),
    Verdict("BEHIND", "it waits behind job {behind}, which {is} ({before} before it)", _behind),
    Verdict("IN_NAMESPACE", "it is offered on the topics of namespace {namespace} only", _in_namespace),
    Verdict("NOT_SUBSCRIBED", "the device is connected, but subscribed to no notification", _not_subscribed),
    Verdict("NOT_SEEN", "the device {ever}", _not_seen),
    Verdict("NOT_TAKEN", "it is the device's turn: it has not started it", _not_taken),
    Verdict("RUNNING_OFFLINE", "the device has started it, and is not connected", _running_offline),
    Verdict("RUNNING", "the device is working on it", _running),
)
"""In the order of precedence: what can be known for certain comes before what is guessed."""


def _jobs_of(step: Step, thing: Thing) -> list[Job]:
    """Return the jobs whose executions are pending, in queue order, then those that may yet come to it."""
    state = step.state
    found = {job_id: state.jobs[job_id] for queue in thing.queues() for job_id in queue.pending}
    for job in state.jobs.values():
        if job.job_id in found or job.status not in (JobStatus.IN_PROGRESS, JobStatus.SCHEDULED):
            continue
        if thing.thing_name in job.owed or (
            job.rollout is not None
            and job.job_id not in thing.executions
            and targets.covers(step, job, thing.thing_name)
        ):
            found[job.job_id] = job
    return list(found.values())


def _thing(step: Step, thing: Thing) -> Facts:
    presence = step.ports.presences.of(thing.thing_name)
    found = {
        "thingName": thing.thing_name,
        "thingArn": step.naming.thing_arn(thing.thing_name),
        "connected": presence.is_connected,
        "connectedSince" if presence.is_connected else "offlineSince": _seconds(presence.since_ms),
        "subscribed": presence.is_subscribed,
        "lastSeenAt": _seconds(step.ports.last_seen_ms.get(thing.thing_name)),
        "pending": sum(len(queue.pending) for queue in thing.queues()),
    }
    return {name: value for name, value in found.items() if value is not None}


def _current(case: Case) -> Execution:
    assert case.execution is not None
    return case.execution


def _seen_ms(case: Case) -> int | None:
    return case.step.ports.last_seen_ms.get(case.thing.thing_name)


def _opening(case: Case) -> float | None:
    return _seconds(schedule.next_opening_ms(scheduling.schedule_of(case.job), case.step.now_ms))


def _seconds(at_ms: int | None) -> float | None:
    return None if at_ms is None else at_ms / 1000
