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
    below = (state.groups[group_id] for group_id in state.group_children.get(group.group_id, ()))
    return [child for child in below if is_alive(child)]


def descendants(state: State, group: Group) -> Iterator[Group]:
    """Yield all groups below a group."""
    for child in children(state, group):
        yield child
        yield from descendants(state, child)


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


def members_to_walk(state: State, group_name: str, after: str = "") -> Iterator[str]:
    """Yield the same for a walk that is under way: those of deleted groups who are yet to leave are not
    missed.
    """
    leaving = (group for group in state.groups_at_work.values() if not is_alive(group))
    named = [group for group in leaving if group.group_name == group_name]
    present = by_name(state, group_name)
    found = (source for group in [*named, *([present] if present else [])] for source in _all(state, group))
    return _once(merge(*(direct_members(state, group, after) for group in found)))


def _all(state: State, group: Group) -> Iterator[Group]:
    """Yield a group and all below it, deleted ones too."""
    yield group
    for group_id in state.group_children.get(group.group_id, ()):
        yield from _all(state, state.groups[group_id])


def _once(names: Iterator[str]) -> Iterator[str]:
    before = ""
    for name in names:
        if name != before:
            yield name
        before = name
