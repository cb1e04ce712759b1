"""Topics and payloads to inputs of the machine. What is not for this thing, or not understood, stops here.

Dispatches on the last segments, as wildcard filters also show requests (spec: data plane 1.6), and checks
that the thing in the topic is its own (1.6).
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec

from thingjobs_agent.events import Accepted, Input, NextChanged, PendingChanged, Rejected
from thingjobs_protocol.codec import decode_reply
from thingjobs_protocol.limits import JOB_ID_PATTERN
from thingjobs_protocol.messages import (
    JobExecution,
    JobExecutionResponse,
    JobExecutionsChanged,
    NextJobExecutionChanged,
    RejectedResponse,
    UpdateJobExecutionResponse,
    Wire,
)
from thingjobs_protocol.topics import ACCEPTED, NOTIFY, NOTIFY_NEXT, REJECTED, Api, jobs_base

Message = TypeVar("Message", bound=Wire)
ExecutionMessage = TypeVar("ExecutionMessage", JobExecutionResponse, NextJobExecutionChanged)

NESTING_KEPT_MAX: Final = 64
"""Deeper parts of a message are replaced by null when they are more than the decoder takes."""

_THING_APIS: Final = {"start-next": Api.START_NEXT_PENDING_JOB_EXECUTION}
_JOB_APIS: Final = {"get": Api.DESCRIBE_JOB_EXECUTION, "update": Api.UPDATE_JOB_EXECUTION}

_TOKENS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_is_job_id: Final = re.compile(JOB_ID_PATTERN).match


class MessageError(ValueError):
    """A message on one of our topics that cannot be understood; one line."""


class Inbox:
    """Decodes what arrives for one thing."""

    def __init__(self, thing_name: str, root: str) -> None:
        """Take the thing and the topic root."""
        self._base = jobs_base(thing_name, root) + "/"

    def filters(self) -> tuple[str, ...]:
        """Return what to subscribe to; eight, which is what AWS takes in one packet."""
        replies = ("start-next", "+/get", "+/update")
        suffixes = [
            NOTIFY,
            NOTIFY_NEXT,
            *(f"{reply}/{end}" for reply in replies for end in (ACCEPTED, REJECTED)),
        ]
        return tuple(self._base + suffix for suffix in suffixes)

    def read(self, topic: str, payload: bytes) -> Input | None:
        """Return the input in a message, or None if it is not for us.

        Raises:
            MessageError: it is for us and cannot be understood.

        """
        if not topic.startswith(self._base):
            return None
        match topic[len(self._base) :].split("/"):
            case ["notify"]:
                return PendingChanged(_decoded(JobExecutionsChanged, topic, payload))
            case ["notify-next"]:
                return NextChanged(_checked(_decoded(NextJobExecutionChanged, topic, payload)))
            case [api, end] if api in _THING_APIS:
                return _answer(_THING_APIS[api], "", end, topic, payload)
            case [job_id, api, end] if api in _JOB_APIS:
                return _answer(_JOB_APIS[api], job_id, end, topic, payload)
        return None


def _answer(api: Api, job_id: str, end: str, topic: str, payload: bytes) -> Input | None:
    if end == REJECTED:
        return Rejected(api, job_id, _decoded(RejectedResponse, topic, payload))
    if end != ACCEPTED:
        return None
    if api is Api.UPDATE_JOB_EXECUTION:
        return Accepted(api, job_id, _decoded(UpdateJobExecutionResponse, topic, payload))
    return Accepted(api, job_id, _checked(_decoded(JobExecutionResponse, topic, payload)))


def _decoded(kind: type[Message], topic: str, payload: bytes) -> Message:
    try:
        try:
            return decode_reply(kind, payload)
        except RecursionError:
            # A hostile document must not make the whole reply unreadable: the job has to be rejected.
            return decode_reply(kind, _pruned(payload))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageError(f"{topic}: {error}") from None


def _checked(message: ExecutionMessage) -> ExecutionMessage:
    """Job ids become parts of paths and topics."""
    execution: JobExecution | None = message.execution
    if execution is not None and not _is_job_id(execution.job_id):
        raise MessageError(f"the job id {execution.job_id[:80]!a} breaks the pattern of job ids")
    return message


def _pruned(payload: bytes) -> bytes:
    """Return JSON text with everything below a certain depth as null."""
    parts: list[bytes] = []
    depth = kept_until = 0
    for token in _TOKENS.finditer(payload):
        mark = token.group()
        if mark in (b"{", b"["):
            depth += 1
            if depth == NESTING_KEPT_MAX + 1:
                parts += [payload[kept_until : token.start()], b"null"]
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth == NESTING_KEPT_MAX:
                kept_until = token.end()
    return b"".join((*parts, payload[kept_until:]))
