"""Tags of jobs, templates, thing groups and types: the operations and their rules (spec: control plane 1.3,
1.4, 10).
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from thingjobs_broker.core import quotas
from thingjobs_broker.core.errors import InvalidRequestError, ResourceNotFoundError
from thingjobs_broker.core.paging import page
from thingjobs_broker.core.records import TagsChanged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thingjobs_broker.core import operations
    from thingjobs_broker.core.step import Step


def tag_resource(step: Step, request: operations.TagResource, _by: str) -> dict[str, Any]:
    """Give a resource tags; a key that it has gets the new value."""
    tags = _tags_of(step, request.resource_arn)
    check(step, request.tags, tags)
    put(step, request.resource_arn, request.tags)
    return {}


def untag_resource(step: Step, request: operations.UntagResource, _by: str) -> dict[str, Any]:
    """Take tags from a resource; a key that it has not is no error."""
    tags = _tags_of(step, request.resource_arn)
    left = {key: value for key, value in tags.items() if key not in request.tag_keys}
    if left != tags:
        step.apply(TagsChanged(request.resource_arn, step.now_ms, left))
    return {}


def list_tags_for_resource(step: Step, request: operations.ListTagsForResource, _by: str) -> dict[str, Any]:
    """List the tags of a resource."""
    # A thing has no tags, but tools ask for them.
    is_thing = step.naming.name_in("thing", request.resource_arn) in step.state.things
    tags = {} if is_thing else _tags_of(step, request.resource_arn)
    found, next_token = page(
        list(tags.items()),
        next_token=request.next_token,
        max_results=None,
        filters=(request.resource_arn,),
    )
    listed = [{"Key": key, "Value": value} for key, value in found]
    return {"tags": listed} | ({"nextToken": next_token} if next_token else {})


def check(step: Step, tags: Sequence[operations.Tag], present: dict[str, str] | None = None) -> None:
    """Check tags that are to be added to those that are present.

    Raises:
        InvalidRequestError: a character that no tag has, or a key twice.
        LimitExceededError: together they are too many.

    """
    keys = [tag.key for tag in tags]
    if len(set(keys)) != len(keys):
        message = "tags: each Key once"
        raise InvalidRequestError(message)
    for tag in tags:
        for member, text in (("Key", tag.key), ("Value", tag.value)):
            if not all(map(_may_be_in_a_tag, text)):
                message = f"tags: {member} {text[:40]!r} may hold letters, digits, spaces and _.:/=+-@"
                raise InvalidRequestError(message)
    count = len({*keys, *(present or {})})
    quotas.check(step.ports.rules, "tags_max", count, "Tags of a resource")


def put(step: Step, arn: str, tags: Sequence[operations.Tag]) -> None:
    """Add tags that were checked to those of a resource."""
    present = step.state.tags.get(arn, {})
    together = present | {tag.key: tag.value for tag in tags}
    if together != present:
        step.apply(TagsChanged(arn, step.now_ms, together))


def forget(step: Step, arn: str) -> None:
    """Take all tags from a resource that vanishes."""
    if arn in step.state.tags:
        step.apply(TagsChanged(arn, step.now_ms, {}))


def _tags_of(step: Step, arn: str) -> dict[str, str]:
    state, naming = step.state, step.naming
    job_id, template_id = naming.name_in("job", arn), naming.name_in("jobtemplate", arn)
    group_name, type_name = naming.name_in("thinggroup", arn), naming.name_in("thingtype", arn)
    if (
        job_id in state.jobs
        or template_id in state.templates
        or group_name in state.group_ids
        or type_name in state.thing_types
    ):
        return state.tags.get(arn, {})
    expected = "expected the ARN of a job, a job template, a thing group or a thing type"
    message = f"Resource {arn[:200]} not found; {expected}"
    raise ResourceNotFoundError(message)


def _may_be_in_a_tag(character: str) -> bool:
    return unicodedata.category(character)[0] in "LZN" or character in "_.:/=+-@"
