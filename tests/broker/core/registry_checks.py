"""What must hold in the registry of a state: memberships stored both ways, counts, places, hierarchies."""

from collections import Counter

from thingjobs_broker.core import groups
from thingjobs_broker.core.entities import GroupStatus
from thingjobs_broker.core.state import State


def check_registry(state: State) -> None:
    """Recount the registry."""
    for place, thing in enumerate(state.thing_order):
        assert thing is None or (thing.index == place and state.things[thing.thing_name] is thing)
    assert len(state.things) == sum(thing is not None for thing in state.thing_order)
    types = Counter(thing.thing_type_name for thing in state.things.values() if thing.thing_type_name)
    assert state.type_counts == types
    assert set(types) <= set(state.thing_types)
    members: dict[str, list[str]] = {}
    for thing in state.things.values():
        assert len(set(thing.groups)) == len(thing.groups)
        for group_id in thing.groups:
            members.setdefault(group_id, []).append(thing.thing_name)
    assert {key: list(found) for key, found in state.group_members.items() if found} == {
        key: sorted(found) for key, found in members.items()
    }
    assert set(state.group_members) <= set(state.groups)
    assert all(state.group_children.values())
    alive = [group for group in state.groups.values() if groups.is_alive(group)]
    assert state.group_ids == {group.group_name: group.group_id for group in alive}
    assert set(state.groups_at_work) == {
        group.group_id for group in state.groups.values() if group.status is not GroupStatus.ACTIVE
    }
    assert set(state.queries) == {group.group_id for group in state.groups.values() if group.query_string}
    for group in state.groups.values():
        if group.parent_id:
            assert state.group_children[group.parent_id][group.index] == group.group_id
            assert not groups.is_alive(group) or groups.is_alive(state.groups[group.parent_id])
