"""The control plane's requests: one Struct for each operation, its constraints in its types (spec: control
plane 1.3, 1.4).

Member names are AWS's in camelCase, path labels and query members included. Unknown members are ignored
(1.1).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from thingjobs_protocol import limits
from thingjobs_protocol.status import JobExecutionStatus, JobStatus, TargetSelection

JobId = Annotated[str, Meta(pattern=limits.JOB_ID_PATTERN)]
ThingName = Annotated[str, Meta(pattern=limits.THING_NAME_PATTERN)]
Text = Annotated[str, Meta(max_length=limits.TEXT_CHARACTERS_MAX)]
Target = Annotated[str, Meta(min_length=1, max_length=2048)]
Minutes = Annotated[int, Meta(ge=limits.TIMEOUT_MINUTES_MIN, le=limits.TIMEOUT_MINUTES_MAX)]
PageSize = Annotated[int, Meta(ge=1, le=limits.PAGE_SIZE_MAX)]
ReasonCode = Annotated[str, Meta(max_length=128, pattern=r"^[A-Z0-9_]+\Z")]
AttributeName = Annotated[str, Meta(max_length=128, pattern=r"^[a-zA-Z0-9_.,@/:#-]+\Z")]
AttributeValue = Annotated[str, Meta(max_length=800, pattern=r"^[a-zA-Z0-9_.,@/:#=\[\]-]*\Z")]


class Request(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """Base of all control-plane requests."""


class AttributePayload(Request, frozen=True):
    """`merge` matters to updates only."""

    attributes: dict[AttributeName, AttributeValue] = {}
    merge: bool = False


class CreateThing(Request, frozen=True):
    """Spec: control plane 1.8."""

    thing_name: ThingName
    thing_type_name: ThingName | None = None
    attribute_payload: AttributePayload | None = None
    billing_group_name: str | None = None


class ListThings(Request, frozen=True):
    """Spec: control plane 1.8."""

    attribute_name: AttributeName | None = None
    attribute_value: AttributeValue | None = None
    thing_type_name: ThingName | None = None
    max_results: PageSize | None = None
    next_token: str | None = None


class TimeoutConfig(Request, frozen=True):
    """The job's in-progress timer."""

    in_progress_timeout_in_minutes: Minutes | None = None


class RetryCriteria(Request, frozen=True):
    """How often one type of failure is retried."""

    failure_type: Literal["FAILED", "TIMED_OUT", "ALL"]
    number_of_retries: Annotated[int, Meta(ge=0, le=10)]


class RetryConfig(Request, frozen=True):
    """Spec: control plane 5.2."""

    criteria_list: Annotated[list[RetryCriteria], Meta(min_length=1, max_length=2)]


class CreateJob(Request, frozen=True):
    """Spec: control plane 1.4, 1.5."""

    job_id: JobId
    targets: Annotated[list[Target], Meta(min_length=1)]
    document: Annotated[str, Meta(max_length=limits.JOB_DOCUMENT_BYTES_MAX)] | None = None
    description: Text = ""
    target_selection: TargetSelection = TargetSelection.SNAPSHOT
    timeout_config: TimeoutConfig | None = None
    job_executions_retry_config: RetryConfig | None = None


class DescribeJob(Request, frozen=True):
    """Spec: control plane 2.1."""

    job_id: JobId


class GetJobDocument(Request, frozen=True):
    """Spec: control plane 1.5."""

    job_id: JobId


class ListJobs(Request, frozen=True):
    """Spec: control plane 1.4."""

    status: JobStatus | None = None
    target_selection: TargetSelection | None = None
    max_results: PageSize | None = None
    next_token: str | None = None


class CancelJob(Request, frozen=True):
    """Spec: control plane 1.5."""

    job_id: JobId
    force: bool = False
    reason_code: ReasonCode | None = None
    comment: Text | None = None


class CancelJobExecution(Request, frozen=True):
    """Spec: control plane 1.5; acts on the newest execution."""

    job_id: JobId
    thing_name: ThingName
    force: bool = False
    expected_version: int | None = None
    status_details: dict[str, str] | None = None


class DeleteJobExecution(Request, frozen=True):
    """Spec: control plane 1.5."""

    job_id: JobId
    thing_name: ThingName
    execution_number: int
    force: bool = False


class DescribeJobExecution(Request, frozen=True):
    """Spec: control plane 1.5; any status."""

    job_id: JobId
    thing_name: ThingName
    execution_number: int | None = None


class ListJobExecutionsForJob(Request, frozen=True):
    """Spec: control plane 1.5: one entry for each execution record."""

    job_id: JobId
    status: JobExecutionStatus | None = None
    max_results: PageSize | None = None
    next_token: str | None = None


class DescribeTimeline(Request, frozen=True):
    """Our own: who did what when, of a job, or with `thing_name` of one execution (spec: control plane
    B18).
    """

    job_id: JobId
    thing_name: ThingName | None = None
    execution_number: int | None = None
