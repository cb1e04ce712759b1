"""The operations on job executions (spec: control plane 1.5). Times are epoch seconds with milliseconds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.core import execution, histories, lifecycle, timeline, views
from thingjobs_broker.core.errors import (
    InvalidRequestError,
    InvalidStateTransitionError,
)
from thingjobs_broker.core.lookups import check_version, find_execution, find_job, find_thing
from thingjobs_broker.core.paging import page, page_in_order
from thingjobs_broker.core.state import FORCED, Execution
from thingjobs_protocol.codec import checked_status_details
from thingjobs_protocol.status import JobExecutionStatus as Status

if TYPE_CHECKING:
    from thingjobs_broker.core import operations
    from thingjobs_broker.core.step import Step

LOOKS_MAX: Final = 10_000
"""Of a page that is filtered by a status that few have: 1 ms. It may hold fewer than asked for, or none, and
the token of the next one, as AWS's own may.
"""


def cancel_job_execution(step: Step, request: operations.CancelJobExecution, by: str) -> dict[str, Any]:
    """Cancel the newest execution of a job on a thing."""
    thing, current = find_execution(step, request.thing_name, request.job_id, None)
    try:
        details = checked_status_details(request.status_details)
    except ValueError as error:
        raise InvalidRequestError(str(error)) from None
    check_version(request.expected_version, current.version_number)
    event = execution.Input.FORCE_CANCEL if request.force else execution.Input.CANCEL
    status = execution.next_status(current.status, event)
    if status is None:
        raise _refused(current, "be canceled", force_helps=not request.force)
    cause = FORCED if request.force else ""
    lifecycle.transition(step, thing, current, status, by=by, status_details=details, cause=cause)
    return {}


def delete_job_execution(step: Step, request: operations.DeleteJobExecution, by: str) -> dict[str, Any]:
    """Remove an execution's record; a running one only with force."""
    if request.namespace_id is not None:
        find_job(step, request.job_id, request.namespace_id)
    _, current = find_execution(step, request.thing_name, request.job_id, request.execution_number)
    if current.status is Status.IN_PROGRESS and not request.force:
        raise _refused(current, "be deleted", force_helps=True)
    lifecycle.delete_execution(step, current, by)
    return {}


def describe_job_execution(step: Step, request: operations.DescribeJobExecution, _by: str) -> dict[str, Any]:
    """Show an execution in any status, without the document."""
    thing, current = find_execution(step, request.thing_name, request.job_id, request.execution_number)
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
    the_job = find_job(step, request.job_id)
    status = request.status
    executions, next_token = page(
        the_job.executions,
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(request.job_id, status),
        keep=lambda current: status in (None, current.status),
        looks_max=LOOKS_MAX,
    )
    listed = [
        {
            "thingArn": step.naming.thing_arn(current.thing_name),
            "jobExecutionSummary": _summary(current),
        }
        for current in executions
    ]
    return {"executionSummaries": listed} | ({"nextToken": next_token} if next_token else {})


def list_job_executions_for_thing(
    step: Step, request: operations.ListJobExecutionsForThing, _by: str
) -> dict[str, Any]:
    """List a thing's executions, retries included, in the order of their creation."""
    thing = find_thing(step, request.thing_name)
    jobs, namespace_id = step.state.jobs, request.namespace_id

    def keep(current: Execution) -> bool:
        return request.status in (None, current.status) and (
            namespace_id is None or jobs[current.job_id].options.get("namespaceId") == namespace_id
        )

    executions, next_token = page_in_order(
        partial(histories.behind, step.state, thing, request.job_id),
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(request.thing_name, request.job_id, request.status, namespace_id),
        keep=keep,
        looks_max=LOOKS_MAX,
    )
    listed = [{"jobId": current.job_id, "jobExecutionSummary": _summary(current)} for current in executions]
    return {"executionSummaries": listed} | ({"nextToken": next_token} if next_token else {})


def describe_timeline(step: Step, request: operations.DescribeTimeline, _by: str) -> dict[str, Any]:
    """Tell who did what when (spec: control plane B18)."""
    if request.thing_name is None:
        return {"timeline": timeline.of_job(find_job(step, request.job_id))}
    _, current = find_execution(step, request.thing_name, request.job_id, request.execution_number)
    return {"timeline": timeline.of_execution(current, step.state.jobs[current.job_id].created_by)}


def _refused(current: Execution, what: str, *, force_helps: bool) -> InvalidStateTransitionError:
    hint = "; force=true does it" if force_helps and current.status is Status.IN_PROGRESS else ""
    message = f"Execution {current.execution_number} of job {current.job_id} on thing {current.thing_name}"
    return InvalidStateTransitionError(f"{message} is {current.status.value} and cannot {what}{hint}")


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
