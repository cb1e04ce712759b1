"""The registry's operations on thing groups (spec: control plane 1.8); who is in them: `control_members`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from thingjobs_broker.core import groups, membership, quotas, tags
from thingjobs_broker.core.errors import InvalidRequestError, ResourceAlreadyExistsError
from thingjobs_broker.core.indexing import INDEX_NAME, QUERY_VERSION
from thingjobs_broker.core.lookups import check_text, check_version, with_token
from thingjobs_broker.core.paging import page_in_order
from thingjobs_broker.core.records import GroupChanged, GroupCreated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thingjobs_broker.core import operations, operations_registry
    from thingjobs_broker.core.entities import Group
    from thingjobs_broker.core.step import Step


def create_thing_group(step: Step, request: operations_registry.CreateThingGroup, by: str) -> dict[str, Any]:
    """Make a static group; the same again is a success with the same ids. Its parent is fixed for life."""
    parent_name = request.parent_group_name
    parent = groups.find(step.state, parent_name) if parent_name is not None else None
    found = groups.by_name(step.state, request.thing_group_name)
    if found is None and parent is not None:
        _check_below(step, parent)
    description, attributes = described(step, request.thing_group_properties)
    group = create(
        step,
        by,
        Wanted(request.thing_group_name, parent.group_id if parent else "", description, attributes, ""),
        request.tags,
    )
    return identity(step, group)


class Wanted(NamedTuple):
    """What makes two groups of one name the same."""

    group_name: str
    parent_id: str
    description: str
    attributes: dict[str, str]
    query_string: str


def create(step: Step, by: str, wanted: Wanted, given_tags: Sequence[operations.Tag]) -> Group:
    """Return the group that is wanted, made now or before.

    Raises:
        ResourceAlreadyExistsError: there is another one of its name.

    """
    tags.check(step, given_tags)
    name = wanted.group_name
    found = groups.by_name(step.state, name)
    arn = step.naming.group_arn(name)
    if found is None:
        group_id = step.new_id()
        step.apply(
            GroupCreated(
                *(name, group_id, step.now_ms, by, wanted.parent_id, wanted.description),
                *(wanted.attributes, wanted.query_string),
            )
        )
        tags.put(step, arn, given_tags)
        return step.state.groups[group_id]
    present = (*(found.group_name, found.parent_id, found.description, found.attributes, found.query_string),)
    if present != wanted:
        message = f"Thing Group {name} already exists in current account with different properties"
        raise ResourceAlreadyExistsError(message, resourceId=found.group_id, resourceArn=arn)
    return found


def describe_thing_group(
    step: Step, request: operations_registry.DescribeThingGroup, _by: str
) -> dict[str, Any]:
    """Show a group with those above it."""
    group = groups.find(step.state, request.thing_group_name)
    properties = {
        "thingGroupDescription": group.description,
        "attributePayload": {"attributes": group.attributes} if group.attributes else None,
    }
    above = groups.lineage(step.state, group)[:0:-1]
    metadata: dict[str, Any] = {"creationDate": group.created_at_ms / 1000}
    if above:
        metadata["parentGroupName"] = above[-1].group_name
        metadata["rootToParentThingGroups"] = [_summary(step, one) for one in above]
    return {
        **identity(step, group),
        "version": group.version,
        "thingGroupProperties": {name: value for name, value in properties.items() if value},
        "thingGroupMetadata": metadata,
        **(query_of(group) | {"status": group.status.value} if groups.is_dynamic(group) else {}),
    }


def update_thing_group(step: Step, request: operations_registry.UpdateThingGroup, by: str) -> dict[str, Any]:
    """Change how a static group is described."""
    group = find_of_kind(step, request.thing_group_name, is_dynamic=False)
    check_version(request.expected_version, group.version)
    return change(step, group, by, request.thing_group_properties, "")


def change(
    step: Step,
    group: Group,
    by: str,
    properties: operations_registry.ThingGroupProperties,
    query_string: str,
) -> dict[str, Any]:
    """Change a group; the answer tells its version."""
    check_text("thingGroupDescription", properties.thing_group_description)
    description = properties.thing_group_description
    payload, attributes = properties.attribute_payload, group.attributes
    if payload is not None and payload.attributes is not None:
        attributes = (attributes if payload.merge else {}) | payload.attributes
        attributes = {name: value for name, value in attributes.items() if value}
        _check_attributes(step, attributes)
    step.apply(
        GroupChanged(
            group.group_id,
            step.now_ms,
            by,
            group.description if description is None else description,
            attributes,
            group.version + 1,
            query_string,
        )
    )
    return {"version": group.version + 1}


def delete_thing_group(step: Step, request: operations_registry.DeleteThingGroup, by: str) -> dict[str, Any]:
    """Delete a static group without groups below it; a missing one is no error."""
    if groups.by_name(step.state, request.thing_group_name) is None:
        return {}
    group = find_of_kind(step, request.thing_group_name, is_dynamic=False)
    check_version(request.expected_version, group.version)
    below = groups.children(step.state, group)
    if below:
        message = f"Thing group {group.group_name} has groups below it, such as {below[0].group_name}"
        raise InvalidRequestError(message)
    membership.delete_group(step, group, by)
    return {}


def list_thing_groups(step: Step, request: operations_registry.ListThingGroups, _by: str) -> dict[str, Any]:
    """List groups as they were created: all, those directly below one, or each before its own (A20)."""
    state, parent_name, prefix = step.state, request.parent_group, request.name_prefix_filter or ""
    is_deep = request.recursive is not False
    parent_id = groups.find(state, parent_name).group_id if parent_name is not None else ""
    listed, next_token = page_in_order(
        partial(groups.created_behind, state)
        if parent_name is None and is_deep
        else partial(groups.behind, state, parent_id, is_deep=is_deep),
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(parent_name, prefix, str(is_deep)),
        keep=lambda group: group.group_name.startswith(prefix),
    )
    return with_token({"thingGroups": [_summary(step, group) for group in listed]}, next_token)


def find_of_kind(step: Step, group_name: str, *, is_dynamic: bool) -> Group:
    """Return a group that is dynamic, or one that is not.

    Raises:
        ResourceNotFoundError: there is none of that name.
        InvalidRequestError: it is of the other kind.

    """
    group = groups.find(step.state, group_name)
    if groups.is_dynamic(group) != is_dynamic:
        kind, expected = ("static", "ThingGroup") if is_dynamic else ("dynamic", "DynamicThingGroup")
        message = f"Thing group {group_name} is {kind}; expected an operation for {expected}s"
        raise InvalidRequestError(message)
    return group


def identity(step: Step, group: Group) -> dict[str, Any]:
    """Return the names of a group."""
    return {
        "thingGroupName": group.group_name,
        "thingGroupArn": step.naming.group_arn(group.group_name),
        "thingGroupId": group.group_id,
    }


def query_of(group: Group) -> dict[str, Any]:
    """Return what decides who belongs to a dynamic group."""
    return {"indexName": INDEX_NAME, "queryString": group.query_string, "queryVersion": QUERY_VERSION}


def described(
    step: Step, given: operations_registry.ThingGroupProperties | None
) -> tuple[str, dict[str, str]]:
    """Return the description and the attributes of a new group, checked."""
    if given is None:
        return "", {}
    check_text("thingGroupDescription", given.thing_group_description)
    attributes = (given.attribute_payload.attributes or {}) if given.attribute_payload else {}
    attributes = {name: value for name, value in attributes.items() if value}
    _check_attributes(step, attributes)
    return given.thing_group_description or "", attributes


def _check_attributes(step: Step, attributes: dict[str, str]) -> None:
    quotas.check(step.ports.rules, "group_attributes_max", len(attributes), "Attributes of a thing group")


def _check_below(step: Step, parent: Group) -> None:
    """Check that a group may have another one below it (spec: control plane 1.9, 10)."""
    rules = step.ports.rules
    if groups.is_dynamic(parent):
        message = f"Thing group {parent.group_name} is dynamic and can have no groups below it"
        raise InvalidRequestError(message)
    depth, name = len(groups.lineage(step.state, parent)) + 1, parent.group_name
    quotas.check(rules, "group_depth_max", depth, f"Levels of thing groups with one below {name}")
    count = len(groups.children(step.state, parent)) + 1
    quotas.check(rules, "group_children_max", count, f"Groups directly below {name}")


def _summary(step: Step, group: Group) -> dict[str, Any]:
    return {"groupName": group.group_name, "groupArn": step.naming.group_arn(group.group_name)}
