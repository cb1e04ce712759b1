"""How soon the next slice of long work begins."""

from collections.abc import Iterator

import pytest

from tests.broker.at_work import at_work
from tests.broker.core.world import DOCUMENT
from thingjobs_broker.core import rolling_out
from thingjobs_broker.pace import PAUSE_RATIO, Pace


def pace(*used_seconds: float) -> Pace:
    """A pace whose clock stands; slices begin and end at these processor times."""
    times: Iterator[float] = iter(used_seconds)
    return Pace(now=lambda: 100.0, used=lambda: next(times))


def test_slices_follow_each_other_at_once_while_nobody_asks() -> None:
    """A rollout to devices that are offline is done as fast as it can be."""
    one = pace(1.0, 1.5)
    with one.slice():
        pass
    assert one.delay_seconds() == 0.0


def test_whoever_asks_gets_most_of_the_time() -> None:
    """Item 6 of scale: devices get at least 0.8 of their normal rate while a job is canceled."""
    one = pace(1.0, 1.01, 2.0, 2.02)
    one.is_asked = True
    with one.slice():
        pass
    assert one.delay_seconds() == pytest.approx(0.01 * PAUSE_RATIO)
    # Nobody has asked since.
    with one.slice():
        pass
    assert one.delay_seconds() == 0.0


@pytest.mark.asyncio
async def test_a_device_that_asks_makes_the_runner_wait_with_the_next_slice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The work goes on after the pause, and not before."""
    monkeypatch.setattr(rolling_out, "ROLLOUT_SLICE", 1)
    monkeypatch.setattr("thingjobs_broker.core.service.JOBS_RECORDS_SLICE", 1)
    async with at_work() as working:
        for name in "ABCD":
            working.control("CreateThing", thingName=name)
        await working.answered(working.device("get", "A"))
        working.runner._pace = Pace(now=lambda: 0.0, used=iter([0.0, 1000.0, 1000.0, 1000.0]).__next__)
        state = working.runner.state
        assert state is not None
        working.control("CreateJob", jobId="J", targets=list("ABCD"), document=DOCUMENT)
        working.device("get", "A")
        await working.until(lambda: len(state.jobs["J"].executions) == 2)
        await working.turns()
        assert len(state.jobs["J"].executions) == 2
        working.runner._pace = Pace()
        working.runner.clock_moved()
        await working.until(lambda: len(state.jobs["J"].executions) == 4)
