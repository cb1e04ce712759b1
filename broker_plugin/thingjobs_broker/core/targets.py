"""Whom a job is for: its targets, which are things and thing groups, and the walk over their things.

Groups are looked up when their turn comes, so a job for 100,000 things is created at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from thingjobs_broker.core import groups, quotas
from thingjobs_broker.core.errors import ResourceNotFoundError
from thingjobs_broker.core.naming import group_of, thing_of
from thingjobs_protocol.status import TargetSelection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from thingjobs_broker.core.entities import Job, Rollout, Thing
    from thingjobs_broker.core.step import Step


class Found(NamedTuple):
    """What a slice of the walk has found, and where the next one goes on."""

    things: list[Thing]
    target_index: int
    after: str
    is_end: bool


def arns(step: Step, targets: Sequence[str], known: Sequence[str] = ()) -> list[str]:
    """Return `known` and after it the ARNs of `targets`, each once (spec: control plane 1.5).

    A bare name is a thing's, or else a group's.

    Raises:
        LimitExceededError: together they are too many.
        ResourceNotFoundError: one is neither a thing nor a group of this service.

    """
    rules = step.ports.rules
    quotas.check(rules, "targets_max", len(targets), "targets")
    found = list(dict.fromkeys([*known, *(_arn(step, target) for target in targets)]))
    quotas.check(rules, "targets_max", len(found), "Targets of a job")
    return found


def covers(step: Step, job: Job, thing_name: str) -> bool:
    """Tell whether a thing is among the targets now, directly or by a group."""
    return any(is_in(step, target, thing_name) for target in job.targets)


def next_things(step: Step, job: Job, rollout: Rollout, count_max: int, looks_max: int) -> Found:
    """Return the next things that get an execution, at most `count_max`, after at most `looks_max` looks.

    In the order of the targets, within a group by name, each thing once (spec: control plane 3.3, "Order").
    The walk goes on over things that need none, so that its end is not missed.
    """
    things: dict[str, Thing] = {}
    target_index, after = rollout.target_index, rollout.after
    while target_index < len(job.targets):
        for name in _names(step, job, job.targets[target_index], after):
            thing = _wanting(step, job, target_index, name) if name not in things else None
            if looks_max == 0 or (thing is not None and len(things) == count_max):
                return Found(list(things.values()), target_index, after, is_end=False)
            if thing is not None:
                things[name] = thing
            looks_max -= 1
            after = name
        target_index, after = target_index + 1, ""
        if target_index == rollout.free_index:
            # From here on another rate holds.
            break
    return Found(list(things.values()), target_index, after, is_end=target_index == len(job.targets))


def _wanting(step: Step, job: Job, target_index: int, thing_name: str) -> Thing | None:
    """Return the thing, None if it gets no execution when the walk comes to it."""
    thing = step.state.things.get(thing_name)
    if thing is None or job.job_id in thing.executions:
        return None
    if thing_name in job.barred or thing_name in job.owed or thing_name in job.numbers_used:
        # A deleted execution does not come back (A31).
        return None
    if job.target_selection is TargetSelection.CONTINUOUS and not is_in(
        step, job.targets[target_index], thing_name
    ):
        # It has left since the names were looked up.
        return None
    return thing


def _names(step: Step, job: Job, target: str, after: str) -> Iterator[str]:
    """Yield the names of a target's things behind `after`, sorted."""
    group_name = group_of(target)
    if group_name is not None:
        yield from groups.members_to_walk(step.state, group_name, job.job_id, after)
    elif (thing_name := thing_of(target)) is not None and thing_name > after:
        yield thing_name


def left_at_most(step: Step, job: Job, rollout: Rollout) -> int:
    """Return how many things the rollout may still come to; some of them may need nothing. Cheap."""
    return sum(_count_at_most(step, target, after) for target, after in _left(job, rollout))


def count_ahead(step: Step, job: Job, rollout: Rollout, thing_name: str, looks_max: int) -> int:
    """Return how many things get an execution before that one does; after so many looks, how many there are
    at most.
    """
    ahead: set[str] = set()
    uncertain = 0
    for target, start in _left(job, rollout):
        is_last = is_in(step, target, thing_name)
        if is_last and thing_name <= start:
            break
        after = start
        for name in _names(step, job, target, start):
            if looks_max == 0 or name == thing_name:
                break
            thing = step.state.things.get(name)
            if thing is not None and job.job_id not in thing.executions:
                ahead.add(name)
            looks_max -= 1
            after = name
        if looks_max == 0:
            uncertain += _count_at_most(step, target, after, thing_name if is_last else None)
        if is_last:
            break
    return len(ahead) + uncertain


def _left(job: Job, rollout: Rollout) -> Iterator[tuple[str, str]]:
    """Yield the targets that are not done, each with the name behind which it goes on."""
    after = rollout.after
    for target in job.targets[rollout.target_index :]:
        yield target, after
        after = ""


def _count_at_most(step: Step, target: str, after: str, until: str | None = None) -> int:
    """Count a target's things behind `after` and before `until`."""
    group_name, thing_name = group_of(target), thing_of(target)
    if group_name is not None:
        return groups.count_at_most(step.state, group_name, after, until)
    return int(thing_name is not None and thing_name > after and thing_name != until)


def is_in(step: Step, target: str, thing_name: str) -> bool:
    """Tell whether a target is that thing, or a group that holds it."""
    group_name = group_of(target)
    if group_name is None:
        return thing_of(target) == thing_name
    return groups.contains(step.state, group_name, thing_name)


def _arn(step: Step, target: str) -> str:
    naming, state = step.naming, step.state
    thing_name = naming.thing_name(target)
    if thing_name is not None and thing_name in state.things:
        return naming.thing_arn(thing_name)
    group_name = naming.group_name(target)
    if group_name is not None and group_name in state.group_ids:
        return naming.group_arn(group_name)
    message = (
        f"Target {target[:200]!r} is neither the name nor the ARN of a thing or thing group of this service"
    )
    raise ResourceNotFoundError(message)
