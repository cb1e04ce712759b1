"""Fixtures of the tests that run a real agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.agent.fake_service import FakeService
from tests.agent.programs import Agent, Mosquitto, Served, connected


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def agent(tmp_path: Path, broker: Mosquitto) -> Iterator[Agent]:
    made = Agent(tmp_path, broker.port)
    yield made
    if made.process is not None:
        made.end()
    assert '"action":"fault"' not in made.log.read_text().replace('": "', '":"')


@pytest_asyncio.fixture
async def served(broker: Mosquitto) -> AsyncIterator[Served]:
    async with connected(FakeService(), broker.port) as made:
        yield made
