"""Rollouts at work: windows, order, slices, restarts (control plane 3). Rates themselves: test_rollout."""

import time
from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld, numbered
from tests.broker.core.world import MINUTE_MS, World, endings, picture
from thingjobs_broker.core.ports import Rules
from thingjobs_broker.core.records import ExecutionQueued, RolloutAdvanced
from thingjobs_broker.core.rolling_out import ROLLOUT_SLICE
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.status import JobStatus

ARN = "arn:aws:iot:local:000000000000:"


def rate(maximum: int | None = None, **exponential: Any) -> dict[str, Any]:
    config: dict[str, Any] = {"maximumPerMinute": maximum} if maximum else {}
    return config | ({"exponentialRate": exponential} if exponential else {})


def fleet(count: int, **members: Any) -> GroupWorld:
    """So many things, all in group G."""
    names = numbered(count)
    world = GroupWorld(*names, **members)
    world.group("G", *names)
    return world


def released(world: GroupWorld, minutes: int) -> list[int]:
    """How many executions J1 has after each minute, the first at once."""
    counts = [world.made("J1")]
    for _ in range(minutes):
        world.advance(MINUTE_MS)
        counts.append(world.made("J1"))
    return counts


def test_v1_ten_a_minute() -> None:
    """V1: 10 at once, 20 at +60 s, 25 at +120 s; isConcurrent until all are there."""
    world = fleet(25)
    world.create_job("J1", "G", jobExecutionsRolloutConfig=rate(10))
    for count, is_concurrent in ((10, True), (20, True), (25, False)):
        assert world.made("J1") == count
        job = world.described("J1")
        assert job["isConcurrent"] is is_concurrent
        assert ("processingTargets" in job["jobProcessDetails"]) is is_concurrent
        world.advance(MINUTE_MS - 1)
        assert world.made("J1") == count
        world.advance(1)
    assert world.made("J1") == 25
    assert [execution and execution.thing_name for execution in world.job("J1").executions] == numbered(25)


def test_v2_an_exponential_rate_with_a_cap() -> None:
    """V2: B=1, f=2, Nn=2, M=3 and 20 things give 1, 1, 2, 3, 3, 3, 3, 3, 1."""
    world = fleet(20)
    config = rate(
        3,
        baseRatePerMinute=1,
        incrementFactor=2,
        rateIncreaseCriteria={"numberOfNotifiedThings": 2},
    )
    world.create_job("J1", "G", jobExecutionsRolloutConfig=config)
    assert released(world, 9) == [1, 2, 4, 7, 10, 13, 16, 19, 20, 20]


def test_v3_successes_raise_the_rate_of_the_next_window() -> None:
    """V3: B=5, f=1.5, Ns=5; five successes after the first minute release floor(7.5) in the second."""
    world = fleet(40)
    config = rate(
        1000,
        baseRatePerMinute=5,
        incrementFactor=1.5,
        rateIncreaseCriteria={"numberOfSucceededThings": 5},
    )
    world.create_job("J1", "G", jobExecutionsRolloutConfig=config)
    for thing_name in numbered(5):
        world.update(thing_name, "J1", "SUCCEEDED")
    # A record that is deleted was a success all the same (control plane 3.2: cumulative).
    world.control("DeleteJobExecution", jobId="J1", thingName="T00000", executionNumber=1)
    world.restart()
    assert released(world, 1) == [5, 12]


def test_the_targets_are_rolled_out_in_their_order_and_each_thing_once() -> None:
    """Control plane 3.3, "Order"; 1.5: one execution for a thing reached through several targets."""
    world = GroupWorld("A", "B", "C", "D", "E")
    world.group("G", "E", "B", "A")
    world.group("H", "B", "C")
    world.create_job("J1", "D", "G", "H", "A", f"{ARN}thinggroup/G")
    assert [one and one.thing_name for one in world.job("J1").executions] == ["D", "A", "B", "E", "C"]
    assert world.job("J1").targets == [
        f"{ARN}thing/D",
        f"{ARN}thinggroup/G",
        f"{ARN}thinggroup/H",
        f"{ARN}thing/A",
    ]


def test_a_large_job_is_made_in_slices_and_a_restart_doubles_and_loses_nothing() -> None:
    """Bounded work; the cursor is durable: whatever moment the service dies at, it goes on from there."""
    world = fleet(3 * ROLLOUT_SLICE + 7, checked=False, rules=Rules(rollout_per_minute=None))
    world.create_job("J1", "G")
    slices = [world.made("J1")]
    while world.service.next_deadline_ms() == 0:
        world.restart()
        slices.append(world.made("J1"))
    assert slices == [250, 500, 750, 757]
    assert [one and one.thing_name for one in world.job("J1").executions] == numbered(757)
    assert world.service.next_deadline_ms() is None


