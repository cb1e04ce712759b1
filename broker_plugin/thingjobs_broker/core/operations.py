"""The control plane's requests: one Struct for each operation, its constraints in its types (spec: control
plane 1.3, 1.4).

Member names are AWS's in camelCase, path labels and query members included. Unknown members are ignored
(1.1).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from thingjobs_broker.core.abort import AbortConfig
from thingjobs_broker.core.placeholders import PresignedUrlConfig
from thingjobs_broker.core.rollout import RolloutConfig
from thingjobs_broker.core.schedule import MaintenanceWindows, SchedulingConfig
from thingjobs_protocol import limits
from thingjobs_protocol.status import JobExecutionStatus, JobStatus, TargetSelection

JobId = Annotated[str, Meta(pattern=limits.JOB_ID_PATTERN)]
ThingName = Annotated[str, Meta(pattern=limits.THING_NAME_PATTERN)]
Text = Annotated[str, Meta(max_length=limits.TEXT_CHARACTERS_MAX)]
JobText = Annotated[str, Meta(min_length=1, max_length=limits.TEXT_CHARACTERS_MAX)]
"""Of jobs and templates, whose pattern asks for a character (1.3)."""
Target = Annotated[str, Meta(min_length=1, max_length=2048)]
Minutes = Annotated[int, Meta(ge=limits.TIMEOUT_MINUTES_MIN, le=limits.TIMEOUT_MINUTES_MAX)]
Long = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
PageSize = Annotated[int, Meta(ge=1, le=limits.PAGE_SIZE_MAX)]
TemplateId = Annotated[str, Meta(pattern=limits.JOB_ID_PATTERN)]
Document = Annotated[str, Meta(max_length=limits.JOB_DOCUMENT_CHARACTERS_MAX)]
DocumentUrl = Annotated[str, Meta(min_length=1, max_length=1350)]
Arn = Annotated[str, Meta(max_length=1600, pattern=r"^arn:[!-~]+\Z")]
PackageVersions = Annotated[list[Arn], Meta(max_length=25)]
ParameterKey = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,128}\Z")]
ParameterValue = Annotated[str, Meta(min_length=1, max_length=30_720)]
TagKey = Annotated[str, Meta(min_length=1, max_length=128)]
ReasonCode = Annotated[str, Meta(max_length=128, pattern=r"^[A-Z0-9_]+\Z")]
ThingGroupId = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9-]{1,128}\Z")]
NamespaceId = Annotated[str, Meta(max_length=128, pattern=r"^[a-zA-Z0-9_-]+\Z")]
"""AWS's has no bound; it becomes part of a topic."""
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
    use_prefix_attribute_value: bool = False
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


class Tag(msgspec.Struct, frozen=True):
    """One tag; its members begin with a capital letter."""

    key: TagKey = msgspec.field(name="Key")
    value: Annotated[str, Meta(max_length=256)] = msgspec.field(name="Value", default="")


class CreateJob(Request, frozen=True):
    """Spec: control plane 1.4, 1.5."""

    job_id: JobId
    targets: Annotated[list[Target], Meta(min_length=1)]
    document: Document | None = None
    document_source: DocumentUrl | None = None
    job_template_arn: Arn | None = None
    document_parameters: dict[ParameterKey, ParameterValue] | None = None
    destination_package_versions: PackageVersions | None = None
    tags: list[Tag] = []
    description: JobText | None = None
    target_selection: TargetSelection = TargetSelection.SNAPSHOT
    presigned_url_config: PresignedUrlConfig | None = None
    job_executions_rollout_config: RolloutConfig | None = None
    abort_config: AbortConfig | None = None
    timeout_config: TimeoutConfig | None = None
    job_executions_retry_config: RetryConfig | None = None
    scheduling_config: SchedulingConfig | None = None
    namespace_id: NamespaceId | None = None


class UpdateJob(Request, frozen=True):
    """Spec: control plane 5.3; each member that is given replaces the stored one whole."""

    job_id: JobId
    namespace_id: NamespaceId | None = None
    description: JobText | None = None
    presigned_url_config: PresignedUrlConfig | None = None
    job_executions_rollout_config: RolloutConfig | None = None
    abort_config: AbortConfig | None = None
    timeout_config: TimeoutConfig | None = None
    job_executions_retry_config: RetryConfig | None = None


class DeleteJob(Request, frozen=True):
    """Spec: control plane 1.5."""

    job_id: JobId
    force: bool = False
    namespace_id: NamespaceId | None = None


class AssociateTargetsWithJob(Request, frozen=True):
    """Spec: control plane 1.5; thing groups only (A28)."""

    job_id: JobId
    targets: Annotated[list[Target], Meta(min_length=1)]
    comment: JobText | None = None
    namespace_id: NamespaceId | None = None


class DescribeJob(Request, frozen=True):
    """Spec: control plane 2.1."""

    job_id: JobId
    before_substitution: bool = False


class GetJobDocument(Request, frozen=True):
    """Spec: control plane 1.5, 7.2."""

    job_id: JobId
    before_substitution: bool = False


class ListJobs(Request, frozen=True):
    """Spec: control plane 1.4; filters are combined with AND."""

    status: JobStatus | None = None
    target_selection: TargetSelection | None = None
    thing_group_name: ThingName | None = None
    thing_group_id: ThingGroupId | None = None
    namespace_id: NamespaceId | None = None
    max_results: PageSize | None = None
    next_token: str | None = None


