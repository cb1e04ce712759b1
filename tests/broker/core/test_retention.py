"""Retention: what is long over vanishes slice by slice, nothing else does, and nobody is told."""

import pytest

from tests.broker.core.world import World, check_consistency, picture
from thingjobs_broker.core import retention
from thingjobs_broker.core.records import ExecutionDeleted, JobDeleted

DAY_MS = 24 * 3600 * 1000


def test_what_ended_before_the_time_vanishes_and_the_rest_stays() -> None:
    """Control plane 2.2, data plane 9: terminal executions, then the settled job."""
    world = World("A", "B")
    world.create_job("old", "A", "B")
    world.update("A", "old", "SUCCEEDED")
    world.update("B", "old", "FAILED")
    world.advance(DAY_MS)
    world.create_job("young", "A")
    world.update("A", "young", "SUCCEEDED")
    world.forget(world.now_ms)
    assert list(world.state.jobs) == ["young"]
    assert list(world.thing("A").executions) == ["young"]
    assert world.thing("B").executions == {}
    answer = world.call("DescribeJob", {"jobId": "old"})[0]
    assert answer.body["code"] == "ResourceNotFoundException"
    check_consistency(world.state)
    assert picture(world.recovered()) == picture(world.state)


@pytest.mark.parametrize("status", [None, "IN_PROGRESS"])
def test_a_pending_execution_stays_and_so_does_its_job(status: str | None) -> None:
    """However old it is; those of the same job that ended go."""
    world = World("A", "B")
    world.create_job("J1", "A", "B")
    world.update("A", "J1", "SUCCEEDED")
    if status:
        world.update("B", "J1", status)
    world.advance(1000 * DAY_MS)
    world.forget(world.now_ms)
    assert world.thing("A").executions == {}
    assert world.execution("B", "J1").status == (status or "QUEUED")
    assert list(world.state.jobs) == ["J1"]


def test_a_canceled_job_whose_executions_still_run_stays() -> None:
    """It is settled once they have followed, and forgotten when they are."""
    world = World("A")
    world.create_job("J1", "A")
    world.update("A", "J1", "IN_PROGRESS")
    world.control("CancelJob", jobId="J1")
    world.advance(1000 * DAY_MS)
    world.forget(world.now_ms)
    assert list(world.state.jobs) == ["J1"]
    world.update("A", "J1", "SUCCEEDED")
    world.advance(DAY_MS)
    world.forget(world.now_ms)
    assert world.state.jobs == {}


def test_the_day_before_nothing_is_forgotten() -> None:
    """The time of the end counts, not that of the beginning."""
    world = World("A")
    world.create_job("J1", "A")
    world.advance(10 * DAY_MS)
    world.update("A", "J1", "SUCCEEDED")
    ended_ms = world.now_ms
    world.forget(ended_ms)
    assert list(world.thing("A").executions) == ["J1"]
    world.advance(1)
    world.forget(ended_ms + 1)
    assert world.state.jobs == {}


def test_a_job_without_executions_counts_from_its_own_end() -> None:
    """Control plane 2.2: from when it left the active states, however long it was there."""
    world = World("A")
    world.create_job("J1", "A")
    world.advance(10 * DAY_MS)
    world.control("DeleteJobExecution", jobId="J1", thingName="A", executionNumber=1)
    assert world.job("J1").status == "COMPLETED"
    ended_ms = world.now_ms
    world.forget(ended_ms)
    assert list(world.state.jobs) == ["J1"]
    world.advance(1)
    world.forget(ended_ms + 1)
    assert world.state.jobs == {}


def test_a_retried_execution_goes_with_its_chain() -> None:
    """Each link by itself; the newest is found as long as it is there."""
    world = World("A")
    retry = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 3}]}
    world.create_job("J1", "A", jobExecutionsRetryConfig=retry)
    for _ in range(3):
        world.update("A", "J1", "FAILED")
        world.advance(DAY_MS)
    world.forget(world.now_ms - DAY_MS)
    assert world.execution("A", "J1").execution_number == 4
    assert world.execution("A", "J1", 3).status == "FAILED"
    assert world.state.execution(world.thing("A"), "J1", 2) is None
    check_consistency(world.state)


def test_a_slice_is_bounded_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Architecture, "Bounded work per step"; a job is deleted in the slice that finds it empty."""
    monkeypatch.setattr(retention, "FORGET_SLICE", 10)
    things = [f"T{number}" for number in range(25)]
    world = World(*things)
    for job_id in ("J1", "J2"):
        world.create_job(job_id, *things)
        for thing in things:
            world.update(thing, job_id, "SUCCEEDED")
    world.advance(1)
    begin = len(world.journal)
    sizes: list[int] = []
    cursor: retention.Cursor | None = retention.Cursor()
    while cursor is not None:
        outcome, cursor = world.service.forget(cursor, world.now_ms, world.now_ms)
        world._take(outcome)
        sizes.append(len(outcome.records))
    assert max(sizes) <= 10
    kinds = [type(record) for record in world.journal[begin:]]
    assert kinds == ([ExecutionDeleted] * 25 + [JobDeleted]) * 2
    assert picture(world.recovered()) == picture(world.state)


def test_young_jobs_are_not_even_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is older than its job, so a pass over a young store costs nothing."""
    monkeypatch.setattr(retention, "FORGET_SLICE", 2)
    world = World("A")
    for number in range(5):
        world.create_job(f"J{number}", "A")
    outcome, cursor = world.service.forget(retention.Cursor(), world.now_ms - DAY_MS, world.now_ms)
    assert (outcome.records, cursor) == ([], None)


def test_a_removed_execution_counts_from_its_removal() -> None:
    """A removal leaves lastUpdatedAt (data plane 4.3); the timeline tells."""
    from thingjobs_broker.core.records import ExecutionChanged
    from thingjobs_protocol.status import JobExecutionStatus

    world = World("A")
    world.create_job("J1", "A")
    world.advance(10 * DAY_MS)
    removal = ExecutionChanged("A", "J1", 1, JobExecutionStatus.REMOVED, 1, world.now_ms, "service")
    world.state.apply(removal)
    world.advance(DAY_MS)
    world.forget(world.now_ms - 2 * DAY_MS)
    assert list(world.thing("A").executions) == ["J1"]
    world.forget(world.now_ms)
    assert world.thing("A").executions == {}