def test_a_job_without_a_rate_makes_a_thousand_a_minute() -> None:
    """Control plane 3.1, and in slices within the minute."""
    world = fleet(1100, checked=False)
    world.create_job("J1", "G")
    world.advance(0)
    assert released(world, 1) == [1000, 1100]


def test_a_restart_within_a_window_does_not_begin_it_anew() -> None:
    """At most r in any window (control plane 3.3); windows lie on a grid from the rollout's start."""
    world = fleet(25)
    world.create_job("J1", "G", jobExecutionsRolloutConfig=rate(10))
    world.pass_unnoticed(MINUTE_MS - 1)
    assert world.restart() == []
    assert world.made("J1") == 10
    world.pass_unnoticed(90_001)
    world.restart()
    # What passed while it was down is lost, and the present window goes on until +180 s.
    assert world.made("J1") == 20
    world.advance(29_999)
    assert world.made("J1") == 20
    world.advance(1)
    assert world.made("J1") == 25


def test_a_corrected_clock_does_not_shorten_a_window() -> None:
    """Architecture, "Time"."""
    world = fleet(20)
    world.create_job("J1", "G", jobExecutionsRolloutConfig=rate(10))
    world._take(world.service.step_clock(3600_000, world.now_ms))
    world.now_ms += 3600_000
    assert world.fire() == []
    world.advance(MINUTE_MS - 1)
    assert world.made("J1") == 10
    world.advance(1)
    assert world.made("J1") == 20


def test_a_snapshot_is_of_the_time_when_the_rollout_began() -> None:
    """Control plane 2.5, A11, A12: who joins later gets nothing, who leaves gets what it was to get."""
    world = GroupWorld("A", "B", "C", "D", "N")
    world.group("G", "A", "B", "C", "D")
    world.create_job("J1", "G", jobExecutionsRolloutConfig=rate(1))
    assert world.join("N", "G") == []
    assert world.leave("C", "G") == []
    world.restart()
    assert world.leave("A", "G") == []
    world.advance(5 * MINUTE_MS)
    assert [one and one.thing_name for one in world.job("J1").executions] == ["A", "B", "D", "C"]
    assert world.job("J1").rollout is None


def test_who_left_and_came_back_during_a_snapshots_rollout_gets_one() -> None:
    """And who came and left gets none (control plane 2.5)."""
    world = GroupWorld("A", "B", "C", "N")
    world.group("G", "A", "B", "C")
    world.create_job("J1", "G", jobExecutionsRolloutConfig=rate(1))
    for change in (world.leave, world.join, world.leave, world.join):
        change("C", "G")
    for change in (world.join, world.leave, world.join):
        change("N", "G")
    world.restart()
    world.advance(5 * MINUTE_MS)
    assert sorted(one.thing_name for one in world.job("J1").executions if one) == ["A", "B", "C"]


def test_an_execution_that_is_deleted_does_not_come_back() -> None:
    """A31; nor is its number used again (A32)."""
    world = GroupWorld("A", "B", "C")
    world.group("G", "A", "B", "C")
    world.create_job("J1", "B", "G", jobExecutionsRolloutConfig=rate(1))
    world.control("DeleteJobExecution", jobId="J1", thingName="B", executionNumber=1)
    world.advance(3 * MINUTE_MS)
    assert [one and one.thing_name for one in world.job("J1").executions] == [None, "A", "C"]


def test_a_thing_that_is_met_again_ends_no_window() -> None:
    """The rollout is done with the last new thing, however often the targets name it."""
    world = GroupWorld("A")
    world.group("G", "A")
    world.create_job("J1", "A", "G", jobExecutionsRolloutConfig=rate(1))
    assert world.described("J1")["isConcurrent"] is False


def test_the_targets_that_are_being_rolled_out_are_those_that_are_not_done() -> None:
    """Control plane 2.3: processingTargets are things or groups; there is no such member once all is done."""
    world = GroupWorld("A", "B", "C", "X")
    world.group("G", "A", "B")
    world.create_job("J1", "X", "G", "C", jobExecutionsRolloutConfig={"maximumPerMinute": 2})

    def processing() -> list[str] | None:
        targets = world.described("J1")["jobProcessDetails"].get("processingTargets")
        return targets and [target.rpartition(":")[2] for target in targets]

    assert processing() == ["thinggroup/G", "thing/C"]
    world.advance(MINUTE_MS)
    assert processing() is None
    world.create_job("J2", "X", schedulingConfig={"startTime": f"{world.now_ms // 1000 + 3600}"})
    assert "processingTargets" not in world.described("J2")["jobProcessDetails"]


def test_a_group_without_things_is_a_job_that_is_done() -> None:
    """Control plane 2.2: zero resolved things, COMPLETED straight away; CONTINUOUS waits for joiners."""
    world = GroupWorld("A")
    world.group("G")
    assert endings(world.create_job("J1", "G")) == ["accepted", "completed"]
    assert world.job("J1").status is JobStatus.COMPLETED
    assert endings(world.create_job("J2", "G", targetSelection="CONTINUOUS")) == ["accepted"]
    assert world.job("J2").status is JobStatus.IN_PROGRESS


