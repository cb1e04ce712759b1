"""What a control-plane request can be refused with: one class for each AWS error code (spec: control plane
1.2).

    ControlError
      InvalidRequestError  InvalidQueryError  ResourceNotFoundError  ResourceAlreadyExistsError  ConflictError
      InvalidStateTransitionError  VersionConflictError  LimitExceededError  ThrottlingError
      ServiceUnavailableError
"""

from __future__ import annotations

from typing import ClassVar


class ControlError(Exception):
    """A control-plane request that is refused; nothing has changed. Never raised itself."""

    code: ClassVar[str]
    http_status: ClassVar[int]

    def __init__(self, message: str, **members: str) -> None:
        super().__init__(message)
        self.message = message
        self.members = members
        """Further members of the error's body, in camelCase (resourceId, resourceArn)."""


class InvalidRequestError(ControlError):
    """Malformed, out of range, contradictory, or a wrong state where the operation lists no other error."""

    code = "InvalidRequestException"
    http_status = 400


class InvalidQueryError(ControlError):
    """A query of a search or of a dynamic group that says nothing."""

    code = "InvalidQueryException"
    http_status = 400


class ResourceNotFoundError(ControlError):
    """The job, execution or thing does not exist."""

    code = "ResourceNotFoundException"
    http_status = 404


class ResourceAlreadyExistsError(ControlError):
    """The id is taken, or the name with another configuration."""

    code = "ResourceAlreadyExistsException"
    http_status = 409


class ConflictError(ControlError):
    """The id of a job template is taken."""

    code = "ConflictException"
    http_status = 409


class InvalidStateTransitionError(ControlError):
    """The state does not allow it without `force`, or at all."""

    code = "InvalidStateTransitionException"
    http_status = 409


class VersionConflictError(ControlError):
    """`expectedVersion` is not the current version."""

    code = "VersionConflictException"
    http_status = 409


class LimitExceededError(ControlError):
    """A quota is used up."""

    code = "LimitExceededException"
    http_status = 410


class ThrottlingError(ControlError):
    """An operation is asked for too often."""

    code = "ThrottlingException"
    http_status = 400


class ServiceUnavailableError(ControlError):
    """The service cannot do its work at the moment."""

    code = "ServiceUnavailableException"
    http_status = 503
