"""From the options of `job create` to the members of the request, and the look-ups it takes."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.broker.cli.documentation import PAGE
from tests.broker.cli.fakes import FakeConnection
from thingjobs_broker.cli import job_options
from thingjobs_broker.cli.errors import RefusedError, UsageError
from thingjobs_broker.cli.helper_groups import PREFIX
from thingjobs_broker.cli.job_options import EndBehavior, members
from thingjobs_broker.cli.job_request import completed, drafted, for_preview, template_arn
from thingjobs_broker.cli.output import Output
from thingjobs_broker.core.operations import CreateJob, CreateJobTemplate

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
ARN = "arn:aws:iot:local:000000000000:"


def given(**options: Any) -> dict[str, Any]:
    """The options as typer finds them; what is not named was not given."""
    defaults = {parameter.name: parameter.default for parameter in job_options.JOB_OPTIONS}
    assert options.keys() <= defaults.keys()
    return defaults | options


def everything(folder: Path) -> dict[str, Any]:
    """What all the options at once ask for."""
    path = folder / "job.json"
    path.write_text('{"a": 1}')
    return members(
        given(
            continuous=True,
            namespace="ns",
            document=str(path),
            param=["filePath=/tmp/x"],
            description="d",
            tag=["team=edge"],
            presign_role="arn:aws:iam::role/r",
            presign_seconds=60,
            rate="200/min",
            exponential="50,2,1000",
            abort=["FAILED>20% after 100", "ALL>50% after 10"],
            retry=["FAILED=2", "TIMED_OUT=1"],
            timeout="2h",
            start="+1h",
            end="2026-12-01 06:00",
            end_behavior=EndBehavior.FORCE_CANCEL,
            window=["cron(0 2 * * ? *)"],
            duration=["90"],
        ),
        now=NOW,
    )


def test_every_option_has_its_member(tmp_path: Path) -> None:
    """All of them at once (control plane 1.4, CreateJob)."""
    found = everything(tmp_path)
    criteria = found.pop("abortConfig")["criteriaList"]
    assert [each["failureType"] for each in criteria] == ["FAILED", "ALL"]
    assert found == {
        "document": '{"a": 1}',
        "description": "d",
        "documentParameters": {"filePath": "/tmp/x"},
        "tags": [{"Key": "team", "Value": "edge"}],
        "targetSelection": "CONTINUOUS",
        "namespaceId": "ns",
        "presignedUrlConfig": {"roleArn": "arn:aws:iam::role/r", "expiresInSec": 60},
        "jobExecutionsRolloutConfig": {
            "maximumPerMinute": 200,
            "exponentialRate": {
                "baseRatePerMinute": 50,
                "incrementFactor": 2.0,
                "rateIncreaseCriteria": {"numberOfNotifiedThings": 1000},
            },
        },
        "jobExecutionsRetryConfig": {
            "criteriaList": [
                {"failureType": "FAILED", "numberOfRetries": 2},
                {"failureType": "TIMED_OUT", "numberOfRetries": 1},
            ]
        },
        "timeoutConfig": {"inProgressTimeoutInMinutes": 120},
        "schedulingConfig": {
            "startTime": "2026-11-22 19:01",
            "endTime": "2026-12-01 06:00",
            "endBehavior": "FORCE_CANCEL",
            "maintenanceWindows": [{"startTime": "cron(0 2 * * ? *)", "durationInMinutes": 90}],
        },
    }


@pytest.mark.parametrize("operation", [CreateJob, CreateJobTemplate])
def test_every_member_has_its_option_or_is_named_as_one_without(operation: type, tmp_path: Path) -> None:
    """What only `thingjobs call` reaches stands in docs/operators.md (control plane 1.4)."""
    by_name = {"jobId", "targets", "documentSource", "jobTemplateArn"}
    of_template = {"jobTemplateId", "jobArn", "maintenanceWindows"}
    known = {*everything(tmp_path), *by_name, *(of_template if operation is CreateJobTemplate else ())}
    without = {field.encode_name for field in msgspec.structs.fields(operation)} - known
    assert without == {"destinationPackageVersions"}
    (told,) = re.findall(r"No option sets (.*?); for them", PAGE.read_text().replace("\n", " "))
    assert set(re.findall("`([A-Za-z]+)`", told)) == without


def test_what_is_not_given_is_not_asked_for() -> None:
    """An empty configuration would override a template's; `max` does so on purpose."""
    assert members(given(document="s3://bucket/job.json")) == {"documentSource": "s3://bucket/job.json"}
    assert members(given(rate="max")) == {"jobExecutionsRolloutConfig": {}}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"window": ["cron(0 2 * * ? *)"], "duration": ["1h"]}, "--window needs --continuous"),
        ({"end_behavior": EndBehavior.CANCEL}, "--end-behavior needs --end"),
    ],
)
def test_options_that_need_each_other_say_so(options: dict[str, Any], told: str) -> None:
    """Before anything is opened."""
    with pytest.raises(UsageError, match=told):
        members(given(**options))


