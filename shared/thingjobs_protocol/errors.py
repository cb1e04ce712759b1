"""What a device's request can be refused with: one class for each code on the wire.

Rejected
  InvalidTopic  InvalidJson  InvalidRequest  ResourceNotFound  VersionMismatch
  InvalidStateTransition  TerminalStateReached  RequestThrottled  InternalError
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from thingjobs_protocol.messages import JobExecutionState


class RejectedErrorCode(StrEnum):
    """The `code` of a rejected reply (spec: data plane 3.2)."""

    INVALID_TOPIC = "InvalidTopic"
    INVALID_JSON = "InvalidJson"
    INVALID_REQUEST = "InvalidRequest"
    INVALID_STATE_TRANSITION = "InvalidStateTransition"
    RESOURCE_NOT_FOUND = "ResourceNotFound"
    VERSION_MISMATCH = "VersionMismatch"
    INTERNAL_ERROR = "InternalError"
    REQUEST_THROTTLED = "RequestThrottled"
    TERMINAL_STATE_REACHED = "TerminalStateReached"


class Rejected(Exception):
    """A request that is refused; nothing has changed. Never raised itself.

    `client_token` is echoed when the request carried a readable one; `execution_state` is the current,
    unchanged state and goes only with VersionMismatch and InvalidStateTransition (spec: data plane 3.1).
    """

    code: ClassVar[RejectedErrorCode]

    def __init__(
        self,
        message: str,
        *,
        client_token: str | None = None,
        execution_state: JobExecutionState | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.client_token = client_token
        self.execution_state = execution_state


class InvalidTopic(Rejected):
    """The topic lies under the thing's jobs but names no operation."""

    code = RejectedErrorCode.INVALID_TOPIC


class InvalidJson(Rejected):
    """The payload is not a UTF-8 JSON object."""

    code = RejectedErrorCode.INVALID_JSON


class InvalidRequest(Rejected):
    """A member is missing, of the wrong type, out of range or breaks a pattern."""

    code = RejectedErrorCode.INVALID_REQUEST


class ResourceNotFound(Rejected):
    """The thing, job or job execution does not exist."""

    code = RejectedErrorCode.RESOURCE_NOT_FOUND


class VersionMismatch(Rejected):
    """`expectedVersion` is not the stored version number."""

    code = RejectedErrorCode.VERSION_MISMATCH


class InvalidStateTransition(Rejected):
    """The status may not be set by a device, or the execution is terminal."""

    code = RejectedErrorCode.INVALID_STATE_TRANSITION


class TerminalStateReached(Rejected):
    """The described execution is terminal."""

    code = RejectedErrorCode.TERMINAL_STATE_REACHED


class RequestThrottled(Rejected):
    """The thing sends more requests than its rate allows."""

    code = RejectedErrorCode.REQUEST_THROTTLED


class InternalError(Rejected):
    """The service cannot do its work at the moment; the device may try again."""

    code = RejectedErrorCode.INTERNAL_ERROR
