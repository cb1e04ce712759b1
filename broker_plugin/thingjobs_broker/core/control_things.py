"""The registry's operations on things (spec: control plane 1.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingjobs_broker.core import following, membership, quotas
from thingjobs_broker.core.errors import (
    InvalidRequestError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
)
from thingjobs_broker.core.lookups import check_version, find_thing, find_thing_type, with_token
from thingjobs_broker.core.paging import page
from thingjobs_broker.core.records import ThingDeleted, ThingUpdated

if TYPE_CHECKING:
    from thingjobs_broker.core import operations, operations_registry
    from thingjobs_broker.core.state import Thing
    from thingjobs_broker.core.step import Step


def create_thing(step: Step, request: operations.CreateThing, by: str) -> dict[str, Any]:
    """Register a thing; the same again is a success with the same ids."""
    if request.billing_group_name is not None:
        message = f"Billing group {request.billing_group_name[:128]} not found; this service has none"
        raise ResourceNotFoundError(message)
    name, type_name = request.thing_name, request.thing_type_name or ""
    given = request.attribute_payload.attributes if request.attribute_payload else {}
    attributes = {name: value for name, value in given.items() if value}
    thing = step.state.things.get(name)
    if thing is None:
        _check(step, type_name, attributes, is_new_type=True)
        thing = membership.create_thing(step, name, by, attributes, type_name)
    elif thing.attributes != attributes or thing.thing_type_name != type_name:
        message = f"Thing {name} already exists with other attributes or another thing type"
        raise ResourceAlreadyExistsError(message, resourceId=name, resourceArn=step.naming.thing_arn(name))
    return {"thingName": name, "thingArn": step.naming.thing_arn(name), "thingId": thing.thing_id}


def describe_thing(step: Step, request: operations_registry.DescribeThing, _by: str) -> dict[str, Any]:
    """Show a thing."""
    thing = find_thing(step, request.thing_name)
    return {
        "defaultClientId": thing.thing_name,
        "thingId": thing.thing_id,
        **_shown(step, thing),
    }


def update_thing(step: Step, request: operations_registry.UpdateThing, by: str) -> dict[str, Any]:
    """Change the attributes and the type of a thing; an attribute set to "" is taken away."""
    thing = find_thing(step, request.thing_name)
    check_version(request.expected_version, thing.version)
    if request.remove_thing_type and request.thing_type_name is not None:
        message = "thingTypeName and removeThingType are given; expected one of them"
        raise InvalidRequestError(message)
    type_name = "" if request.remove_thing_type else request.thing_type_name or thing.thing_type_name
    payload, attributes = request.attribute_payload, thing.attributes
    if payload is not None:
        together = (attributes if payload.merge else {}) | payload.attributes
        attributes = {name: value for name, value in together.items() if value}
    _check(step, type_name, attributes, is_new_type=type_name != thing.thing_type_name)
    changed = {
        f"attributes.{name}"
        for name in thing.attributes.keys() | attributes.keys()
        if thing.attributes.get(name) != attributes.get(name)
    }
    if type_name != thing.thing_type_name:
        changed.add("thingTypeName")
    step.apply(ThingUpdated(thing.thing_name, step.now_ms, by, attributes, type_name, thing.version + 1))
    membership.look_again(step, thing, changed)
    return {}


def delete_thing(step: Step, request: operations_registry.DeleteThing, by: str) -> dict[str, Any]:
    """Remove a thing and its memberships; what it has not ended is REMOVED. A missing one is no error
    (A19).
    """
    thing = step.state.things.get(request.thing_name)
    if thing is None:
        return {}
    check_version(request.expected_version, thing.version)
    following.thing_deleted(step, thing)
    step.apply(ThingDeleted(thing.thing_name, step.now_ms, by))
    return {}


def list_things(step: Step, request: operations.ListThings, _by: str) -> dict[str, Any]:
    """List things in the order of their creation; filters are combined with AND."""
    name, value, type_name = request.attribute_name, request.attribute_value, request.thing_type_name
    is_prefix = request.use_prefix_attribute_value
    if is_prefix and value is None:
        message = "usePrefixAttributeValue is given without attributeValue; expected both"
        raise InvalidRequestError(message)

    def has_value(found: str | None) -> bool:
        if value is None or found is None:
            return found is not None
        return found.startswith(value) if is_prefix else found == value

    def keep(thing: Thing) -> bool:
        if type_name not in (None, thing.thing_type_name):
            return False
        if name is not None:
            return has_value(thing.attributes.get(name))
        return value is None or any(map(has_value, thing.attributes.values()))

    things, next_token = page(
        step.state.thing_order,
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(name, value, type_name, str(is_prefix)),
        keep=keep,
    )
    return with_token({"things": [_shown(step, thing) for thing in things]}, next_token)


def _shown(step: Step, thing: Thing) -> dict[str, Any]:
    return {
        "thingName": thing.thing_name,
        **({"thingTypeName": thing.thing_type_name} if thing.thing_type_name else {}),
        "thingArn": step.naming.thing_arn(thing.thing_name),
        "attributes": thing.attributes,
        "version": thing.version,
    }


def _check(step: Step, type_name: str, attributes: dict[str, str], *, is_new_type: bool) -> None:
    """Check that a thing may have this type and these attributes.

    Raises:
        ResourceNotFoundError: there is no such type.
        InvalidRequestError: the type is deprecated, or there are too many attributes.

    """
    if type_name and is_new_type and find_thing_type(step, type_name).deprecated_at_ms:
        message = f"Thing type {type_name} is deprecated; expected one that is not"
        raise InvalidRequestError(message)
    rules, count = step.ports.rules, len(attributes)
    if type_name:
        quotas.check(rules, "attributes_with_type_max", count, "Attributes of a thing with a type")
    else:
        quotas.check(rules, "attributes_without_type_max", count, "Attributes of a thing without a type")
    size = sum(len(name) + len(value) for name, value in attributes.items())
    quotas.check(rules, "attributes_bytes_max", size, "Bytes of a thing's attributes, names and values")
