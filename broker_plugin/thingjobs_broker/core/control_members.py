"""The registry's operations on who is in which thing group (spec: control plane 1.8)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from thingjobs_broker.core import groups, membership, quotas
from thingjobs_broker.core.control_groups import find_of_kind
from thingjobs_broker.core.errors import InvalidRequestError
from thingjobs_broker.core.lookups import find_thing, with_token
from thingjobs_broker.core.paging import page_by_key, page_of_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thingjobs_broker.core import operations_registry
    from thingjobs_broker.core.entities import Group, Thing
    from thingjobs_broker.core.step import Step


def add_thing_to_thing_group(
    step: Step, request: operations_registry.AddThingToThingGroup, by: str
) -> dict[str, Any]:
    """Let a thing join a static group; a member stays one."""
    thing, group = _named(step, request)
    _change(step, thing, by, [group], [], overrides=request.override_dynamic_groups)
    return {}


def remove_thing_from_thing_group(
    step: Step, request: operations_registry.RemoveThingFromThingGroup, by: str
) -> dict[str, Any]:
    """Let a thing leave a static group; who is no member is none afterwards."""
    thing, group = _named(step, request)
    _change(step, thing, by, [], [group], overrides=False)
    return {}


def update_thing_groups_for_thing(
    step: Step, request: operations_registry.UpdateThingGroupsForThing, by: str
) -> dict[str, Any]:
    """Let a thing leave groups and join others, all or nothing; the removals come first."""
    thing = find_thing(step, request.thing_name)
    added = [find_of_kind(step, name, is_dynamic=False) for name in request.thing_groups_to_add]
    removed = [find_of_kind(step, name, is_dynamic=False) for name in request.thing_groups_to_remove]
    both = {group.group_name for group in added} & {group.group_name for group in removed}
    if both:
        message = f"Thing group {min(both)} is in thingGroupsToAdd and in thingGroupsToRemove"
        raise InvalidRequestError(message)
    _change(step, thing, by, added, removed, overrides=request.override_dynamic_groups)
    return {}


def list_things_in_thing_group(
    step: Step, request: operations_registry.ListThingsInThingGroup, _by: str
) -> dict[str, Any]:
    """List the names of the things in a group, sorted; with `recursive` those in groups below it too."""
    group = groups.find(step.state, request.thing_group_name)
    names, next_token = page_of_names(
        partial(groups.members if request.recursive else groups.direct_members, step.state, group),
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(group.group_id, str(request.recursive)),
    )
    return with_token({"things": names}, next_token)


def list_thing_groups_for_thing(
    step: Step, request: operations_registry.ListThingGroupsForThing, _by: str
) -> dict[str, Any]:
    """List the groups that a thing is a direct member of, static and dynamic, as they were created."""
    thing = find_thing(step, request.thing_name)
    found, next_token = page_by_key(
        sorted(groups.of_thing(step.state, thing), key=lambda group: group.index),
        lambda group: group.index,
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(request.thing_name,),
    )
    listed = [
        {"groupName": group.group_name, "groupArn": step.naming.group_arn(group.group_name)}
        for group in found
    ]
    return with_token({"thingGroups": listed}, next_token)


def _change(
    step: Step, thing: Thing, by: str, added: Sequence[Group], removed: Sequence[Group], *, overrides: bool
) -> None:
    """Change what is no member yet and what is one, after checking what comes of it."""
    left = [group.group_id for group in removed if group.group_id in thing.groups]
    joined = list(dict.fromkeys(group.group_id for group in added if group.group_id not in thing.groups))
    if not joined and not left:
        return
    stays = [group for group in groups.of_thing(step.state, thing) if group.group_id not in left]
    wanted = [*stays, *(step.state.groups[group_id] for group_id in joined)]
    _check_hierarchies(step, thing, wanted)
    limit = step.ports.rules.groups_per_thing_max
    dynamic = sorted(filter(groups.is_dynamic, stays), key=lambda group: group.index)
    while len(wanted) > limit and overrides and dynamic:
        evicted = dynamic.pop()
        wanted.remove(evicted)
        left.append(evicted.group_id)
    if joined:
        hint = "; overrideDynamicGroups makes room" if dynamic and not overrides else ""
        what = f"Thing groups of thing {thing.thing_name}"
        quotas.check(step.ports.rules, "groups_per_thing_max", len(wanted), what, hint)
    membership.change_static(step, thing, by, joined, left)


def _check_hierarchies(step: Step, thing: Thing, wanted: Sequence[Group]) -> None:
    """A thing is in one group of a hierarchy at most (spec: control plane 1.8)."""
    roots: dict[str, str] = {}
    for group in wanted:
        root = groups.lineage(step.state, group)[-1].group_id
        other = roots.setdefault(root, group.group_name)
        if other != group.group_name:
            message = (
                f"Thing {thing.thing_name} cannot be in {other} and in {group.group_name},"
                " which belong to one hierarchy"
            )
            raise InvalidRequestError(message)


def _named(step: Step, request: operations_registry.Membership) -> tuple[Thing, Group]:
    """Return the thing and the static group that a request names."""
    naming = step.naming
    thing_name = _one(
        ("thingName", request.thing_name),
        ("thingArn", request.thing_arn),
        naming.name_in("thing", request.thing_arn or ""),
    )
    group_name = _one(
        ("thingGroupName", request.thing_group_name),
        ("thingGroupArn", request.thing_group_arn),
        naming.name_in("thinggroup", request.thing_group_arn or ""),
    )
    return find_thing(step, thing_name), find_of_kind(step, group_name, is_dynamic=False)


def _one(by_name: tuple[str, str | None], by_arn: tuple[str, str | None], name_in_arn: str | None) -> str:
    """Return the name that is given, plain, in an ARN or both."""
    (member, name), (arn_member, arn) = by_name, by_arn
    if name is None and arn is None:
        message = f"{member} is missing; expected {member} or {arn_member}"
        raise InvalidRequestError(message)
    if arn is not None and name_in_arn is None:
        message = f"{arn_member} {arn[:200]!r} is not of this service"
        raise InvalidRequestError(message)
    if None not in (name, name_in_arn) and name != name_in_arn:
        message = f"{member} {name} and {arn_member} name two different ones"
        raise InvalidRequestError(message)
    return name if name is not None else name_in_arn or ""
