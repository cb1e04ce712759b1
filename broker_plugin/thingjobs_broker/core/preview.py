"""What CreateJob would do, without doing it: who is targeted, who is left out and why, and how long the
rollout takes; and of a rollout under way, how long it will (our own PreviewJob and DescribeJobRollout).

The checks are CreateJob's own. A rollout is followed as if nobody reported a success.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from thingjobs_broker.core import (
    control_jobs,
    indexing,
    preview_walk,
    rolling_out,
    rollout,
    schedule,
    scheduling,
    targets,
)
from thingjobs_broker.core.errors import InvalidRequestError, ResourceNotFoundError
from thingjobs_broker.core.lookups import find_job
from thingjobs_broker.core.paging import place_in, token_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from thingjobs_broker.core import operations
    from thingjobs_broker.core.records import JobCreated
    from thingjobs_broker.core.step import Step

NAMES_SHOWN: Final = 20
OPENINGS_MAX: Final = 200
"""Maintenance windows that a rollout is followed through, in some milliseconds ("Bounded work per step"); one
that takes longer has no end in sight.
"""


_PLACE: Final = re.compile("([0-9]{1,12}) ([0-9]{1,12}) ([0-9]{1,12}) (.*)", re.ASCII | re.DOTALL)


class Pace(NamedTuple):
    """How a rollout goes: times in ms, None where there is none in sight; `reached` things get their turn."""

    starts_at_ms: int | None
    ends_at_ms: int | None
    reached: int


class Begun(NamedTuple):
    """What the pages before have found: where this one begins, how many things there are by now, and how many
    endTime lets come to their turn.
    """

    place: preview_walk.Place
    things: int
    capacity: int


def preview_job(step: Step, request: operations.PreviewJob, by: str) -> dict[str, Any]:
    """Tell what a job would do; counts and names are those of this page alone.

    Raises:
        ControlError: CreateJob would refuse it.

    """
    checked, target_arns = _checked(step, request, by)
    its, config = _schedule(checked), _rollout(checked)
    unset = step.ports.rules.rollout_per_minute
    # Of what else a token may be for, nothing changes what its place means.
    filters = (request.query_string, *request.targets)
    begun = _begun(request, filters) or Begun(
        preview_walk.Place(),
        0,
        followed(its, config, len(step.state.things), step.now_ms, unset_per_minute=unset).reached,
    )
    found = _walked(step, request, target_arns, begun.place)
    count = begun.things + len(found.things)
    excluded = found.excluded
    late = found.things[max(begun.capacity - begun.things, 0) :]
    if late:
        excluded["endTime comes before their turn"] = late
    shown_max = request.max_results or NAMES_SHOWN
    shown = {
        "status": checked.status,
        "targets": [{"target": arn, "things": number} for arn, number in found.per_target],
        "targeted": _some(found.things, shown_max),
        "excluded": _by_reason(excluded, shown_max),
        "waiting": _by_reason(_waiting(step, found.things, request.namespace_id or ""), shown_max),
        "configuration": checked.options,
    }
    if found.following is not None:
        place = f"{found.following.position} {count} {begun.capacity} {found.following.after}"
        return shown | {"nextToken": token_of(place, filters)}
    pace = followed(its, config, count, step.now_ms, unset_per_minute=unset)
    minutes = rollout.windows_needed(config, count, unset_per_minute=unset)
    timing = {
        "perMinute": rollout.per_minute(config, 0, 0, unset_per_minute=unset),
        "minutes": max(minutes - 1, 0),
        "startsAt": _seconds(pace.starts_at_ms),
        "endsAt": _seconds(pace.ends_at_ms),
    }
    return shown | {"rollout": _without_none(timing)}


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

    def needed(count: int) -> int:
        return rollout.windows_needed(config, count, unset_per_minute=unset_per_minute)

    return bisect_right(range(things + 1), windows, key=needed) - 1


def _checked(step: Step, request: operations.PreviewJob, by: str) -> tuple[JobCreated, list[str]]:
    """Check as CreateJob does; the targets may be more than a job could name."""
    if bool(request.targets) == (request.query_string is not None):
        raise InvalidRequestError("expected targets or queryString, one of them")
    arns: list[str] = []
    size = step.ports.rules.targets_max
    for start in range(0, len(request.targets), size):
        arns += targets.arns(step, request.targets[start : start + size])
    # Without an id it has an empty one, which is never taken.
    some = msgspec.structs.replace(request, targets=request.targets[:size])
    return control_jobs.checked(step, some, by), list(dict.fromkeys(arns))


def _begun(request: operations.PreviewJob, filters: tuple[str | None, ...]) -> Begun | None:
    """Return where this page begins, None for the first one."""
    if request.next_token is None:
        return None
    found = _PLACE.fullmatch(place_in(request.next_token, filters))
    if found is None:
        raise InvalidRequestError(f"nextToken {request.next_token[:40]!r} is not a token of this service")
    return Begun(preview_walk.Place(int(found[1]), found[4]), int(found[2]), int(found[3]))


def _walked(
    step: Step, request: operations.PreviewJob, arns: list[str], place: preview_walk.Place
) -> preview_walk.Found:
    if request.query_string is None:
        return preview_walk.of_targets(step, arns, place)
    if not indexing.is_on(step.state):
        raise ResourceNotFoundError(f"Index {indexing.INDEX_NAME} not found; indexing is off")
    return preview_walk.of_query(
        step,
        request.query_string,
        indexing.parsed(request.query_string, step.ports.rules.search_terms_max),
        place,
    )


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


def _by_reason(found: Mapping[str, list[str]], count_max: int) -> list[dict[str, Any]]:
    return [{"reason": reason} | _some(names, count_max) for reason, names in found.items()]


def _some(names: Iterable[str], count_max: int) -> dict[str, Any]:
    every = list(names)
    return {"count": len(every), "names": every[:count_max]}


def _seconds(at_ms: int | None) -> float | None:
    return None if at_ms is None else at_ms / 1000


def _without_none(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}
