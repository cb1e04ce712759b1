"""Signals become calls in the event loop, and everything is as before afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from thingjobs_agent.signals import handled

pytestmark = pytest.mark.asyncio


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(condition: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        await condition.wait()


async def test_signal_is_a_call_in_the_loop() -> None:
    """Each kind calls its own function, in the loop's thread and after the signal handler has returned."""
    seen: list[str] = []
    both = asyncio.Event()

    def note(name: str) -> None:
        seen.append(name)
        asyncio.get_running_loop()
        if len(set(seen)) == 2:
            both.set()

    callbacks = {signal.SIGUSR1: lambda: note("one"), signal.SIGUSR2: lambda: note("two")}
    with handled(callbacks):
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert seen == []
        await until(both)
    assert sorted(set(seen)) == ["one", "two"]


async def test_flood_of_signals_loses_no_kind() -> None:
    """More than the pipe holds, and another kind behind them."""
    other = asyncio.Event()
    count = 0

    def counted() -> None:
        nonlocal count
        count += 1

    with handled({signal.SIGUSR1: counted, signal.SIGUSR2: other.set}):
        for _ in range(70_000):
            os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        await until(other)
    assert count >= 1


async def test_all_is_as_before_afterwards() -> None:
    """Handlers, the loop's own wake-up and descriptors; also after an exception."""
    handler = signal.getsignal(signal.SIGUSR1)
    end, waker = os.pipe2(os.O_NONBLOCK)
    before = signal.set_wakeup_fd(waker)
    count = descriptors()
    with pytest.raises(KeyError), handled({signal.SIGUSR1: lambda: None}):
        raise KeyError
    assert signal.getsignal(signal.SIGUSR1) == handler
    assert signal.set_wakeup_fd(before) == waker
    assert descriptors() == count
    os.close(end)
    os.close(waker)
