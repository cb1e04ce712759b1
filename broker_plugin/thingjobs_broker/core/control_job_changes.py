"""The operations that change a job: update, cancel, delete, associate (spec: control plane 1.5, 5.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingjobs_broker.core import job, lifecycle, quotas, targets, timeout_policy
from thingjobs_broker.core.errors import (
    InvalidRequestError,
    InvalidStateTransitionError,
)
from thingjobs_broker.core.lookups import check_retries, check_text, configurations, find_job, identity
from thingjobs_broker.core.naming import group_of
from thingjobs_broker.core.records import JobUpdated
from thingjobs_protocol.status import JobStatus, TargetSelection

if TYPE_CHECKING:
    from thingjobs_broker.core import operations
    from thingjobs_broker.core.state import Job
    from thingjobs_broker.core.step import Step


def update_job(step: Step, request: operations.UpdateJob, by: str) -> dict[str, Any]:
    """Replace what is given; it holds for what has not happened yet (spec: control plane 5.3).

    Executions that run keep their timer (V20), the rollout changes with its next window, and abort criteria
    are looked at now.
    """
    the_job = find_job(step, request.job_id, request.namespace_id)
    check_text("description", request.description)
    if job.next_status(the_job, job.JobInput.UPDATE) is None:
        message = f"Job {the_job.job_id} is {the_job.status.value} and cannot be updated"
        raise InvalidRequestError(message)
    retries = request.job_executions_retry_config
    check_retries(step, retries)
    if retries is not None and any(criterion.number_of_retries for criterion in retries.criteria_list):
        message = (
            "jobExecutionsRetryConfig can only be updated with a numberOfRetries of 0, to end all retries"
        )
        raise InvalidRequestError(message)
    options = configurations(request)
    if "timeoutConfig" in options:
        timeout = timeout_policy.effective(step, the_job.targets, options["timeoutConfig"])
        options["timeoutConfig"] = timeout or {}
    step.apply(
        JobUpdated(the_job.job_id, step.now_ms, by, description=request.description, options=options or None)
    )
    if request.abort_config is not None:
        lifecycle.abort_if_met(step, the_job)
    return {}


def cancel_job(step: Step, request: operations.CancelJob, by: str) -> dict[str, Any]:
    """Cancel a job at once; its executions follow in slices, the first of them now (spec: control plane
    1.5).
    """
    the_job = find_job(step, request.job_id)
    check_text("comment", request.comment)
    event = job.JobInput.FORCE_CANCEL if request.force else job.JobInput.CANCEL
    if job.next_status(the_job, event) is None:
        message = f"Job {the_job.job_id} is {the_job.status.value} and cannot be canceled"
        raise InvalidRequestError(message)
    lifecycle.cancel_job(
        step,
        the_job,
        by,
        force=request.force,
        reason_code=request.reason_code or "",
        comment=request.comment or "",
    )
    return identity(step, the_job)


def delete_job(step: Step, request: operations.DeleteJob, by: str) -> dict[str, Any]:
    """Delete a job; its executions go first, in slices, and then its id is free again (V10)."""
    the_job = find_job(step, request.job_id, request.namespace_id)
    force = request.force or step.ports.rules.moto_compat
    event = job.JobInput.FORCE_DELETE if force else job.JobInput.DELETE
    if job.next_status(the_job, event) is None:
        is_deleting = the_job.status is JobStatus.DELETION_IN_PROGRESS
        hint = "" if is_deleting else "; force=true does it"
        message = f"Job {the_job.job_id} is {the_job.status.value} and cannot be deleted{hint}"
        raise InvalidStateTransitionError(message)
    count = len(step.state.deleting_jobs) + 1
    quotas.check(step.ports.rules, "deletions_max", count, "Jobs being deleted", "; wait for one")
    lifecycle.delete_job(step, the_job, by)
    return {}


def associate_targets_with_job(
    step: Step, request: operations.AssociateTargetsWithJob, by: str
) -> dict[str, Any]:
    """Add thing groups to a CONTINUOUS job; their members get their executions now, beside any rate."""
    the_job = find_job(step, request.job_id, request.namespace_id)
    check_text("comment", request.comment)
    _check_is_open(the_job)
    together = targets.arns(step, request.targets, the_job.targets)
    added = together[len(the_job.targets) :]
    things = [target for target in added if group_of(target) is None]
    if things:
        message = f"Target {things[0]!r} is a thing; AssociateTargetsWithJob takes thing groups"
        raise InvalidRequestError(message)
    if added and not the_job.is_concurrent:
        # Its rollout begins anew (2.4).
        quotas.check_concurrent(step.ports.rules, len(step.state.concurrent_jobs) + 1)
    step.apply(
        JobUpdated(
            the_job.job_id,
            step.now_ms,
            by,
            targets=together if added else None,
            comment=request.comment,
        )
    )
    step.attend(the_job)
    return identity(step, the_job)


def _check_is_open(the_job: Job) -> None:
    """Only a CONTINUOUS job that is IN_PROGRESS takes further targets."""
    selection = the_job.target_selection
    if selection is not TargetSelection.CONTINUOUS:
        message = f"Job {the_job.job_id} is {selection.value}; only a CONTINUOUS job takes further targets"
        raise InvalidRequestError(message)
    if the_job.status is not JobStatus.IN_PROGRESS or the_job.ended:
        message = f"Job {the_job.job_id} is {the_job.status.value} and takes no further targets"
        raise InvalidRequestError(message)
