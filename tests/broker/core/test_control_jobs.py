"""The operations on jobs and executions, as they should go; test_control holds every way to be refused."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.broker.core.world import DOCUMENT, MINUTE_MS, START_S, World, endings, only
from thingjobs_protocol.status import JobExecutionStatus as Status

ARN = "arn:aws:iot:local:000000000000:"
INVALID = "InvalidRequestException"
EXISTS = "ResourceAlreadyExistsException"
THIS_EXECUTION: dict[str, Any] = {"jobId": "J1", "thingName": "T"}
ZERO = {
    f"numberOf{name}Things": 0
    for name in ("Canceled", "Rejected", "Failed", "Removed", "Succeeded", "TimedOut", "Queued", "InProgress")
}


def retries(*criteria: tuple[str, int]) -> dict[str, Any]:
    return {"criteriaList": [{"failureType": name, "numberOfRetries": count} for name, count in criteria]}


@pytest.mark.parametrize("target", ["T", f"{ARN}thing/T"])
def test_create_job_takes_names_and_arns(target: str) -> None:
    """Names are accepted wherever an ARN is (architecture); a thing named twice gets one execution."""
    world = World("T")
    sent = world.create_job("J1", target, "T", description="text")
    assert sent[0].body == {"jobArn": f"{ARN}job/J1", "jobId": "J1", "description": "text"}
    assert world.job("J1").targets == [f"{ARN}thing/T"]
    assert len(world.job("J1").executions) == 1


def test_create_job_at_every_limit() -> None:
    """Control plane 1.3, 5.2, 7.1."""
    things = [f"T{number}" for number in range(100)]
    world = World(*things)
    document = '{"a":"%s"}' % ("x" * (32_768 - 8))
    world.create_job(
        "J" * 64,
        *things,
        document=document,
        description="ü" * 2028,
        targetSelection="SNAPSHOT",
        timeoutConfig={"inProgressTimeoutInMinutes": 10_080},
        jobExecutionsRetryConfig=retries(("FAILED", 4), ("TIMED_OUT", 6)),
    )
    assert len(document) == 32_768
    assert world.control("GetJobDocument", jobId="J" * 64) == {"document": document}


def test_create_job_is_not_idempotent() -> None:
    """The same payload twice is refused (control plane 1.5)."""
    world = World("T")
    world.create_job("J1")
    again = {"jobId": "J1", "targets": ["T"], "document": DOCUMENT}
    assert only(world.call("CreateJob", again))["code"] == EXISTS


def test_the_document_is_kept_byte_for_byte() -> None:
    """Its spaces, its order and its escapes (control plane 7.1); devices get the object."""
    world = World("T")
    document = ' {"b" : 1.50,\t"a":"\\u00fc ü"}\n'
    sent = world.create_job("J1", document=document)
    assert world.control("GetJobDocument", jobId="J1") == {"document": document}
    assert sent[2].body["execution"]["jobDocument"] == {"b": 1.5, "a": "ü ü"}


def test_describe_job_shows_what_was_asked_for_and_nothing_invented() -> None:
    """Control plane 2.1: configurations are echoed as given; absent members have no key."""
    world = World("T")
    world.create_job(
        "J1", timeoutConfig={"inProgressTimeoutInMinutes": 5}, jobExecutionsRetryConfig=retries(("ALL", 0))
    )
    assert world.control("DescribeJob", jobId="J1") == {
        "job": {
            "jobArn": f"{ARN}job/J1",
            "jobId": "J1",
            "targetSelection": "SNAPSHOT",
            "status": "IN_PROGRESS",
            "forceCanceled": False,
            "targets": [f"{ARN}thing/T"],
            "createdAt": float(START_S),
            "lastUpdatedAt": float(START_S),
            "jobProcessDetails": ZERO | {"numberOfQueuedThings": 1},
            "isConcurrent": False,
            "timeoutConfig": {"inProgressTimeoutInMinutes": 5},
            "jobExecutionsRetryConfig": retries(("ALL", 0)),
        }
    }


def test_describe_job_after_a_cancellation() -> None:
    """reasonCode, comment, forceCanceled; completedAt when it has finished (control plane 2.1, A27)."""
    world = World("T")
    world.create_job("J1", description="text")
    world.advance(1500)
    world.control("CancelJob", jobId="J1", force=True, reasonCode="WRONG_1", comment="why not")
    job = world.control("DescribeJob", jobId="J1")["job"]
    assert (job["status"], job["forceCanceled"], job["description"]) == ("CANCELED", True, "text")
    assert (job["reasonCode"], job["comment"]) == ("WRONG_1", "why not")
    assert job["completedAt"] == job["lastUpdatedAt"] == START_S + 1.5
    assert job["jobProcessDetails"] == ZERO | {"numberOfCanceledThings": 1}


def test_list_jobs_filters_by_status_and_selection() -> None:
    """In the order of creation, as summaries (control plane 1.4)."""
    world = World("T")
    world.create_job("J0")
    world.update("T", "J0", "SUCCEEDED")
    world.create_job("J1")
    world.create_job("J2")

    def ids(**members: Any) -> list[str]:
        return [job["jobId"] for job in world.control("ListJobs", **members)["jobs"]]

    assert ids() == ["J0", "J1", "J2"]
    assert ids(status="IN_PROGRESS") == ["J1", "J2"]
    assert ids(status="COMPLETED", targetSelection="SNAPSHOT") == ["J0"]
    assert ids(targetSelection="CONTINUOUS") == []
    assert world.control("ListJobs")["jobs"][0] == {
        "jobArn": f"{ARN}job/J0",
        "jobId": "J0",
        "targetSelection": "SNAPSHOT",
        "status": "COMPLETED",
        "createdAt": float(START_S),
        "lastUpdatedAt": float(START_S),
        "isConcurrent": False,
        "completedAt": float(START_S),
    }


def test_cancel_job_execution_replaces_the_details_it_is_given() -> None:
    """VersionNumber +1, forceCanceled iff forced, details replaced or left (control plane 1.5)."""
    world = World("T")
    for job_id in ("J1", "J2"):
        world.create_job(job_id)
        world.update("T", job_id, "IN_PROGRESS", statusDetails={"a": "b"})
    cancel = {"thingName": "T", "expectedVersion": 2, "force": True}
    assert world.control("CancelJobExecution", jobId="J1", statusDetails={"c": "d"}, **cancel) == {}
    assert world.control("CancelJobExecution", jobId="J2", **cancel) == {}
    first, second = world.execution("T", "J1"), world.execution("T", "J2")
    assert (first.status, first.version_number, first.force_canceled) == (Status.CANCELED, 3, True)
    assert (first.status_details, second.status_details) == ({"c": "d"}, {"a": "b"})


def test_canceling_a_queued_execution_needs_no_force() -> None:
    """And is then not called forced (control plane 1.5)."""
    for force in (False, True):
        world = World("T")
        world.create_job("J1")
        world.control("CancelJobExecution", jobId="J1", thingName="T", force=force)
        assert world.execution("T", "J1").force_canceled is force


@pytest.mark.parametrize("status", ["QUEUED", "SUCCEEDED"])
def test_delete_job_execution_without_force(status: str) -> None:
    """QUEUED or terminal (control plane 1.5, A1); the counters shrink."""
    world = World("T", "U")
    world.create_job("J1", "T", "U")
    if status != "QUEUED":
        world.update("T", "J1", status)
    assert world.control("DeleteJobExecution", executionNumber=1, **THIS_EXECUTION) == {}
    assert world.thing("T").executions == {}
    described = world.control("DescribeJob", jobId="J1")["job"]
    assert described["jobProcessDetails"] == ZERO | {"numberOfQueuedThings": 1}


def test_describe_job_execution_in_any_status() -> None:
    """Details and forceCanceled are always there, the document never (control plane 1.5)."""
    world = World("T")
    world.create_job("J1", timeoutConfig={"inProgressTimeoutInMinutes": 1})
    shown = {
        "jobId": "J1",
        "status": "QUEUED",
        "forceCanceled": False,
        "statusDetails": {"detailsMap": {}},
        "thingArn": f"{ARN}thing/T",
        "versionNumber": 1,
        "queuedAt": float(START_S),
        "lastUpdatedAt": float(START_S),
        "executionNumber": 1,
    }
    assert world.control("DescribeJobExecution", **THIS_EXECUTION) == {"execution": shown}
    world.advance(500)
    world.device("T", "start-next", {"statusDetails": {"a": "b"}})
    world.advance(1000)
    shown |= {
        "status": "IN_PROGRESS",
        "statusDetails": {"detailsMap": {"a": "b"}},
        "versionNumber": 2,
        "startedAt": START_S + 0.5,
        "lastUpdatedAt": START_S + 0.5,
        "approximateSecondsBeforeTimedOut": 59,
    }
    assert world.control("DescribeJobExecution", **THIS_EXECUTION) == {"execution": shown}
    world.advance(MINUTE_MS)
    described = world.control("DescribeJobExecution", executionNumber=1, **THIS_EXECUTION)["execution"]
    assert described["status"] == "TIMED_OUT"
    assert "approximateSecondsBeforeTimedOut" not in described


def test_list_job_executions_for_job_has_an_entry_for_each_attempt() -> None:
    """With its number and retryAttempt, in the order of creation (control plane 1.5)."""
    world = World("A", "B")
    world.create_job("J1", "A", "B", jobExecutionsRetryConfig=retries(("FAILED", 1)))
    world.update("A", "J1", "FAILED")

    def rows(**members: Any) -> list[tuple[str, str, int, int]]:
        found = world.control("ListJobExecutionsForJob", jobId="J1", **members)["executionSummaries"]
        summaries = [(one["thingArn"].rpartition("/")[2], one["jobExecutionSummary"]) for one in found]
        return [
            (thing_name, one["status"], one["executionNumber"], one["retryAttempt"])
            for thing_name, one in summaries
        ]

    assert rows() == [("A", "FAILED", 1, 0), ("B", "QUEUED", 1, 0), ("A", "QUEUED", 2, 1)]
    assert rows(status="QUEUED") == [("B", "QUEUED", 1, 0), ("A", "QUEUED", 2, 1)]


def test_unknown_members_are_ignored() -> None:
    """Control plane 1.1."""
    world = World("T")
    sent = world.create_job("J1", foo={"bar": [1]}, clientRequestToken="x")
    assert endings(sent) == ["accepted", "notify", "notify-next"]


# Pages


def list_things(world: World, **members: Any) -> tuple[list[str], str | None]:
    answer = world.control("ListThings", **members)
    return [thing["thingName"] for thing in answer["things"]], answer.get("nextToken")


def list_jobs(world: World, **members: Any) -> tuple[list[str], str | None]:
    answer = world.control("ListJobs", **members)
    return [job["jobId"] for job in answer["jobs"]], answer.get("nextToken")


def list_executions(world: World, **members: Any) -> tuple[list[str], str | None]:
    answer = world.control("ListJobExecutionsForJob", jobId="J00", **members)
    arns = [one["thingArn"] for one in answer["executionSummaries"]]
    return [arn.rpartition("/")[2] for arn in arns], answer.get("nextToken")


@pytest.mark.parametrize("listing", [list_things, list_jobs, list_executions])
def test_lists_come_in_pages_that_do_not_move(
    listing: Callable[..., tuple[list[str], str | None]],
) -> None:
    """50 by default, no token on the last page, new entries at the end (control plane 1.6)."""
    things = [f"T{number:02}" for number in range(60)]
    world = World(*things)
    jobs = [f"J{number:02}" for number in range(60)]
    for job_id in jobs:
        world.create_job(job_id, *(things if job_id == "J00" else things[:1]))
    names = jobs if listing is list_jobs else things
    first, token = listing(world)
    assert first == names[:50]
    world.control("CreateThing", thingName="new")
    world.create_job("new", "new")
    rest, token = listing(world, nextToken=token, maxResults=250)
    assert rest == names[50:] + ([] if listing is list_executions else ["new"])
    assert token is None
    _, token = listing(world, maxResults=1)
    other = (
        {"status": "QUEUED"} if listing is list_executions else {"attributeName": "a", "status": "CANCELED"}
    )
    answer = world.call(
        {list_things: "ListThings", list_jobs: "ListJobs"}.get(listing, "ListJobExecutionsForJob"),
        {"jobId": "J00", "nextToken": token, **other},
    )
    assert only(answer)["code"] == INVALID


def test_a_token_of_one_list_does_not_open_another() -> None:
    """An execution list's token belongs to its job (control plane 1.6, "Filters")."""
    world = World("A", "B")
    for job_id in ("J1", "J2"):
        world.create_job(job_id, "A", "B")
    token = world.control("ListJobExecutionsForJob", jobId="J1", maxResults=1)["nextToken"]
    refused = only(world.call("ListJobExecutionsForJob", {"jobId": "J2", "nextToken": token}))
    assert refused["code"] == INVALID
    assert only(world.call("ListJobs", {"nextToken": token}))["code"] == INVALID
    assert only(world.call("ListThings", {"nextToken": token}))["code"] == INVALID


def test_jobs_are_listed_as_they_were_created_whatever_becomes_of_them() -> None:
    """Control plane 1.6, "Stability", over 1.5, "Order": a status may change while somebody turns pages."""
    world = World("T")
    names = ["C", "A", "D", "B"]
    for name in names:
        world.create_job(name)
        world.now_ms += 1000
    listed: list[str] = []
    token: dict[str, str] = {}
    for turned in names[::-1]:
        page = world.control("ListJobs", maxResults=1, **token)
        listed += [one["jobId"] for one in page["jobs"]]
        token = {"nextToken": page["nextToken"]} if "nextToken" in page else {}
        world.control("CancelJob", jobId=turned)
    assert listed == names
    assert [one["jobId"] for one in world.control("ListJobs", status="CANCELED")["jobs"]] == names
