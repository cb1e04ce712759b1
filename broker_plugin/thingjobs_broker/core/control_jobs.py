"""The operations that create jobs and show them (spec: control plane 1.5, 2). Times are epoch seconds with
milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from thingjobs_broker.core import (
    authoring,
    events,
    groups,
    quotas,
    rolling_out,
    schedule,
    scheduling,
    tags,
    targets,
    timeout_policy,
)
from thingjobs_broker.core.errors import (
    InvalidRequestError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
)
from thingjobs_broker.core.lookups import check_retries, check_text, configurations, find_job, identity
from thingjobs_broker.core.paging import page
from thingjobs_broker.core.records import JobCreated
from thingjobs_protocol.status import JobStatus

if TYPE_CHECKING:
    from thingjobs_broker.core import operations
    from thingjobs_broker.core.state import Job
    from thingjobs_broker.core.step import Step


def create_job(step: Step, request: operations.CreateJob, by: str) -> dict[str, Any]:
    """Create a job; its executions follow in slices, the first of them now."""
    record = checked(step, request, by)
    step.apply(record)
    tags.put(step, step.naming.job_arn(request.job_id), request.tags)
    the_job = step.state.jobs[request.job_id]
    step.attend(the_job)
    return identity(step, the_job)


def checked(step: Step, request: operations.CreateJob, by: str) -> JobCreated:
    """Return what a request for a job would put on record. Checks in the order of control plane 1.5.

    Raises:
        ControlError: the job would be refused.

    """
    check_text("description", request.description)
    check_retries(step, request.job_executions_retry_config)
    tags.check(step, request.tags)
    if request.job_id in step.state.jobs:
        arn = step.naming.job_arn(request.job_id)
        message = f"Job {request.job_id} already exists"
        raise ResourceAlreadyExistsError(message, resourceId=request.job_id, resourceArn=arn)
    target_arns = targets.arns(step, request.targets)
    made = authoring.of_job(step, request)
    scheduling_config = _scheduling(step, request, made)
    options = _options(request, made, scheduling_config)
    of_template = made.options.get("timeoutConfig")
    given = msgspec.to_builtins(request.timeout_config) if request.timeout_config is not None else None
    timeout = timeout_policy.effective(step, target_arns, given, of_template)
    if timeout is not None:
        options["timeoutConfig"] = timeout
    status = scheduling.first_status(scheduling_config, step.now_ms)
    rules, count = step.ports.rules, len(step.state.active_jobs) + 1
    quotas.check(rules, "active_jobs_max", count, "Active jobs", "; cancel or delete one")
    if status is JobStatus.IN_PROGRESS:
        quotas.check_concurrent(rules, len(step.state.concurrent_jobs) + 1)
    return JobCreated(
        request.job_id,
        step.now_ms,
        by,
        target_arns,
        request.target_selection.value,
        made.document,
        request.description or made.description,
        options,
        status.value,
        is_rolled_out=False,
        document_source=made.source,
        authored_document=made.original,
    )


def describe_job(step: Step, request: operations.DescribeJob, _by: str) -> dict[str, Any]:
    """Show a job: what was asked for, its state and its counters (spec: control plane 2.1)."""
    the_job = find_job(step, request.job_id)
    optional = {
        "reasonCode": the_job.reason_code,
        "comment": the_job.comment,
        "description": the_job.description,
        "completedAt": the_job.completed_at_ms / 1000,
    }
    processing = rolling_out.processing_targets(the_job)
    source = {"documentSource": the_job.document_source} if the_job.document_source else {}
    return source | {
        "job": {
            "jobArn": step.naming.job_arn(the_job.job_id),
            "jobId": the_job.job_id,
            "targetSelection": the_job.target_selection.value,
            "status": the_job.status.value,
            "forceCanceled": the_job.force_canceled,
            "targets": the_job.targets,
            "createdAt": the_job.created_at_ms / 1000,
            "lastUpdatedAt": the_job.last_updated_at_ms / 1000,
            "jobProcessDetails": events.process_details(the_job)
            | ({"processingTargets": processing} if processing else {}),
            "isConcurrent": the_job.is_concurrent,
            **the_job.options,
            **scheduling.shown(step, the_job),
            **{name: value for name, value in optional.items() if value},
        }
    }


def get_job_document(step: Step, request: operations.GetJobDocument, _by: str) -> dict[str, Any]:
    """Return the document as it was given, byte for byte; a managed template's with its parameters put in."""
    the_job = find_job(step, request.job_id)
    authored = the_job.authored_document if request.before_substitution else ""
    return {"document": authored or the_job.document}


