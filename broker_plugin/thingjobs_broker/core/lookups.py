"""What the operations of the control plane share: finding what a request names, and how it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from thingjobs_broker.core import lifecycle, quotas
from thingjobs_broker.core.errors import InvalidRequestError, ResourceNotFoundError, VersionConflictError
from thingjobs_protocol.codec import is_plain_text

if TYPE_CHECKING:
    from thingjobs_broker.core import operations
    from thingjobs_broker.core.entities import ThingType
    from thingjobs_broker.core.state import Execution, Job, Thing
    from thingjobs_broker.core.step import Step

CONFIGURATIONS: Final = {
    "presignedUrlConfig": "presigned_url_config",
    "jobExecutionsRolloutConfig": "job_executions_rollout_config",
    "abortConfig": "abort_config",
    "timeoutConfig": "timeout_config",
    "jobExecutionsRetryConfig": "job_executions_retry_config",
}
"""The configurations that jobs and templates share and UpdateJob replaces (spec: control plane 5.3)."""


def find_job(step: Step, job_id: str, namespace_id: str | None = None) -> Job:
    """Return a job; a namespace that is given must be its own (spec: control plane 1.7).

    Raises:
        ResourceNotFoundError: there is none.

    """
    job = step.state.jobs.get(job_id)
    if job is None or namespace_id not in (None, job.options.get("namespaceId")):
        where = f" in namespace {namespace_id}" if namespace_id is not None else ""
        message = f"Job {job_id} not found{where}"
        raise ResourceNotFoundError(message)
    return job


def find_thing(step: Step, thing_name: str) -> Thing:
    """Return a thing.

    Raises:
        ResourceNotFoundError: there is none.

    """
    thing = step.state.things.get(thing_name)
    if thing is None:
        message = f"Thing {thing_name} not found"
        raise ResourceNotFoundError(message)
    return thing


def find_thing_type(step: Step, type_name: str) -> ThingType:
    """Return a thing type.

    Raises:
        ResourceNotFoundError: there is none.

    """
    found = step.state.thing_types.get(type_name)
    if found is None:
        message = f"Thing type {type_name} not found"
        raise ResourceNotFoundError(message)
    return found


def check_version(expected: int | None, present: int) -> None:
    """Check the version that a request expects, if any.

    Raises:
        VersionConflictError: it is another one.

    """
    if expected is not None and expected != present:
        message = f"Expected version {expected} but found version {present}"
        raise VersionConflictError(message)


def with_token(answer: dict[str, Any], next_token: str | None) -> dict[str, Any]:
    """Return a page with the token of the next one, if there is one."""
    return answer | ({"nextToken": next_token} if next_token else {})


def find_execution(step: Step, thing_name: str, job_id: str, number: int | None) -> tuple[Thing, Execution]:
    """Return an execution, the newest without a number, and its thing; a timer that has run out is applied.

    The executions of a thing that is gone are there as long as their job.

    Raises:
        ResourceNotFoundError: there is none.

    """
    thing = step.state.things.get(thing_name) or step.state.departed.get(thing_name)
    current = step.state.execution(thing, job_id, number) if thing else None
    if thing is None or current is None:
        which = f" number {number}" if number is not None else ""
        message = f"Thing {thing_name} has no execution{which} of job {job_id}"
        raise ResourceNotFoundError(message)
    lifecycle.time_out_if_overdue(step, thing, current)
    return thing, current


def configurations(request: Any) -> dict[str, Any]:
    """Return the configurations that a request gives, as they were given."""
    return {
        member: msgspec.to_builtins(value)
        for member, name in CONFIGURATIONS.items()
        if (value := getattr(request, name)) is not None
    }


def identity(step: Step, job: Job) -> dict[str, Any]:
    """Return the answer of operations that tell which job they were about."""
    found = {"jobArn": step.naming.job_arn(job.job_id), "jobId": job.job_id}
    return found | ({"description": job.description} if job.description else {})


def check_text(member: str, text: str | None) -> None:
    """Check a text for people (spec: control plane 1.3).

    Raises:
        InvalidRequestError: it holds control or unassigned characters.

    """
    if text and not is_plain_text(text):
        message = f"{member} must not hold control or unassigned characters"
        raise InvalidRequestError(message)


def check_retries(step: Step, config: operations.RetryConfig | None) -> None:
    """Check which failure types are retried, and how often altogether (spec: control plane 5.2).

    Raises:
        InvalidRequestError: they cannot stand together.

    """
    if config is None:
        return
    kinds = [criterion.failure_type for criterion in config.criteria_list]
    if len(set(kinds)) != len(kinds) or ("ALL" in kinds and len(kinds) > 1):
        message = "jobExecutionsRetryConfig.criteriaList: each failureType once, and ALL only alone"
        raise InvalidRequestError(message)
    total = sum(criterion.number_of_retries for criterion in config.criteria_list)
    what = "jobExecutionsRetryConfig: the sum of numberOfRetries"
    quotas.check(step.ports.rules, "retries_max", total, what)