def test_a_job_does_not_complete_before_its_rollout_is_done() -> None:
    """Control plane 2.2, SNAPSHOT."""
    world = fleet(3)
    world.create_job("J1", "G", jobExecutionsRolloutConfig=rate(2))
    for thing_name in ("T00000", "T00001"):
        assert "completed" not in endings(world.update(thing_name, "J1", "SUCCEEDED"))
    world.advance(MINUTE_MS)
    assert endings(world.update("T00002", "J1", "SUCCEEDED")).count("completed") == 1


def test_cancellation_ends_a_rollout() -> None:
    """Control plane 3.3: the remaining things are in no counter."""
    world = fleet(5)
    world.create_job("J1", "G", jobExecutionsRolloutConfig=rate(2))
    world.control("CancelJob", jobId="J1")
    world.advance(10 * MINUTE_MS)
    assert world.made("J1") == 2
    assert world.service.next_deadline_ms() is None


def test_a_new_rate_holds_from_the_next_window() -> None:
    """Control plane 3.3, UpdateJob: the same cumulative counters."""
    world = fleet(20)
    world.create_job("J1", "G", jobExecutionsRolloutConfig=rate(2))
    world.advance(30_000)
    world.control("UpdateJob", jobId="J1", jobExecutionsRolloutConfig=rate(7))
    assert world.described("J1")["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 7}
    assert released(world, 1) == [2, 9]


def test_at_the_limit_of_concurrent_jobs_no_other_is_created() -> None:
    """Control plane 2.4, 10: LimitExceeded, and nothing changes."""
    world = fleet(5, rules=Rules(concurrent_jobs_max=1))
    world.create_job("J1", "G", jobExecutionsRolloutConfig=rate(2))
    before = picture(world.state)
    refused = world.call("CreateJob", {"jobId": "J2", "targets": ["G"], "document": "{}"})
    assert refused[0].body["code"] == "LimitExceededException"
    assert picture(world.state) == before
    world.restart()
    world.advance(2 * MINUTE_MS)
    world.create_job("J2", "G")


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 30])
def test_the_end_of_a_rollout_is_noticed_with_its_last_thing(count: int) -> None:
    """Not a window later: isConcurrent tells the truth."""
    world = fleet(count)
    world.create_job("J1", "G", jobExecutionsRolloutConfig=rate(10))
    for _ in range((count - 1) // 10 if count else 0):
        assert world.described("J1")["isConcurrent"] is True
        world.advance(MINUTE_MS)
    assert world.described("J1")["isConcurrent"] is False
    assert world.made("J1") == count


def test_no_step_takes_long_with_a_hundred_thousand_things() -> None:
    """CreateJob below 100 ms, a slice below 20 ms on a quiet machine; here with room for a busy one."""
    world = GroupWorld(checked=False, rules=Rules(rollout_per_minute=None))
    names = numbered(100_000)
    world.things(*names)
    world.group("G", *names)
    begun = time.perf_counter()
    request = {"jobId": "J1", "targets": ["G"], "document": "{}"}
    world.create_job("J1", **request)
    created = time.perf_counter() - begun
    seconds = []
    for _ in range(20):
        begun = time.perf_counter()
        outcome = world.service.fire_timers(world.now_ms)
        seconds.append(time.perf_counter() - begun)
        assert sum(isinstance(record, ExecutionQueued) for record in outcome.records) == ROLLOUT_SLICE
        assert isinstance(outcome.records[-1], RolloutAdvanced)
    assert created < 0.3
    assert sorted(seconds)[10] < 0.06


def test_a_call_that_passes_over_many_things_is_bounded_too() -> None:
    """Members of a second target who have had their turn in the first get nothing more, but each costs a look
    (bounded work).
    """
    world = GroupWorld(checked=False, rules=Rules(rollout_per_minute=None))
    names = numbered(20_000)
    world.things(*names)
    world.group("G", *names)
    world.group("H", *names)
    world.create_job("J1", "G", "H")
    passed_over = 0
    while world.service.next_deadline_ms() == 0:
        world.fire()
        passes = sum(isinstance(record, RolloutAdvanced) for record in world.records)
        assert passes <= 2
        passed_over += passes if not any(isinstance(one, ExecutionQueued) for one in world.records) else 0
    assert passed_over > 5
    assert world.job("J1").counts[Status.QUEUED] == 20_000


def test_things_one_by_one_need_no_group() -> None:
    """Names and ARNs of things, as before there were groups (control plane 1.5)."""
    world = World("A", "B")
    world.create_job("J1", "B", f"{ARN}thing/A")
    assert [one and one.thing_name for one in world.job("J1").executions] == ["B", "A"]
