"""`job retry`: which things it is for, what the new job takes over, and what becomes of very many."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.broker.cli.fakes import FakeConnection
from thingjobs_broker.cli.errors import RefusedError, UsageError
from thingjobs_broker.cli.helper_groups import PREFIX, clear_away
from thingjobs_broker.cli.job_retry import RetryOnly, retried, unsuccessful
from thingjobs_broker.cli.output import Output

ARN = "arn:aws:iot:local:000000000000:"
BOTH = [RetryOnly.FAILED, RetryOnly.TIMED_OUT]


def summary(thing: str, status: str, number: int = 1) -> dict[str, Any]:
    """An entry of ListJobExecutionsForJob."""
    return {
        "thingArn": f"{ARN}thing/{thing}",
        "jobExecutionSummary": {"status": status, "executionNumber": number},
    }


class Service:
    """One old job with its executions; keeps what is created."""

    def __init__(self, summaries: list[dict[str, Any]], *, refuses: bool = False) -> None:
        self.summaries = summaries
        self.refuses = refuses
        self.jobs: dict[str, Mapping[str, Any]] = {
            "old": {
                "jobId": "old",
                "targets": [f"{ARN}thinggroup/berlin"],
                "description": "d",
                "abortConfig": {"criteriaList": []},
                "schedulingConfig": {"startTime": "2020-01-01 00:00"},
                "jobProcessDetails": {},
            }
        }
        self.groups: dict[str, list[str]] = {}
        self.created: dict[str, float] = {}
        self.full: set[str] = set()
        self.gone: set[str] = set()
        self.under_way: set[str] = set()

    def answer(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        found = self.of_jobs(operation, asked) or self.of_groups(operation, asked)
        if found is None:
            raise RefusedError("ResourceNotFoundException", f"{operation} finds nothing")
        return found

    def of_jobs(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        match operation:
            case "DescribeJob" if asked["jobId"] in self.jobs:
                return {"job": self.jobs[asked["jobId"]]}
            case "GetJobDocument":
                return {"document": '{"a": 1}'}
            case "ListJobExecutionsForJob":
                return {"executionSummaries": self.summaries}
            case "DescribeJobRollout" if asked["jobId"] in self.jobs:
                return {"isDone": asked["jobId"] not in self.under_way}
            case "CreateJob" if not self.refuses:
                self.jobs[asked["jobId"]] = asked
                return {"jobId": asked["jobId"]}
        return None

    def of_groups(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        match operation:
            case "CreateThingGroup":
                self.groups[asked["thingGroupName"]] = []
                return {"thingGroupArn": f"{ARN}thinggroup/{asked['thingGroupName']}"}
            case "AddThingToThingGroup" if asked["thingName"] in self.full:
                raise RefusedError("InvalidRequestException", "Thing may be in 10 thing groups, not 11")
            case "AddThingToThingGroup" if asked["thingName"] in self.gone:
                raise RefusedError("ResourceNotFoundException", "Thing not found")
            case "AddThingToThingGroup":
                self.groups[asked["thingGroupName"]].append(asked["thingName"])
                return {}
            case "DeleteThingGroup":
                del self.groups[asked["thingGroupName"]]
                return {}
            case "ListThingGroups":
                return {"thingGroups": [{"groupName": name} for name in self.groups]}
            case "DescribeThingGroup":
                return {"thingGroupMetadata": {"creationDate": self.created[asked["thingGroupName"]]}}
            case "DescribeClock":
                return {"now": 10_000.0}
        return None


async def retry(service: Service, *, new_id: str | None = None) -> tuple[dict[str, Any], int]:
    """What `job retry old` returns."""
    return await retried(FakeConnection(service.answer), "old", BOTH, new_id, Output(as_json=True))


def test_the_last_execution_of_a_thing_decides() -> None:
    """A retry may have succeeded, and a thing that has none is none of them (control plane 2.3, 5.2)."""
    summaries = [
        *(summary("A", "FAILED", 1), summary("B", "TIMED_OUT"), summary("A", "SUCCEEDED", 2)),
        *(summary("C", "SUCCEEDED", 1), summary("C", "FAILED", 2), summary("D", "REJECTED")),
    ]
    assert unsuccessful(summaries, {"FAILED", "TIMED_OUT"}) == ["B", "C"]
    assert unsuccessful(summaries, {"REJECTED"}) == ["D"]
    assert unsuccessful([summary("E", "FAILED", 10), summary("E", "SUCCEEDED", 9)], {"FAILED"}) == ["E"]


@pytest.mark.asyncio
async def test_the_new_job_is_the_old_one_for_those_things_alone() -> None:
    """Document and settings, but no schedule, which lies in the past; the first free id."""
    service = Service([summary("A", "FAILED"), summary("B", "SUCCEEDED")])
    service.jobs["old-retry-1"] = service.jobs["old"]
    reply, count = await retry(service)
    assert (reply["jobId"], count) == ("old-retry-2", 1)
    assert service.jobs["old-retry-2"] == {
        "jobId": "old-retry-2",
        "targets": ["A"],
        "document": '{"a": 1}',
        "description": "d",
        "abortConfig": {"criteriaList": []},
    }


@pytest.mark.asyncio
async def test_more_things_than_a_job_can_name_get_a_group_of_their_own() -> None:
    """Which is taken back when the job is refused."""
    names = [f"T{number}" for number in range(101)]
    service = Service([summary(name, "FAILED") for name in names])
    reply, count = await retry(service, new_id="again")
    assert (reply["jobId"], count) == ("again", 101)
    assert service.groups == {f"{PREFIX}again": names}
    assert service.jobs["again"]["targets"] == [f"{ARN}thinggroup/{PREFIX}again"]
    service = Service([summary(name, "FAILED") for name in names], refuses=True)
    with pytest.raises(RefusedError):
        await retry(service, new_id="again")
    assert service.groups == {}


@pytest.mark.asyncio
async def test_nothing_to_retry_is_said() -> None:
    """And no job is created for nobody."""
    service = Service([summary("A", "SUCCEEDED")])
    with pytest.raises(UsageError, match="the last execution of no thing of old is failed or timed-out"):
        await retry(service)
    assert list(service.jobs) == ["old"]


@pytest.mark.asyncio
async def test_things_that_can_be_in_no_further_group_are_named_beside_it() -> None:
    """Up to 99 of them (control plane 10: 100 targets, ten groups a thing); deleted ones are no matter."""
    names = [f"T{number:03}" for number in range(300)]
    service = Service([summary(name, "FAILED") for name in names])
    service.full, service.gone = set(names[10:109]), {"T200"}
    await retry(service, new_id="again")
    assert service.jobs["again"]["targets"] == [f"{ARN}thinggroup/{PREFIX}again", *names[10:109]]
    assert service.groups[f"{PREFIX}again"] == [*names[:10], *names[109:200], *names[201:]]
    service.full.add("T250")
    with pytest.raises(UsageError, match="100 things are in as many groups as a thing may be, such as T010"):
        await retry(service, new_id="third")
    assert f"{PREFIX}third" not in service.groups


@pytest.mark.asyncio
async def test_helper_groups_go_when_their_job_has_been_rolled_out() -> None:
    """Else a thing would be in ten of them after ten retries; one that is being filled stays."""
    service = Service([])
    going, over = {"status": "IN_PROGRESS"}, {"status": "CANCELED"}
    service.jobs |= {"done": going, "running": going, "canceled": over}
    service.under_way = {"running", "canceled"}
    for name, created in (
        ("canceled", 0.0),
        ("done", 0.0),
        ("running", 0.0),
        ("filling", 9_000.0),
        ("abandoned", 6_000.0),
    ):
        service.groups[PREFIX + name], service.created[PREFIX + name] = [], created
    await clear_away(FakeConnection(service.answer))
    assert list(service.groups) == [f"{PREFIX}running", f"{PREFIX}filling"]
