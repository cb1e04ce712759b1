"""Answers and errors as rest-json has them (spec: control plane 1.1, 1.2; data plane 3.2). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from thingjobs_broker.core.errors import ControlError
from thingjobs_protocol.errors import Rejected, RejectedErrorCode
from thingjobs_protocol.messages import (
    GetPendingJobExecutionsResponse,
    JobExecution,
    JobExecutionResponse,
    UpdateJobExecutionResponse,
    Wire,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class Answer(NamedTuple):
    """A response: `code` is that of an error, empty for a success."""

    status: int
    code: str
    body: bytes


class HttpError(Exception):
    """A request that never reaches the core: status, code and message of its refusal."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


_DATA_ERRORS: Final[Mapping[RejectedErrorCode, tuple[int, str]]] = {
    RejectedErrorCode.INVALID_TOPIC: (400, "InvalidRequestException"),
    RejectedErrorCode.INVALID_JSON: (400, "InvalidRequestException"),
    RejectedErrorCode.INVALID_REQUEST: (400, "InvalidRequestException"),
    RejectedErrorCode.RESOURCE_NOT_FOUND: (404, "ResourceNotFoundException"),
    RejectedErrorCode.VERSION_MISMATCH: (409, "InvalidStateTransitionException"),
    RejectedErrorCode.INVALID_STATE_TRANSITION: (409, "InvalidStateTransitionException"),
    RejectedErrorCode.TERMINAL_STATE_REACHED: (410, "TerminalStateException"),
    RejectedErrorCode.REQUEST_THROTTLED: (429, "ThrottlingException"),
    RejectedErrorCode.INTERNAL_ERROR: (503, "ServiceUnavailableException"),
}
"""Spec: data plane 3.2, "HTTP twin"."""


def control_answer(answer: dict[str, Any] | ControlError) -> Answer:
    """Return the response of a control-plane operation."""
    if isinstance(answer, ControlError):
        return failure(answer.http_status, answer.code, answer.message, answer.members)
    return Answer(200, "", msgspec.json.encode(answer))


def data_answer(answer: Wire | Rejected, thing_name: str) -> Answer:
    """Return the response of a data-plane operation: no timestamp or client token, the document as a text."""
    if isinstance(answer, Rejected):
        status, code = _DATA_ERRORS[answer.code]
        return failure(status, code, answer.message)
    match answer:
        case JobExecutionResponse(execution=JobExecution() as execution):
            shown = {"execution": _with_text(execution) | {"thingName": thing_name}}
        case UpdateJobExecutionResponse():
            shown = _with_text(answer)
        case GetPendingJobExecutionsResponse():
            shown = _plain(answer)
        case _:
            shown = {}
    for name in ("timestamp", "clientToken"):
        shown.pop(name, None)
    return Answer(200, "", msgspec.json.encode(shown))


def failure(status: int, code: str, message: str, members: Mapping[str, str] | None = None) -> Answer:
    """Return the response of a refusal."""
    return Answer(status, code, msgspec.json.encode({"message": message, **(members or {})}))


def _with_text(message: JobExecution | UpdateJobExecutionResponse) -> dict[str, Any]:
    """Return the members of a message, the document as JSON text (client-quirks)."""
    document = message.job_document
    bare = msgspec.structs.replace(message, job_document=msgspec.UNSET)
    return _plain(bare) | (
        {"jobDocument": bytes(document).decode()} if isinstance(document, msgspec.Raw) else {}
    )


def _plain(message: Wire) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(message)
    return found
