"""What is taken in the place of moto's server and refused otherwise, where that is a matter of types.

Spec: control plane 11.2. The rest hangs on `Rules.moto_compat`.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from thingjobs_broker.core import operations, operations_registry

ACCOUNT: Final = "123456789012"
"""Moto's account."""

AnyReason = Annotated[str, Meta(max_length=128)]
AnyTypeName = Annotated[str, Meta(min_length=1, max_length=128)]


class CancelJob(operations.CancelJob, frozen=True, kw_only=True):
    """Also with a reason code in small letters."""

    reason_code: AnyReason | None = None


class CreateThingType(operations_registry.CreateThingType, frozen=True, kw_only=True):
    """Also with spaces in the name."""

    thing_type_name: AnyTypeName


class DescribeThingType(operations_registry.DescribeThingType, frozen=True, kw_only=True):
    """As CreateThingType."""

    thing_type_name: AnyTypeName


class ListThingTypes(operations_registry.ListThingTypes, frozen=True, kw_only=True):
    """As CreateThingType."""

    thing_type_name: AnyTypeName | None = None


class DeprecateThingType(operations_registry.DeprecateThingType, frozen=True, kw_only=True):
    """As CreateThingType."""

    thing_type_name: AnyTypeName


class DeleteThingType(operations_registry.DeleteThingType, frozen=True, kw_only=True):
    """As CreateThingType."""

    thing_type_name: AnyTypeName


REQUESTS: Final[dict[str, type[operations.Request]]] = {
    row.__name__: row
    for row in (
        *(CancelJob, CreateThingType, DescribeThingType),
        *(ListThingTypes, DeprecateThingType, DeleteThingType),
    )
}
