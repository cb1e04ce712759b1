"""DeleteThing: what becomes of executions, groups, jobs and names (control plane 1.8, 2.5, A19, A32)."""

import pytest

from tests.broker.core.groups import GroupWorld
from tests.broker.core.world import MINUTE_MS, endings, only, picture, rejection
from thingjobs_protocol.status import JobStatus

RETRY = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]}


def test_what_a_deleted_thing_has_not_ended_is_removed_without_notice() -> None:
    """QUEUED and IN_PROGRESS become REMOVED; nobody is there to be notified (control plane 2.5)."""
    world = GroupWorld("T", "U")
    world.create_job("J1", "T", "U")
    world.create_job("J2", "T", timeoutConfig={"inProgressTimeoutInMinutes": 5})
    world.update("T", "J2", "IN_PROGRESS")
    sent = world.call("DeleteThing", {"thingName": "T"})
    assert endings(sent) == ["accepted", "removed", "removed", "completed"]
    assert world.described("J1")["jobProcessDetails"]["numberOfRemovedThings"] == 1
    assert world.job("J2").status is JobStatus.COMPLETED
    assert world.advance(10 * MINUTE_MS) == []
    assert rejection(world.update("T", "J1", "SUCCEEDED"))[0] == "ResourceNotFound"
    world.restart()


def test_deleting_a_thing_that_is_not_there_is_a_success() -> None:
    """A19; with an expectedVersion too."""
    world = GroupWorld()
    assert world.control("DeleteThing", thingName="T", expectedVersion=3) == {}
    assert world.records == []


def test_the_wrong_version_keeps_the_thing() -> None:
    """VersionConflict 409 (control plane 1.2)."""
    world = GroupWorld("T")
    body = only(world.call("DeleteThing", {"thingName": "T", "expectedVersion": 2}))
    assert (body["code"], body["message"]) == (
        "VersionConflictException",
        "Expected version 2 but found version 1",
    )
    assert world.control("DeleteThing", thingName="T", expectedVersion=1) == {}
    assert only(world.call("DescribeThing", {"thingName": "T"}))["code"] == "ResourceNotFoundException"


def test_the_executions_of_a_deleted_thing_stay_with_their_job() -> None:
    """They are listed, described and deleted as before; the thing itself is not found."""
    world = GroupWorld("T", "U")
    world.create_job("J1", "T", "U")
    world.control("DeleteThing", thingName="T")
    (summary, _) = world.control("ListJobExecutionsForJob", jobId="J1")["executionSummaries"]
    assert summary["thingArn"].endswith(":thing/T")
    execution = world.control("DescribeJobExecution", jobId="J1", thingName="T")["execution"]
    assert execution["status"] == "REMOVED"
    body = only(world.call("ListJobExecutionsForThing", {"thingName": "T"}))
    assert body["code"] == "ResourceNotFoundException"
    world.restart()
    sent = world.call("DeleteJobExecution", {"jobId": "J1", "thingName": "T", "executionNumber": 1})
    assert endings(sent) == ["accepted", "deleted"]
    assert world.state.departed == {}
    world.restart()


@pytest.mark.parametrize("by_retention", [True, False])
def test_nothing_is_left_of_a_thing_when_its_jobs_are_gone(by_retention: bool) -> None:
    """Force-delete and retention meet things that are no more."""
    world = GroupWorld("T")
    world.create_job("J1", "T")
    world.control("DeleteThing", thingName="T")
    assert list(world.state.departed) == ["T"]
    if by_retention:
        world.pass_unnoticed(1)
        world.forget(world.now_ms)
    else:
        world.control("DeleteJob", jobId="J1", force=True)
    assert world.state.departed == {}
    assert world.state.jobs == {}
    world.restart()


def test_a_thing_that_is_made_anew_takes_no_number_twice() -> None:
    """A32: its next execution of a CONTINUOUS job follows those of the earlier thing of its name."""
    world = GroupWorld("T")
    world.group("G", "T")
    world.create_job("J1", "G", targetSelection="CONTINUOUS")
    world.control("DeleteThing", thingName="T")
    assert [len(names) for names in world.state.group_members.values()] == [0]
    world.control("CreateThing", thingName="T")
    assert world.control("ListThingGroupsForThing", thingName="T") == {"thingGroups": []}
    assert endings(world.join("T", "G")) == ["notify", "notify-next"]
    assert world.execution("T", "J1").execution_number == 2
    world.restart()


def test_what_a_job_owed_a_deleted_thing_is_forgotten() -> None:
    """A retry that waits for a window (control plane 6.3), of a job that targets the thing itself (A29)."""
    window = {"maintenanceWindows": [{"startTime": "cron(0 10 * * ? *)", "durationInMinutes": 60}]}
    world = GroupWorld("T")
    world.create_job(
        "J1",
        "T",
        targetSelection="CONTINUOUS",
        jobExecutionsRetryConfig=RETRY,
        schedulingConfig=window,
    )
    while world.job("J1").status is not JobStatus.IN_PROGRESS:
        world.advance(30 * MINUTE_MS)
    world.device("T", "start-next")
    world.advance(2 * 60 * MINUTE_MS)
    world.update("T", "J1", "FAILED")
    assert world.job("J1").owed == {"T": 1}
    world.control("DeleteThing", thingName="T")
    assert world.job("J1").owed == {}
    world.advance(24 * 60 * MINUTE_MS)
    assert world.made("J1") == 1


def test_a_snapshot_under_way_passes_over_who_was_deleted() -> None:
    """Neither reached nor owed; the job completes without it."""
    world = GroupWorld("A", "B", "C")
    world.group("G", "A", "B", "C")
    world.create_job("J1", "G", jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    world.control("DeleteThing", thingName="B")
    world.advance(3 * MINUTE_MS)
    assert [one and one.thing_name for one in world.job("J1").executions] == ["A", "C"]


def test_a_refused_deletion_changes_nothing() -> None:
    """Validated before anything changes (control plane 1.2)."""
    world = GroupWorld("T")
    world.create_job("J1", "T")
    before = picture(world.state)
    world.call("DeleteThing", {"thingName": "T", "expectedVersion": 9})
    assert picture(world.state) == before
