"""One Struct for each message of the device protocol; camelCase on the wire by `rename`, absent members left
out.

All times are whole seconds since the epoch (client-quirks: SDKs call `fromtimestamp` on them).
"""

from __future__ import annotations

import msgspec

from thingjobs_protocol.status import JobExecutionStatus


class Wire(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """Base of all messages: absent members are omitted, never null (spec: data plane 2.1)."""


# -- requests: device to service (spec: data plane 2.3 to 2.6)


class GetPendingJobExecutionsRequest(Wire):
    """`get`."""

    client_token: str | None = None


class StartNextPendingJobExecutionRequest(Wire):
    """`start-next`. `step_timeout_in_minutes` is 1 to 10080."""

    client_token: str | None = None
    status_details: dict[str, str] | None = None
    step_timeout_in_minutes: int | None = None


class DescribeJobExecutionRequest(Wire):
    """`{jobId}/get`. Without `execution_number` the newest execution."""

    client_token: str | None = None
    execution_number: int | None = None
    include_job_document: bool = True


class UpdateJobExecutionRequest(Wire):
    """`{jobId}/update`. `step_timeout_in_minutes` is 1 to 10080, or -1 to cancel the step timer."""

    status: JobExecutionStatus
    client_token: str | None = None
    status_details: dict[str, str] | None = None
    expected_version: int | None = None
    execution_number: int | None = None
    include_job_execution_state: bool = False
    include_job_document: bool = False
    step_timeout_in_minutes: int | None = None


# -- shared objects (spec: data plane 2.2)


class JobExecutionSummary(Wire):
    """One entry of a list of pending executions."""

    job_id: str
    queued_at: int
    last_updated_at: int
    version_number: int
    execution_number: int
    started_at: int | None = None


class JobExecution(Wire):
    """A whole execution. `job_document` is the document's JSON text, an object on the wire."""

    job_id: str
    status: JobExecutionStatus
    queued_at: int
    last_updated_at: int
    version_number: int
    execution_number: int
    status_details: dict[str, str] | None = None
    started_at: int | None = None
    approximate_seconds_before_timed_out: int | None = None
    job_document: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class JobExecutionState(Wire):
    """The state part of an update's answer."""

    status: JobExecutionStatus
    version_number: int
    status_details: dict[str, str] | None = None


# -- replies: service to device


class GetPendingJobExecutionsResponse(Wire):
    """`get/accepted`; both lists are always there."""

    timestamp: int
    in_progress_jobs: list[JobExecutionSummary]
    queued_jobs: list[JobExecutionSummary]
    client_token: str | None = None


class JobExecutionResponse(Wire):
    """`start-next/accepted` and `{jobId}/get/accepted`; no `execution` when nothing is pending."""

    timestamp: int
    client_token: str | None = None
    execution: JobExecution | None = None


class UpdateJobExecutionResponse(Wire):
    """`{jobId}/update/accepted`."""

    timestamp: int
    client_token: str | None = None
    execution_state: JobExecutionState | None = None
    job_document: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class RejectedResponse(Wire):
    """`.../rejected` (spec: data plane 3.1)."""

    timestamp: int
    code: str
    message: str
    client_token: str | None = None
    execution_state: JobExecutionState | None = None


# -- notifications (spec: data plane 5.1)


class JobExecutionsChanged(Wire):
    """`notify`: the pending executions by status; a status without entries has no key."""

    timestamp: int
    jobs: dict[str, list[JobExecutionSummary]]


class NextJobExecutionChanged(Wire):
    """`notify-next`: the execution that `$next` returns now; none when nothing is pending."""

    timestamp: int
    execution: JobExecution | None = None
