"""What CreateJob would do, without doing it: who is targeted, who is left out and why, and how long the
rollout takes; and of a rollout under way, how long it will (our own PreviewJob and DescribeJobRollout).

The checks are CreateJob's own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from thingjobs_broker.core import (
    control_jobs,
    forecast,
    indexing,
    preview_walk,
    rolling_out,
    rollout,
    schedule,
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

_PLACE: Final = re.compile("([0-9]{1,12}) ([0-9]{1,12}) ([0-9]{1,12}) (.*)", re.ASCII | re.DOTALL)


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
        forecast.followed(its, config, len(step.state.things), step.now_ms, unset_per_minute=unset).reached,
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
    pace = forecast.followed(its, config, count, step.now_ms, unset_per_minute=unset)
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
    left = targets.left_at_most(step, job, its)
    pace = forecast.of_rest(step, job, its, left)
    return _without_none(
        {
            "isDone": False,
            "things": its.notified + left,
            "notified": its.notified,
            "perMinute": rollout.per_minute(
                rolling_out.config_of(job),
                its.notified + forecast.at_once(its, left),
                its.succeeded,
                unset_per_minute=step.ports.rules.rollout_per_minute,
            ),
            "startsAt": None if its.started_at_ms else _seconds(pace.starts_at_ms),
            "endsAt": _seconds(pace.ends_at_ms),
        }
    )


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
