"""Aborts, updates and deletions of jobs (control plane 1.5, 4, 5.3), by their vectors."""

from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld, numbered
from tests.broker.core.world import MINUTE_MS, World, endings, listed, only, picture, rejection
from thingjobs_broker.core.lifecycle import SWEEP_SLICE
from thingjobs_broker.core.ports import Rules
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.status import JobStatus


def abort(failure_type: str, percentage: float, executed: int) -> dict[str, Any]:
    """An abortConfig with one criterion."""
    criterion = {
        "failureType": failure_type,
        "action": "CANCEL",
        "thresholdPercentage": percentage,
        "minNumberOfExecutedThings": executed,
    }
    return {"criteriaList": [criterion]}


def retry(failure_type: str, count: int) -> dict[str, Any]:
    """A jobExecutionsRetryConfig with one criterion."""
    return {"criteriaList": [{"failureType": failure_type, "numberOfRetries": count}]}


def test_v4_half_of_two_failed() -> None:
    """V4: the second report aborts; QUEUED is canceled, IN_PROGRESS kept."""
    world = World("A", "B", "C", "D")
    world.create_job("J1", "A", "B", "C", "D", abortConfig=abort("FAILED", 50, 2))
    world.device("C", "start-next")
    world.update("A", "J1", "SUCCEEDED")
    sent = world.update("B", "J1", "FAILED")
    events = ["failed", "cancellation_in_progress", "canceled", "canceled"]
    assert [message.ending for message in sent if message.is_event] == events
    job = world.control("DescribeJob", jobId="J1")["job"]
    assert (job["status"], job["forceCanceled"], job["reasonCode"]) == (
        "CANCELED",
        False,
        "ABORT_CRITERIA_MET",
    )
    assert "1 of 2 executed things FAILED, 50.00 %" in job["comment"]
    statuses = [world.execution(name, "J1").status for name in "ABCD"]
    assert statuses == [Status.SUCCEEDED, Status.FAILED, Status.IN_PROGRESS, Status.CANCELED]
    assert endings(world.update("C", "J1", "FAILED"))[0] == "accepted"


def test_a_canceled_job_is_not_aborted_too() -> None:
    """Control plane 4, "When checked": what still runs may fail, and the job keeps its operator's reason."""
    world = World("A", "B")
    retries = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    world.create_job("J1", "A", "B", abortConfig=abort("FAILED", 50, 1), jobExecutionsRetryConfig=retries)
    world.device("A", "start-next")
    world.control("CancelJob", jobId="J1", reasonCode="MINE")
    assert endings(world.update("A", "J1", "FAILED")) == ["accepted", "notify", "notify-next", "failed"]
    job = world.control("DescribeJob", jobId="J1")["job"]
    assert (job["status"], job["reasonCode"]) == ("CANCELED", "MINE")
    assert not world.job("J1").owed


def test_v5_a_deleted_execution_counts_no_more() -> None:
    """V5: one executed is fewer than two; the deletion itself decides nothing."""
    world = World("A", "B", "C")
    world.create_job("J1", "A", "B", "C", abortConfig=abort("FAILED", 50, 2))
    world.update("A", "J1", "SUCCEEDED")
    world.control("DeleteJobExecution", jobId="J1", thingName="A", executionNumber=1)
    world.update("B", "J1", "FAILED")
    assert world.job("J1").status is JobStatus.IN_PROGRESS


def test_v6_two_retries_are_three_attempts() -> None:
    """V6: numbers 1, 2, 3 all FAILED, then COMPLETED; the counter counts attempts (A6)."""
    world = World("T")
    world.create_job("J1", jobExecutionsRetryConfig=retry("FAILED", 2))
    for _ in range(3):
        assert world.job("J1").status is JobStatus.IN_PROGRESS
        world.update("T", "J1", "FAILED")
    job = world.control("DescribeJob", jobId="J1")["job"]
    assert (job["status"], job["jobProcessDetails"]["numberOfFailedThings"]) == ("COMPLETED", 3)


