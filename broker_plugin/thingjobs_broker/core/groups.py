"""Thing groups as the state has them: which there are, what lies below and above them, who belongs to them.

A thing is a direct member of a group, and through it of all the groups above; nothing here changes anything.
"""

from __future__ import annotations

from heapq import merge
from typing import TYPE_CHECKING

from thingjobs_broker.core.entities import GroupStatus
from thingjobs_broker.core.errors import ResourceNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from thingjobs_broker.core.entities import Group, Thing
    from thingjobs_broker.core.paging import Place
    from thingjobs_broker.core.state import State


def by_name(state: State, group_name: str) -> Group | None:
    """Return the group of that name, None without it."""
    group_id = state.group_ids.get(group_name)
    return state.groups[group_id] if group_id is not None else None


def find(state: State, group_name: str) -> Group:
    """Return the group of that name.

    Raises:
        ResourceNotFoundError: there is none.

    """
    group = by_name(state, group_name)
    if group is None:
        message = f"Thing group {group_name} not found"
        raise ResourceNotFoundError(message)
    return group


def by_id(state: State, group_id: str) -> Group | None:
    """Return the group with that id, None without it."""
    group = state.groups.get(group_id)
    return group if group is not None and is_alive(group) else None


def is_alive(group: Group) -> bool:
    """Tell whether a group is more than what a deleted one has left behind."""
    return group.status is not GroupStatus.LEAVING


def is_dynamic(group: Group) -> bool:
    """Tell whether a query decides who belongs to a group."""
    return bool(group.query_string)


def lineage(state: State, group: Group) -> list[Group]:
    """Return a group and those above it, the root last."""
    found = [group]
    while found[-1].parent_id:
        found.append(state.groups[found[-1].parent_id])
    return found


def children(state: State, group: Group) -> list[Group]:
    """Return the groups directly below a group, in the order of their creation."""
    return [child for _, child in behind(state, group.group_id, (), is_deep=False)]


def behind(state: State, parent_id: str, place: Place, *, is_deep: bool) -> Iterator[tuple[Place, Group]]:
    """Yield the groups below one, "" for none, behind a place: directly below in the order of their creation,
    with `is_deep` each followed by those below it.
    """
    order = state.group_children.get(parent_id)
    if order is None:
        return
    first = place[0] if place else None
    if is_deep and first is not None and first in order:
        yield from _within(state, order[first], first, place[1:])
    for index in order.irange(first, inclusive=(False, True)):
        group = state.groups[order[index]]
        if is_alive(group):
            yield (index,), group
            if is_deep:
                yield from _within(state, group.group_id, index, ())


def _within(state: State, group_id: str, index: int, place: Place) -> Iterator[tuple[Place, Group]]:
    return (((index, *at), group) for at, group in behind(state, group_id, place, is_deep=True))


def created_behind(state: State, place: Place) -> Iterator[tuple[Place, Group]]:
    """Yield all groups behind a place in the order of their creation."""
    order = state.orders.groups
    for index in order.irange(place[0] if place else None, inclusive=(False, True)):
        group = state.groups[order[index]]
        if is_alive(group):
            yield (index,), group


def descendants(state: State, group: Group) -> Iterator[Group]:
    """Yield all groups below a group."""
    yield from (below for _, below in behind(state, group.group_id, (), is_deep=True))


def of_thing(state: State, thing: Thing) -> list[Group]:
    """Return the groups that a thing is a direct member of, in the order of joining."""
    return [group for group_id in thing.groups if is_alive(group := state.groups[group_id])]


def contains(state: State, group_name: str, thing_name: str) -> bool:
    """Tell whether a thing belongs to a group, directly or through one below it."""
    thing = state.things.get(thing_name)
    return thing is not None and any(
        above.group_name == group_name for group in of_thing(state, thing) for above in lineage(state, group)
    )


def direct_members(state: State, group: Group, after: str = "") -> Iterator[str]:
    """Yield the names of a group's own members behind `after`, sorted."""
    members = state.group_members.get(group.group_id)
    if members:
        yield from members.irange(after, inclusive=(False, True))


def members(state: State, group: Group, after: str = "") -> Iterator[str]:
    """Yield the names of all who belong to a group, behind `after`, sorted."""
    return _once(merge(*(direct_members(state, one, after) for one in (group, *descendants(state, group)))))


def count_at_most(state: State, group_name: str, after: str = "", until: str | None = None) -> int:
    """Count who belongs to a group, behind `after` and before `until`; who is in several below it counts for
    each. Cheap.
    """
    group = by_name(state, group_name)
    if group is None:
        return 0
    found = (state.group_members.get(one.group_id) for one in (group, *descendants(state, group)))
    return sum(
        (len(names) if until is None else names.bisect_left(until)) - names.bisect_right(after)
        for names in found
        if names
    )


def members_to_walk(state: State, group_name: str, job_id: str, after: str = "") -> Iterator[str]:
    """Yield the same for the rollout of a job: if a group was deleted after its begin, those who are yet to
    leave it are not missed.
    """
    named = [group for group in state.groups_at_work.values() if group.group_name == group_name]
    present = by_name(state, group_name)
    tops = {group.group_id: group for group in [*named, *([present] if present else [])]}.values()
    found = (source for group in tops for source in _all(state, group))
    mine = (group for group in found if is_alive(group) or job_id in group.snapshots)
    return _once(merge(*(direct_members(state, group, after) for group in mine)))


def _all(state: State, group: Group) -> Iterator[Group]:
    """Yield a group and all below it, deleted ones too."""
    yield group
    for group_id in state.group_children.get(group.group_id, {}).values():
        yield from _all(state, state.groups[group_id])


def _once(names: Iterator[str]) -> Iterator[str]:
    before = ""
    for name in names:
        if name != before:
            yield name
        before = name