SERVICE_TIME = 2_000_000_000.0
"""2033-05-18 03:33:20 UTC"""


class Registry:
    """Templates, groups and things by name; what is made for a job is kept."""

    def __init__(self, things: int = 0, *, refuses: bool = False) -> None:
        self.things = [f"T{number}" for number in range(things)]
        self.groups: list[str] = []
        self.refuses = refuses
        self.building = 2
        """How often the dynamic group is said to be yet without some of its members."""

    def answer(  # noqa: C901 - a table
        self, operation: str, asked: Mapping[str, Any]
    ) -> dict[str, Any]:
        name = asked.get("thingGroupName")
        match operation:
            case "DescribeJobTemplate" if asked["jobTemplateId"] == "own":
                return {"jobTemplateArn": f"{ARN}jobtemplate/own"}
            case "DescribeManagedJobTemplate" if asked["templateName"] == "AWS-Reboot":
                version = asked.get("templateVersion", "1.0")
                return {"templateArn": f"arn:aws:iot:local::jobtemplate/AWS-Reboot:{version}"}
            case "DescribeThingGroup" if name == "berlin":
                return {"thingGroupArn": f"{ARN}thinggroup/berlin"}
            case "ListThingGroups":
                return {"thingGroups": []}
            case "DescribeClock":
                return {"now": SERVICE_TIME}
            case "DescribeThingGroup" if name in self.groups:
                self.building -= 1
                return {"status": "BUILDING" if self.building >= 0 else "ACTIVE"}
            case "SearchIndex":
                start = int(asked.get("nextToken", 0))
                end = start + asked["maxResults"]
                more = {"nextToken": str(end)} if end < len(self.things) else {}
                return {"things": [{"thingName": thing} for thing in self.things[start:end]], **more}
            case "CreateDynamicThingGroup":
                self.groups.append(str(name))
                return {"thingGroupArn": f"{ARN}thinggroup/{name}"}
            case "DeleteDynamicThingGroup":
                self.groups.remove(str(name))
                return {}
            case "CreateJob" if not self.refuses:
                assert self.building < 0 or not self.groups
                return {"jobId": asked["jobId"]}
            case "CreateJob":
                raise RefusedError("LimitExceededException", "too many jobs")
        raise RefusedError("ResourceNotFoundException", f"{operation} finds nothing")


async def created(registry: Registry, **options: Any) -> dict[str, Any]:
    """The request for a job with these options; it is sent as the command does."""
    found = given(document="s3://b/k", **options)
    connection = FakeConnection(registry.answer)
    async with completed(connection, drafted(found, "j"), found, Output(as_json=True)) as request:
        await connection.request("CreateJob", request)
    return request


@pytest.mark.asyncio
async def test_groups_and_things_become_targets_in_their_order() -> None:
    """A group is given by its ARN, since a thing may have the same name."""
    request = await created(Registry(), target=["T1", "T2"], group=["berlin"])
    assert request["targets"] == ["T1", "T2", f"{ARN}thinggroup/berlin"]
    with pytest.raises(RefusedError, match="DescribeThingGroup finds nothing"):
        await created(Registry(), group=["atlantis"])