def test_v7_an_abort_comes_before_the_retry() -> None:
    """V7: the first failure aborts, and there is no second execution."""
    world = World("T")
    config = {"jobExecutionsRetryConfig": retry("FAILED", 1), "abortConfig": abort("FAILED", 100, 1)}
    world.create_job("J1", **config)
    world.update("T", "J1", "FAILED")
    assert world.job("J1").status is JobStatus.CANCELED
    assert len(world.job("J1").executions) == 1


def test_v8_a_time_out_is_retried() -> None:
    """V8: TIMED_OUT after 60 to 120 s, then a new QUEUED execution with retryAttempt 1."""
    world = World("T")
    world.create_job(
        "J1",
        timeoutConfig={"inProgressTimeoutInMinutes": 1},
        jobExecutionsRetryConfig=retry("TIMED_OUT", 1),
    )
    world.device("T", "start-next")
    world.advance(MINUTE_MS - 1)
    assert world.execution("T", "J1").status is Status.IN_PROGRESS
    world.advance(MINUTE_MS)
    assert world.execution("T", "J1", 1).status is Status.TIMED_OUT
    second = world.execution("T", "J1", 2)
    assert (second.status, second.retry_attempt) == (Status.QUEUED, 1)


def test_a_time_out_can_abort_too() -> None:
    """Control plane 4, "When checked"."""
    world = World("A", "B")
    world.create_job(
        "J1",
        "A",
        "B",
        timeoutConfig={"inProgressTimeoutInMinutes": 1},
        abortConfig=abort("ALL", 1, 1),
    )
    world.device("A", "start-next")
    assert "cancellation_in_progress" in endings(world.advance(2 * MINUTE_MS))
    assert world.execution("B", "J1").status is Status.CANCELED


def test_an_abort_ends_the_rollout_slice_by_slice() -> None:
    """What has no execution never gets one; the rest is canceled in bounded steps, over a restart."""
    names = numbered(SWEEP_SLICE + 50)
    world = GroupWorld(*names, checked=False, rules=Rules(rollout_per_minute=None))
    world.group("G", *names)
    world.create_job("J1", "G", abortConfig=abort("FAILED", 1, 1))
    world.advance(0)
    world.update(names[0], "J1", "FAILED")
    assert world.described("J1")["isConcurrent"] is True
    world.restart()
    world.advance(0)
    assert world.job("J1").counts[Status.CANCELED] == SWEEP_SLICE + 49
    assert world.job("J1").settled


def test_an_update_with_abort_criteria_is_looked_at_at_once() -> None:
    """Control plane 4, "UpdateJob abortConfig"."""
    world = World("A", "B")
    world.create_job("J1", "A", "B")
    world.update("A", "J1", "FAILED")
    sent = world.call("UpdateJob", {"jobId": "J1", "abortConfig": abort("FAILED", 100, 1)})
    assert endings(sent)[0] == "accepted"
    assert world.job("J1").status is JobStatus.CANCELED


def test_v20_a_new_timeout_holds_for_what_has_not_started() -> None:
    """V20: the running one keeps 10 minutes, the queued one gets 5 when it is started."""
    world = World("A", "B")
    world.create_job("J1", "A", "B", timeoutConfig={"inProgressTimeoutInMinutes": 10})
    world.device("A", "start-next")
    world.control("UpdateJob", jobId="J1", timeoutConfig={"inProgressTimeoutInMinutes": 5})
    world.device("B", "start-next")
    left = [world.execution(name, "J1").in_progress_deadline_ms - world.now_ms for name in ("A", "B")]
    assert left == [10 * MINUTE_MS, 5 * MINUTE_MS]


def test_update_can_only_end_retries() -> None:
    """Control plane 5.2, "UpdateJob"; what is refused changes nothing."""
    world = World("T")
    world.create_job("J1", jobExecutionsRetryConfig=retry("FAILED", 5))
    before = picture(world.state)
    for count in (1, 5, 6):
        request = {"jobId": "J1", "jobExecutionsRetryConfig": retry("FAILED", count), "description": "x"}
        assert only(world.call("UpdateJob", request))["code"] == "InvalidRequestException"
    assert picture(world.state) == before
    world.control("UpdateJob", jobId="J1", jobExecutionsRetryConfig=retry("FAILED", 0))
    world.update("T", "J1", "FAILED")
    assert world.job("J1").status is JobStatus.COMPLETED


