"""The control plane: one table of operations drives decoding, dispatch and documentation (spec: control plane
1.4, 1.5).

A handler checks everything before it changes anything, so a refused request changes nothing.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

import msgspec

from thingjobs_broker.core import (
    control_clock,
    control_dynamic_groups,
    control_executions,
    control_groups,
    control_indexing,
    control_job_changes,
    control_jobs,
    control_members,
    control_names,
    control_templates,
    control_thing_types,
    control_things,
    control_timeouts,
    moto_compat,
    operations,
    operations_indexing,
    operations_registry,
    preview,
    tags,
    why,
)
from thingjobs_broker.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.core.step import Step

Reply = dict[str, Any]

_has_long_number: Final = re.compile(rb"[0-9]{19}").search
_REGEX: Final = re.compile(r"Expected `str` matching regex '\^(.*)\\\\Z'")
"""How msgspec says that a text has not the form it must have."""


class Operation(msgspec.Struct, frozen=True):
    """One row: the request's type and who answers it with (step, request, by)."""

    request_type: type[operations.Request]
    handler: Callable[[Step, Any, str], Reply]


OPERATIONS: Final[dict[str, Operation]] = {
    "CreateThing": Operation(operations.CreateThing, control_things.create_thing),
    "ListThings": Operation(operations.ListThings, control_things.list_things),
    "DescribeThing": Operation(operations_registry.DescribeThing, control_things.describe_thing),
    "UpdateThing": Operation(operations_registry.UpdateThing, control_things.update_thing),
    "DeleteThing": Operation(operations_registry.DeleteThing, control_things.delete_thing),
    "CreateThingType": Operation(operations_registry.CreateThingType, control_thing_types.create_thing_type),
    "DescribeThingType": Operation(
        operations_registry.DescribeThingType, control_thing_types.describe_thing_type
    ),
    "ListThingTypes": Operation(operations_registry.ListThingTypes, control_thing_types.list_thing_types),
    "UpdateThingType": Operation(operations_registry.UpdateThingType, control_thing_types.update_thing_type),
    "DeprecateThingType": Operation(
        operations_registry.DeprecateThingType, control_thing_types.deprecate_thing_type
    ),
    "DeleteThingType": Operation(operations_registry.DeleteThingType, control_thing_types.delete_thing_type),
    "CreateThingGroup": Operation(operations_registry.CreateThingGroup, control_groups.create_thing_group),
    "DescribeThingGroup": Operation(
        operations_registry.DescribeThingGroup, control_groups.describe_thing_group
    ),
    "UpdateThingGroup": Operation(operations_registry.UpdateThingGroup, control_groups.update_thing_group),
    "DeleteThingGroup": Operation(operations_registry.DeleteThingGroup, control_groups.delete_thing_group),
    "ListThingGroups": Operation(operations_registry.ListThingGroups, control_groups.list_thing_groups),
    "AddThingToThingGroup": Operation(
        operations_registry.AddThingToThingGroup, control_members.add_thing_to_thing_group
    ),
    "RemoveThingFromThingGroup": Operation(
        operations_registry.RemoveThingFromThingGroup, control_members.remove_thing_from_thing_group
    ),
    "UpdateThingGroupsForThing": Operation(
        operations_registry.UpdateThingGroupsForThing, control_members.update_thing_groups_for_thing
    ),
    "ListThingsInThingGroup": Operation(
        operations_registry.ListThingsInThingGroup, control_members.list_things_in_thing_group
    ),
    "ListThingGroupsForThing": Operation(
        operations_registry.ListThingGroupsForThing, control_members.list_thing_groups_for_thing
    ),
    "CreateDynamicThingGroup": Operation(
        operations_indexing.CreateDynamicThingGroup, control_dynamic_groups.create_dynamic_thing_group
    ),
    "UpdateDynamicThingGroup": Operation(
        operations_indexing.UpdateDynamicThingGroup, control_dynamic_groups.update_dynamic_thing_group
    ),
    "DeleteDynamicThingGroup": Operation(
        operations_indexing.DeleteDynamicThingGroup, control_dynamic_groups.delete_dynamic_thing_group
    ),
    "SearchIndex": Operation(operations_indexing.SearchIndex, control_indexing.search_index),
    "DescribeIndex": Operation(operations_indexing.DescribeIndex, control_indexing.describe_index),
    "ListIndices": Operation(operations_indexing.ListIndices, control_indexing.list_indices),
    "GetIndexingConfiguration": Operation(
        operations_indexing.GetIndexingConfiguration, control_indexing.get_indexing_configuration
    ),
    "UpdateIndexingConfiguration": Operation(
        operations_indexing.UpdateIndexingConfiguration, control_indexing.update_indexing_configuration
    ),
    "DescribeEventConfigurations": Operation(
        operations_indexing.DescribeEventConfigurations, control_indexing.describe_event_configurations
    ),
    "UpdateEventConfigurations": Operation(
        operations_indexing.UpdateEventConfigurations, control_indexing.update_event_configurations
    ),
    "DescribeEndpoint": Operation(operations_indexing.DescribeEndpoint, control_indexing.describe_endpoint),
    "CreateJob": Operation(operations.CreateJob, control_jobs.create_job),
    "DescribeJob": Operation(operations.DescribeJob, control_jobs.describe_job),
    "GetJobDocument": Operation(operations.GetJobDocument, control_jobs.get_job_document),
    "ListJobs": Operation(operations.ListJobs, control_jobs.list_jobs),
    "UpdateJob": Operation(operations.UpdateJob, control_job_changes.update_job),
    "CancelJob": Operation(operations.CancelJob, control_job_changes.cancel_job),
    "DeleteJob": Operation(operations.DeleteJob, control_job_changes.delete_job),
    "AssociateTargetsWithJob": Operation(
        operations.AssociateTargetsWithJob, control_job_changes.associate_targets_with_job
    ),
    "CancelJobExecution": Operation(operations.CancelJobExecution, control_executions.cancel_job_execution),
    "DeleteJobExecution": Operation(operations.DeleteJobExecution, control_executions.delete_job_execution),
    "DescribeJobExecution": Operation(
        operations.DescribeJobExecution, control_executions.describe_job_execution
    ),
    "ListJobExecutionsForJob": Operation(
        operations.ListJobExecutionsForJob, control_executions.list_job_executions_for_job
    ),
    "ListJobExecutionsForThing": Operation(
        operations.ListJobExecutionsForThing, control_executions.list_job_executions_for_thing
    ),
    "CreateJobTemplate": Operation(operations.CreateJobTemplate, control_templates.create_job_template),
    "DescribeJobTemplate": Operation(operations.DescribeJobTemplate, control_templates.describe_job_template),
    "ListJobTemplates": Operation(operations.ListJobTemplates, control_templates.list_job_templates),
    "DeleteJobTemplate": Operation(operations.DeleteJobTemplate, control_templates.delete_job_template),
    "DescribeManagedJobTemplate": Operation(
        operations.DescribeManagedJobTemplate, control_templates.describe_managed_job_template
    ),
    "ListManagedJobTemplates": Operation(
        operations.ListManagedJobTemplates, control_templates.list_managed_job_templates
    ),
    "TagResource": Operation(operations.TagResource, tags.tag_resource),
    "UntagResource": Operation(operations.UntagResource, tags.untag_resource),
    "ListTagsForResource": Operation(operations.ListTagsForResource, tags.list_tags_for_resource),
    "UpdateJobExecutionTimeout": Operation(
        operations.UpdateJobExecutionTimeout, control_timeouts.update_job_execution_timeout
    ),
    "UpdateThingGroupTimeouts": Operation(
        operations.UpdateThingGroupTimeouts, control_timeouts.update_thing_group_timeouts
    ),
    "DescribeThingGroupTimeouts": Operation(
        operations.DescribeThingGroupTimeouts, control_timeouts.describe_thing_group_timeouts
    ),
    "PreviewJob": Operation(operations.PreviewJob, preview.preview_job),
    "DescribeJobRollout": Operation(operations.DescribeJobRollout, preview.describe_job_rollout),
    "ExplainExecution": Operation(operations.ExplainExecution, why.explain_execution),
    "ListNames": Operation(operations_indexing.ListNames, control_names.list_names),
    "DescribeClock": Operation(operations.DescribeClock, control_clock.describe_clock),
    "AdvanceClock": Operation(operations.AdvanceClock, control_clock.advance_clock),
    "DescribeTimeline": Operation(operations.DescribeTimeline, control_executions.describe_timeline),
}


