"""A front before a real amqtt, in this process and on a free port; the endpoint keeps what it gets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import NamedTuple

from amqtt.broker import Broker, BrokerContext
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from thingjobs_broker.front import Client, Front, FrontLimits, ReplyTo


class Doorkeeper(BaseAuthPlugin):  # type: ignore[misc]  # amqtt ships no types
    """Lets everybody in but those with the password `wrong`, and takes nobody for anonymous."""

    answer: Callable[[Session], Awaitable[bool]] | None = None
    """What a test wants said instead."""

    async def authenticate(self, *, session: Session) -> bool:
        """Whether a client may come in."""
        await asyncio.sleep(0)
        if self.answer is not None:
            return await self.answer(session)
        return bool(session.password != "wrong")


class Received(NamedTuple):
    """What the endpoint was handed."""

    client: Client
    topic: str
    payload: bytes
    retain: bool
    settled: Callable[[], None]
    reply_to: ReplyTo | None = None


@dataclass
class Recorder:
    """An endpoint that keeps everything; it settles at once unless told to wait."""

    settles_at_once: bool = True
    forbidden_filters: frozenset[str] = frozenset()
    forbidden_topics: frozenset[str] = frozenset()
    received_: list[Received] = field(default_factory=list)
    opened_: list[Client] = field(default_factory=list)
    closed_: list[Client] = field(default_factory=list)
    front: Front | None = None

    def may_subscribe(self, client: Client, topic_filter: str) -> bool:
        return topic_filter not in self.forbidden_filters

    def may_publish(self, client: Client, topic: str) -> bool:
        return topic not in self.forbidden_topics

    def received(
        self,
        client: Client,
        topic: str,
        payload: bytes,
        retain: bool,
        settled: Callable[[], None],
        *,
        reply_to: ReplyTo | None = None,
    ) -> None:
        self.received_.append(Received(client, topic, payload, retain, settled, reply_to))
        if self.settles_at_once:
            settled()

    def opened(self, client: Client) -> None:
        self.opened_.append(client)

    def closed(self, client: Client) -> None:
        self.closed_.append(client)


class Echo(Recorder):
    """An endpoint that answers each message on `<topic>/accepted`, like a commit that takes no time."""

    def received(
        self,
        client: Client,
        topic: str,
        payload: bytes,
        retain: bool,
        settled: Callable[[], None],
        *,
        reply_to: ReplyTo | None = None,
    ) -> None:
        super().received(client, topic, payload, retain, settled, reply_to=reply_to)
        assert self.front is not None
        self.front.publish(topic + "/accepted", lambda: payload)
        self.front.flush()


@dataclass
class Edge:
    """The running front and what belongs to it."""

    front: Front
    endpoint: Recorder
    broker: Broker
    context: BrokerContext
    port: int

    def say(self, topic: str, payload: bytes = b"", *, flush: bool = True) -> int:
        """Publish for the endpoint."""
        count = self.front.publish(topic, lambda: payload)
        if flush:
            self.front.flush()
        return count


@asynccontextmanager
async def running_edge(
    endpoint: Recorder | None = None,
    *,
    topic_root: str = "$aws",
    ssl_context: SSLContext | None = None,
    **limits: float,
) -> AsyncIterator[Edge]:
    """Start everything; stop everything."""
    broker = Broker(
        {
            "listeners": {"default": {"type": "external", "bind": "nowhere"}},
            "plugins": {f"{Doorkeeper.__module__}.{Doorkeeper.__qualname__}": {}},
        }
    )
    await broker.start()
    endpoint = endpoint or Recorder()
    context = BrokerContext(broker)
    front = Front(broker, context, endpoint, FrontLimits(**limits), topic_root=topic_root)  # type: ignore[arg-type]
    endpoint.front = front
    _, port = await front.listen("127.0.0.1", 0, ssl_context)
    try:
        yield Edge(front, endpoint, broker, context, port)
    finally:
        await front.close()
        await broker.shutdown()


async def eventually(condition: Callable[[], object]) -> None:
    """Return once a condition holds; the loop turns meanwhile."""
    async with asyncio.timeout(10):
        while not condition():  # What is waited for sets no event.
            await asyncio.sleep(0.001)
