"""JOB and JOB_EXECUTION events: topics and every member (data plane 8)."""

from typing import Any

import pytest

from tests.broker.core.world import MINUTE_MS, START_MS, START_S, Sent, World, endings
from thingjobs_broker.core.naming import Naming

ZERO = {
    "numberOfCanceledThings": 0,
    "numberOfRejectedThings": 0,
    "numberOfFailedThings": 0,
    "numberOfRemovedThings": 0,
    "numberOfSucceededThings": 0,
    "numberOfTimedOutThings": 0,
}
ARN = "arn:aws:iot:local:000000000000:thing/T"


def events(sent: list[Sent]) -> list[Sent]:
    return [message for message in sent if message.is_event]


def started() -> World:
    """A world with a running execution, two seconds after the start."""
    world = World("T")
    world.create_job("J1", description="text", timeoutConfig={"inProgressTimeoutInMinutes": 1})
    world.advance(2000)
    world.device("T", "start-next", {"statusDetails": {"a": "b"}})
    return world


def end(world: World, status: str) -> list[Sent]:
    """Let the running execution end with that status."""
    if status == "TIMED_OUT":
        return world.advance(MINUTE_MS)
    if status == "CANCELED":
        return world.call("CancelJobExecution", {"jobId": "J1", "thingName": "T", "force": True})
    return world.update("T", "J1", status)


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "CANCELED"])
def test_every_end_of_an_execution_has_its_event(status: str) -> None:
    """Whoever caused it; all members, no execution number, no version (data plane 8.2)."""
    world = started()
    event = events(end(world, status))[0]
    assert event == Sent(
        f"$aws/events/jobExecution/J1/{status.lower()}",
        {
            "eventType": "JOB_EXECUTION",
            "eventId": "id-2",
            "timestamp": world.now_ms // 1000,
            "operation": status.lower(),
            "jobId": "J1",
            "thingArn": ARN,
            "status": status,
            "statusDetails": {"a": "b"},
        },
    )


@pytest.mark.parametrize("status", ["QUEUED", "IN_PROGRESS", "FAILED"])
def test_a_deleted_execution_s_event_has_the_status_before(status: str) -> None:
    """Data plane 8.2."""
    world = World("T")
    world.create_job("J1")
    if status != "QUEUED":
        world.update("T", "J1", status)
    members = {"thingName": "T", "jobId": "J1", "executionNumber": 1, "force": True}
    event = events(world.call("DeleteJobExecution", members))[0]
    assert event.topic == "$aws/events/jobExecution/J1/deleted"
    assert (event.body["operation"], event.body["status"]) == ("deleted", status)


def test_queued_and_in_progress_have_no_event() -> None:
    """Data plane 8.2."""
    world = World("T")
    assert events(world.create_job("J1")) == []
    assert events(world.device("T", "start-next")) == []
    assert events(world.update("T", "J1", "IN_PROGRESS")) == []


def test_a_completed_job_has_its_event() -> None:
    """The job's times are milliseconds, `timestamp` is seconds (data plane 8.1, A32)."""
    world = started()
    world.advance(1500)
    event = events(end(world, "SUCCEEDED"))[1]
    assert event == Sent(
        "$aws/events/job/J1/completed",
        {
            "eventType": "JOB",
            "eventId": "id-3",
            "timestamp": START_S + 3,
            "operation": "completed",
            "jobId": "J1",
            "status": "COMPLETED",
            "targetSelection": "SNAPSHOT",
            "targets": [ARN],
            "createdAt": START_MS,
            "lastUpdatedAt": START_MS + 3500,
            "jobProcessDetails": ZERO | {"numberOfSucceededThings": 1},
            "description": "text",
            "completedAt": START_MS + 3500,
        },
    )


def test_a_canceled_job_has_two_events_around_those_of_its_executions() -> None:
    """`cancellation_in_progress` is a status of events only (data plane 8.1)."""
    world = World("A", "B")
    world.create_job("J1", "A", "B")
    members = {"jobId": "J1", "force": True, "comment": "why", "reasonCode": "WHY"}
    found = events(world.call("CancelJob", members))
    assert endings(found) == ["cancellation_in_progress", "canceled", "canceled", "canceled"]
    assert [event.topic.split("/")[2] for event in found] == ["job", "jobExecution", "jobExecution", "job"]
    first, last = found[0].body, found[-1].body
    assert (first["status"], last["status"]) == ("CANCELLATION_IN_PROGRESS", "CANCELED")
    assert last["jobProcessDetails"] == ZERO | {"numberOfCanceledThings": 2}
    for body in (first, last):
        assert (body["comment"], body["reasonCode"], body["forceCanceled"]) == ("why", "WHY", True)
        assert "completedAt" not in body
        assert "description" not in body, "absent, never null (A34)"


def test_each_attempt_has_its_own_event() -> None:
    """Data plane 7, "events"."""
    world = World("T")
    retry = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]}
    world.create_job("J1", jobExecutionsRetryConfig=retry)
    sent = [message for _ in range(3) for message in world.update("T", "J1", "FAILED")]
    assert endings(events(sent)) == ["failed", "failed", "failed", "completed"]
    assert events(sent)[-1].body["jobProcessDetails"]["numberOfFailedThings"] == 3


def test_every_event_has_another_id() -> None:
    """For de-duplication (data plane 8)."""
    world = World("A", "B", "C")
    world.create_job("J1", "A", "B", "C")
    found = events(world.call("CancelJob", {"jobId": "J1"}))
    assert len({event.body["eventId"] for event in found}) == len(found) == 5


def test_region_account_and_root_are_the_deployment_s() -> None:
    """Naming is a value (control plane 1.8)."""
    world = World("T", naming=Naming("eu-central-1", "123456789012"))
    assert world.create_job("J1")[0].body["jobArn"] == "arn:aws:iot:eu-central-1:123456789012:job/J1"
    arn = "arn:aws:iot:eu-central-1:123456789012:thing/T"
    assert events(world.update("T", "J1", "FAILED"))[0].body["thingArn"] == arn
    naming: Any = world.service.naming
    assert naming.thing_name(arn) == naming.thing_name("T") == "T"
    assert naming.thing_name("arn:aws:iot:other:123456789012:thing/T") is None
    assert naming.thing_name(arn.replace("thing/", "thinggroup/")) is None