@pytest.mark.asyncio
async def test_a_query_becomes_the_things_that_it_finds() -> None:
    """Of a snapshot job, up to the 100 targets that a job may have (control plane 10)."""
    registry = Registry(100)
    assert (await created(registry, query="thingName:T*"))["targets"] == registry.things
    assert registry.groups == []
    with pytest.raises(RefusedError, match="finds no thing"):
        await created(Registry(0), query="thingName:T*")


@pytest.mark.asyncio
@pytest.mark.parametrize(("things", "continuous"), [(101, False), (1, True)])
async def test_a_query_of_many_or_for_later_becomes_a_dynamic_group(things: int, continuous: bool) -> None:
    """A CONTINUOUS job follows the things that match; that of another job goes after its rollout."""
    registry = Registry(things)
    request = await created(registry, query="thingName:T*", continuous=continuous)
    name = "j-query" if continuous else f"{PREFIX}j"
    assert request["targets"] == [f"{ARN}thinggroup/{name}"]
    assert registry.groups == [name]


@pytest.mark.asyncio
async def test_a_group_that_was_made_for_a_job_that_is_refused_is_taken_back() -> None:
    """Nothing is half done."""
    registry = Registry(101, refuses=True)
    with pytest.raises(RefusedError, match="too many jobs"):
        await created(registry, query="thingName:T*")
    assert registry.groups == []


@pytest.mark.asyncio
async def test_a_preview_makes_nothing_and_leaves_the_query_to_the_service() -> None:
    """What it finds may be more than a request could hold."""
    registry = Registry(230)
    found = given(query="thingName:T*", template="own")
    request = await for_preview(FakeConnection(registry.answer), drafted(found, None), found)
    assert (request["queryString"], registry.groups) == ("thingName:T*", [])
    assert not {"jobId", "targets"} & set(request)


@pytest.mark.asyncio
async def test_a_lead_counts_from_the_services_clock() -> None:
    """Which may be one for tests, years from ours; a time of day is nobody's matter."""
    request = await created(Registry(), target=["T"], start="+2h", end="+1d")
    assert request["schedulingConfig"] == {"startTime": "2033-05-18 05:34", "endTime": "2033-05-19 03:34"}
    found = given(document="s3://b/k", target=["T"], start="2033-05-18 05:33")
    connection = FakeConnection(Registry().answer)
    request = await for_preview(connection, drafted(found, None), found)
    assert request["schedulingConfig"] == {"startTime": "2033-05-18 05:33"}
    assert connection.calls == []


@pytest.mark.asyncio
async def test_a_template_is_found_by_id_by_name_and_by_arn() -> None:
    """One's own first; a managed one may have a version."""
    connection = FakeConnection(Registry().answer)
    managed = "arn:aws:iot:local::jobtemplate/AWS-Reboot:1.0"
    assert await template_arn(connection, "own") == f"{ARN}jobtemplate/own"
    assert await template_arn(connection, "AWS-Reboot") == managed
    assert await template_arn(connection, "AWS-Reboot:1.0") == managed
    assert await template_arn(connection, f"{ARN}jobtemplate/other") == f"{ARN}jobtemplate/other"
    with pytest.raises(RefusedError, match="no template, own or managed, has the name 'none'"):
        await template_arn(connection, "none")


def test_a_request_needs_somebody_and_something() -> None:
    """The message says which options there are."""
    missing: list[tuple[dict[str, Any], str]] = [
        ({"document": "s3://b/k"}, "--target NAME, --group NAME or --query"),
        ({"target": ["t"]}, "--document FILE, or --template"),
        ({"query": "*", "group": ["g"], "template": "x"}, "--query stands alone"),
    ]
    for options, told in missing:
        with pytest.raises(UsageError, match=told):
            drafted(given(**options), None)
    assert json.dumps(drafted(given(target=["t"], template="x"), "j")) == '{"jobId": "j"}'
