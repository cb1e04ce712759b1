"""MQTT 5: an operator's answer also goes to the response topic of the request, with its correlation data.

How an answer is sent is the adapter's. Devices are not concerned: their contract is topic and clientToken
(spec: data plane A24).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from thingjobs_protocol.topics import ACCEPTED, REJECTED, is_service_only

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.core.outcome import Message

log = structlog.get_logger()

CORRELATION_BYTES_MAX: Final = 512
RESPONSE_TOPIC_CHARACTERS_MAX: Final = 512


def may_answer_on(topic: str, root: str, client_id: str) -> bool:
    """Tell whether an operator may have an answer sent to `topic`.

    The service may publish what the operator may not, and lends that right to nobody: no reserved topic, save
    the operator's own branch of the control plane, and there neither a request nor what looks like a reply.
    """
    if not topic or len(topic) > RESPONSE_TOPIC_CHARACTERS_MAX or not {"+", "#", "\0"}.isdisjoint(topic):
        return False
    own = f"{root}/control/{client_id}/"
    if topic.startswith(own):
        levels = topic.removeprefix(own).split("/")
        return len(levels) > 1 and not is_service_only(topic)
    return not topic.startswith(("$", f"{root}/")) and topic != root


class Responses:
    """Catches the answer on its way out, between its `published` and the `settled` of its request."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._control = f"{root}/control/"
        self._awaited = 0
        self._answer: Message | None = None

    def published(self, message: Message) -> None:
        """A message of the service has left; to be called for each."""
        if self._awaited and message.topic.startswith(self._control):
            self._answer = message

    def settled(
        self,
        topic: str,
        response_topic: str,
        correlation: bytes | None,
        *,
        send: Callable[[bytes], None],
        settled: Callable[[], None],
    ) -> Callable[[], None]:
        """Return what is to be called in the place of `settled` when the request on `topic` is answered."""
        if not topic.startswith(self._control):
            return settled
        client_id = topic.removeprefix(self._control).partition("/")[0]
        if (
            not may_answer_on(response_topic, self._root, client_id)
            or len(correlation or b"") > CORRELATION_BYTES_MAX
        ):
            log.warning(
                "An operator's response topic is not allowed; the answer goes to the usual topic only",
                action="response_topic_refused",
                client_id=client_id,
                response_topic=response_topic[:RESPONSE_TOPIC_CHARACTERS_MAX],
            )
            return settled
        self._awaited += 1
        return partial(self._answered, topic, send, settled)

    def _answered(self, topic: str, send: Callable[[bytes], None], settled: Callable[[], None]) -> None:
        self._awaited -= 1
        answer, self._answer = self._answer, None
        if answer is not None and answer.topic in (f"{topic}/{ACCEPTED}", f"{topic}/{REJECTED}"):
            send(answer.payload())
        settled()