def decode(operation: str, payload: bytes, *, like_moto: bool = False) -> tuple[Operation, Any]:
    """Return the row of `operation` and its typed request; `like_moto` takes what moto takes (11.2).

    Raises:
        InvalidRequestError: unknown operation, not a JSON object, or a member that breaks its constraint.

    """
    row = OPERATIONS.get(operation)
    if row is None:
        names = get_close_matches(operation[:80], OPERATIONS, 3, 0.3) or ["CreateJob", "DescribeJob"]
        message = f"Unknown operation {operation[:80]!r}; expected a name such as {', '.join(names)}"
        raise InvalidRequestError(message)
    request_type = moto_compat.REQUESTS.get(operation, row.request_type) if like_moto else row.request_type
    try:
        (payload or b"{}").decode("utf-8")
        request = msgspec.json.decode(payload or b"{}", type=request_type)
        if not (_has_long_number(payload) and _is_beyond_64_bits(msgspec.json.decode(payload))):
            return row, request
        message = f"{operation}: a number is beyond 64 bits"
    except UnicodeDecodeError as error:
        message = f"{operation}: the payload is not UTF-8: byte {error.start} cannot be decoded"
    except msgspec.ValidationError as error:
        said = _REGEX.sub(r"Expected text of the form \1", str(error))
        message = f"{operation}: {said.replace('`$.', '`')}"
    except msgspec.DecodeError as error:
        message = f"{operation}: the payload is not JSON: {error}"
    except RecursionError:
        message = f"{operation}: the payload is nested too deeply"
    raise InvalidRequestError(message)


def _is_beyond_64_bits(value: object) -> bool:
    """Tell whether a number is somewhere in a JSON value that no record could hold."""
    if isinstance(value, dict):
        return any(map(_is_beyond_64_bits, value.values()))
    if isinstance(value, list):
        return any(map(_is_beyond_64_bits, value))
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def client_token(payload: bytes) -> str | None:
    """Return the client token of a control-plane request, None where there is no readable one."""
    try:
        return msgspec.json.decode(payload or b"{}", type=_Token).client_token
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


class _Token(msgspec.Struct, rename="camel"):
    client_token: str | None = None
