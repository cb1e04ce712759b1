"""Requests that wait for their answer: one of each operation, the waits, and when to ask again. Pure.

Silence, RequestThrottled and InternalError are temporary: the same request goes out again after 10 s,
doubling to 640 s, with jitter (spec: data plane 3.5). The answer to an earlier copy counts, so all copies
carry one client token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from thingjobs_agent.events import Accepted, Rejected, Send
from thingjobs_protocol.errors import RejectedErrorCode
from thingjobs_protocol.messages import (
    DescribeJobExecutionRequest,
    StartNextPendingJobExecutionRequest,
    UpdateJobExecutionRequest,
)
from thingjobs_protocol.topics import Api

ANSWER_WAIT_MS: Final = 10_000
BACKOFF_MS_MIN: Final = 10_000
BACKOFF_MS_MAX: Final = 640_000

TEMPORARY: Final = frozenset({RejectedErrorCode.REQUEST_THROTTLED, RejectedErrorCode.INTERNAL_ERROR})

Message = StartNextPendingJobExecutionRequest | DescribeJobExecutionRequest | UpdateJobExecutionRequest


def backoff_ms(failures: int, jitter: float) -> int:
    """Return how long to wait after so many failures; `jitter` in [0, 1) takes away up to half of it."""
    doubled = BACKOFF_MS_MIN << min(max(failures - 1, 0), 16)
    return int(min(doubled, BACKOFF_MS_MAX) * (1 - jitter / 2))


class _Waiting(msgspec.Struct):
    """`due_ms` is when the answer is missed if `is_sent`, else when to send."""

    send: Send
    token: str
    due_ms: int
    is_sent: bool
    is_repeated: bool
    failures: int = 0


class Requests:
    """All requests without an answer; at most one of each operation."""

    def __init__(self, token_prefix: str, jitter: Callable[[], float]) -> None:
        """Take a prefix that no other life of this agent uses, and a source of numbers in [0, 1)."""
        self._token_prefix = token_prefix
        self._jitter = jitter
        self._token_count = 0
        self._waiting: dict[Api, _Waiting] = {}

    def __contains__(self, api: Api) -> bool:
        return api in self._waiting

    def put(
        self,
        api: Api,
        job_id: str,
        message: Message,
        now_ms: int,
        *,
        is_repeated: bool = True,
        failures: int = 0,
    ) -> list[Send]:
        """Take a request, in place of any other of its operation; return what to send now.

        `failures` above 0 delays the first copy as if so many had failed; without `is_repeated` silence is
        the end of it.
        """
        self._token_count += 1
        token = f"{self._token_prefix}-{self._token_count}"
        message.client_token = token
        waiting = _Waiting(Send(api, job_id, message), token, now_ms, False, is_repeated, failures)
        self._waiting[api] = waiting
        if failures:
            waiting.due_ms = now_ms + backoff_ms(failures, self._jitter())
            return []
        return self._send(waiting, now_ms)

    def settle(
        self, answer: Accepted | Rejected, now_ms: int, *, final: frozenset[str] | None = None
    ) -> bool:
        """Tell whether `answer` ends the request it belongs to.

        False for answers to nobody or to somebody else, and for temporary rejections, which are tried again
        later. `final` names the codes that end the request; None: all but the temporary ones.
        """
        waiting = self._waiting.get(answer.api)
        if waiting is None or waiting.send.job_id != answer.job_id:
            return False
        token = answer.response.client_token
        # A service that could not read the request cannot echo the token (data plane 3.1).
        if token != waiting.token and not (token is None and isinstance(answer, Rejected)):
            return False
        if isinstance(answer, Rejected):
            code = answer.response.code
            if waiting.is_repeated and (code in TEMPORARY if final is None else code not in final):
                # A permanent refusal of something that must be asked again all the same: as rarely as
                # possible.
                waiting.failures += 1 if code in TEMPORARY else 16
                self._retry_later(waiting, now_ms)
                return False
        del self._waiting[answer.api]
        return True

    def drop(self, *apis: Api) -> None:
        """Forget requests; without arguments all of them."""
        for api in apis or tuple(self._waiting):
            self._waiting.pop(api, None)

    def hurry(self, api: Api, now_ms: int) -> list[Send]:
        """Return the request to send now, if it was waiting to be sent again."""
        waiting = self._waiting.get(api)
        return self._send(waiting, now_ms) if waiting is not None and not waiting.is_sent else []

    def next_deadline_ms(self) -> int | None:
        """Return when `fire` has something to do."""
        return min((waiting.due_ms for waiting in self._waiting.values()), default=None)

    def fire(self, now_ms: int) -> list[Send]:
        """Return what to send again now."""
        sends: list[Send] = []
        for api, waiting in list(self._waiting.items()):
            if waiting.due_ms > now_ms:
                continue
            if not waiting.is_sent:
                sends += self._send(waiting, now_ms)
            elif waiting.is_repeated:
                waiting.failures += 1
                self._retry_later(waiting, now_ms)
            else:
                del self._waiting[api]
        return sends

    def _send(self, waiting: _Waiting, now_ms: int) -> list[Send]:
        waiting.is_sent = True
        waiting.due_ms = now_ms + ANSWER_WAIT_MS
        return [waiting.send]

    def _retry_later(self, waiting: _Waiting, now_ms: int) -> None:
        waiting.is_sent = False
        waiting.due_ms = now_ms + backoff_ms(waiting.failures, self._jitter())
