"""The wheel of timers: never early, at most one tick late, one entry for one execution, bounded work."""

import hypothesis
import hypothesis.strategies as st

from tests.broker.core.world import MINUTE_MS, START_MS, World
from thingjobs_broker.core.records import ExecutionChanged
from thingjobs_broker.core.service import TIMERS_SLICE
from thingjobs_broker.core.state import Execution
from thingjobs_broker.core.timers import TICK_MS, Timers
from thingjobs_protocol.status import JobExecutionStatus as Status


def execution(deadline_ms: int = 0) -> Execution:
    """A running execution with that deadline."""
    return Execution(
        "T", "J1", 1, 1, START_MS, START_MS, status=Status.IN_PROGRESS, step_deadline_ms=deadline_ms
    )


def entries(timers: Timers) -> int:
    """How many entries the wheel holds."""
    return sum(map(len, timers._buckets.values()))


@hypothesis.given(
    st.lists(st.integers(1, 20_000), min_size=1, max_size=30), st.lists(st.integers(1, 3000), max_size=30)
)
def test_nothing_is_due_early_and_nothing_more_than_a_tick_late(
    deadlines: list[int], pauses: list[int]
) -> None:
    """Architecture, promise 5; data plane 6.3 asks for a second at most."""
    timers, now_ms, fired = Timers(), 0, 0
    for deadline_ms in deadlines:
        timers.schedule(execution(deadline_ms), deadline_ms)
    for pause in [*pauses, 25_000]:
        last_ms, now_ms = now_ms, now_ms + pause
        due = timers.due(now_ms, 1000)
        fired += len(due)
        assert all(one.deadline_ms <= now_ms for one in due)
        assert all(one.deadline_ms > last_ms - TICK_MS for one in due), "found later than it could have been"
    assert fired == len(deadlines)
    assert timers.next_due_ms() is None


@hypothesis.given(st.lists(st.integers(1, 20_000), min_size=1, max_size=30))
def test_a_driver_that_sleeps_until_the_next_deadline_is_at_most_one_tick_late(deadlines: list[int]) -> None:
    """`next_due_ms` is never earlier than needed by more than the tick, never later (duty 4; A33)."""
    timers, found = Timers(), []
    for deadline_ms in deadlines:
        timers.schedule(execution(deadline_ms), deadline_ms)
    while (now_ms := timers.next_due_ms()) is not None:
        due = timers.due(now_ms, 1000)
        assert due, "woken for nothing"
        for one in due:
            found.append(one.deadline_ms)
            assert 0 <= now_ms - one.deadline_ms < TICK_MS
    assert found == sorted(found) or len(found) == len(deadlines)
    assert sorted(found) == sorted(deadlines)


@hypothesis.given(st.lists(st.integers(1, 1000), min_size=1, max_size=200))
def test_extending_a_timer_holds_one_entry(extensions: list[int]) -> None:
    """A device that reports progress each second costs the wheel nothing (architecture, "timers")."""
    timers, one = Timers(), execution()
    deadline_ms = 1
    for extension in extensions:
        deadline_ms += extension
        one.step_deadline_ms = deadline_ms
        timers.schedule(one, deadline_ms)
        assert entries(timers) == 1
    now_ms = 0
    found: list[Execution] = []
    while not found:
        next_ms = timers.next_due_ms()
        assert next_ms is not None
        assert entries(timers) == 1
        assert next_ms > now_ms, "woken for nothing"
        now_ms = next_ms
        found = timers.due(now_ms, 10)
    assert found == [one]
    assert deadline_ms <= now_ms < deadline_ms + TICK_MS


@hypothesis.given(st.lists(st.integers(0, 30_000), min_size=1, max_size=20), st.integers(1, 4000))
def test_the_last_deadline_counts_whatever_came_before(changes: list[int], pause: int) -> None:
    """Shortened, extended, canceled (0): the truth is the execution's own deadline (data plane 6.2)."""
    timers, one, now_ms = Timers(), execution(), 0
    for change in changes:
        one.step_deadline_ms = now_ms + change if change else 0
        if one.deadline_ms:
            timers.schedule(one, one.deadline_ms)
        now_ms += pause
        if one in timers.due(now_ms, 100):
            assert 0 < one.deadline_ms <= now_ms
            return
    found: list[Execution] = []
    deadline_ms = one.deadline_ms
    while (next_ms := timers.next_due_ms()) is not None:
        now_ms = max(now_ms, next_ms)
        found += timers.due(now_ms, 100)
        assert timers.next_due_ms() != next_ms, "woken for nothing"
        assert not found or 0 < deadline_ms <= now_ms
    assert found == ([one] if deadline_ms else [])


