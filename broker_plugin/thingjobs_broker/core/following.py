"""Who joins and leaves the groups of a job, and things that vanish (spec: control plane 2.5; data plane 4.6).

`membership` calls, after each change of an effective membership: of a group, or through its descendants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thingjobs_broker.core import execution, lifecycle, targets
from thingjobs_broker.core.naming import group_of, thing_of
from thingjobs_broker.core.records import TurnChanged
from thingjobs_broker.core.state import BY_SERVICE
from thingjobs_protocol.status import PENDING, TargetSelection

if TYPE_CHECKING:
    from collections.abc import Collection

    from thingjobs_broker.core.state import Job, Thing
    from thingjobs_broker.core.step import Step


def joined(step: Step, thing: Thing, group_name: str, before: Collection[str]) -> None:
    """A thing has become a member: a CONTINUOUS job gives it an execution at once, beside any rate.

    `before` are the names of the groups that it belonged to before the change, of which this is one part.
    """
    for job in _jobs(step, group_name):
        if job.target_selection is TargetSelection.SNAPSHOT:
            _bar(step, thing, job, before)
            continue
        newest = thing.executions.get(job.job_id)
        if newest is None or newest.status not in PENDING:
            lifecycle.give_execution(step, thing, job)


def left(step: Step, thing: Thing, group_name: str) -> None:
    """A thing is no member any more: what it has not begun is removed, what runs runs on (A9)."""
    for job in _jobs(step, group_name):
        if job.target_selection is TargetSelection.SNAPSHOT:
            _keep(step, thing, job)
            continue
        if targets.covers(step, job, thing.thing_name):
            continue
        if thing.thing_name in job.owed:
            _turn(step, thing, job, "none")
        newest = thing.executions.get(job.job_id)
        status = execution.next_status(newest.status, execution.Input.REMOVE) if newest else None
        if newest is not None and status is not None:
            lifecycle.transition(step, thing, newest, status, by=BY_SERVICE)


def thing_deleted(step: Step, thing: Thing) -> None:
    """A thing is about to vanish: whatever it has not ended is REMOVED; nobody is there to be notified (data
    plane A31). Call it before it leaves the registry.
    """
    for job in step.state.jobs.values():
        if thing.thing_name in job.owed or thing.thing_name in job.barred:
            _turn(step, thing, job, "none")
    for current in [one for queue in thing.queues() for one in queue.pending.values()]:
        status = execution.next_status(current.status, execution.Input.DELETE_THING)
        if status is not None:
            lifecycle.transition(step, thing, current, status, by=BY_SERVICE, notify=False)


def _jobs(step: Step, group_name: str) -> list[Job]:
    """Return the jobs of a group whose targets are in use: what is scheduled for later looks then."""
    return [
        job
        for job in step.state.group_jobs.get(group_name, {}).values()
        if not job.ended and job.has_begun and _is_followed(job)
    ]


def _is_followed(job: Job) -> bool:
    """A SNAPSHOT is taken when its rollout begins, and of no concern once that is done."""
    return job.target_selection is TargetSelection.CONTINUOUS or job.rollout is not None


def _bar(step: Step, thing: Thing, job: Job, before: Collection[str]) -> None:
    """Keep a thing out of a SNAPSHOT that was taken before it joined the first of the targets."""
    name = thing.thing_name
    if name in job.barred or name in job.owed or job.job_id in thing.executions:
        return
    if not any(group_of(target) in before or thing_of(target) == name for target in job.targets):
        _turn(step, thing, job, "barred")


def _keep(step: Step, thing: Thing, job: Job) -> None:
    """Keep a thing in a SNAPSHOT that was taken before it left, also where it is in another target now: the
    rollout may have been there already. Who was barred stays so: one change may leave several of its targets.
    """
    name = thing.thing_name
    has_had_turn = name in job.numbers_used or job.job_id in thing.executions
    if not has_had_turn and name not in job.owed and name not in job.barred:
        _turn(step, thing, job, "owed")


def _turn(step: Step, thing: Thing, job: Job, turn: str) -> None:
    step.apply(TurnChanged(job.job_id, thing.thing_name, step.now_ms, turn))
