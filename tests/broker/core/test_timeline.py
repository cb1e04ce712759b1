"""Who did what when (control plane B18), told from what the records left behind."""

from typing import Any

from tests.broker.core.world import MINUTE_MS, START_S, World

TIMEOUT = {"timeoutConfig": {"inProgressTimeoutInMinutes": 10}}


def told(world: World, **members: Any) -> list[tuple[Any, ...]]:
    """The timeline as (seconds since the start, event, by, the rest)."""
    entries = world.control("DescribeTimeline", jobId="J1", **members)["timeline"]
    return [
        (
            entry["at"] - START_S,
            entry["event"],
            entry["by"],
            {name: value for name, value in entry.items() if name not in ("at", "event", "by")},
        )
        for entry in entries
    ]


def test_the_life_of_an_execution_is_told() -> None:
    """Queued by the operator, started and ended by the device."""
    world = World("T")
    world.create_job("J1")
    world.advance(1000)
    world.device("T", "start-next")
    world.advance(1500)
    world.update("T", "J1", "SUCCEEDED")
    assert told(world, thingName="T") == [
        (0, "QUEUED", "operator", {}),
        (1, "IN_PROGRESS", "device", {}),
        (2.5, "SUCCEEDED", "device", {}),
    ]


def test_step_timers_are_told_with_their_previous_and_new_deadline() -> None:
    """The absent one has no member: never null (control plane 1.1)."""
    world = World("T")
    world.create_job("J1", **TIMEOUT)
    world.device("T", "start-next", {"stepTimeoutInMinutes": 1})
    world.advance(1000)
    world.update("T", "J1", "IN_PROGRESS")
    world.update("T", "J1", "IN_PROGRESS", stepTimeoutInMinutes=2)
    world.update("T", "J1", "IN_PROGRESS", stepTimeoutInMinutes=-1)
    assert told(world, thingName="T")[2:] == [
        (0, "step timer set", "device", {"new": START_S + 60.0}),
        (1, "step timer set", "device", {"previous": START_S + 60.0, "new": START_S + 121.0}),
        (1, "step timer cleared", "device", {"previous": START_S + 121.0}),
    ]


def test_a_time_out_names_the_timer_that_ran_out() -> None:
    """By the service; the step timer or the in-progress timer."""
    for step, cause in ((1, "step timer"), (20, "in-progress timer")):
        world = World("T")
        world.create_job("J1", **TIMEOUT)
        world.device("T", "start-next", {"stepTimeoutInMinutes": step})
        world.advance(20 * MINUTE_MS)
        after_s = min(step, 10) * 60
        assert told(world, thingName="T")[-1] == (after_s, "TIMED_OUT", "service", {"cause": cause})


def test_a_cancellation_names_who_and_whether_by_force() -> None:
    """By the operator who asked."""
    for force, rest in ((False, {}), (True, {"cause": "forced"})):
        world = World("T")
        world.create_job("J1")
        world.control("CancelJobExecution", thingName="T", jobId="J1", force=force)
        assert told(world, thingName="T") == [
            (0, "QUEUED", "operator", {}),
            (0, "CANCELED", "operator", rest),
        ]


def test_each_attempt_has_its_own_timeline() -> None:
    """By its number; without one it is the newest's."""
    world = World("T")
    retry = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    world.create_job("J1", jobExecutionsRetryConfig=retry)
    world.advance(1000)
    world.update("T", "J1", "FAILED")
    assert [entry[1] for entry in told(world, thingName="T", executionNumber=1)] == ["QUEUED", "FAILED"]
    assert told(world, thingName="T") == [(1, "QUEUED", "operator", {})]


def test_the_timeline_of_a_job_begins_with_who_created_it() -> None:
    """Created, canceled, settled; the comment is the cause."""
    world = World("T")
    world.create_job("J1")
    world.advance(1000)
    world.control("CancelJob", jobId="J1", comment="wrong image", reasonCode="WRONG")
    assert told(world) == [
        (0, "created", "operator", {}),
        (1, "CANCELED", "operator", {"cause": "wrong image"}),
        (1, "CANCELED settled", "service", {}),
    ]


def test_the_timeline_survives_a_restart() -> None:
    """It is told from the records (architecture, "The records are the history")."""
    world = World("T")
    world.create_job("J1", **TIMEOUT)
    world.device("T", "start-next", {"stepTimeoutInMinutes": 1})
    world.advance(MINUTE_MS)
    before = told(world), told(world, thingName="T")
    world.restart()
    assert (told(world), told(world, thingName="T")) == before
