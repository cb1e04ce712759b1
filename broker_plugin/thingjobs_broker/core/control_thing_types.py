"""The registry's operations on thing types (spec: control plane 1.8)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from thingjobs_broker.core import quotas, tags
from thingjobs_broker.core.errors import InvalidRequestError, ResourceAlreadyExistsError
from thingjobs_broker.core.lookups import check_text, find_thing_type, with_token
from thingjobs_broker.core.paging import page_in_order
from thingjobs_broker.core.records import ThingTypeChanged, ThingTypeCreated, ThingTypeDeleted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from thingjobs_broker.core import operations_registry
    from thingjobs_broker.core.entities import ThingType
    from thingjobs_broker.core.paging import Place
    from thingjobs_broker.core.state import State
    from thingjobs_broker.core.step import Step

DEPRECATED_BEFORE_DELETION_MS: Final = 5 * 60_000
"""Spec: control plane 1.8."""


def create_thing_type(step: Step, request: operations_registry.CreateThingType, by: str) -> dict[str, Any]:
    """Make a thing type; the same again is a success with the same ids."""
    name, properties = request.thing_type_name, _properties(step, request.thing_type_properties)
    tags.check(step, request.tags)
    found, arn = step.state.thing_types.get(name), step.naming.type_arn(name)
    if found is not None and found.properties != properties:
        message = f"Thing type {name} already exists with different properties"
        raise ResourceAlreadyExistsError(message, resourceId=found.type_id, resourceArn=arn)
    if found is None:
        step.apply(ThingTypeCreated(name, step.new_id(), step.now_ms, by, properties))
        tags.put(step, arn, request.tags)
        found = step.state.thing_types[name]
    return {"thingTypeName": name, "thingTypeArn": arn, "thingTypeId": found.type_id}


def describe_thing_type(
    step: Step, request: operations_registry.DescribeThingType, _by: str
) -> dict[str, Any]:
    """Show a thing type."""
    found = find_thing_type(step, request.thing_type_name)
    return {"thingTypeId": found.type_id, **_shown(step, found)}


def list_thing_types(step: Step, request: operations_registry.ListThingTypes, _by: str) -> dict[str, Any]:
    """List thing types in the order of their creation; a name that is given is a prefix."""
    prefix = request.thing_type_name or ""
    types, next_token = page_in_order(
        partial(behind, step.state),
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(prefix,),
        keep=lambda one: one.thing_type_name.startswith(prefix),
    )
    return with_token({"thingTypes": [_shown(step, one) for one in types]}, next_token)


def behind(state: State, place: Place) -> Iterator[tuple[Place, ThingType]]:
    """Yield the thing types behind a place in the order of their creation."""
    order = state.orders.types
    for index in order.irange(place[0] if place else None, inclusive=(False, True)):
        yield (index,), state.thing_types[order[index]]


def update_thing_type(step: Step, request: operations_registry.UpdateThingType, by: str) -> dict[str, Any]:
    """Replace the properties that are given."""
    found = find_thing_type(step, request.thing_type_name)
    properties = found.properties | _properties(step, request.thing_type_properties)
    _change(step, found, by, properties, found.deprecated_at_ms)
    return {}


def deprecate_thing_type(
    step: Step, request: operations_registry.DeprecateThingType, by: str
) -> dict[str, Any]:
    """Let no further thing have a type, or undo that."""
    found = find_thing_type(step, request.thing_type_name)
    deprecated_at_ms = 0 if request.undo_deprecate else found.deprecated_at_ms or step.now_ms
    _change(step, found, by, found.properties, deprecated_at_ms)
    return {}


def delete_thing_type(step: Step, request: operations_registry.DeleteThingType, by: str) -> dict[str, Any]:
    """Delete a type that has been deprecated for five minutes and that no thing has."""
    found = find_thing_type(step, request.thing_type_name)
    name, since_ms = found.thing_type_name, found.deprecated_at_ms
    is_ready = since_ms and step.now_ms >= since_ms + DEPRECATED_BEFORE_DELETION_MS
    if not is_ready and not step.ports.rules.moto_compat:
        message = f"Thing type {name} can only be deleted five minutes after DeprecateThingType"
        raise InvalidRequestError(message)
    count = step.state.type_counts.get(name, 0)
    if count:
        message = f"Thing type {name} cannot be deleted: {count} things have it"
        raise InvalidRequestError(message)
    step.apply(ThingTypeDeleted(name, step.now_ms, by))
    tags.forget(step, step.naming.type_arn(name))
    return {}


def _change(step: Step, found: ThingType, by: str, properties: dict[str, Any], deprecated_at_ms: int) -> None:
    if properties != found.properties or deprecated_at_ms != found.deprecated_at_ms:
        step.apply(ThingTypeChanged(found.thing_type_name, step.now_ms, by, properties, deprecated_at_ms))


def _properties(step: Step, given: operations_registry.ThingTypeProperties | None) -> dict[str, Any]:
    if given is None:
        return {}
    check_text("thingTypeDescription", given.thing_type_description)
    count = len(given.searchable_attributes or ())
    quotas.check(step.ports.rules, "searchable_attributes_max", count, "searchableAttributes")
    properties: dict[str, Any] = msgspec.to_builtins(given)
    return properties


def _shown(step: Step, found: ThingType) -> dict[str, Any]:
    since_ms = found.deprecated_at_ms
    return {
        "thingTypeName": found.thing_type_name,
        "thingTypeArn": step.naming.type_arn(found.thing_type_name),
        "thingTypeProperties": found.properties,
        "thingTypeMetadata": {
            "deprecated": bool(since_ms),
            **({"deprecationDate": since_ms / 1000} if since_ms else {}),
            "creationDate": found.created_at_ms / 1000,
        },
    }