def test_update_leaves_what_it_does_not_name() -> None:
    """Each member that is given replaces the stored one whole (control plane 1.5)."""
    world = World("T")
    world.create_job(
        "J1", description="old", timeoutConfig={"inProgressTimeoutInMinutes": 5}, namespaceId="ns"
    )
    config = {"expiresInSec": 60, "roleArn": "arn:aws:iam::role/credential"}
    world.control("UpdateJob", jobId="J1", presignedUrlConfig=config, namespaceId="ns")
    job = world.control("DescribeJob", jobId="J1")["job"]
    assert (job["description"], job["namespaceId"]) == ("old", "ns")
    assert job["timeoutConfig"] == {"inProgressTimeoutInMinutes": 5}
    assert job["presignedUrlConfig"] == config


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("UpdateJob", {}),
        ("DeleteJob", {"force": True}),
        ("DeleteJobExecution", {"thingName": "T", "executionNumber": 1, "force": True}),
        ("AssociateTargetsWithJob", {"targets": ["T"]}),
    ],
)
def test_another_namespace_hides_a_job(operation: str, members: dict[str, Any]) -> None:
    """Control plane 1.7: given and different, ResourceNotFound."""
    world = World("T")
    world.create_job("J1", namespaceId="ours")
    request = {"jobId": "J1", "namespaceId": "theirs", **members}
    assert only(world.call(operation, request))["code"] == "ResourceNotFoundException"
    assert world.records == []


def test_lists_filter_by_namespace_and_group() -> None:
    """Control plane 1.5, 1.7: absent is no filter; a group must be targeted directly and exist."""
    world = GroupWorld("T")
    world.group("G", "T")
    world.create_job("J1", "T", namespaceId="ns")
    world.create_job("J2", "G")

    def jobs(**members: Any) -> list[str]:
        return [job["jobId"] for job in world.control("ListJobs", **members)["jobs"]]

    def executions(**members: Any) -> list[str]:
        answer = world.control("ListJobExecutionsForThing", thingName="T", **members)
        return [one["jobId"] for one in answer["executionSummaries"]]

    assert jobs() == executions() == ["J1", "J2"]
    assert jobs(namespaceId="ns") == executions(namespaceId="ns") == ["J1"]
    assert jobs(thingGroupName="G") == jobs(thingGroupId="id-of-G") == ["J2"]
    assert world.control("ListJobs", thingGroupName="G")["jobs"][0]["thingGroupId"] == "id-of-G"
    for members, code in (
        ({"thingGroupName": "X"}, "ResourceNotFoundException"),
        ({"thingGroupId": "X"}, "ResourceNotFoundException"),
        ({"thingGroupName": "G", "thingGroupId": "id-of-G"}, "InvalidRequestException"),
    ):
        assert only(world.call("ListJobs", members))["code"] == code


def test_list_job_executions_for_thing_has_an_entry_for_each_attempt() -> None:
    """Retries and re-entries apart, in the order of creation, in pages (control plane 1.5, 1.6)."""
    world = World("T")
    world.create_job("J1", jobExecutionsRetryConfig=retry("FAILED", 1))
    world.create_job("J2")
    world.update("T", "J1", "FAILED")
    found: list[tuple[str, int, str, int]] = []
    token: dict[str, str] = {}
    while True:
        answer = world.control("ListJobExecutionsForThing", thingName="T", maxResults=1, **token)
        (one,) = answer["executionSummaries"]
        summary = one["jobExecutionSummary"]
        found.append((one["jobId"], summary["executionNumber"], summary["status"], summary["retryAttempt"]))
        if "nextToken" not in answer:
            break
        token = {"nextToken": answer["nextToken"]}
    assert found == [("J1", 1, "FAILED", 0), ("J2", 1, "QUEUED", 0), ("J1", 2, "QUEUED", 1)]
    filtered = world.control("ListJobExecutionsForThing", thingName="T", jobId="J1", status="FAILED")
    assert len(filtered["executionSummaries"]) == 1
    unknown = only(world.call("ListJobExecutionsForThing", {"thingName": "X"}))
    assert unknown["code"] == "ResourceNotFoundException"


