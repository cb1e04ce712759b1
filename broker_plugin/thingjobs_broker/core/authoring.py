"""What a job or template is made of: its document, and what a template gives (spec: control plane 7).

Templates are merged by whole members: what the request gives replaces what the template has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from thingjobs_broker.core import managed_templates, placeholders
from thingjobs_broker.core.errors import InvalidRequestError, ResourceNotFoundError
from thingjobs_protocol.limits import JOB_DOCUMENT_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thingjobs_broker.core import operations
    from thingjobs_broker.core.entities import Template
    from thingjobs_broker.core.step import Step


class Authored(msgspec.Struct, frozen=True):
    """A document, and what it came from."""

    document: str
    """As devices get it, but for presigned URLs."""
    source: str = ""
    original: str = ""
    """The document before its parameters were put in, empty where that changed nothing."""
    description: str = ""
    options: dict[str, Any] = {}
    """What the template brings along."""


def of_job(step: Step, request: operations.CreateJob) -> Authored:
    """Return what a job is made of.

    Raises:
        InvalidRequestError: no document, two of them, a bad one, or parameters without a managed template.
        ResourceNotFoundError: there is no such template.

    """
    arn = request.job_template_arn
    managed = managed_templates.by_arn(arn, step.naming.region) if arn is not None else None
    if managed is not None:
        return _of_managed(step, request, managed)
    if request.document_parameters is not None:
        message = "documentParameters are for managed templates; expected the jobTemplateArn of one"
        raise InvalidRequestError(message)
    template = find_template_by_arn(step, arn) if arn is not None else None
    if template is None or request.document is not None or request.document_source is not None:
        made = document_of(step, request.document, request.document_source)
    else:
        made = Authored(template.document, template.document_source)
    if template is None:
        return made
    return msgspec.structs.replace(made, description=template.description, options=template.options)


def document_of(step: Step, document: str | None, source: str | None) -> Authored:
    """Return the document that is given, or what lies at its source now (spec: control plane 7.1).

    Raises:
        InvalidRequestError: none or both are given, the source cannot be had, or it is no job document.

    """
    if document is not None and source is not None:
        message = "document and documentSource are given; expected one of them"
        raise InvalidRequestError(message)
    if source is not None and step.ports.rules.moto_compat:
        # What lies there stays unread (11.2).
        return Authored("", source)
    if source is not None:
        return Authored(_checked(step, "documentSource", _fetched(step, source)), source)
    if document is None:
        message = "document is missing; expected the job document as a string of JSON"
        raise InvalidRequestError(message)
    return Authored(_checked(step, "document", document))


def find_template_by_arn(step: Step, arn: str) -> Template:
    """Return the custom template with that ARN.

    Raises:
        ResourceNotFoundError: there is none.

    """
    template_id = step.naming.name_in("jobtemplate", arn)
    template = step.state.templates.get(template_id) if template_id is not None else None
    if template is None:
        message = f"Job template {arn[:200]} not found"
        raise ResourceNotFoundError(message)
    return template


def _of_managed(
    step: Step, request: operations.CreateJob, template: managed_templates.ManagedTemplate
) -> Authored:
    if request.document is not None or request.document_source is not None:
        message = f"document is given; {template.template_name} brings its own"
        raise InvalidRequestError(message)
    parameters = request.document_parameters or {}
    managed_templates.check_parameters(template, parameters)
    made = _placed(step, template.document, parameters)
    return Authored(made, original=template.document, description=template.description)


def _fetched(step: Step, url: str) -> str:
    documents = step.ports.documents
    if documents is None:
        message = "documentSource is given, but this service has no artifact directory; expected document"
        raise InvalidRequestError(message)
    try:
        content = documents.fetch(url)
        if len(content) <= JOB_DOCUMENT_BYTES_MAX:
            return content.decode()
        message = f"documentSource {url[:200]!r} may have {JOB_DOCUMENT_BYTES_MAX} bytes and has more"
        raise InvalidRequestError(message)
    except OSError as error:
        message = f"documentSource {url[:200]!r} cannot be read: {error}"
        raise InvalidRequestError(message) from None
    except UnicodeDecodeError:
        message = f"documentSource {url[:200]!r} is not UTF-8"
        raise InvalidRequestError(message) from None


def _checked(step: Step, member: str, text: str) -> str:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        message = f"{member} is not JSON: {error}"
        raise InvalidRequestError(message) from None
    if not isinstance(value, dict):
        message = f"{member} must be a JSON object, not {type(value).__name__}"
        raise InvalidRequestError(message)
    return _placed(step, text, None)


def _placed(step: Step, document: str, parameters: Mapping[str, str] | None) -> str:
    """Put parameters in and check the placeholders that stay; the signer vouches for a credential."""
    placed = placeholders.at_creation(document, parameters=parameters, has_role=True)
    if step.ports.signer is None and any(
        found.kind in placeholders.PRESIGNED for found in placeholders.find(placed)
    ):
        message = "The document holds a presigned URL, but this service has no artifact directory to sign for"
        raise InvalidRequestError(message)
    return placed
