"""How HTTP makes way for devices: turns, pauses by processor time, and who gives up meanwhile."""

import asyncio

import pytest

from thingjobs_broker.http.turnstile import PAUSE_RATIO, QUIET_SECONDS, TURN_SECONDS, Turnstile

PATIENCE_S = 20.0


class Bench:
    """A turnstile with clocks that stand still."""

    def __init__(self) -> None:
        self.asked = 0
        self.now = 100.0
        self.used = 0.0
        self.turnstile = Turnstile(lambda: self.asked, lambda: self.now, lambda: self.used)

    def work(self, seconds: float) -> None:
        """HTTP takes so much processor time."""
        with self.turnstile.work():
            self.spend(seconds)

    def spend(self, seconds: float) -> None:
        """Time passes, and the processor works."""
        self.used += seconds
        self.now += seconds


@pytest.mark.asyncio
async def test_a_turn_of_the_loop_lets_one_in() -> None:
    """First come, first served; between two turns everything else gets its own."""
    turnstile = Turnstile()
    entered: list[tuple[int, int]] = []
    turn = 0

    async def enter(number: int) -> None:
        await turnstile.enter()
        entered.append((turn, number))

    tasks = [asyncio.ensure_future(enter(number)) for number in range(7)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turn += 1
    assert [number for _, number in entered] == list(range(7))
    assert len({at for at, _ in entered}) >= 6


@pytest.mark.asyncio
async def test_who_gives_up_at_the_turnstile_takes_nobodys_place() -> None:
    """A canceled request does not use up a turn."""
    turnstile = Turnstile()
    tasks = [asyncio.ensure_future(turnstile.enter()) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.cancelled() for task in tasks] == [False, True, False, False]


def test_http_pays_for_its_time_while_devices_ask() -> None:
    """The pauses of several pieces of work add up, and time passes."""
    bench = Bench()
    bench.asked += 1
    bench.work(0.001)
    bench.work(0.002)
    paid = 0.003 + 2 * TURN_SECONDS
    assert bench.turnstile.delay_seconds() == pytest.approx(PAUSE_RATIO * paid - 0.002)
    bench.now += QUIET_SECONDS / 2
    assert bench.turnstile.delay_seconds() == pytest.approx(PAUSE_RATIO * paid - 0.002 - QUIET_SECONDS / 2)


def test_http_has_the_loop_while_devices_are_silent() -> None:
    """Nothing is paid when nobody asks, and nothing is left to pay once nobody has asked for a while."""
    bench = Bench()
    bench.work(1.0)
    assert bench.turnstile.delay_seconds() == 0
    bench.asked += 1
    assert bench.turnstile.delay_seconds() == 0
    bench.work(1.0)
    assert bench.turnstile.delay_seconds() > 0
    bench.now += QUIET_SECONDS
    assert bench.turnstile.delay_seconds() == 0


@pytest.mark.asyncio
async def test_who_comes_during_a_pause_waits_until_devices_are_silent() -> None:
    """The line moves by itself."""
    bench = Bench()
    bench.asked += 1
    bench.work(1.0)
    entering = asyncio.ensure_future(bench.turnstile.enter())
    for _ in range(3):
        bench.asked += 1
        await asyncio.sleep(2 * QUIET_SECONDS)
        assert not entering.done()
    bench.now += QUIET_SECONDS
    async with asyncio.timeout(PATIENCE_S):
        await entering


@pytest.mark.asyncio
async def test_waiting_is_not_metered() -> None:
    """What a task computes is paid for, what it waits for is not; a cancellation reaches it."""
    bench = Bench()
    bench.asked += 1
    ended: list[str] = []

    async def work() -> None:
        bench.used += 0.001
        try:
            await asyncio.sleep(0)
            bench.used += 0.002
            await asyncio.Event().wait()
        finally:
            ended.append("canceled")

    task = asyncio.ensure_future(bench.turnstile.metered(work))
    await asyncio.sleep(0)
    bench.used += 5
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.turnstile.delay_seconds() == pytest.approx(PAUSE_RATIO * (0.003 + 2 * TURN_SECONDS))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["canceled"]
