"""The operations on jobs and job executions (spec: control plane 1.5, 2). Times are epoch seconds with
milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from thingjobs_broker.core import events, execution, job, lifecycle, timeline, views
from thingjobs_broker.core.errors import (
    InvalidRequestError,
    InvalidStateTransitionError,
    LimitExceededError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    VersionConflictError,
)
from thingjobs_broker.core.paging import page
from thingjobs_broker.core.records import JobChanged, JobCreated
from thingjobs_broker.core.state import FORCED, Execution, Job, Thing
from thingjobs_protocol.codec import checked_status_details, is_plain_text
from thingjobs_protocol.limits import JOB_DOCUMENT_BYTES_MAX, TARGETS_MAX
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.status import TargetSelection

if TYPE_CHECKING:
    from thingjobs_broker.core import operations
    from thingjobs_broker.core.step import Step

RETRIES_MAX: Final = 10
"""Of all failure types together (spec: control plane 5.2)."""


def create_job(step: Step, request: operations.CreateJob, by: str) -> dict[str, Any]:
    """Create a job and give each target its execution. Checks in the order of control plane 1.5."""
    if request.job_id in step.state.jobs:
        arn = step.naming.job_arn(request.job_id)
        message = f"Job {request.job_id} already exists"
        raise ResourceAlreadyExistsError(message, resourceId=request.job_id, resourceArn=arn)
    things = _targets(step, request.targets)
    document = _document(request.document)
    _check_text("description", request.description)
    if request.target_selection is not TargetSelection.SNAPSHOT:
        message = "targetSelection CONTINUOUS is not available; expected SNAPSHOT"
        raise InvalidRequestError(message)
    _check_retries(request.job_executions_retry_config)
    options = {
        name: msgspec.to_builtins(value)
        for name, value in (
            ("timeoutConfig", request.timeout_config),
            ("jobExecutionsRetryConfig", request.job_executions_retry_config),
        )
        if value is not None
    }
    step.apply(
        JobCreated(
            request.job_id,
            step.now_ms,
            by,
            [step.naming.thing_arn(thing.thing_name) for thing in things],
            request.target_selection.value,
            document,
            request.description,
            options,
        )
    )
    the_job = step.state.jobs[request.job_id]
    for thing in things:
        lifecycle.queue_execution(step, thing, the_job)
    return _identity(step, the_job)


def describe_job(step: Step, request: operations.DescribeJob, _by: str) -> dict[str, Any]:
    """Show a job: what was asked for, its state and its counters (spec: control plane 2.1)."""
    the_job = _job(step, request.job_id)
    optional = {
        "reasonCode": the_job.reason_code,
        "comment": the_job.comment,
        "description": the_job.description,
        "completedAt": the_job.completed_at_ms / 1000,
    }
    return {
        "job": {
            "jobArn": step.naming.job_arn(the_job.job_id),
            "jobId": the_job.job_id,
            "targetSelection": the_job.target_selection.value,
            "status": the_job.status.value,
            "forceCanceled": the_job.force_canceled,
            "targets": the_job.targets,
            "createdAt": the_job.created_at_ms / 1000,
            "lastUpdatedAt": the_job.last_updated_at_ms / 1000,
            "jobProcessDetails": events.process_details(the_job),
            "isConcurrent": _is_concurrent(the_job),
            **the_job.options,
            **{name: value for name, value in optional.items() if value},
        }
    }


def get_job_document(step: Step, request: operations.GetJobDocument, _by: str) -> dict[str, Any]:
    """Return the document as it was given, byte for byte."""
    return {"document": _job(step, request.job_id).document}


def list_jobs(step: Step, request: operations.ListJobs, _by: str) -> dict[str, Any]:
    """List jobs in the order of their creation."""
    status, selection = request.status, request.target_selection
    jobs, next_token = page(
        step.state.job_order,
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(status, selection),
        keep=lambda the_job: (
            status in (None, the_job.status) and selection in (None, the_job.target_selection)
        ),
    )
    listed = [
        {
            "jobArn": step.naming.job_arn(the_job.job_id),
            "jobId": the_job.job_id,
            "targetSelection": the_job.target_selection.value,
            "status": the_job.status.value,
            "createdAt": the_job.created_at_ms / 1000,
            "lastUpdatedAt": the_job.last_updated_at_ms / 1000,
            "isConcurrent": _is_concurrent(the_job),
            **({"completedAt": the_job.completed_at_ms / 1000} if the_job.completed_at_ms else {}),
        }
        for the_job in jobs
    ]
    return {"jobs": listed} | ({"nextToken": next_token} if next_token else {})


def cancel_job(step: Step, request: operations.CancelJob, by: str) -> dict[str, Any]:
    """Cancel a job at once; its executions follow in slices, the first of them now (spec: control plane
    1.5).
    """
    the_job = _job(step, request.job_id)
    _check_text("comment", request.comment)
    event = job.JobInput.FORCE_CANCEL if request.force else job.JobInput.CANCEL
    status = job.next_status(the_job, event)
    if status is None:
        message = f"Job {the_job.job_id} is {the_job.status.value} and cannot be canceled"
        raise InvalidRequestError(message)
    step.apply(
        JobChanged(
            the_job.job_id,
            status,
            step.now_ms,
            by,
            force=request.force,
            reason_code=request.reason_code or "",
            comment=request.comment or "",
        )
    )
    step.event(
        events.job_event(the_job, events.CANCELLATION_IN_PROGRESS, step.now_ms, step.new_id(), step.naming)
    )
    step.sweep(the_job)
    return _identity(step, the_job)


def cancel_job_execution(step: Step, request: operations.CancelJobExecution, by: str) -> dict[str, Any]:
    """Cancel the newest execution of a job on a thing."""
    thing, current = _execution(step, request.thing_name, request.job_id, None)
    try:
        details = checked_status_details(request.status_details)
    except ValueError as error:
        raise InvalidRequestError(str(error)) from None
    expected = request.expected_version
    if expected is not None and expected != current.version_number:
        message = f"Expected version {expected} but found version {current.version_number}"
        raise VersionConflictError(message)
    event = execution.Input.FORCE_CANCEL if request.force else execution.Input.CANCEL
    status = execution.next_status(current.status, event)
    if status is None:
        raise _refused(current, "be canceled", force_helps=not request.force)
    cause = FORCED if request.force else ""
    lifecycle.transition(step, thing, current, status, by=by, status_details=details, cause=cause)
    return {}


def delete_job_execution(step: Step, request: operations.DeleteJobExecution, by: str) -> dict[str, Any]:
    """Remove an execution's record; a running one only with force."""
    thing, current = _execution(step, request.thing_name, request.job_id, request.execution_number)
    if current.status is Status.IN_PROGRESS and not request.force:
        raise _refused(current, "be deleted", force_helps=True)
    lifecycle.delete_execution(step, thing, current, by)
    return {}


