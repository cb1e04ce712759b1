"""A client that remembers everything it hears, and knows when nothing more can come."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from thingjobs_broker.cli.connection import logged_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from thingjobs_broker.cli.broker_address import BrokerAddress

SUBSCRIPTION_REFUSED = 128


class Heard(NamedTuple):
    """A message that arrived."""

    topic: str
    payload: bytes

    def body(self) -> dict[str, Any]:
        """Return the JSON object in the payload, empty if there is none."""
        try:
            body = json.loads(self.payload)
        except (ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) else {}


class Peer:
    """One connection, whose messages are read when they are wanted."""

    def __init__(self, client: aiomqtt.Client, timeout_seconds: float) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._passed: list[Heard] = []

    async def subscribe(self, topic_filter: str) -> bool:
        """Subscribe at QoS 1; tell whether the broker grants it, which need not mean that it delivers."""
        (granted,) = await self._client.subscribe(topic_filter, qos=1)
        code = granted.value if isinstance(granted, ReasonCode) else granted
        return code < SUBSCRIPTION_REFUSED

    async def publish(self, topic: str, body: object) -> None:
        """Publish at QoS 1, and wait until the broker has it."""
        await self._client.publish(topic, json.dumps(body), qos=1)

    async def heard(self, barrier: str) -> list[Heard]:
        """Return what has arrived, all of it that the broker has sent up to now.

        Brokers answer a client in the order in which things happen, so what comes before the answer to a
        subscription, of `barrier`, is everything.
        """
        await self.subscribe(barrier)
        passed, self._passed = self._passed, []
        return [*passed, *[await self.next() for _ in range(len(self._client.messages))]]

    def put_back(self, messages: list[Heard]) -> None:
        """Let `heard` return messages that somebody has passed over."""
        self._passed += messages

    async def next(self) -> Heard:
        """Return the next message.

        Raises:
            TimeoutError: none comes.

        """
        async with asyncio.timeout(self._timeout_seconds):
            message = await anext(self._client.messages)
        return Heard(message.topic.value, message.payload)


@asynccontextmanager
async def peer(address: BrokerAddress, **options: Any) -> AsyncIterator[Peer]:
    """Log in; `options` are aiomqtt's. Raises UnreachableError."""
    async with logged_in(address, "thingjobs-doctor", **options) as client:
        # Many confirmations may be outstanding at once.
        client.pending_calls_threshold = 10_000
        yield Peer(client, address.timeout_seconds)
