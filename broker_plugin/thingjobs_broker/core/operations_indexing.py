"""The requests of dynamic groups, search and settings of the registry (spec: control plane 1.8, 1.9)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from thingjobs_broker.core.operations import Long, PageSize, Request, Tag, ThingName
from thingjobs_broker.core.operations_registry import ThingGroupProperties

QueryString = Annotated[str, Meta(min_length=1)]
IndexName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9:_-]{1,128}\Z")]
EventType = Literal[
    "THING",
    "THING_GROUP",
    "THING_TYPE",
    "THING_GROUP_MEMBERSHIP",
    "THING_GROUP_HIERARCHY",
    "THING_TYPE_ASSOCIATION",
    "JOB",
    "JOB_EXECUTION",
    "POLICY",
    "CERTIFICATE",
    "CA_CERTIFICATE",
]


class CreateDynamicThingGroup(Request, frozen=True):
    """Spec: control plane 1.8, 1.9."""

    thing_group_name: ThingName
    query_string: QueryString
    index_name: IndexName | None = None
    query_version: str | None = None
    thing_group_properties: ThingGroupProperties | None = None
    tags: list[Tag] = msgspec.field(default_factory=list)


class UpdateDynamicThingGroup(Request, frozen=True):
    """Spec: control plane 1.8, 1.9."""

    thing_group_name: ThingName
    thing_group_properties: ThingGroupProperties
    expected_version: Long | None = None
    index_name: IndexName | None = None
    query_string: QueryString | None = None
    query_version: str | None = None


class DeleteDynamicThingGroup(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_group_name: ThingName
    expected_version: Long | None = None


class SearchIndex(Request, frozen=True):
    """Spec: control plane 1.3, 1.8, 1.9."""

    query_string: QueryString
    index_name: IndexName | None = None
    query_version: str | None = None
    max_results: Annotated[int, Meta(ge=1, le=500)] | None = None
    next_token: str | None = None


class ListNames(Request, frozen=True):
    """Our own: the names of one kind that begin with a prefix, in the order of their creation, for completion
    at a prompt. A page may have few or none while more are to come.
    """

    kind: Literal["thing", "group", "type", "job", "template"]
    prefix: Annotated[str, Meta(max_length=128)] = ""
    max_results: PageSize | None = None
    next_token: str | None = None


class DescribeIndex(Request, frozen=True):
    """Spec: control plane 1.8."""

    index_name: IndexName


class ListIndices(Request, frozen=True):
    """Spec: control plane 1.3, 1.8."""

    max_results: Annotated[int, Meta(ge=1, le=500)] | None = None
    next_token: str | None = None


class GetIndexingConfiguration(Request, frozen=True):
    """Spec: control plane 1.8."""


class ThingIndexingConfiguration(Request, frozen=True):
    """Spec: control plane 1.8; what concerns shadows and Device Defender is kept, and of no effect."""

    thing_indexing_mode: Literal["OFF", "REGISTRY", "REGISTRY_AND_SHADOW"]
    thing_connectivity_indexing_mode: Literal["OFF", "STATUS"] | None = None
    device_defender_indexing_mode: Literal["OFF", "VIOLATIONS"] | None = None
    named_shadow_indexing_mode: Literal["OFF", "ON"] | None = None
    managed_fields: list[dict[str, str]] | None = None
    custom_fields: list[dict[str, str]] | None = None
    filter: dict[str, Any] | None = None


class ThingGroupIndexingConfiguration(Request, frozen=True):
    """Spec: control plane 1.8; kept, and of no effect: there is no index AWS_ThingGroups."""

    thing_group_indexing_mode: Literal["OFF", "ON"]
    managed_fields: list[dict[str, str]] | None = None
    custom_fields: list[dict[str, str]] | None = None


class UpdateIndexingConfiguration(Request, frozen=True):
    """Spec: control plane 1.8; each object that is given replaces the stored one."""

    thing_indexing_configuration: ThingIndexingConfiguration | None = None
    thing_group_indexing_configuration: ThingGroupIndexingConfiguration | None = None


class DescribeEventConfigurations(Request, frozen=True):
    """Spec: control plane 1.8."""


class EventConfiguration(msgspec.Struct, frozen=True):
    """Whether events of one type are published."""

    enabled: bool = msgspec.field(name="Enabled", default=False)


class UpdateEventConfigurations(Request, frozen=True):
    """Spec: control plane 1.8."""

    event_configurations: dict[EventType, EventConfiguration] = msgspec.field(default_factory=dict)


class DescribeEndpoint(Request, frozen=True):
    """Spec: control plane 1.8."""

    endpoint_type: Literal["iot:Data", "iot:Data-ATS", "iot:Jobs", "iot:CredentialProvider"] = "iot:Data"
