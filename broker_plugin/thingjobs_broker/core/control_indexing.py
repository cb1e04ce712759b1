"""Search, its configuration, which events are published, and where the service is (spec: control plane 1.8,
1.9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from thingjobs_broker.core import groups, membership, operations_indexing
from thingjobs_broker.core.errors import InvalidRequestError, ResourceNotFoundError
from thingjobs_broker.core.indexing import (
    CONNECTIVITY,
    GROUP_INDEX_NAME,
    GROUPS,
    INDEX_NAME,
    MODE,
    QUERY_VERSION,
    THINGS,
    indexed,
    is_on,
    parsed,
)
from thingjobs_broker.core.lookups import with_token
from thingjobs_broker.core.paging import page
from thingjobs_broker.core.records import EventsConfigured, IndexingConfigured

if TYPE_CHECKING:
    from thingjobs_broker.core.entities import Thing
    from thingjobs_broker.core.step import Step

EVENT_TYPES: Final[tuple[str, ...]] = get_args(operations_indexing.EventType)
PUBLISHED_EVENTS: Final = ("JOB", "JOB_EXECUTION")
"""Those that there are, and that are published unless they are turned off."""


def search_index(step: Step, request: operations_indexing.SearchIndex, _by: str) -> dict[str, Any]:
    """List the things that meet a query, in the order of their creation; a page may have few or none while
    more are to come.
    """
    _check_index(step, request.index_name or INDEX_NAME)
    if request.query_version not in (None, QUERY_VERSION):
        message = f"queryVersion {request.query_version!r} is not known; expected {QUERY_VERSION}"
        raise InvalidRequestError(message)
    its = parsed(request.query_string, step.ports.rules.search_terms_max)
    things, next_token = page(
        step.state.thing_order,
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(request.query_string,),
        keep=lambda thing: its.matches(indexed(step, thing)),
    )
    return with_token({"things": [_found(step, thing) for thing in things]}, next_token)


def describe_index(step: Step, request: operations_indexing.DescribeIndex, _by: str) -> dict[str, Any]:
    """Show the index of things; it is always up to date."""
    _check_index(step, request.index_name)
    things = step.state.indexing[THINGS]
    schema = [things[MODE]]
    if things.get(CONNECTIVITY) == "STATUS":
        schema.append("CONNECTIVITY_STATUS")
    return {"indexName": INDEX_NAME, "indexStatus": "ACTIVE", "schema": "_AND_".join(schema)}


def list_indices(step: Step, _request: operations_indexing.ListIndices, _by: str) -> dict[str, Any]:
    """List what SearchIndex can search."""
    return {"indexNames": [INDEX_NAME] if is_on(step.state) else []}


def get_indexing_configuration(
    step: Step, _request: operations_indexing.GetIndexingConfiguration, _by: str
) -> dict[str, Any]:
    """Show what is indexed."""
    return dict(step.state.indexing)


def update_indexing_configuration(
    step: Step, request: operations_indexing.UpdateIndexingConfiguration, by: str
) -> dict[str, Any]:
    """Change what is indexed; dynamic groups that look at connections are built anew where that changes."""
    given = {
        THINGS: request.thing_indexing_configuration,
        GROUPS: request.thing_group_indexing_configuration,
    }
    before = step.state.indexing
    after = before | {name: msgspec.to_builtins(value) for name, value in given.items() if value is not None}
    if after[THINGS][MODE] == "OFF" and step.state.queries:
        message = f"Indexing cannot be turned off: there are {len(step.state.queries)} dynamic thing groups"
        raise InvalidRequestError(message)
    if after != before:
        step.apply(IndexingConfigured(step.now_ms, by, after))
    if after[THINGS].get(CONNECTIVITY) != before[THINGS].get(CONNECTIVITY):
        membership.look_at_connections(step)
    return {}


def describe_event_configurations(
    step: Step, _request: operations_indexing.DescribeEventConfigurations, _by: str
) -> dict[str, Any]:
    """Show which events are published."""
    state = step.state
    found = {
        name: {"Enabled": state.event_configurations.get(name, name in PUBLISHED_EVENTS)}
        for name in EVENT_TYPES
    }
    created_ms, changed_ms = state.events_configured_ms
    dates = {"creationDate": created_ms / 1000, "lastModifiedDate": changed_ms / 1000}
    return {"eventConfigurations": found} | (dates if created_ms else {})


def update_event_configurations(
    step: Step, request: operations_indexing.UpdateEventConfigurations, by: str
) -> dict[str, Any]:
    """Turn types of events on and off; only those of jobs and executions exist."""
    given = {name: value.enabled for name, value in request.event_configurations.items()}
    if given:
        step.apply(EventsConfigured(step.now_ms, by, step.state.event_configurations | given))
    return {}


def describe_endpoint(step: Step, request: operations_indexing.DescribeEndpoint, _by: str) -> dict[str, Any]:
    """Tell the host where devices find the broker, or the HTTP data plane."""
    kind = request.endpoint_type.removesuffix("-ATS")
    address = step.ports.endpoints.get(kind)
    if address is None:
        message = f"endpointType {request.endpoint_type} is not served here"
        raise InvalidRequestError(message)
    return {"endpointAddress": address}


def _check_index(step: Step, index_name: str) -> None:
    if index_name == GROUP_INDEX_NAME:
        message = (
            f"Index {GROUP_INDEX_NAME} not found: thing groups are not searched here, whatever"
            " thingGroupIndexingMode is; ListThingGroups lists them by prefix and parent"
        )
        raise ResourceNotFoundError(message)
    if index_name != INDEX_NAME or not is_on(step.state):
        hint = f"; expected {INDEX_NAME}" if is_on(step.state) else "; indexing is off"
        message = f"Index {index_name} not found{hint}"
        raise ResourceNotFoundError(message)


def _found(step: Step, thing: Thing) -> dict[str, Any]:
    seen = indexed(step, thing)
    optional = {
        "thingTypeName": seen.thing_type_name,
        "thingGroupNames": [group.group_name for group in groups.of_thing(step.state, thing)],
        "attributes": seen.attributes,
        "connectivity": dict(seen.connectivity),
    }
    return {"thingName": thing.thing_name, "thingId": thing.thing_id} | {
        name: value for name, value in optional.items() if value
    }
