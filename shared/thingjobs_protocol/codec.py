"""Bytes to requests, with every rule of shape and range applied, and messages to bytes. Decides InvalidJson
and InvalidRequest.

The fast path is one typed decode. Only what it refuses is looked at twice, to name the fault and to find the
client token.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from thingjobs_protocol import limits
from thingjobs_protocol.errors import InvalidJson, InvalidRequest
from thingjobs_protocol.messages import (
    DescribeJobExecutionRequest,
    GetPendingJobExecutionsRequest,
    StartNextPendingJobExecutionRequest,
    UpdateJobExecutionRequest,
    Wire,
)
from thingjobs_protocol.status import JobExecutionStatus
from thingjobs_protocol.topics import Api

Message = TypeVar("Message", bound=Wire)
Request = (
    GetPendingJobExecutionsRequest
    | StartNextPendingJobExecutionRequest
    | DescribeJobExecutionRequest
    | UpdateJobExecutionRequest
)
"""Any request of a device."""

Number = int | str | None
"""The v1 SDKs send expectedVersion and executionNumber as decimal strings (client-quirks, A16)."""
Details = dict[str, str | int | float | bool] | None
"""A published agent sends numbers as values; they are stored as their JSON text (client-quirks)."""


class _StartNextBody(Wire):
    client_token: str | None = None
    status_details: Details = None
    step_timeout_in_minutes: int | None = None


class _DescribeBody(Wire):
    client_token: str | None = None
    execution_number: Number = None
    include_job_document: bool | None = True


class _UpdateBody(Wire):
    status: JobExecutionStatus
    client_token: str | None = None
    status_details: Details = None
    expected_version: Number = None
    execution_number: Number = None
    include_job_execution_state: bool | None = False
    include_job_document: bool | None = False
    step_timeout_in_minutes: int | None = None


_encoder: Final = msgspec.json.Encoder()
_decode_get: Final = msgspec.json.Decoder(GetPendingJobExecutionsRequest).decode
_decode_start_next: Final = msgspec.json.Decoder(_StartNextBody).decode
_decode_describe: Final = msgspec.json.Decoder(_DescribeBody).decode
_decode_update: Final = msgspec.json.Decoder(_UpdateBody).decode
_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_details_key: Final = re.compile(limits.STATUS_DETAILS_KEY_PATTERN).match
_decimal: Final = re.compile(r"^[0-9]{1,18}\Z").match
NUMBER_MAX: Final = 2**63 - 1
"""Version and execution numbers are longs (spec: control plane 1.3)."""


def encode(message: Wire) -> bytes:
    """Return the JSON bytes of a message."""
    return _encoder.encode(message)


def decode_reply(kind: type[Message], payload: bytes) -> Message:
    """Decode a reply or notification on the device's side.

    Raises:
        msgspec.DecodeError: the payload is not what `kind` describes (also for wrong types).

    """
    return msgspec.json.decode(payload, type=kind)


def decode_request(api: Api, payload: bytes) -> Request:
    """Return the request in `payload`; a zero-length payload counts as `{}` (spec: data plane 2.1).

    Raises:
        InvalidJson: not a UTF-8 JSON object (data plane 3.2, A19).
        InvalidRequest: a member is missing, of the wrong type, out of range or breaks a pattern.

    """
    text = payload or b"{}"
    try:
        if not text.isascii():
            text.decode("utf-8")
        return _DECODERS[api](text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _explain(text, error) from None
    except _InvalidMemberError as error:
        raise InvalidRequest(str(error), client_token=_client_token(text)) from None


def client_token(payload: bytes) -> str | None:
    """Return the client token of a payload that nobody else decodes, None where there is no readable one."""
    try:
        return _token_of(_decode_members(payload or b"{}"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _get_pending(text: bytes) -> GetPendingJobExecutionsRequest:
    return _decode_get(text)


def _start_next(text: bytes) -> StartNextPendingJobExecutionRequest:
    body = _decode_start_next(text)
    # -1 is documented for UpdateJobExecution only (A10).
    return StartNextPendingJobExecutionRequest(
        client_token=body.client_token,
        status_details=checked_status_details(body.status_details),
        step_timeout_in_minutes=_step_timeout(body.step_timeout_in_minutes, may_cancel=False),
    )


def _describe(text: bytes) -> DescribeJobExecutionRequest:
    body = _decode_describe(text)
    return DescribeJobExecutionRequest(
        client_token=body.client_token,
        execution_number=_number(body.execution_number, "executionNumber"),
        include_job_document=body.include_job_document is not False,
    )


def _update(text: bytes) -> UpdateJobExecutionRequest:
    body = _decode_update(text)
    return UpdateJobExecutionRequest(
        status=body.status,
        client_token=body.client_token,
        status_details=checked_status_details(body.status_details),
        expected_version=_number(body.expected_version, "expectedVersion"),
        execution_number=_number(body.execution_number, "executionNumber"),
        include_job_execution_state=body.include_job_execution_state is True,
        include_job_document=body.include_job_document is True,
        step_timeout_in_minutes=_step_timeout(body.step_timeout_in_minutes, may_cancel=True),
    )


_DECODERS: Final[dict[Api, Callable[[bytes], Request]]] = {
    Api.GET_PENDING_JOB_EXECUTIONS: _get_pending,
    Api.START_NEXT_PENDING_JOB_EXECUTION: _start_next,
    Api.DESCRIBE_JOB_EXECUTION: _describe,
    Api.UPDATE_JOB_EXECUTION: _update,
}


class _InvalidMemberError(ValueError):
    """A member that has the right type and a wrong value."""


def _number(value: Number, member: str) -> int | None:
    if value is None or isinstance(value, int):
        if value is not None and abs(value) > NUMBER_MAX:
            message = f"{member} must fit in 64 bits"
            raise _InvalidMemberError(message)
        return value
    if _decimal(value):
        return int(value)
    message = f"{member} must be an integer or a decimal string, not {value[:40]!r}"
    raise _InvalidMemberError(message)


def _step_timeout(value: int | None, *, may_cancel: bool) -> int | None:
    if value is None or limits.TIMEOUT_MINUTES_MIN <= value <= limits.TIMEOUT_MINUTES_MAX:
        return value
    if may_cancel and value == limits.STEP_TIMEOUT_CANCEL:
        return value
    also = " or -1" if may_cancel else ""
    span = f"{limits.TIMEOUT_MINUTES_MIN} to {limits.TIMEOUT_MINUTES_MAX}{also}"
    message = f"stepTimeoutInMinutes must be {span}, not {str(value)[:40]}"
    raise _InvalidMemberError(message)


def checked_status_details(details: dict[str, Any] | None) -> dict[str, str] | None:
    """Return the status details with scalar values as text (spec: data plane 2.2, client-quirks).

    Raises:
        ValueError: too many pairs, or a key or value outside its limits; the message names it.

    """
    if details is None:
        return None
    if len(details) > limits.STATUS_DETAILS_PAIRS_MAX:
        message = f"statusDetails may have {limits.STATUS_DETAILS_PAIRS_MAX} pairs, not {len(details)}"
        raise _InvalidMemberError(message)
    for key, scalar in details.items():
        if not _details_key(key):
            message = f"statusDetails key {key[:40]!r} must be 1 to 128 characters of [a-zA-Z0-9:_-]"
            raise _InvalidMemberError(message)
        value = scalar
        if not isinstance(scalar, str):
            details[key] = value = _encoder.encode(scalar).decode()
        if not 1 <= len(value) <= limits.STATUS_DETAILS_VALUE_CHARACTERS_MAX:
            span = f"1 to {limits.STATUS_DETAILS_VALUE_CHARACTERS_MAX} characters"
            message = f"statusDetails value of {key[:40]!r} must be {span}, not {len(value)}"
            raise _InvalidMemberError(message)
        if not is_plain_text(value):
            message = f"statusDetails value of {key[:40]!r} must not hold control or unassigned characters"
            raise _InvalidMemberError(message)
    return details


def is_plain_text(text: str) -> bool:
    """Tell whether `text` holds no control, format, surrogate, private-use or unassigned character.

    The specification writes it as a pattern of the negated Unicode category C.
    """
    # isprintable() refuses all of C and, beyond it, only separators: the common case needs one C call.
    return text.isprintable() or not any(unicodedata.category(character)[0] == "C" for character in text)


def _explain(text: bytes, error: Exception) -> InvalidJson | InvalidRequest:
    """Turn a failed decode into the refusal that names the fault."""
    try:
        text.decode("utf-8")
        # Members stay undecoded, so that a number too large for anybody is still JSON.
        members = _decode_members(text)
    except UnicodeDecodeError as fault:
        return InvalidJson(f"The payload is not UTF-8: byte {fault.start} cannot be decoded")
    except msgspec.ValidationError as fault:
        return InvalidJson(f"The payload must be a JSON object: {fault}")
    except msgspec.DecodeError as fault:
        return InvalidJson(f"The payload is not JSON: {fault}")
    except RecursionError:
        return InvalidJson("The payload is nested too deeply")
    if not isinstance(error, msgspec.ValidationError):
        return InvalidJson(f"The payload is not JSON: {error}")
    return InvalidRequest(_sentence(error), client_token=_token_of(members))


def _sentence(error: Exception) -> str:
    """Return msgspec's message with the member's path readable: `$.status` becomes `status`."""
    text = str(error).replace("`$.", "`").replace("`$[...]`", "a value")
    return f"The request is invalid: {text}"


def _client_token(text: bytes) -> str | None:
    """Return the token of a payload that has already been decoded once, member by member."""
    return _decode_get(text).client_token


def _token_of(members: dict[str, msgspec.Raw]) -> str | None:
    try:
        return msgspec.json.decode(members.get("clientToken", b"null"), type=str | None)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
