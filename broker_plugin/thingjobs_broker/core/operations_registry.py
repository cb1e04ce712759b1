"""The requests of the registry: things, thing types, thing groups (spec: control plane 1.3, 1.8)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from thingjobs_broker.core.operations import (
    AttributeName,
    AttributePayload,
    AttributeValue,
    Long,
    PageSize,
    Request,
    Tag,
    Target,
    Text,
    ThingName,
)


class DescribeThing(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_name: ThingName


class UpdateThing(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_name: ThingName
    thing_type_name: ThingName | None = None
    attribute_payload: AttributePayload | None = None
    expected_version: Long | None = None
    remove_thing_type: bool = False


class DeleteThing(Request, frozen=True):
    """Spec: control plane 1.8, A19."""

    thing_name: ThingName
    expected_version: Long | None = None


class PropagatingAttribute(Request, frozen=True):
    """Part of `Mqtt5Configuration`; kept, and of no effect."""

    user_property_key: Annotated[str, Meta(max_length=128)] | None = None
    thing_attribute: Annotated[str, Meta(max_length=128)] | None = None
    connection_attribute: Annotated[str, Meta(max_length=128)] | None = None


class Mqtt5Configuration(Request, frozen=True):
    """Part of `ThingTypeProperties`."""

    propagating_attributes: list[PropagatingAttribute] | None = None


class ThingTypeProperties(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_type_description: Text | None = None
    searchable_attributes: list[AttributeName] | None = None
    mqtt5_configuration: Mqtt5Configuration | None = None


class CreateThingType(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_type_name: ThingName
    thing_type_properties: ThingTypeProperties | None = None
    tags: list[Tag] = msgspec.field(default_factory=list)


class DescribeThingType(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_type_name: ThingName


class ListThingTypes(Request, frozen=True):
    """Spec: control plane 1.8; the name is a prefix."""

    thing_type_name: ThingName | None = None
    max_results: PageSize | None = None
    next_token: str | None = None


class UpdateThingType(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_type_name: ThingName
    thing_type_properties: ThingTypeProperties | None = None


class DeprecateThingType(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_type_name: ThingName
    undo_deprecate: bool = False


class DeleteThingType(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_type_name: ThingName


class GroupAttributes(Request, frozen=True):
    """The attributes of a group; None says nothing, an empty map takes them away."""

    attributes: dict[AttributeName, AttributeValue] | None = None
    merge: bool = False


class ThingGroupProperties(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_group_description: Text | None = None
    attribute_payload: GroupAttributes | None = None


class CreateThingGroup(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_group_name: ThingName
    parent_group_name: ThingName | None = None
    thing_group_properties: ThingGroupProperties | None = None
    tags: list[Tag] = msgspec.field(default_factory=list)


class DescribeThingGroup(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_group_name: ThingName


class UpdateThingGroup(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_group_name: ThingName
    thing_group_properties: ThingGroupProperties
    expected_version: Long | None = None


class DeleteThingGroup(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_group_name: ThingName
    expected_version: Long | None = None


class ListThingGroups(Request, frozen=True):
    """Spec: control plane 1.8, A20."""

    parent_group: ThingName | None = None
    name_prefix_filter: ThingName | None = None
    recursive: bool | None = None
    max_results: PageSize | None = None
    next_token: str | None = None


class Membership(Request, frozen=True):
    """A thing and a group, each by its name or its ARN."""

    thing_name: ThingName | None = None
    thing_arn: Target | None = None
    thing_group_name: ThingName | None = None
    thing_group_arn: Target | None = None


class AddThingToThingGroup(Membership, frozen=True):
    """Spec: control plane 1.8."""

    override_dynamic_groups: bool = False


class RemoveThingFromThingGroup(Membership, frozen=True):
    """Spec: control plane 1.8."""


class UpdateThingGroupsForThing(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_name: ThingName
    thing_groups_to_add: list[ThingName] = msgspec.field(default_factory=list)
    thing_groups_to_remove: list[ThingName] = msgspec.field(default_factory=list)
    override_dynamic_groups: bool = False


class ListThingsInThingGroup(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_group_name: ThingName
    recursive: bool = False
    max_results: PageSize | None = None
    next_token: str | None = None


class ListThingGroupsForThing(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_name: ThingName
    max_results: PageSize | None = None
    next_token: str | None = None
