"""Which failed execution earns another one (data plane 7, control plane 5.2)."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from tests.broker.core.world import MINUTE_MS, World, endings
from thingjobs_broker.core.retry import is_owed
from thingjobs_broker.core.state import Execution
from thingjobs_protocol.status import JobExecutionStatus as Status

TIMEOUT = {"timeoutConfig": {"inProgressTimeoutInMinutes": 1}}


def config(**retries: int) -> dict[str, Any]:
    """The members of CreateJob for so many retries of each failure type."""
    criteria = [
        {"failureType": failure_type, "numberOfRetries": count} for failure_type, count in retries.items()
    ]
    return {"jobExecutionsRetryConfig": {"criteriaList": criteria}} | TIMEOUT


def world_with(**retries: int) -> World:
    world = World("T")
    world.create_job("J1", **config(**retries))
    return world


def end(world: World, status: str) -> None:
    """Let the pending execution end with a status."""
    if status == "TIMED_OUT":
        world.device("T", "start-next")
        world.advance(MINUTE_MS)
    elif status == "CANCELED":
        world.control("CancelJobExecution", jobId="J1", thingName="T")
    else:
        world.update("T", "J1", status)


def statuses(world: World) -> list[str]:
    return [execution.status.value for execution in world.job("J1").executions if execution]


@pytest.mark.parametrize(
    ("retries", "ends", "expected"),
    [
        ({"FAILED": 2}, ["FAILED"] * 3, ["FAILED"] * 3),
        ({"FAILED": 0}, ["FAILED"], ["FAILED"]),
        ({"FAILED": 1}, ["TIMED_OUT"], ["TIMED_OUT"]),
        ({"TIMED_OUT": 1}, ["TIMED_OUT", "TIMED_OUT"], ["TIMED_OUT", "TIMED_OUT"]),
        ({"TIMED_OUT": 1}, ["FAILED"], ["FAILED"]),
        ({"ALL": 2}, ["FAILED", "TIMED_OUT", "FAILED"], ["FAILED", "TIMED_OUT", "FAILED"]),
        (
            {"FAILED": 1, "TIMED_OUT": 1},
            ["FAILED", "TIMED_OUT", "FAILED"],
            ["FAILED", "TIMED_OUT", "FAILED"],
        ),
        ({"FAILED": 2, "TIMED_OUT": 1}, ["TIMED_OUT", "TIMED_OUT"], ["TIMED_OUT", "TIMED_OUT"]),
        ({"ALL": 3}, ["REJECTED"], ["REJECTED"]),
        ({"ALL": 3}, ["CANCELED"], ["CANCELED"]),
        ({"ALL": 3}, ["FAILED", "SUCCEEDED"], ["FAILED", "SUCCEEDED"]),
    ],
    ids=str,
)
def test_a_budget_is_used_up_and_no_more(
    retries: dict[str, int], ends: list[str], expected: list[str]
) -> None:
    """One budget for each failure type, ALL is shared; n retries are n+1 executions (C73, C76 to C78)."""
    world = world_with(**retries)
    for status in ends:
        end(world, status)
    assert statuses(world) == expected
    assert not world.thing("T").pending


@pytest.mark.parametrize(
    ("deleted", "ended", "is_retried"),
    [
        ("FAILED", "FAILED", False),
        ("FAILED", "TIMED_OUT", True),
        ("TIMED_OUT", "TIMED_OUT", False),
        ("TIMED_OUT", "FAILED", True),
    ],
)
def test_a_deleted_attempt_counts_as_what_it_was(deleted: str, ended: str, is_retried: bool) -> None:
    """DeleteJobExecution gives no budget back and takes none of the other failure type (C77)."""
    world = world_with(FAILED=1, TIMED_OUT=1)
    end(world, deleted)
    world.control("DeleteJobExecution", jobId="J1", thingName="T", executionNumber=1)
    end(world, ended)
    assert bool(world.thing("T").pending) is is_retried


@hypothesis.settings(max_examples=60)
@hypothesis.given(
    st.sampled_from([{"FAILED": 2}, {"TIMED_OUT": 2}, {"FAILED": 1, "TIMED_OUT": 2}, {"ALL": 3}, {"ALL": 0}]),
    st.lists(
        st.sampled_from(["FAILED", "FAILED", "TIMED_OUT", "TIMED_OUT", "SUCCEEDED", "REJECTED"]), max_size=8
    ),
)
def test_any_sequence_of_ends_is_retried_as_the_budgets_say(retries: dict[str, int], ends: list[str]) -> None:
    """Counted by a plain dictionary (data plane 7)."""
    world, left = world_with(**retries), dict(retries)
    for attempts, status in enumerate(ends):
        newest = world.execution("T", "J1")
        assert (newest.execution_number, newest.retry_attempt) == (attempts + 1, attempts)
        end(world, status)
        budget = "ALL" if "ALL" in left else status
        if status not in ("FAILED", "TIMED_OUT") or not left.get(budget):
            assert not world.thing("T").pending
            assert world.job("J1").status.value == "COMPLETED"
            return
        left[budget] -= 1
        assert world.execution("T", "J1").status is Status.QUEUED


def test_a_retry_is_a_fresh_execution_at_the_end_of_the_queue() -> None:
    """Version 1, no details, no timers, queued now (data plane 7, A14, C74, C75; control plane A8)."""
    world = world_with(FAILED=1)
    world.create_job("J2")
    world.device("T", "start-next", {"statusDetails": {"a": "b"}, "stepTimeoutInMinutes": 5})
    world.advance(1000)
    world.update("T", "J1", "FAILED")
    retry = world.execution("T", "J1")
    assert list(world.thing("T").pending) == ["J2", "J1"]
    assert (retry.execution_number, retry.version_number, retry.retry_attempt) == (2, 1, 1)
    assert (retry.status_details, retry.started_at_ms, retry.deadline_ms) == (None, 0, 0)
    assert retry.queued_at_ms == world.now_ms


def test_a_retry_is_queued_in_the_step_of_the_failure() -> None:
    """One commit, one N with the new execution in it (A15)."""
    world = world_with(FAILED=1)
    sent = world.update("T", "J1", "FAILED")
    assert endings(sent) == ["accepted", "notify", "notify-next", "failed"]
    (summary,) = sent[1].body["jobs"]["QUEUED"]
    assert summary["executionNumber"] == 2


def test_a_canceled_job_retries_nothing() -> None:
    """Also not what was running and fails later (data plane 7, "cancel / abort"; C79)."""
    world = world_with(FAILED=3)
    world.device("T", "start-next")
    world.control("CancelJob", jobId="J1")
    end(world, "FAILED")
    assert statuses(world) == ["FAILED"]


def test_each_thing_has_its_own_budget() -> None:
    """Data plane 7, "counters"."""
    world = World("A", "B")
    world.create_job("J1", "A", "B", **config(FAILED=1))
    for thing_name in "AABB":
        world.update(thing_name, "J1", "FAILED")
    assert statuses(world) == ["FAILED"] * 4


def test_deleting_a_failed_attempt_does_not_earn_another() -> None:
    """At most 1 + numberOfRetries attempts, whatever records an operator removes (control plane 5.2)."""
    world = world_with(FAILED=2)
    for number in (1, 2):
        world.update("T", "J1", "FAILED")
        world.control("DeleteJobExecution", thingName="T", jobId="J1", executionNumber=number)
    world.update("T", "J1", "FAILED")
    assert statuses(world) == ["FAILED"]
    assert world.execution("T", "J1").execution_number == 3


def test_what_lies_before_a_chain_of_retries_does_not_count() -> None:
    """A thing that left and came back starts with a full budget (data plane 7, CONTINUOUS)."""
    world = world_with(FAILED=1)
    earlier = Execution("T", "J1", 1, 1, 0, 0, 0, Status.FAILED)
    retried = Execution("T", "J1", 2, 2, 0, 0, 1, Status.FAILED, previous=earlier)
    rejoined = Execution("T", "J1", 3, 3, 0, 0, 0, Status.FAILED, previous=retried)
    again = Execution("T", "J1", 4, 4, 0, 0, 1, Status.FAILED, previous=rejoined)
    owed = [is_owed(world.job("J1"), one) for one in (earlier, retried, rejoined, again)]
    assert owed == [True, False, True, False]
