"""The four operations of a device (spec: data plane 2.3 to 2.6): request in, body of the accepted reply out,
or Rejected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from thingjobs_broker.core import delivery, execution, lifecycle, pending, turning, views
from thingjobs_broker.core.state import BY_DEVICE, Execution, Thing
from thingjobs_protocol.errors import (
    InvalidStateTransition,
    ResourceNotFound,
    TerminalStateReached,
    VersionMismatch,
)
from thingjobs_protocol.messages import (
    DescribeJobExecutionRequest,
    GetPendingJobExecutionsRequest,
    GetPendingJobExecutionsResponse,
    JobExecutionResponse,
    StartNextPendingJobExecutionRequest,
    UpdateJobExecutionRequest,
    UpdateJobExecutionResponse,
)
from thingjobs_protocol.status import TERMINAL
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.topics import NEXT_JOB_ID, Api

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.core.step import Step
    from thingjobs_protocol.messages import Wire
    from thingjobs_protocol.topics import RequestTopic


def get_pending(
    step: Step, thing: Thing, _topic: RequestTopic, request: GetPendingJobExecutionsRequest
) -> GetPendingJobExecutionsResponse:
    """List what is pending outside namespaces."""
    lifecycle.time_out_overdue(step, thing, thing)
    return views.pending_lists(step.state, thing, step.now_ms, request.client_token)


def start_next(
    step: Step, thing: Thing, _topic: RequestTopic, request: StartNextPendingJobExecutionRequest
) -> JobExecutionResponse:
    """Start the front, or hand back the running one unchanged (spec: data plane 2.4, A9)."""
    lifecycle.time_out_overdue(step, thing, thing)
    front = pending.front(thing, turning.hidden(step.state, thing))
    status = execution.next_status(front.status, execution.Input.START_NEXT) if front else None
    if front is not None and status is not None:
        lifecycle.transition(
            step,
            thing,
            front,
            status,
            by=BY_DEVICE,
            status_details=request.status_details,
            step_timeout_in_minutes=request.step_timeout_in_minutes,
        )
    return _execution_response(step, front, request.client_token, with_document=True)


def describe(
    step: Step, thing: Thing, topic: RequestTopic, request: DescribeJobExecutionRequest
) -> JobExecutionResponse:
    """Show one pending execution, or the front for `$next` (spec: data plane 2.5), that of the namespace."""
    if topic.job_id == NEXT_JOB_ID:
        queue = thing.queue(topic.namespace_id)
        lifecycle.time_out_overdue(step, thing, queue)
        # The queue of a namespace that has emptied is another one.
        queue = thing.queue(topic.namespace_id)
        found: Execution | None = pending.front(queue, turning.hidden(step.state, queue))
    else:
        found = _find(step, thing, topic, request.execution_number)
        if found.status in TERMINAL:
            message = f"Job execution {_name(found)} is {found.status.value}, a terminal state"
            raise TerminalStateReached(message)
    return _execution_response(step, found, request.client_token, with_document=request.include_job_document)


def update(
    step: Step, thing: Thing, topic: RequestTopic, request: UpdateJobExecutionRequest
) -> UpdateJobExecutionResponse:
    """Report a status (spec: data plane 2.6); the order of the checks is that of 3.4."""
    job_id = topic.job_id
    current = _find(step, thing, topic, request.execution_number)
    expected = request.expected_version
    if expected is not None and expected != current.version_number:
        message = f"Expected version {expected} but found version {current.version_number}"
        raise VersionMismatch(message, execution_state=views.execution_state(current))
    report = execution.REPORTS.get(request.status)
    if report is None:
        message = f"The status of job execution cannot be changed to be {request.status.value}"
        raise InvalidStateTransition(message, execution_state=views.execution_state(current))
    status = execution.next_status(current.status, report)
    if current.status is Status.QUEUED and job_id in step.state.closed_jobs:
        message = f"Job execution {_name(current)} waits for the job's next maintenance window"
        raise InvalidStateTransition(message, execution_state=views.execution_state(current))
    if status is None:
        wanted = request.status.value
        message = f"Job execution {_name(current)} is {current.status.value} and cannot become {wanted}"
        raise InvalidStateTransition(message, execution_state=views.execution_state(current))
    lifecycle.transition(
        step,
        thing,
        current,
        status,
        by=BY_DEVICE,
        status_details=request.status_details,
        step_timeout_in_minutes=request.step_timeout_in_minutes,
    )
    response = UpdateJobExecutionResponse(step.now_ms // 1000, request.client_token)
    if request.include_job_execution_state:
        response.execution_state = views.execution_state(current)
    if request.include_job_document:
        response.job_document = delivery.document(step.ports, step.state.jobs[job_id], current)
    return response


HANDLERS: Final[dict[Api, Callable[[Step, Thing, RequestTopic, Any], Wire]]] = {
    Api.GET_PENDING_JOB_EXECUTIONS: get_pending,
    Api.START_NEXT_PENDING_JOB_EXECUTION: start_next,
    Api.DESCRIBE_JOB_EXECUTION: describe,
    Api.UPDATE_JOB_EXECUTION: update,
}


def _find(step: Step, thing: Thing, topic: RequestTopic, execution_number: int | None) -> Execution:
    """Return an execution; a namespace in the topic must be that of its job, as with operators (spec: control
    plane 1.7).
    """
    job_id, namespace_id = topic.job_id, topic.namespace_id
    found = step.state.execution(thing, job_id, execution_number)
    if found is None or (namespace_id and step.state.jobs[job_id].namespace_id != namespace_id):
        number = f" number {execution_number}" if execution_number is not None else ""
        where = f" in namespace {namespace_id[:128]}" if namespace_id else ""
        message = f"Thing {thing.thing_name} has no execution{number} of job {job_id}{where}"
        raise ResourceNotFound(message)
    lifecycle.time_out_if_overdue(step, thing, found)
    return found


def _execution_response(
    step: Step, found: Execution | None, client_token: str | None, *, with_document: bool
) -> JobExecutionResponse:
    if found is None:
        return JobExecutionResponse(step.now_ms // 1000, client_token)
    job = step.state.jobs[found.job_id]
    document = delivery.document(step.ports, job, found) if with_document else msgspec.UNSET
    return JobExecutionResponse(
        step.now_ms // 1000, client_token, views.job_execution(found, step.now_ms, document)
    )


def _name(found: Execution) -> str:
    return f"{found.job_id}#{found.execution_number} of thing {found.thing_name}"
