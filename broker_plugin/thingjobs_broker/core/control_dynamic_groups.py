"""The operations on dynamic thing groups, whose members a query finds (spec: control plane 1.8, 1.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingjobs_broker.core import control_groups, groups, membership, quotas
from thingjobs_broker.core.errors import InvalidRequestError
from thingjobs_broker.core.indexing import INDEX_NAME, QUERY_VERSION, is_on, parsed
from thingjobs_broker.core.lookups import check_version

if TYPE_CHECKING:
    from thingjobs_broker.core import operations_indexing
    from thingjobs_broker.core.step import Step


def create_dynamic_thing_group(
    step: Step, request: operations_indexing.CreateDynamicThingGroup, by: str
) -> dict[str, Any]:
    """Make a group of whoever meets a query; what is there already is looked at in slices, from now on."""
    name, text = request.thing_group_name, request.query_string
    if not is_on(step.state):
        message = (
            "Indexing is off; turn it on with UpdateIndexingConfiguration and thingIndexingMode REGISTRY"
        )
        raise InvalidRequestError(message)
    _check_query(step, request.index_name, request.query_version, text)
    if groups.by_name(step.state, name) is None:
        count = len(step.state.queries) + 1
        quotas.check(step.ports.rules, "dynamic_groups_max", count, "Dynamic thing groups", "; delete one")
    description, attributes = control_groups.described(step, request.thing_group_properties)
    is_new = name not in step.state.group_ids
    wanted = control_groups.Wanted(name, "", description, attributes, text)
    group = control_groups.create(step, by, wanted, request.tags)
    if is_new:
        membership.work_on(step, group)
    return control_groups.identity(step, group) | control_groups.query_of(group)


def update_dynamic_thing_group(
    step: Step, request: operations_indexing.UpdateDynamicThingGroup, by: str
) -> dict[str, Any]:
    """Change a dynamic group; with another query all things are looked at anew."""
    group = control_groups.find_of_kind(step, request.thing_group_name, is_dynamic=True)
    check_version(request.expected_version, group.version)
    text = request.query_string if request.query_string is not None else group.query_string
    _check_query(step, request.index_name, request.query_version, text)
    answer = control_groups.change(step, group, by, request.thing_group_properties, text)
    if text != group.query_string:
        membership.work_on(step, step.state.groups[group.group_id])
    return answer


def delete_dynamic_thing_group(
    step: Step, request: operations_indexing.DeleteDynamicThingGroup, by: str
) -> dict[str, Any]:
    """Delete a dynamic group; a missing one is no error."""
    if groups.by_name(step.state, request.thing_group_name) is None:
        return {}
    group = control_groups.find_of_kind(step, request.thing_group_name, is_dynamic=True)
    check_version(request.expected_version, group.version)
    membership.delete_group(step, group, by)
    return {}


def _check_query(step: Step, index_name: str | None, query_version: str | None, text: str) -> None:
    if index_name not in (None, INDEX_NAME):
        message = f"indexName {index_name} is not an index of things; expected {INDEX_NAME}"
        raise InvalidRequestError(message)
    if query_version not in (None, QUERY_VERSION):
        message = f"queryVersion {query_version!r} is not known; expected {QUERY_VERSION}"
        raise InvalidRequestError(message)
    parsed(text, step.ports.rules.dynamic_group_terms_max)
