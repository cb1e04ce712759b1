"""The MQTT side: connects for ever with jittered backoff, subscribes before anything else, carries messages.

A new aiomqtt client per connection and an outbox of our own: what a connection did not get out is thrown away
with it, because the machine asks again after each connect.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final

import aiomqtt

from thingjobs_agent.config import Broker
from thingjobs_agent.events import Connected, Disconnected, Input, Send
from thingjobs_agent.inbox import Inbox, MessageError
from thingjobs_agent.logs import Log
from thingjobs_protocol.codec import encode
from thingjobs_protocol.topics import request_topic

QOS: Final = 1
BACKOFF_SECONDS_MIN: Final = 0.5
BACKOFF_SECONDS_MAX: Final = 64.0
STABLE_SECONDS: Final = 10.0
"""A connection that lasted this long was a good one: the backoff begins anew."""
CALL_SECONDS_MAX: Final = 10.0
TURN_SECONDS_MAX: Final = BACKOFF_SECONDS_MAX + 6 * CALL_SECONDS_MAX
"""An attempt to connect and the wait after it take no longer, or something hangs."""
CANCEL_AGAIN_SECONDS: Final = 0.25
SUBACK_FAILURE: Final = 0x80


class SubscribeError(Exception):
    """The broker refused a subscription without which the agent is deaf."""


class MqttClient:
    """One thing's connection to its broker."""

    def __init__(
        self,
        broker: Broker,
        thing_name: str,
        *,
        root: str,
        keepalive_seconds: int,
        is_session_persistent: bool,
        deliver: Callable[[Input], None],
        jitter: Callable[[], float],
        log: Log,
    ) -> None:
        """Take where to connect, and `deliver`, which gets all inputs of the connection in order."""
        self._broker = broker
        self._thing_name = thing_name
        self._root = root
        self._keepalive_seconds = keepalive_seconds
        self._is_session_persistent = is_session_persistent
        self._deliver = deliver
        self._jitter = jitter
        self._log = log
        self._inbox = Inbox(thing_name, root)
        self._outbox: asyncio.Queue[tuple[str, bytes]] | None = None
        self._turned_at = time.monotonic()

    def send(self, command: Send) -> None:
        """Queue a request for the connection there is; without one it is not sent."""
        if self._outbox is not None:
            topic = request_topic(command.api, self._thing_name, command.job_id, self._root)
            self._outbox.put_nowait((topic, encode(command.message)))

    async def flush(self) -> None:
        """Wait until the broker has all that was sent; returns at once without a connection."""
        if self._outbox is not None:
            await self._outbox.join()

    def is_turning(self) -> bool:
        """Tell whether `run` holds a connection, or tries to get one as often as it should."""
        return self._outbox is not None or time.monotonic() - self._turned_at < TURN_SECONDS_MAX

    async def run(self) -> None:
        """Keep connected until canceled."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            self._turned_at = time.monotonic()
            reason = await self._connection()
            failures = 1 if loop.time() - began >= STABLE_SECONDS else failures + 1
            wait_seconds = backoff_seconds(failures, self._jitter())
            self._log.warning(
                "No connection to the broker; trying again",
                action="broker_lost",
                broker=f"{self._broker.host}:{self._broker.port}",
                reason=reason,
                retry_seconds=round(wait_seconds, 1),
            )
            await asyncio.sleep(wait_seconds)

    async def _connection(self) -> str:
        """Hold one connection as long as it lasts; return why it ended."""
        try:
            async with self._new_client() as client:
                await self._subscribe(client)
                self._outbox = asyncio.Queue()
                self._log.info(
                    "Connected to the broker",
                    action="broker_connected",
                    broker=f"{self._broker.host}:{self._broker.port}",
                    client_id=self._broker.client_id,
                )
                self._deliver(Connected())
                try:
                    await self._carry(client, self._outbox)
                finally:
                    self._outbox = None
                    self._turned_at = time.monotonic()
                    self._deliver(Disconnected())
        except (aiomqtt.MqttError, SubscribeError, OSError, ValueError) as error:
            return str(error) or type(error).__name__
        return "the connection ended"

    def _new_client(self) -> aiomqtt.Client:
        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.username,
            password=self._broker.password,
            identifier=self._broker.client_id,
            clean_session=not self._is_session_persistent,
            keepalive=self._keepalive_seconds,
            tls_context=self._broker.tls,
            timeout=CALL_SECONDS_MAX,
            # Without this a request waits for the acknowledgment of the packet before it, up to 40 ms.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        filters = self._inbox.filters()
        codes = await client.subscribe([(topic, QOS) for topic in filters])
        granted = [code if isinstance(code, int) else int(code.value) for code in codes]
        refused = [topic for topic, code in zip(filters, granted, strict=False) if code >= SUBACK_FAILURE]
        if refused or len(granted) != len(filters):
            raise SubscribeError(
                f"the broker refused to subscribe to {', '.join(refused) or 'all job topics'}; "
                f"check what the user {self._broker.username} may read"
            )

    async def _carry(self, client: aiomqtt.Client, outbox: asyncio.Queue[tuple[str, bytes]]) -> None:
        """Carry messages both ways until one way ends; each way ends with the connection."""
        tasks = [asyncio.create_task(self._receive(client)), asyncio.create_task(_publish(client, outbox))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(*tasks)

    async def _receive(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            try:
                given = self._inbox.read(message.topic.value, message.payload)
            except MessageError as error:
                self._log.warning(
                    "Passed over a message that cannot be understood", action="message_bad", reason=str(error)
                )
                continue
            if given is not None:
                self._deliver(given)


async def _publish(client: aiomqtt.Client, outbox: asyncio.Queue[tuple[str, bytes]]) -> None:
    """Send in order, each when the one before is acknowledged: a dead link shows within the call's time
    limit.
    """
    while True:
        topic, payload = await outbox.get()
        await client.publish(topic, payload, qos=QOS)
        outbox.task_done()


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks until they have ended.

    Once is not enough: before Python 3.12 `wait_for`, which aiomqtt uses, swallows a cancel that comes
    together with its result.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled():
            # Looked at, so that asyncio does not report a second fault of the same lost connection.
            task.exception()


def backoff_seconds(failures: int, jitter: float) -> float:
    """Return how long to wait before the next connect; `jitter` in [0, 1) takes away up to half."""
    doubled = BACKOFF_SECONDS_MIN * (1 << min(failures - 1, 16))
    return min(doubled, BACKOFF_SECONDS_MAX) * (1 - jitter / 2)
