"""The operations on job templates, custom and managed (spec: control plane 1.4, 7.3, 7.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from thingjobs_broker.core import authoring, managed_templates, quotas, tags
from thingjobs_broker.core.errors import ConflictError, ResourceNotFoundError
from thingjobs_broker.core.lookups import check_retries, check_text, configurations, find_job
from thingjobs_broker.core.paging import page
from thingjobs_broker.core.records import TemplateCreated, TemplateDeleted

if TYPE_CHECKING:
    from thingjobs_broker.core import operations
    from thingjobs_broker.core.entities import Template
    from thingjobs_broker.core.step import Step


def create_job_template(step: Step, request: operations.CreateJobTemplate, by: str) -> dict[str, Any]:
    """Keep a document and configurations for later jobs; from a job all of it, but for what is given."""
    template_id = request.job_template_id
    if template_id in step.state.templates:
        message = f"Job template {template_id} already exists"
        raise ConflictError(message, resourceId=template_id)
    check_text("description", request.description)
    check_retries(step, request.job_executions_retry_config)
    tags.check(step, request.tags)
    made = _authored(step, request)
    options = made.options | configurations(request)
    windows = request.maintenance_windows
    if windows is not None:
        options["maintenanceWindows"] = msgspec.to_builtins(windows)
    if request.destination_package_versions is not None:
        options["destinationPackageVersions"] = request.destination_package_versions
    count = len(step.state.templates) + 1
    quotas.check(step.ports.rules, "templates_max", count, "Job templates", "; delete one")
    step.apply(
        TemplateCreated(
            template_id, step.now_ms, by, request.description, made.document, made.source, options
        )
    )
    arn = step.naming.template_arn(template_id)
    tags.put(step, arn, request.tags)
    return {"jobTemplateArn": arn, "jobTemplateId": template_id}


def describe_job_template(step: Step, request: operations.DescribeJobTemplate, _by: str) -> dict[str, Any]:
    """Show a template with all that it brings to a job."""
    template = _template(step, request.job_template_id)
    source = {"documentSource": template.document_source} if template.document_source else {}
    return {**_summary(step, template), **source, "document": template.document, **template.options}


def list_job_templates(step: Step, request: operations.ListJobTemplates, _by: str) -> dict[str, Any]:
    """List templates in the order of their creation."""
    templates, next_token = page(
        step.state.template_order, next_token=request.next_token, max_results=request.max_results
    )
    listed = [_summary(step, template) for template in templates]
    return {"jobTemplates": listed} | ({"nextToken": next_token} if next_token else {})


def delete_job_template(step: Step, request: operations.DeleteJobTemplate, by: str) -> dict[str, Any]:
    """Delete a template; its jobs stay as they are (spec: control plane 7.3)."""
    template = _template(step, request.job_template_id)
    step.apply(TemplateDeleted(template.template_id, step.now_ms, by))
    tags.forget(step, step.naming.template_arn(template.template_id))
    return {}


def describe_managed_job_template(
    step: Step, request: operations.DescribeManagedJobTemplate, _by: str
) -> dict[str, Any]:
    """Show a managed template and its parameters."""
    template = managed_templates.by_name(request.template_name, request.template_version)
    if template is None:
        version = f" version {request.template_version}" if request.template_version is not None else ""
        message = f"Managed job template {request.template_name[:128]}{version} not found"
        raise ResourceNotFoundError(message)
    return managed_templates.describe(template, step.naming.region)


def list_managed_job_templates(
    step: Step, request: operations.ListManagedJobTemplates, _by: str
) -> dict[str, Any]:
    """List the managed templates, or the one with a name."""
    name = request.template_name
    templates, next_token = page(
        list(managed_templates.TEMPLATES.values()),
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(name,),
        keep=lambda template: name in (None, template.template_name),
    )
    listed = [managed_templates.summarize(template, step.naming.region) for template in templates]
    return {"managedJobTemplates": listed} | ({"nextToken": next_token} if next_token else {})


def _authored(step: Step, request: operations.CreateJobTemplate) -> authoring.Authored:
    job_id = step.naming.name_in("job", request.job_arn) if request.job_arn is not None else None
    if request.job_arn is not None and job_id is None:
        message = f"Job {request.job_arn[:200]} not found"
        raise ResourceNotFoundError(message)
    if job_id is None:
        return authoring.document_of(step, request.document, request.document_source)
    job = find_job(step, job_id)
    if request.document is None and request.document_source is None:
        made = authoring.Authored(job.document, job.document_source)
    else:
        made = authoring.document_of(step, request.document, request.document_source)
    copied = {name: value for name, value in job.options.items() if name in _COPIED}
    windows = job.options.get("schedulingConfig", {}).get("maintenanceWindows")
    return msgspec.structs.replace(
        made, options=copied | ({"maintenanceWindows": windows} if windows else {})
    )


_COPIED = frozenset(
    {
        *("presignedUrlConfig", "jobExecutionsRolloutConfig", "abortConfig", "timeoutConfig"),
        *("jobExecutionsRetryConfig", "destinationPackageVersions"),
    }
)


def _template(step: Step, template_id: str) -> Template:
    template = step.state.templates.get(template_id)
    if template is None:
        message = f"Job template {template_id} not found"
        raise ResourceNotFoundError(message)
    return template


def _summary(step: Step, template: Template) -> dict[str, Any]:
    return {
        "jobTemplateArn": step.naming.template_arn(template.template_id),
        "jobTemplateId": template.template_id,
        "description": template.description,
        "createdAt": template.created_at_ms / 1000,
    }