class CancelJob(Request, frozen=True):
    """Spec: control plane 1.5."""

    job_id: JobId
    force: bool = False
    reason_code: ReasonCode | None = None
    comment: JobText | None = None


class CancelJobExecution(Request, frozen=True):
    """Spec: control plane 1.5; acts on the newest execution."""

    job_id: JobId
    thing_name: ThingName
    force: bool = False
    expected_version: Long | None = None
    status_details: dict[str, str] | None = None


class DeleteJobExecution(Request, frozen=True):
    """Spec: control plane 1.5."""

    job_id: JobId
    thing_name: ThingName
    execution_number: Long
    force: bool = False
    namespace_id: NamespaceId | None = None


class DescribeJobExecution(Request, frozen=True):
    """Spec: control plane 1.5; any status."""

    job_id: JobId
    thing_name: ThingName
    execution_number: Long | None = None


class ListJobExecutionsForJob(Request, frozen=True):
    """Spec: control plane 1.5: one entry for each execution record."""

    job_id: JobId
    status: JobExecutionStatus | None = None
    max_results: PageSize | None = None
    next_token: str | None = None


class ListJobExecutionsForThing(Request, frozen=True):
    """Spec: control plane 1.5: one entry for each execution record."""

    thing_name: ThingName
    status: JobExecutionStatus | None = None
    job_id: JobId | None = None
    namespace_id: NamespaceId | None = None
    max_results: PageSize | None = None
    next_token: str | None = None


class DescribeTimeline(Request, frozen=True):
    """Our own: who did what when, of a job, or with `thing_name` of one execution (spec: control plane
    B18).
    """

    job_id: JobId
    thing_name: ThingName | None = None
    execution_number: Long | None = None


class UpdateJobExecutionTimeout(Request, frozen=True):
    """Our own: the in-progress timeout of a running execution, from its start (control plane B9, B10)."""

    job_id: JobId
    thing_name: ThingName
    timeout_in_minutes: Any


class UpdateThingGroupTimeouts(Request, frozen=True):
    """Our own: what holds for jobs that target a group (spec: control plane B3 to B5)."""

    thing_group_name: ThingName
    default_timeout_in_minutes: Minutes | None = None
    maximum_timeout_in_minutes: Minutes | None = None


class DescribeThingGroupTimeouts(Request, frozen=True):
    """Our own: see UpdateThingGroupTimeouts."""

    thing_group_name: ThingName


class PreviewJob(CreateJob, frozen=True, kw_only=True):
    """Our own: what CreateJob with the same members would do; nothing changes. Without `job_id` any is free.

    `query_string` stands in place of targets, of which there may be more than a job can have. A page tells of
    some of the things, the last one of the rollout; `max_results` names are shown of each kind on a page.
    """

    job_id: JobId = ""
    targets: list[Target] = []
    query_string: str | None = None
    max_results: PageSize | None = None
    next_token: str | None = None


class DescribeJobRollout(Request, frozen=True):
    """Our own: how far the rollout of a job has come, and when it will be done."""

    job_id: JobId


class ExplainExecution(Request, frozen=True):
    """Our own: why a job does not run on a thing, or all that the thing has to do without `job_id`."""

    thing_name: ThingName
    job_id: JobId | None = None


class DescribeClock(Request, frozen=True):
    """Our own: what time it is for the service, and whether its clock is one for tests."""


class AdvanceClock(Request, frozen=True):
    """Our own: let so much time pass, with all that falls due on the way; for a service under test."""

    duration_in_seconds: Annotated[int, Meta(ge=1, le=10 * 366 * 86_400)]


class CreateJobTemplate(Request, frozen=True):
    """Spec: control plane 1.4, 7.3."""

    job_template_id: TemplateId
    description: JobText
    job_arn: Arn | None = None
    document: Document | None = None
    document_source: DocumentUrl | None = None
    presigned_url_config: PresignedUrlConfig | None = None
    job_executions_rollout_config: RolloutConfig | None = None
    abort_config: AbortConfig | None = None
    timeout_config: TimeoutConfig | None = None
    job_executions_retry_config: RetryConfig | None = None
    maintenance_windows: MaintenanceWindows | None = None
    destination_package_versions: PackageVersions | None = None
    tags: list[Tag] = []


class DescribeJobTemplate(Request, frozen=True):
    """Spec: control plane 1.4."""

    job_template_id: TemplateId


class ListJobTemplates(Request, frozen=True):
    """Spec: control plane 1.4."""

    max_results: PageSize | None = None
    next_token: str | None = None


class DeleteJobTemplate(Request, frozen=True):
    """Spec: control plane 1.4."""

    job_template_id: TemplateId


class DescribeManagedJobTemplate(Request, frozen=True):
    """Spec: control plane 1.4; without a version, the default one."""

    template_name: Annotated[str, Meta(min_length=1, max_length=2048)]
    template_version: Annotated[str, Meta(pattern=r"^[1-9]+\.[0-9]+\Z")] | None = None


class ListManagedJobTemplates(Request, frozen=True):
    """Spec: control plane 1.4."""

    template_name: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None
    max_results: PageSize | None = None
    next_token: str | None = None


class TagResource(Request, frozen=True):
    """Spec: control plane 1.4."""

    resource_arn: str
    tags: list[Tag]


class UntagResource(Request, frozen=True):
    """Spec: control plane 1.4."""

    resource_arn: str
    tag_keys: list[TagKey]


class ListTagsForResource(Request, frozen=True):
    """Spec: control plane 1.4."""

    resource_arn: str
    next_token: str | None = None