def list_jobs(step: Step, request: operations.ListJobs, _by: str) -> dict[str, Any]:
    """List jobs in the order of their creation."""
    group_name = _group_name(step, request)
    group_arn = step.naming.group_arn(group_name) if group_name is not None else None
    status, selection, namespace_id = request.status, request.target_selection, request.namespace_id

    def keep(the_job: Job) -> bool:
        return (
            status in (None, the_job.status)
            and selection in (None, the_job.target_selection)
            and (namespace_id is None or the_job.options.get("namespaceId") == namespace_id)
            and (group_arn is None or group_arn in the_job.targets)
        )

    jobs, next_token = page(
        step.state.job_order,
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(status, selection, namespace_id, group_name),
        keep=keep,
    )
    group_id = step.state.group_ids[group_name] if group_name is not None else None
    listed = [_summary(step, the_job) | ({"thingGroupId": group_id} if group_id else {}) for the_job in jobs]
    return {"jobs": listed} | ({"nextToken": next_token} if next_token else {})


def _summary(step: Step, the_job: Job) -> dict[str, Any]:
    return {
        "jobArn": step.naming.job_arn(the_job.job_id),
        "jobId": the_job.job_id,
        "targetSelection": the_job.target_selection.value,
        "status": the_job.status.value,
        "createdAt": the_job.created_at_ms / 1000,
        "lastUpdatedAt": the_job.last_updated_at_ms / 1000,
        "isConcurrent": the_job.is_concurrent,
        **({"completedAt": the_job.completed_at_ms / 1000} if the_job.completed_at_ms else {}),
    }


def _group_name(step: Step, request: operations.ListJobs) -> str | None:
    """Return the group that the jobs must target directly, None for any (spec: control plane 1.5)."""
    name, group_id = request.thing_group_name, request.thing_group_id
    if name is not None and group_id is not None:
        message = "thingGroupName and thingGroupId are given; expected one of them"
        raise InvalidRequestError(message)
    if group_id is None:
        return groups.find(step.state, name).group_name if name is not None else None
    group = groups.by_id(step.state, group_id)
    if group is None:
        message = f"Thing group {group_id} not found"
        raise ResourceNotFoundError(message)
    return group.group_name


def _scheduling(
    step: Step, request: operations.CreateJob, made: authoring.Authored
) -> schedule.SchedulingConfig | None:
    """Return the schedule, with the template's windows where the request gives none; checked."""
    config = request.scheduling_config
    windows = made.options.get("maintenanceWindows")
    if windows and (config is None or config.maintenance_windows is None):
        merged = (msgspec.to_builtins(config) if config else {}) | {"maintenanceWindows": windows}
        try:
            config = msgspec.convert(merged, schedule.SchedulingConfig)
        except msgspec.ValidationError as error:
            # An older version let templates have more windows.
            message = f"The template's maintenanceWindows: {error}"
            raise InvalidRequestError(message) from None
    if config is not None:
        schedule.check(config, request.target_selection, step.now_ms)
    return config


def _options(
    request: operations.CreateJob, made: authoring.Authored, config: schedule.SchedulingConfig | None
) -> dict[str, Any]:
    """Return the effective configurations, nothing invented (spec: control plane 2.1)."""
    options = made.options | configurations(request)
    options.pop("maintenanceWindows", None)
    given = {
        "schedulingConfig": config and msgspec.to_builtins(config),
        "namespaceId": request.namespace_id,
        "jobTemplateArn": request.job_template_arn,
        "documentParameters": request.document_parameters,
        "destinationPackageVersions": request.destination_package_versions,
    }
    return options | {name: value for name, value in given.items() if value is not None}