def test_v10_delete_needs_force_while_a_job_runs() -> None:
    """V10: 409 without; with it, the job is gone and the notify list is without it; its id is free."""
    world = World("T")
    world.create_job("J1")
    world.create_job("J2")
    world.device("T", "start-next")
    refused = only(world.call("DeleteJob", {"jobId": "J1"}))
    assert refused["code"] == "InvalidStateTransitionException"
    sent = world.call("DeleteJob", {"jobId": "J1", "force": True})
    assert endings(sent) == [
        *("accepted", "notify", "notify-next"),
        *("deletion_in_progress", "deleted", "deleted"),
    ]
    assert listed(sent[1]) == {"QUEUED": ["J2"]}
    assert [message.body["status"] for message in sent[3:]] == [
        "DELETION_IN_PROGRESS",
        "IN_PROGRESS",
        "DELETED",
    ]
    assert only(world.call("DescribeJob", {"jobId": "J1"}))["code"] == "ResourceNotFoundException"
    assert rejection(world.update("T", "J1", "SUCCEEDED"))[0] == "ResourceNotFound"
    world.restart()
    world.create_job("J1")
    assert world.execution("T", "J1").execution_number == 1


def test_a_large_deletion_proceeds_in_slices_over_a_restart() -> None:
    """Bounded work; the id is blocked until the end, and what is left behaves as before (A38)."""
    names = numbered(2 * SWEEP_SLICE + 50)
    world = GroupWorld(*names, checked=False, rules=Rules(rollout_per_minute=None))
    world.group("G", *names)
    world.create_job("J1", "G")
    world.advance(0)
    world.control("DeleteJob", jobId="J1", force=True)
    assert world.described("J1")["status"] == "DELETION_IN_PROGRESS"
    again = {"jobId": "J1", "targets": ["G"], "document": "{}"}
    assert only(world.call("CreateJob", again))["code"] == "ResourceAlreadyExistsException"
    assert endings(world.update(names[-1], "J1", "SUCCEEDED"))[0] == "accepted"
    world.restart()
    sent = world.advance(0)
    assert sent[-1].body["status"] == "DELETED"
    assert world.state.jobs == {}
    assert not any(thing.executions for thing in world.state.things.values())


def test_only_so_many_jobs_are_deleted_at_once() -> None:
    """Control plane 10: LimitExceeded, and nothing changes."""
    names = numbered(SWEEP_SLICE + 1)
    world = GroupWorld(*names, checked=False, rules=Rules(deletions_max=1, rollout_per_minute=None))
    world.group("G", *names)
    for job_id in ("J1", "J2"):
        world.create_job(job_id, "G")
    world.advance(0)
    world.control("DeleteJob", jobId="J1", force=True)
    refused = only(world.call("DeleteJob", {"jobId": "J2", "force": True}))
    assert refused["code"] == "LimitExceededException"
    world.advance(0)
    world.control("DeleteJob", jobId="J2", force=True)


def test_v16_configurations_out_of_range_are_refused() -> None:
    """V16: factors and percentages beyond their range or decimals, too many retries."""
    world = World("T")
    exponential = {
        "baseRatePerMinute": 1,
        "rateIncreaseCriteria": {"numberOfNotifiedThings": 1},
    }
    wrong: list[dict[str, Any]] = [
        {"jobExecutionsRolloutConfig": {"exponentialRate": exponential | {"incrementFactor": factor}}}
        for factor in (1.55, 5.1, 1.0)
    ]
    wrong += [{"abortConfig": abort("FAILED", percentage, 1)} for percentage in (10.999, 101, -1)]
    both = [{"failureType": "FAILED", "numberOfRetries": 6}]
    both.append({"failureType": "TIMED_OUT", "numberOfRetries": 5})
    wrong.append({"jobExecutionsRetryConfig": {"criteriaList": both}})
    for members in wrong:
        request = {"jobId": "J1", "targets": ["T"], "document": "{}", **members}
        assert only(world.call("CreateJob", request))["code"] == "InvalidRequestException", members
    assert world.state.jobs == {}