def describe_job_execution(step: Step, request: operations.DescribeJobExecution, _by: str) -> dict[str, Any]:
    """Show an execution in any status, without the document."""
    thing, current = _execution(step, request.thing_name, request.job_id, request.execution_number)
    shown = {
        "jobId": current.job_id,
        "status": current.status.value,
        "forceCanceled": current.force_canceled,
        "statusDetails": {"detailsMap": current.status_details or {}},
        "thingArn": step.naming.thing_arn(thing.thing_name),
        "versionNumber": current.version_number,
        **_summary(current),
    }
    shown.pop("retryAttempt", None)
    left = views.seconds_before_timed_out(current, step.now_ms)
    if left is not None:
        shown["approximateSecondsBeforeTimedOut"] = left
    return {"execution": shown}


def list_job_executions_for_job(
    step: Step, request: operations.ListJobExecutionsForJob, _by: str
) -> dict[str, Any]:
    """List a job's executions, retries included, in the order of their creation."""
    the_job = _job(step, request.job_id)
    status = request.status
    executions, next_token = page(
        the_job.executions,
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(request.job_id, status),
        keep=lambda current: status in (None, current.status),
    )
    listed = [
        {
            "thingArn": step.naming.thing_arn(current.thing_name),
            "jobExecutionSummary": _summary(current),
        }
        for current in executions
    ]
    return {"executionSummaries": listed} | ({"nextToken": next_token} if next_token else {})


def describe_timeline(step: Step, request: operations.DescribeTimeline, _by: str) -> dict[str, Any]:
    """Tell who did what when (spec: control plane B18)."""
    if request.thing_name is None:
        return {"timeline": timeline.of_job(_job(step, request.job_id))}
    _, current = _execution(step, request.thing_name, request.job_id, request.execution_number)
    return {"timeline": timeline.of_execution(current, step.state.jobs[current.job_id].created_by)}