def test_a_shortened_timer_is_found_at_its_new_deadline() -> None:
    """The old, later entry is dropped when its tick comes."""
    timers, one = Timers(), execution(60_000)
    timers.schedule(one, 60_000)
    one.step_deadline_ms = 5_000
    timers.schedule(one, 5_000)
    assert timers.due(4_999, 10) == []
    assert timers.due(5_000, 10) == [one]
    one.step_deadline_ms = 0
    assert timers.due(60_000, 10) == []
    assert timers.next_due_ms() is None


def test_ended_executions_leave_no_trace_in_the_wheel() -> None:
    """Lazy deletion ends when the tick comes."""
    timers = Timers()
    for _ in range(100):
        timers.schedule(execution(), 5_000)
    assert timers.due(5_000, 1000) == []
    assert entries(timers) == 0
    assert timers.next_due_ms() is None


def test_a_mass_expiry_comes_in_slices() -> None:
    """No call looks at more than it may; the rest is due at once (architecture, "Bounded work per step")."""
    timers = Timers()
    for number in range(25):
        timers.schedule(execution(4_000 + number), 4_000 + number)
    assert [len(timers.due(9_000, 10)) for _ in range(4)] == [10, 10, 5, 0]
    timers.schedule(execution(), 10_000)
    timers.schedule(execution(10_000), 10_000)
    assert sum(len(timers.due(10_000, 1)) for _ in range(2)) == 1


def test_the_service_fires_a_mass_expiry_in_slices() -> None:
    """1,201 executions run out together: three calls, each bounded; all fire, none twice."""
    count = 2 * TIMERS_SLICE + 201
    world = World(checked=False)
    things = [f"T{number}" for number in range(count)]
    for first in range(0, count, 100):
        batch = things[first : first + 100]
        for thing_name in batch:
            world.control("CreateThing", thingName=thing_name)
        world.create_job(f"J{first}", *batch, timeoutConfig={"inProgressTimeoutInMinutes": 1})
    for thing_name in things:
        world.device(thing_name, "start-next")
    world.pass_unnoticed(MINUTE_MS - 1)
    assert world.fire() == []
    world.pass_unnoticed(1)
    slices = []
    while (deadline_ms := world.service.next_deadline_ms()) is not None:
        assert deadline_ms <= world.now_ms
        world.fire()
        slices.append(sum(isinstance(record, ExecutionChanged) for record in world.records))
    assert slices == [TIMERS_SLICE, TIMERS_SLICE, 201]
    assert {world.thing(thing_name).executions.popitem()[1].status for thing_name in things} == {
        Status.TIMED_OUT
    }


@hypothesis.settings(max_examples=50)
@hypothesis.given(st.lists(st.tuples(st.integers(0, 59_999), st.integers(1, 3)), min_size=1, max_size=6))
def test_an_execution_times_out_at_its_deadline_and_not_before(updates: list[tuple[int, int]]) -> None:
    """Any sequence of step timers, each set while the one before still runs (data plane 6.2, 6.3)."""
    world = World("T")
    world.create_job("J1", timeoutConfig={"inProgressTimeoutInMinutes": 4})
    world.device("T", "start-next")
    bound_ms = START_MS + 4 * MINUTE_MS
    deadline_ms = bound_ms
    for pause_ms, minutes in updates:
        if world.now_ms + pause_ms >= deadline_ms:
            break
        assert world.advance(pause_ms) == []
        world.update("T", "J1", "IN_PROGRESS", stepTimeoutInMinutes=minutes)
        deadline_ms = min(bound_ms, world.now_ms + minutes * MINUTE_MS)
    assert world.advance(deadline_ms - 1 - world.now_ms) == []
    assert world.execution("T", "J1").status is Status.IN_PROGRESS
    world.advance(TICK_MS)
    assert world.execution("T", "J1").status is Status.TIMED_OUT
    assert 0 <= world.execution("T", "J1").last_updated_at_ms - deadline_ms < TICK_MS
