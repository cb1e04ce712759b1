"""What the records of things, thing types and thing groups do to the state; `State.apply` calls these and
nothing else does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sortedcontainers import SortedDict

from thingjobs_broker.core import groups, query
from thingjobs_broker.core.entities import NO_ATTRIBUTES, Group, GroupStatus, Thing, ThingType, packed_id
from thingjobs_broker.core.untracked import SortedNames

if TYPE_CHECKING:
    from thingjobs_broker.core import records
    from thingjobs_broker.core.state import State


def thing_created(state: State, record: records.ThingCreated) -> None:
    """A new thing; executions that an earlier one of its name has left are its own again (A32)."""
    thing = Thing(
        record.thing_name,
        packed_id(record.thing_id),
        record.at_ms,
        record.attributes or NO_ATTRIBUTES,
        index=len(state.thing_order),
    )
    departed = state.departed.pop(record.thing_name, None)
    if departed is not None:
        thing.executions = departed.executions
    state.things[record.thing_name] = thing
    state.thing_order.append(thing)
    _set_type(state, thing, record.thing_type_name)
    state.last_at_ms = record.at_ms


def thing_updated(state: State, record: records.ThingUpdated) -> None:
    """Other attributes, another type."""
    thing = state.things[record.thing_name]
    thing.attributes = record.attributes or NO_ATTRIBUTES
    thing.version = record.version
    _set_type(state, thing, record.thing_type_name)
    state.last_at_ms = record.at_ms


def thing_deleted(state: State, record: records.ThingDeleted) -> None:
    """Only its executions are left, if there are any."""
    thing = state.things.pop(record.thing_name)
    assert not thing.queues(), record
    state.thing_order[thing.index] = None
    _set_type(state, thing, "")
    for group_id in thing.groups:
        state.group_members[group_id].remove(thing.thing_name)
    if thing.executions:
        state.departed[thing.thing_name] = departed(thing.thing_name)
        state.departed[thing.thing_name].executions = thing.executions
    state.last_at_ms = record.at_ms


def departed(thing_name: str) -> Thing:
    """Return what holds the executions of a thing that is gone."""
    return Thing(thing_name, "", 0, NO_ATTRIBUTES)


def thing_groups_changed(state: State, record: records.ThingGroupsChanged) -> None:
    """A thing joins groups and leaves others."""
    thing = state.things[record.thing_name]
    joined = [state.groups[group_id].group_id for group_id in record.joined]
    thing.groups = (*(one for one in thing.groups if one not in record.left), *joined)
    for group_id in record.left:
        state.group_members[group_id].remove(thing.thing_name)
    for group_id in joined:
        state.group_members.setdefault(group_id, SortedNames()).add(thing.thing_name)
    state.last_at_ms = record.at_ms


def thing_type_created(state: State, record: records.ThingTypeCreated) -> None:
    """A new thing type."""
    put_thing_type(
        state,
        ThingType(
            record.thing_type_name,
            record.type_id,
            record.at_ms,
            record.properties,
            index=_next_index(state.orders.types),
        ),
    )
    state.last_at_ms = record.at_ms


def thing_type_changed(state: State, record: records.ThingTypeChanged) -> None:
    """Other properties, deprecated or no longer."""
    state.thing_types[record.thing_type_name] = msgspec.structs.replace(
        state.thing_types[record.thing_type_name],
        properties=record.properties,
        deprecated_at_ms=record.deprecated_at_ms,
    )
    state.last_at_ms = record.at_ms


def thing_type_deleted(state: State, record: records.ThingTypeDeleted) -> None:
    """No thing has it any more."""
    del state.orders.types[state.thing_types.pop(record.thing_type_name).index]
    state.last_at_ms = record.at_ms


def put_thing_type(state: State, found: ThingType) -> None:
    """Enter a thing type where it is looked for."""
    state.thing_types[found.thing_type_name] = found
    state.orders.types[found.index] = found.thing_type_name


def group_created(state: State, record: records.GroupCreated) -> None:
    """A new group without members yet."""
    group = Group(
        record.group_name,
        record.group_id,
        record.at_ms,
        record.parent_id,
        record.description,
        record.attributes,
        status=GroupStatus.BUILDING if record.query_string else GroupStatus.ACTIVE,
        index=_next_index(state.orders.groups),
        query_string=record.query_string,
    )
    put_group(state, group)
    state.last_at_ms = record.at_ms


def group_changed(state: State, record: records.GroupChanged) -> None:
    """Another description; with another query everything is looked at again."""
    group = state.groups[record.group_id]
    changed = msgspec.structs.replace(
        group, description=record.description, attributes=record.attributes, version=record.version
    )
    if record.query_string != group.query_string:
        changed = msgspec.structs.replace(
            changed, query_string=record.query_string, status=GroupStatus.REBUILDING, position=0
        )
    put_group(state, changed)
    state.last_at_ms = record.at_ms


def group_deleted(state: State, record: records.GroupDeleted) -> None:
    """Its name is free, its members are yet to leave."""
    group = state.groups[record.group_id]
    above = [state.group_jobs.get(one.group_name, {}).values() for one in groups.lineage(state, group)]
    snapshots = sorted({job.job_id for jobs in above for job in jobs if job.is_taking_snapshot})
    del state.group_ids[group.group_name]
    left = msgspec.structs.replace(group, status=GroupStatus.LEAVING, query_string="", snapshots=snapshots)
    put_group(state, left)
    state.last_at_ms = record.at_ms


def group_swept(state: State, record: records.GroupSwept) -> None:
    """A slice of the things was looked at, or the last member has left."""
    group = state.groups[record.group_id]
    if group.status is GroupStatus.LEAVING:
        assert record.is_done, record
        assert not state.group_members.get(group.group_id), record
        _forget_group(state, group)
    elif record.is_done:
        put_group(state, msgspec.structs.replace(group, status=GroupStatus.ACTIVE, position=0))
    else:
        is_active = group.status is GroupStatus.ACTIVE
        status = GroupStatus.REBUILDING if is_active else group.status
        put_group(state, msgspec.structs.replace(group, position=record.position, status=status))
    state.last_at_ms = record.at_ms


def put_group(state: State, group: Group) -> None:
    """Enter a group, in place of what it was before, where it is looked for."""
    group_id = group.group_id
    state.groups[group_id] = group
    if group.status is not GroupStatus.LEAVING:
        state.group_ids[group.group_name] = group_id
    state.orders.groups[group.index] = group_id
    state.group_children.setdefault(group.parent_id, SortedDict())[group.index] = group_id
    if group.status is GroupStatus.ACTIVE:
        state.groups_at_work.pop(group_id, None)
    else:
        state.groups_at_work[group_id] = group
    present = state.queries.get(group_id)
    if not group.query_string:
        state.queries.pop(group_id, None)
    elif present is None or present.text != group.query_string:
        state.queries[group_id] = query.parse(group.query_string)


def index_thing(state: State, thing: Thing) -> None:
    """Count what a snapshot says of a thing where it is counted, and share the ids of its groups.

    Its groups are there before it, and get their members as a whole (`index_members`).
    """
    if thing.thing_type_name:
        type_name, thing.thing_type_name = thing.thing_type_name, ""
        _set_type(state, thing, type_name)


def index_members(state: State) -> None:
    """Build the groups' lists of members from what things say of their groups."""
    members: dict[str, list[str]] = {}
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    for thing in state.things.values():
        if thing.groups:
            ids = thing.groups
            if ids not in shared:
                shared[ids] = tuple(state.groups[group_id].group_id for group_id in ids)
            thing.groups = shared[ids]
            for group_id in thing.groups:
                members.setdefault(group_id, []).append(thing.thing_name)
    state.group_members = {group_id: SortedNames(names) for group_id, names in members.items()}


