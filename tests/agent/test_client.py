"""The connection: backoff and options; the rest is tried over a real broker in test_end_to_end."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from thingjobs_agent import client
from thingjobs_agent.client import MqttClient, SubscribeError, backoff_seconds, end
from thingjobs_agent.config import Settings, broker_of
from thingjobs_agent.logs import Log


def test_backoff_doubles_to_its_limit() -> None:
    """Half a second doubling to 64 s."""
    assert [backoff_seconds(failures, 0) for failures in range(1, 10)] == [0.5, 1, 2, 4, 8, 16, 32, 64, 64]
    assert backoff_seconds(1000, 0) == 64


@pytest.mark.parametrize("failures", [1, 5, 9])
def test_jitter_takes_away_up_to_half(failures: int) -> None:
    """A fleet does not come back at one moment, and never at once."""
    whole = backoff_seconds(failures, 0)
    assert whole / 2 < backoff_seconds(failures, 0.999) < whole


@pytest.mark.asyncio
async def test_task_that_swallows_a_cancel_is_ended_all_the_same() -> None:
    """Before Python 3.12 wait_for does so; the agent once did not stop because of it."""
    swallowed = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(end(task), 5)
    assert swallowed.is_set()
    assert task.cancelled()


def client_of(**settings: Any) -> MqttClient:
    given = Settings(thing="press-7", **settings)
    return MqttClient(
        broker_of(given),
        given.thing,
        root=given.topic_root,
        keepalive_seconds=given.keepalive_seconds,
        is_session_persistent=given.persistent_session,
        deliver=lambda given: None,
        jitter=lambda: 0.0,
        log=Log(),
    )


@pytest.mark.asyncio
@pytest.mark.parametrize("is_persistent", [True, False])
async def test_session_is_persistent_unless_set_otherwise(is_persistent: bool) -> None:
    """The broker keeps notifications of QoS 1 for a device that is offline (data plane 1.5)."""
    made = client_of(persistent_session=is_persistent)._new_client()
    assert made._client._clean_session is not is_persistent
    assert made.identifier == "press-7"


@pytest.mark.asyncio
async def test_packets_are_not_held_back() -> None:
    """Without TCP_NODELAY a request waits up to 40 ms for the packet before it."""
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in client_of()._new_client()._socket_options


class Granting:
    """Stands for a connected client whose broker answers a subscription with these codes."""

    def __init__(self, codes: list[int]) -> None:
        self.codes = codes

    async def subscribe(self, topics: list[tuple[str, int]]) -> list[int]:
        assert {qos for _, qos in topics} == {1}
        return self.codes


@pytest.mark.asyncio
async def test_refused_subscription_is_named() -> None:
    """SUBACK codes are returned, not raised: an agent that does not look is deaf."""
    broker: Any = Granting([1, 0x80, *[1] * 6])
    with pytest.raises(SubscribeError, match=r"refused to subscribe to \$aws/.*/notify-next; check"):
        await client_of()._subscribe(broker)


@pytest.mark.asyncio
@pytest.mark.parametrize("codes", [[1] * 8, [0] * 8])
async def test_granted_subscriptions_are_enough_at_any_qos(codes: list[int]) -> None:
    """A broker may grant less than QoS 1; after each connect the agent asks anyway."""
    broker: Any = Granting(codes)
    await client_of()._subscribe(broker)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("stable_seconds", "expected"), [(1e9, [0.5, 1.0, 2.0, 4.0]), (0.0, [0.5, 0.5, 0.5, 0.5])]
)
async def test_waits_grow_unless_connections_last(
    monkeypatch: pytest.MonkeyPatch, stable_seconds: float, expected: list[float]
) -> None:
    """A broker that ends connections at once is not hammered; after a good one the backoff begins anew."""
    made, waits = client_of(), list[float]()

    async def connection() -> str:
        return "refused"

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == len(expected):
            raise asyncio.CancelledError

    monkeypatch.setattr(client, "STABLE_SECONDS", stable_seconds)
    monkeypatch.setattr(made, "_connection", connection)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await made.run()
    assert waits == expected


def test_weeks_without_a_broker_are_no_fault() -> None:
    """Doubled without end, the wait would become a number that no float holds."""
    assert backoff_seconds(100_000, 0.0) == 64.0
