"""The registry's operations on things (spec: control plane 1.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.core import lifecycle
from thingjobs_broker.core.errors import (
    InvalidRequestError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
)
from thingjobs_broker.core.paging import page

if TYPE_CHECKING:
    from thingjobs_broker.core import operations
    from thingjobs_broker.core.state import Thing
    from thingjobs_broker.core.step import Step

ATTRIBUTES_WITHOUT_TYPE_MAX: Final = 3
"""Spec: control plane 1.8."""


def create_thing(step: Step, request: operations.CreateThing, by: str) -> dict[str, Any]:
    """Register a thing; the same again is a success with the same ids."""
    if request.thing_type_name is not None:
        message = f"Thing type {request.thing_type_name} not found"
        raise ResourceNotFoundError(message)
    attributes = dict(request.attribute_payload.attributes) if request.attribute_payload else {}
    if len(attributes) > ATTRIBUTES_WITHOUT_TYPE_MAX:
        limit = ATTRIBUTES_WITHOUT_TYPE_MAX
        message = f"A thing without a type may have {limit} attributes, not {len(attributes)}"
        raise InvalidRequestError(message)
    name = request.thing_name
    thing = step.state.things.get(name)
    if thing is None:
        thing = lifecycle.create_thing(step, name, by, attributes)
    elif thing.attributes != attributes:
        message = f"Thing {name} already exists with other attributes"
        raise ResourceAlreadyExistsError(message, resourceId=name, resourceArn=step.naming.thing_arn(name))
    return {"thingName": name, "thingArn": step.naming.thing_arn(name), "thingId": thing.thing_id}


def list_things(step: Step, request: operations.ListThings, _by: str) -> dict[str, Any]:
    """List things in the order of their creation; filters are combined with AND."""

    def keep(thing: Thing) -> bool:
        name, value = request.attribute_name, request.attribute_value
        if request.thing_type_name is not None:
            return False
        if name is not None and value is not None:
            return thing.attributes.get(name) == value
        if name is not None:
            return name in thing.attributes
        return value is None or value in thing.attributes.values()

    things, next_token = page(
        step.state.thing_order,
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(request.attribute_name, request.attribute_value, request.thing_type_name),
        keep=keep,
    )
    listed = [
        {
            "thingName": thing.thing_name,
            "thingArn": step.naming.thing_arn(thing.thing_name),
            "attributes": thing.attributes,
            "version": thing.version,
        }
        for thing in things
    ]
    return {"things": listed} | ({"nextToken": next_token} if next_token else {})