def _targets(step: Step, targets: list[str]) -> list[Thing]:
    if len(targets) > TARGETS_MAX:
        message = f"targets may have {TARGETS_MAX} entries, not {len(targets)}"
        raise LimitExceededError(message)
    things: dict[str, Thing] = {}
    for target in targets:
        name = step.naming.thing_name(target)
        thing = step.state.things.get(name) if name is not None else None
        if thing is None:
            message = f"Target {target[:200]!r} is neither the name nor the ARN of a thing of this service"
            raise ResourceNotFoundError(message)
        things[thing.thing_name] = thing
    return list(things.values())


def _document(text: str | None) -> str:
    if text is None:
        message = "document is missing; expected the job document as a string of JSON"
        raise InvalidRequestError(message)
    size = len(text.encode())
    if size > JOB_DOCUMENT_BYTES_MAX:
        message = f"document may have {JOB_DOCUMENT_BYTES_MAX} bytes, not {size}"
        raise InvalidRequestError(message)
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        message = f"document is not JSON: {error}"
        raise InvalidRequestError(message) from None
    if not isinstance(value, dict):
        message = f"document must be a JSON object, not {type(value).__name__}"
        raise InvalidRequestError(message)
    return text


def _check_text(member: str, text: str | None) -> None:
    if text and not is_plain_text(text):
        message = f"{member} must not hold control or unassigned characters"
        raise InvalidRequestError(message)


def _check_retries(config: operations.RetryConfig | None) -> None:
    if config is None:
        return
    kinds = [criterion.failure_type for criterion in config.criteria_list]
    if len(set(kinds)) != len(kinds) or ("ALL" in kinds and len(kinds) > 1):
        message = "jobExecutionsRetryConfig.criteriaList: each failureType once, and ALL only alone"
        raise InvalidRequestError(message)
    total = sum(criterion.number_of_retries for criterion in config.criteria_list)
    if total > RETRIES_MAX:
        message = f"jobExecutionsRetryConfig: numberOfRetries may add up to {RETRIES_MAX}, not {total}"
        raise InvalidRequestError(message)


def _job(step: Step, job_id: str) -> Job:
    the_job = step.state.jobs.get(job_id)
    if the_job is None:
        message = f"Job {job_id} not found"
        raise ResourceNotFoundError(message)
    return the_job


def _execution(step: Step, thing_name: str, job_id: str, number: int | None) -> tuple[Thing, Execution]:
    thing = step.state.things.get(thing_name)
    current = step.state.execution(thing, job_id, number) if thing else None
    if thing is None or current is None:
        which = f" number {number}" if number is not None else ""
        message = f"Thing {thing_name} has no execution{which} of job {job_id}"
        raise ResourceNotFoundError(message)
    lifecycle.time_out_if_overdue(step, thing, current)
    return thing, current


def _refused(current: Execution, what: str, *, force_helps: bool) -> InvalidStateTransitionError:
    hint = "; force=true does it" if force_helps and current.status is Status.IN_PROGRESS else ""
    message = f"Execution {current.execution_number} of job {current.job_id} on thing {current.thing_name}"
    return InvalidStateTransitionError(f"{message} is {current.status.value} and cannot {what}{hint}")


def _identity(step: Step, the_job: Job) -> dict[str, Any]:
    identity = {"jobArn": step.naming.job_arn(the_job.job_id), "jobId": the_job.job_id}
    return identity | ({"description": the_job.description} if the_job.description else {})


def _is_concurrent(the_job: Job) -> bool:
    """Tell whether a cancellation is still being carried out (spec: control plane 2.4)."""
    return the_job.status.value == "CANCELED" and not the_job.settled


def _summary(current: Execution) -> dict[str, Any]:
    times = {
        "queuedAt": current.queued_at_ms / 1000,
        "startedAt": current.started_at_ms / 1000,
        "lastUpdatedAt": current.last_updated_at_ms / 1000,
    }
    return {
        "status": current.status.value,
        **{name: value for name, value in times.items() if value},
        "executionNumber": current.execution_number,
        "retryAttempt": current.retry_attempt,
    }
