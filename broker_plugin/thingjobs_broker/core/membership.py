"""Who joins and leaves thing groups, and what follows for jobs and dynamic groups (spec: control plane 1.8,
1.9, 2.5).

A change of one thing is carried out at once; what concerns all things or members goes on in slices (`work`).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from thingjobs_broker.core import following, groups, tags, timeout_policy
from thingjobs_broker.core.entities import GroupStatus
from thingjobs_broker.core.indexing import CONNECTIVITY_FIELDS, indexed, sees_connections
from thingjobs_broker.core.query_match import ANY
from thingjobs_broker.core.records import GroupDeleted, GroupSwept, ThingCreated, ThingGroupsChanged
from thingjobs_broker.core.state import BY_SERVICE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from thingjobs_broker.core.entities import Group, Thing
    from thingjobs_broker.core.query import Query
    from thingjobs_broker.core.step import Step

LOOKS_SLICE: Final = 1000
CHANGES_SLICE: Final = 250
"""Things that a query looks at, and records made, in one step ("Bounded work per step")."""

GROUP_NAMES: Final = "thingGroupNames"


def create_thing(
    step: Step,
    thing_name: str,
    by: str,
    attributes: dict[str, str] | None = None,
    thing_type_name: str = "",
) -> Thing:
    """Enter a thing into the registry; it joins the dynamic groups whose queries it meets."""
    step.apply(ThingCreated(thing_name, step.new_id(), step.now_ms, by, attributes or {}, thing_type_name))
    thing = step.state.things[thing_name]
    look_again(step, thing)
    return thing


def change(step: Step, thing: Thing, by: str, joined: Sequence[str] = (), left: Sequence[str] = ()) -> None:
    """Let a thing join groups and leave others, by their ids, at once: who moves within a group above stays
    in that.
    """
    before = _belongs_to(step, thing)
    step.apply(ThingGroupsChanged(thing.thing_name, step.now_ms, by, list(joined), list(left)))
    after = _belongs_to(step, thing)
    for group_name in before:
        if group_name not in after:
            following.left(step, thing, group_name)
    for group_name in after:
        if group_name not in before:
            following.joined(step, thing, group_name, before)


def change_static(step: Step, thing: Thing, by: str, joined: Sequence[str], left: Sequence[str]) -> None:
    """Do the same for an operator; dynamic groups follow."""
    was_full = _count(step, thing) >= step.ports.rules.groups_per_thing_max
    change(step, thing, by, joined, left)
    is_freed = was_full and _count(step, thing) < step.ports.rules.groups_per_thing_max
    look_again(step, thing, None if is_freed else {GROUP_NAMES})


def look_again(step: Step, thing: Thing, fields: Collection[str] | None = None) -> None:
    """See which dynamic groups a thing belongs to after these of its fields have changed, None for all.

    Each group changes its mind at most once, also where queries look at each other's groups.
    """
    decided: set[str] = set()
    while step.state.queries:
        concerned = [
            group_id
            for group_id, its in step.state.queries.items()
            if group_id not in decided and _looks_at(its, fields)
        ]
        if not _follow(step, thing, concerned, decided):
            return
        fields = {GROUP_NAMES}


def connection_changed(step: Step, thing_name: str) -> None:
    """A thing came or went, as `Presences` tells."""
    thing = step.state.things.get(thing_name)
    if thing is not None and sees_connections(step.state):
        look_again(step, thing, CONNECTIVITY_FIELDS)


def look_at_connections(step: Step) -> None:
    """Build the groups anew that look at connections: all of them may have changed."""
    for group_id, its in step.state.queries.items():
        if not its.fields.isdisjoint(CONNECTIVITY_FIELDS):
            step.apply(GroupSwept(group_id, step.now_ms, 0, is_done=False))


def delete_group(step: Step, group: Group, by: str) -> None:
    """Delete a group without groups below it; its members leave in slices, the first of them now."""
    timeout_policy.forget_group(step, group.group_name, by)
    tags.forget(step, step.naming.group_arn(group.group_name))
    step.apply(GroupDeleted(group.group_id, step.now_ms, by))
    work_on(step, step.state.groups[group.group_id])


def work(step: Step) -> None:
    """Do a slice for one of the groups at work."""
    state = step.state
    ready = (group for group in state.groups_at_work.values() if not state.group_children.get(group.group_id))
    work_on(step, next(ready))


def work_on(step: Step, group: Group) -> None:
    """Do a slice of what a group has to do; none has groups below it that are yet to end."""
    if group.status is GroupStatus.LEAVING:
        _leave(step, group)
    else:
        _build(step, group)


def _leave(step: Step, group: Group) -> None:
    members = step.state.group_members.get(group.group_id, ())
    for thing_name in list(islice(members, CHANGES_SLICE)):
        if step.size >= CHANGES_SLICE:
            break
        thing = step.state.things[thing_name]
        change(step, thing, BY_SERVICE, left=[group.group_id])
        look_again(step, thing, {GROUP_NAMES})
    if not step.state.group_members.get(group.group_id) and not step.state.group_children.get(group.group_id):
        step.apply(GroupSwept(group.group_id, step.now_ms, 0, is_done=True))


def _build(step: Step, group: Group) -> None:
    things = step.state.thing_order
    position = group.position
    end = min(position + LOOKS_SLICE, len(things))
    while position < end and step.size < CHANGES_SLICE:
        thing = things[position]
        position += 1
        if thing is not None and _follow(step, thing, [group.group_id], set()):
            look_again(step, thing, {GROUP_NAMES})
    step.apply(GroupSwept(group.group_id, step.now_ms, position, position == len(things)))


def _follow(step: Step, thing: Thing, group_ids: Iterable[str], decided: set[str]) -> bool:
    """Let a thing join or leave these dynamic groups as their queries say; tell whether any changed."""
    state, its = step.state, indexed(step, thing)
    joined: list[str] = []
    left: list[str] = []
    for group_id in group_ids:
        matches = state.queries[group_id].matches(its)
        if matches != (group_id in thing.groups):
            (joined if matches else left).append(group_id)
            decided.add(group_id)
    while joined and _is_too_much(step, thing, joined, left):
        _give_up_newest(step, thing, joined, left)
    if joined or left:
        change(step, thing, BY_SERVICE, joined, left)
    return bool(joined or left)


def _wanted(step: Step, thing: Thing, joined: list[str], left: list[str]) -> list[Group]:
    present = (group for group in groups.of_thing(step.state, thing) if group.group_id not in left)
    return [*present, *(step.state.groups[group_id] for group_id in joined)]


def _is_too_much(step: Step, thing: Thing, joined: list[str], left: list[str]) -> bool:
    return len(_wanted(step, thing, joined, left)) > step.ports.rules.groups_per_thing_max


def _give_up_newest(step: Step, thing: Thing, joined: list[str], left: list[str]) -> None:
    """A thing that is full leaves its newest dynamic group for an older one (spec: control plane 1.9)."""
    newest = max(filter(groups.is_dynamic, _wanted(step, thing, joined, left)), key=lambda group: group.index)
    if newest.group_id in joined:
        joined.remove(newest.group_id)
        step.ports.notices.left_out(thing.thing_name, newest.group_name)
    else:
        left.append(newest.group_id)


def _count(step: Step, thing: Thing) -> int:
    return len(groups.of_thing(step.state, thing))


def _looks_at(its: Query, fields: Collection[str] | None) -> bool:
    return fields is None or ANY in its.fields or not its.fields.isdisjoint(fields)


def _belongs_to(step: Step, thing: Thing) -> dict[str, None]:
    """Return the names of all groups of a thing, those that it is yet to leave too."""
    state = step.state
    return {
        above.group_name: None
        for group_id in thing.groups
        for above in groups.lineage(state, state.groups[group_id])
    }
