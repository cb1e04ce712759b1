"""Whom a job would be for, one page at a time: the walk of a preview over targets, or over a query's things.

Each page looks at so many things, whatever it finds ("Bounded work per step").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from thingjobs_broker.core import groups
from thingjobs_broker.core.indexing import indexed
from thingjobs_broker.core.naming import group_of, thing_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from thingjobs_broker.core.query import Query
    from thingjobs_broker.core.step import Step

LOOKS_MAX = 500
"""Things and targets that one page looks at."""

AGAIN = "reached by several targets; a thing gets one execution"
EMPTY = "the group has no things"


class Place(NamedTuple):
    """Where a page begins: at a target behind one of its things, or at a place in the order of all things."""

    position: int = 0
    after: str = ""


class Found(NamedTuple):
    """What a page has found, and where the next one begins, None at the end."""

    things: list[str]
    excluded: dict[str, list[str]]
    per_target: list[tuple[str, int]]
    following: Place | None


def of_targets(step: Step, arns: Sequence[str], place: Place) -> Found:
    """Return the next things of the targets, in the order of their turn, and who is passed over."""
    found = Found([], {}, [], None)
    looks_left = LOOKS_MAX
    index, after = place
    named = {thing_of(arn) for arn in arns[:index]}
    above = [name for arn in arns[:index] if (name := group_of(arn)) is not None]
    while index < len(arns):
        arn, count = arns[index], 0
        looks_left -= 1
        for name in _members(step, arn, after):
            if looks_left <= 0 and count:
                found.per_target.append((arn, count))
                return found._replace(following=Place(index, after))
            looks_left -= 1
            count += 1
            if name in named or any(groups.contains(step.state, group, name) for group in above):
                found.excluded.setdefault(AGAIN, []).append(name)
            else:
                found.things.append(name)
            after = name
        if not after:
            found.excluded.setdefault(EMPTY, []).append(group_of(arn) or arn)
        found.per_target.append((arn, count))
        named.add(thing_of(arn))
        above += [group] if (group := group_of(arn)) is not None else []
        index, after = index + 1, ""
        if looks_left <= 0 and index < len(arns):
            return found._replace(following=Place(index))
    return found


def of_query(step: Step, text: str, its: Query, place: Place) -> Found:
    """Return the next things that a query finds, in the order of their creation."""
    order = step.state.thing_order
    end = min(place.position + LOOKS_MAX, len(order))
    looked_at = (thing for thing in order[place.position : end] if thing is not None)
    things = [thing.thing_name for thing in looked_at if its.matches(indexed(step, thing))]
    return Found(things, {}, [(text, len(things))], Place(end) if end < len(order) else None)


def _members(step: Step, arn: str, after: str) -> Iterator[str]:
    """Yield the names of a target's things behind `after`."""
    group_name, thing_name = group_of(arn), thing_of(arn)
    if group_name is not None:
        yield from groups.members_to_walk(step.state, group_name, "", after)
    elif thing_name is not None and thing_name > after:
        yield thing_name
