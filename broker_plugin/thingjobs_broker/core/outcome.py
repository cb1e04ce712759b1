"""What one step of the core gives to its driver: records to make durable, then messages to publish."""

from __future__ import annotations

from typing import Any

import msgspec

from thingjobs_broker.core.records import Record


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message to publish once the records are durable: QoS 1, never retained. The body (a Struct or a JSON
    object) is encoded late.
    """

    topic: str
    body: Any

    def payload(self) -> bytes:
        """Return the JSON bytes; called only when somebody is subscribed."""
        return msgspec.json.encode(self.body)


class Outcome(msgspec.Struct):
    """The result of one step. The records are one atomic unit; the messages follow them, in order."""

    records: list[Record]
    messages: list[Message]
    wait_ms: int = 0
    """How long whoever asked had better not be listened to: it asks faster than it may."""
