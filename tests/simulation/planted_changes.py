"""More planted bugs (see `planted`): in what follows from groups, from things that go, and from schedules."""

from typing import Any

import msgspec
import pytest

from tests.simulation.planted import planted
from thingjobs_broker.core import execution, following, lifecycle, scheduling, state, turning, work
from thingjobs_broker.core.schedule import EndBehavior
from thingjobs_broker.core.step import Step
from thingjobs_protocol.status import JobExecutionStatus as Status

# Groups


@planted("VersionByOne")
def a_removal_is_a_new_version(patch: pytest.MonkeyPatch) -> None:
    def changed(current: Any, status: Any, now_ms: int, **members: Any) -> Any:
        record = real(current, status, now_ms, **members)
        return msgspec.structs.replace(record, version_number=current.version_number + 1)

    real = execution.changed
    patch.setattr(execution, "changed", changed)


@planted("CountsAreRecounts")
def what_is_removed_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    def move(self: Any, thing: Any, current: Any, *rest: Any) -> None:
        real(self, thing, current, *rest)
        if current.status is Status.REMOVED:
            self.jobs[current.job_id].counts[current.status.value] -= 1

    real = state.State._move
    patch.setattr(state.State, "_move", move)


@planted("JobsFollowMembership")
def a_leaver_keeps_what_waits(patch: pytest.MonkeyPatch) -> None:
    row = _without(Status.QUEUED, execution.Input.REMOVE)
    patch.setitem(execution.TRANSITIONS, Status.QUEUED, row)


@planted("RemovalsHaveReasons")
def a_leaver_loses_what_runs(patch: pytest.MonkeyPatch) -> None:
    row = {**execution.TRANSITIONS[Status.IN_PROGRESS], execution.Input.REMOVE: Status.REMOVED}
    patch.setitem(execution.TRANSITIONS, Status.IN_PROGRESS, row)


@planted("JobsFollowMembership")
def who_comes_back_gets_nothing(patch: pytest.MonkeyPatch) -> None:
    """As if to have had one were enough."""

    def joined(step: Any, thing: Any, group_name: str, before: Any) -> None:
        if not thing.executions:
            real(step, thing, group_name, before)

    real = following.joined
    patch.setattr(following, "joined", joined)


# Things that go


@planted("RemovalsHaveReasons", "NoCrash")
def a_deleted_thing_leaves_what_runs(patch: pytest.MonkeyPatch) -> None:
    row = _without(Status.IN_PROGRESS, execution.Input.DELETE_THING)
    patch.setitem(execution.TRANSITIONS, Status.IN_PROGRESS, row)


@planted("NotifyIff", "RemovalsHaveReasons")
def a_deleted_thing_is_notified(patch: pytest.MonkeyPatch) -> None:
    def thing_deleted(step: Any, thing: Any) -> None:
        step.watch(thing, "")
        real(step, thing)

    real = following.thing_deleted
    patch.setattr(following, "thing_deleted", thing_deleted)


# Force


@planted("ForceIsNeeded")
def a_cancellation_without_force_ends_what_runs(patch: pytest.MonkeyPatch) -> None:
    row = {**execution.TRANSITIONS[Status.IN_PROGRESS], execution.Input.CANCEL: Status.CANCELED}
    patch.setitem(execution.TRANSITIONS, Status.IN_PROGRESS, row)


@planted("TimersAreExact", "TerminalStaysTerminal")
def a_forced_cancellation_keeps_the_timer(patch: pytest.MonkeyPatch) -> None:
    def changed(current: Any, status: Any, now_ms: int, **members: Any) -> Any:
        record = real(current, status, now_ms, **members)
        if status is Status.CANCELED:
            due_ms = current.in_progress_deadline_ms
            return msgspec.structs.replace(record, in_progress_deadline_ms=due_ms)
        return record

    real = execution.changed
    patch.setattr(execution, "changed", changed)


# Schedules


@planted("SchedulesAreKept")
def an_end_is_forgotten_in_a_restart(patch: pytest.MonkeyPatch) -> None:
    """Jobs are looked at after a start only if there is something to roll out."""
    patch.setattr(work, "has_work", lambda job: job.rollout is not None or job.turns)


@planted("SchedulesAreKept", "ForceIsNeeded")
def an_end_cancels_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(scheduling, "_end_behavior", lambda _: EndBehavior.STOP_ROLLOUT)


@planted("SchedulesAreKept")
def a_closed_window_does_not_hold_who_joins(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "give_execution", lifecycle.queue_execution)


@planted("SchedulesAreKept", "NotifyIff")
def what_a_window_hides_can_be_begun(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("thingjobs_broker.core.device.turning.hidden", lambda _state, _queue: ())


# Windows that turn in slices


@planted("NotifyIff")
def who_asks_early_is_told_later(patch: pytest.MonkeyPatch) -> None:
    """As it was: all is visible at once, and announced slice by slice."""
    patch.setattr(turning.Turning, "is_hidden", lambda its, _current: its.hides)
    patch.setattr(Step, "turn", _turn_only_in_passes(Step.turn))


@planted("NotifyIff", "EverythingIsSaid")
def a_restart_leaves_no_doubt(patch: pytest.MonkeyPatch) -> None:
    """Who was told of a window that turns is not on record."""

    def resume(state: Any) -> None:
        real(state)
        for its in state.turnings.values():
            its.is_doubtful = False

    real = turning.resume
    patch.setattr(turning, "resume", resume)


def _without(status: Status, event: Any) -> dict[Any, Status]:
    return {each: after for each, after in execution.TRANSITIONS[status].items() if each is not event}


def _turn_only_in_passes(real: Any) -> Any:
    def turn(step: Step, thing: Any, namespace_id: str) -> None:
        if step.now_ms == step.state.last_at_ms or step.size:
            real(step, thing, namespace_id)

    return turn