def _forget_group(state: State, group: Group) -> None:
    del state.groups[group.group_id]
    del state.groups_at_work[group.group_id]
    state.group_members.pop(group.group_id, None)
    del state.orders.groups[group.index]
    siblings = state.group_children[group.parent_id]
    del siblings[group.index]
    if not siblings:
        del state.group_children[group.parent_id]


def _next_index(order: SortedDict[int, str]) -> int:
    last: int = order.keys()[-1] if order else -1
    return last + 1


def _set_type(state: State, thing: Thing, type_name: str) -> None:
    """Give a thing a type, which counts its things; an empty name takes it away."""
    if thing.thing_type_name:
        state.type_counts[thing.thing_type_name] -= 1
        if not state.type_counts[thing.thing_type_name]:
            del state.type_counts[thing.thing_type_name]
    # The name of the type itself, so that all its things share one.
    thing.thing_type_name = state.thing_types[type_name].thing_type_name if type_name else ""
    if type_name:
        state.type_counts[type_name] = state.type_counts.get(type_name, 0) + 1


def indexing_configured(state: State, record: records.IndexingConfigured) -> None:
    """What queries see has changed."""
    state.indexing = record.configuration
    state.last_at_ms = record.at_ms


def events_configured(state: State, record: records.EventsConfigured) -> None:
    """Which events are published has changed."""
    state.event_configurations = record.enabled
    created_ms, _ = state.events_configured_ms
    state.events_configured_ms = created_ms or record.at_ms, record.at_ms
    state.last_at_ms = record.at_ms


def group_timeouts_changed(state: State, record: records.GroupTimeoutsChanged) -> None:
    """What holds for the jobs of a group."""
    if record.default_minutes or record.maximum_minutes:
        state.group_timeouts[record.group_name] = record.default_minutes, record.maximum_minutes
    else:
        state.group_timeouts.pop(record.group_name, None)
    state.last_at_ms = record.at_ms


def tags_changed(state: State, record: records.TagsChanged) -> None:
    """All the tags that a resource has now."""
    if record.tags:
        state.tags[record.arn] = record.tags
    else:
        state.tags.pop(record.arn, None)
    state.last_at_ms = record.at_ms
