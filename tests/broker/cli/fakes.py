"""A connection that answers from a table, and sessions that hold it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from thingjobs_broker.cli.broker_address import BrokerAddress
from thingjobs_broker.cli.connection import Connection
from thingjobs_broker.cli.output import Output

ADDRESS = BrokerAddress("127.0.0.1", 1883)


class FakeConnection(Connection):
    """Answers calls with what `answer(operation, members)` returns or raises, and keeps them."""

    def __init__(self, answer: Callable[[str, Mapping[str, Any]], dict[str, Any]]) -> None:
        import asyncio

        self.address = ADDRESS
        self.changed = asyncio.Event()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.subscriptions: list[str] = []
        self._answer = answer

    async def request(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append((operation, dict(members)))
        return self._answer(operation, members)

    async def subscribe(self, *filters: str) -> None:
        self.subscriptions += filters


class FakeSession:
    """Looks like a Session; `connect` gives what the factory makes."""

    def __init__(self, make: Callable[[], FakeConnection], *, as_json: bool = False) -> None:
        self.address = ADDRESS
        self.output = Output(as_json=as_json)
        self.connections: list[FakeConnection] = []
        self._make = make

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[FakeConnection]:
        self.connections.append(self._make())
        yield self.connections[-1]
