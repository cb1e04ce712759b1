"""What CreateJob would do, without doing it: who is targeted, who is left out and why, and how long the
rollout takes; and of a rollout under way, how long it will (our own PreviewJob and DescribeJobRollout).

The checks are CreateJob's own. A rollout is followed as if nobody reported a success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from thingjobs_broker.core import control_jobs, rolling_out, rollout, schedule, scheduling, targets
from thingjobs_broker.core.errors import InvalidRequestError
from thingjobs_broker.core.lookups import find_job
from thingjobs_broker.core.naming import group_of
from thingjobs_protocol.limits import TARGETS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from thingjobs_broker.core import operations
    from thingjobs_broker.core.records import JobCreated
    from thingjobs_broker.core.step import Step

NAMES_SHOWN: Final = 20
OPENINGS_MAX: Final = 10_000
"""Maintenance windows that a rollout is followed through; one that takes longer has no end in sight."""


class Pace(NamedTuple):
    """How a rollout goes: times in ms, None where there is none in sight; `reached` things get their turn."""

    starts_at_ms: int | None
    ends_at_ms: int | None
    reached: int


def preview_job(step: Step, request: operations.PreviewJob, by: str) -> dict[str, Any]:
    """Tell what a job would do.

    Raises:
        ControlError: CreateJob would refuse it.

    """
    checked, target_arns = _checked(step, request, by)
    things, excluded, per_target = _members(step, target_arns)
    its = _schedule(checked)
    config = _rollout(checked)
    unset = step.ports.rules.rollout_per_minute
    pace = followed(its, config, len(things), step.now_ms, unset_per_minute=unset)
    if pace.reached < len(things):
        excluded["endTime comes before their turn"] = list(things)[pace.reached :]
    shown_max = request.max_results or NAMES_SHOWN
    minutes = rollout.windows_needed(config, len(things), unset_per_minute=unset)
    waiting = _waiting(step, things, request.namespace_id or "")
    return {
        "status": checked.status,
        "targets": [{"target": arn, "things": count} for arn, count in per_target],
        "targeted": _some(things, shown_max),
        "excluded": [{"reason": reason} | _some(names, shown_max) for reason, names in excluded.items()],
        "waiting": [{"reason": reason} | _some(names, shown_max) for reason, names in waiting.items()],
        "rollout": _without_none(
            {
                "perMinute": rollout.per_minute(config, 0, 0, unset_per_minute=unset),
                "minutes": max(minutes - 1, 0),
                "startsAt": _seconds(pace.starts_at_ms),
                "endsAt": _seconds(pace.ends_at_ms),
            }
        ),
        "configuration": checked.options,
    }


def describe_job_rollout(step: Step, request: operations.DescribeJobRollout, _by: str) -> dict[str, Any]:
    """Tell how far a rollout has come: what is left of it is counted as if every thing needed an execution.

    Raises:
        ResourceNotFoundError: there is no such job.

    """
    job = find_job(step, request.job_id)
    its = job.rollout
    if its is None:
        return {"isDone": True, "things": len(job.executions), "notified": len(job.executions)}
    config, unset = rolling_out.config_of(job), step.ports.rules.rollout_per_minute
    left = targets.left_at_most(step, job, its)
    # What the window under way still allows comes at once.
    now = min(max(its.left, 0) if its.started_at_ms else 0, left)
    notified = its.notified + now
    pace = followed(
        scheduling.schedule_of(job),
        config,
        left - now,
        its.window_at_ms + rollout.WINDOW_MS if its.started_at_ms else step.now_ms,
        notified=notified,
        succeeded=its.succeeded,
        unset_per_minute=unset,
    )
    per_minute = rollout.per_minute(config, notified, its.succeeded, unset_per_minute=unset)
    ends_at_ms = pace.ends_at_ms if left > now else step.now_ms
    return _without_none(
        {
            "isDone": False,
            "things": its.notified + left,
            "notified": its.notified,
            "perMinute": per_minute,
            "startsAt": None if its.started_at_ms else _seconds(pace.starts_at_ms),
            "endsAt": _seconds(ends_at_ms),
        }
    )


def followed(
    its: schedule.Schedule,
    config: rollout.RolloutConfig | None,
    things: int,
    now_ms: int,
    *,
    unset_per_minute: int | None,
    notified: int = 0,
    succeeded: int = 0,
) -> Pace:
    """Follow a rollout through its schedule: it pauses while a window is closed, and endTime ends it."""
    starts_at_ms = now_ms if schedule.phase(its, now_ms) is schedule.Phase.OPEN else None
    if starts_at_ms is None:
        starts_at_ms = schedule.next_opening_ms(its, now_ms)
    if starts_at_ms is None:
        return Pace(None, None, 0)
    windows = rollout.windows_needed(
        config, things, notified=notified, succeeded=succeeded, unset_per_minute=unset_per_minute
    )
    left_ms, at_ms = max(windows - 1, 0) * rollout.WINDOW_MS, starts_at_ms
    needed_ms = left_ms
    for _ in range(OPENINGS_MAX):
        until_ms = schedule.next_look_ms(its, at_ms)
        if until_ms is None or left_ms < until_ms - at_ms:
            return Pace(starts_at_ms, at_ms + left_ms, things)
        left_ms -= until_ms - at_ms
        at_ms = until_ms
        if schedule.phase(its, at_ms) is not schedule.Phase.OPEN:
            opening_ms = schedule.next_opening_ms(its, at_ms)
            if opening_ms is None:
                open_windows = -(-(needed_ms - left_ms) // rollout.WINDOW_MS)
                return Pace(starts_at_ms, None, _released(config, open_windows, things, unset_per_minute))
            at_ms = opening_ms
    return Pace(starts_at_ms, None, things)


def _released(
    config: rollout.RolloutConfig | None, windows: int, things: int, unset_per_minute: int | None
) -> int:
    """Return how many things have had their turn after so many minute windows."""
    notified = 0
    for _ in range(windows):
        rate = rollout.per_minute(config, notified, 0, unset_per_minute=unset_per_minute)
        if rate is None or notified >= things:
            return things
        notified += rate
    return min(notified, things)


def _checked(step: Step, request: operations.PreviewJob, by: str) -> tuple[JobCreated, list[str]]:
    """Check as CreateJob does; the targets of a query may be more than a job could name."""
    if not request.targets:
        raise InvalidRequestError("targets must have an entry")
    arns: list[str] = []
    for start in range(0, len(request.targets), TARGETS_MAX):
        arns += targets.arns(step, request.targets[start : start + TARGETS_MAX])
    # Without an id it has an empty one, which is never taken.
    some = msgspec.structs.replace(request, targets=request.targets[:TARGETS_MAX])
    return control_jobs.checked(step, some, by), list(dict.fromkeys(arns))


def _members(
    step: Step, target_arns: Iterable[str]
) -> tuple[dict[str, None], dict[str, list[str]], list[tuple[str, int]]]:
    """Return the things in the order of their turn, who is passed over, and how many each target brings."""
    things: dict[str, None] = {}
    again: list[str] = []
    empty: list[str] = []
    per_target: list[tuple[str, int]] = []
    for arn in target_arns:
        names = targets.names_of(step, arn)
        empty += [] if names else [group_of(arn) or arn]
        again += [name for name in names if name in things]
        things |= dict.fromkeys(names)
        per_target.append((arn, len(names)))
    found = {
        "reached by several targets; a thing gets one execution": again,
        "the group has no things": empty,
    }
    return things, {reason: names for reason, names in found.items() if names}, per_target


def _waiting(step: Step, things: Iterable[str], namespace_id: str) -> dict[str, list[str]]:
    """Return who gets an execution that will have to wait, by reason."""
    found: dict[str, list[str]] = {}
    for name in things:
        thing = step.state.things.get(name)
        if step.ports.presences.of(name).is_connected is False:
            found.setdefault("not connected", []).append(name)
        elif thing is not None and thing.queue(namespace_id).pending:
            found.setdefault("has other jobs to do first", []).append(name)
    return found


def _schedule(checked: JobCreated) -> schedule.Schedule:
    given = checked.options.get("schedulingConfig")
    return schedule.compiled(msgspec.convert(given, schedule.SchedulingConfig) if given else None)


def _rollout(checked: JobCreated) -> rollout.RolloutConfig | None:
    given = checked.options.get("jobExecutionsRolloutConfig")
    return msgspec.convert(given, rollout.RolloutConfig) if given else None


def _some(names: Iterable[str], count_max: int) -> dict[str, Any]:
    every = list(names)
    return {"count": len(every), "names": every[:count_max]}


def _seconds(at_ms: int | None) -> float | None:
    return None if at_ms is None else at_ms / 1000


def _without_none(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}
