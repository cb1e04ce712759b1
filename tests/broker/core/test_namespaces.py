"""Jobs in a namespace (control plane 1.7) beyond the transcripts: windows, clocks, recovery, limits."""

from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld
from tests.broker.core.world import MINUTE_MS, START_MS, World, endings, only, picture
from tests.broker.store.test_capture import captured, unpacked
from thingjobs_broker.core import schedule
from thingjobs_broker.core.entities import NO_QUEUES
from thingjobs_broker.store.restore import restore

HOUR_MS = 60 * MINUTE_MS
DAILY_AT_TEN = {"startTime": "cron(0 10 * * ? *)", "durationInMinutes": 60}
TO_TEN_MS = schedule.parse_time("t", "2023-11-15 10:00") - START_MS
IN_NAMESPACE = ["notify-namespace-ns", "notify-namespace-ns", "notify-next-namespace-ns"]


def front(world: World, namespace_id: str = "ns") -> dict[str, Any] | None:
    """What `$next` stands for in the namespace."""
    found: dict[str, Any] | None = only(world.device("T", f"$next/namespace-{namespace_id}/get")).get(
        "execution"
    )
    return found


def test_a_window_hides_and_shows_the_jobs_of_its_namespace() -> None:
    """Control plane 6.3, "Closed": told on the topics of the namespace, the job's own among them."""
    world = GroupWorld("T")
    world.group("G", "T")
    scheduling = {"maintenanceWindows": [DAILY_AT_TEN]}
    world.create_job("J1", "G", targetSelection="CONTINUOUS", namespaceId="ns", schedulingConfig=scheduling)
    assert endings(world.advance(TO_TEN_MS)) == IN_NAMESPACE
    assert front(world) is not None
    closing = world.advance(HOUR_MS)
    assert endings(closing) == IN_NAMESPACE
    assert closing[0].body["jobs"] == {}
    assert front(world) is None
    world.restart()
    assert endings(world.advance(23 * HOUR_MS)) == IN_NAMESPACE


def test_a_queue_is_kept_only_while_something_is_in_it() -> None:
    """A thing without such a job is as it was; whatever names are used, none is kept for ever."""
    world = World("T")
    assert world.thing("T").namespaces is NO_QUEUES
    for namespace_id in ("a", "b"):
        world.create_job(f"J{namespace_id}", namespaceId=namespace_id)
    assert [*world.thing("T").namespaces] == ["a", "b"]
    assert world.thing("T").pending == {}
    world.update("T", "Ja", "SUCCEEDED")
    assert [*world.thing("T").namespaces] == ["b"]
    world.update("T", "Jb", "SUCCEEDED")
    assert world.thing("T").namespaces is NO_QUEUES


def test_a_snapshot_brings_every_queue_back_in_order() -> None:
    """What is pending is derived from the jobs, each in its namespace."""
    world = World("T")
    retry = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    for job_id, namespace in (("J1", {}), ("J2", {"namespaceId": "ns"}), ("J3", {"namespaceId": "ns"})):
        world.create_job(job_id, jobExecutionsRetryConfig=retry, **namespace)
    world.update("T", "J2", "FAILED")
    world.update("T", "J3", "IN_PROGRESS")
    restored = restore(unpacked(captured(world.state)))
    assert picture(restored) == picture(world.state)
    queue = restored.things["T"].namespaces["ns"]
    assert (list(queue.pending), queue.in_progress_count) == (["J3", "J2"], 1)


@pytest.mark.parametrize(
    ("of_job", "of_step"),
    [({"timeoutConfig": {"inProgressTimeoutInMinutes": 5}}, {}), ({}, {"stepTimeoutInMinutes": 5})],
)
def test_a_correction_of_the_clock_moves_the_timers_of_a_namespace(
    of_job: dict[str, Any], of_step: dict[str, Any]
) -> None:
    """Architecture, "Time": what runs keeps the time that it had left, for a step as for the whole."""
    world = World("T")
    world.create_job("J1", namespaceId="ns", **of_job)
    world.update("T", "J1", "IN_PROGRESS", **of_step)
    world._take(world.service.step_clock(HOUR_MS, world.now_ms))
    world.now_ms += HOUR_MS
    assert world.advance(5 * MINUTE_MS - 1) == []
    assert "timed_out" in endings(world.advance(1))


def test_an_overdue_timer_is_applied_before_the_front_of_a_namespace_is_shown() -> None:
    """Data plane 6.3: what has timed out is not handed out, and what is left is."""
    world = World("T")
    world.create_job("J1", namespaceId="ns", timeoutConfig={"inProgressTimeoutInMinutes": 5})
    world.update("T", "J1", "IN_PROGRESS")
    world.pass_unnoticed(5 * MINUTE_MS)
    answer, *told = world.device("T", "$next/namespace-ns/get")
    assert "execution" not in answer.body
    assert endings(told)[:3] == IN_NAMESPACE


def test_a_deleted_thing_leaves_no_execution_in_a_namespace() -> None:
    """Data plane A31: REMOVED, and nobody is told."""
    world = World("T")
    world.create_job("J1", namespaceId="ns")
    sent = world.call("DeleteThing", {"thingName": "T"})
    assert endings(sent) == ["accepted", "removed", "completed"]


def test_a_plain_job_and_one_of_a_namespace_run_side_by_side() -> None:
    """Each queue has a front of its own; fifteen entries are for windows of the same queue (A4)."""
    world = World("T")
    for number in range(12):
        world.create_job(f"J{number}", **({"namespaceId": "ns"} if number % 2 else {}))
    assert len(only(world.device("T", "get"))["queuedJobs"]) == 6
    world.update("T", "J1", "IN_PROGRESS")
    assert only(world.device("T", "start-next"))["execution"]["jobId"] == "J0"
    found = front(world)
    assert found is not None
    assert (found["jobId"], found["status"]) == ("J1", "IN_PROGRESS")


def test_a_namespace_that_fits_into_no_topic_is_refused() -> None:
    """Control plane 1.3, and at most 128 characters; nothing changes."""
    world = World("T")
    for namespace_id in ("", "a/b", "a+", "#", "ä", "a\n", "x" * 129):
        request = {"jobId": "J1", "targets": ["T"], "document": "{}", "namespaceId": namespace_id}
        assert only(world.call("CreateJob", request))["code"] == "InvalidRequestException", namespace_id
    assert world.state.jobs == {}
    world.create_job("J1", namespaceId="x" * 128)
    assert front(world, "x" * 128) is not None
