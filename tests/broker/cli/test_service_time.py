"""Ages go by the clock of the service: the one of this machine may show another time."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.broker.cli.fakes import FakeConnection, FakeSession
from thingjobs_broker.cli import executions, groups, jobs, templates, thing_types, things, why
from thingjobs_broker.cli.job_options import JOB_OPTIONS
from thingjobs_broker.cli.preview_display import show_preview

SERVICE_TIME = 4_000_000_000.0
"""The service is in the year 2096, as only a test clock is."""

EARLIER = SERVICE_TIME - 12
EXECUTION = {
    "thingArn": "arn:aws:iot:local:000000000000:thing/press-1",
    "executionNumber": 1,
    "versionNumber": 1,
    "status": "QUEUED",
    "statusDetails": {"detailsMap": {}},
    "queuedAt": EARLIER,
    "lastUpdatedAt": EARLIER,
}
ANSWERS: Mapping[str, dict[str, Any]] = {
    "DescribeClock": {"now": SERVICE_TIME, "isTestClock": True},
    "DescribeJob": {
        "job": {
            "jobId": "j1",
            "status": "IN_PROGRESS",
            "targetSelection": "SNAPSHOT",
            "targets": ["arn:aws:iot:local:000000000000:thing/press-1"],
            "createdAt": EARLIER,
        }
    },
    "DescribeJobExecution": {"execution": EXECUTION},
    "DescribeTimeline": {
        "timeline": [{"at": EARLIER, "event": "TIMEOUT", "previous": EARLIER, "new": SERVICE_TIME + 90}]
    },
    "DescribeJobTemplate": {
        "jobTemplateId": "t1",
        "description": "d",
        "document": "{}",
        "createdAt": EARLIER,
    },
    "DescribeThing": {"thingName": "press-1", "thingArn": "a", "version": 1, "attributes": {}},
    "DescribeThingGroup": {
        "thingGroupName": "g1",
        "thingGroupArn": "a",
        "thingGroupMetadata": {"creationDate": EARLIER},
    },
    "DescribeThingGroupTimeouts": {},
    "DescribeThingType": {"thingTypeName": "y1", "thingTypeMetadata": {"creationDate": EARLIER}},
    "ExplainExecution": {
        "thing": {"connected": False, "offlineSince": EARLIER, "pending": 0},
        "explanations": [
            {"jobId": "j1", "jobStatus": "IN_PROGRESS", "explanation": "it waits", "since": EARLIER}
        ],
    },
    "ListJobExecutionsForJob": {
        "executionSummaries": [{"thingArn": EXECUTION["thingArn"], "jobExecutionSummary": EXECUTION}]
    },
    "ListJobTemplates": {"jobTemplates": [{"jobTemplateId": "t1", "description": "d", "createdAt": EARLIER}]},
    "ListManagedJobTemplates": {"managedJobTemplates": []},
    "ListJobs": {"jobs": [{"jobId": "j1", "status": "IN_PROGRESS", "createdAt": EARLIER}]},
    "ListThingGroupsForThing": {"thingGroups": []},
    "ListThingsInThingGroup": {"things": []},
    "PreviewJob": {
        "targets": [],
        "targeted": {"count": 1, "names": ["press-1"]},
        "excluded": [],
        "waiting": [],
        "rollout": {"startsAt": EARLIER, "endsAt": EARLIER},
        "configuration": {},
    },
}
GIVEN = {parameter.name: None for parameter in JOB_OPTIONS} | {
    "document": "https://files.example/job.json",
    "target": ["press-1"],
    "continuous": False,
}

COMMANDS: Mapping[str, tuple[Any, dict[str, Any]]] = {
    "execution list": (executions.list_executions, {"job_id": "j1"}),
    "execution show": (executions.show, {"thing": "press-1", "job_id": "j1"}),
    "execution timeline": (executions.timeline, {"thing": "press-1", "job_id": "j1"}),
    "group show": (groups.show, {"name": "g1"}),
    "job list": (jobs.list_jobs, {}),
    "job preview": (jobs.preview, {"given": GIVEN}),
    "job show": (jobs.show, {"job_id": "j1"}),
    "template list": (templates.list_templates, {}),
    "template show": (templates.show, {"name": "t1"}),
    "thing show": (things.show, {"name": "press-1"}),
    "type show": (thing_types.show, {"name": "y1"}),
    "why": (why.why, {"thing": "press-1"}),
}


def session(*, as_json: bool = False) -> FakeSession:
    """A session with a service that is long past the clock of this machine."""
    return FakeSession(lambda: FakeConnection(lambda operation, _: dict(ANSWERS[operation])), as_json=as_json)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", COMMANDS)
async def test_ages_are_told_by_the_clock_of_the_service(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the service calls twelve seconds ago is that, whatever the time is here."""
    command, arguments = COMMANDS[name]
    await command(session(), **arguments)
    shown = capsys.readouterr().out
    assert "(12 s ago)" in shown
    assert shown.count(" ago)") == shown.count("(12 s ago)")
    assert shown.count("(in ") == shown.count("(in 1 min)")


@pytest.mark.asyncio
@pytest.mark.parametrize("name", COMMANDS)
async def test_a_document_for_programs_costs_no_question_about_the_time(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no ages."""
    command, arguments = COMMANDS[name]
    asking = session(as_json=True)
    await command(asking, **arguments)
    assert "DescribeClock" not in [operation for operation, _ in asking.connections[0].calls]
    assert capsys.readouterr().out.startswith("{\n")


def test_a_rollout_that_is_to_come_is_seen_from_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    """`begins ... (in 1 h)`."""
    rollout = {"startsAt": SERVICE_TIME + 3600, "endsAt": SERVICE_TIME + 3600}
    show_preview(session().output, ANSWERS["PreviewJob"] | {"rollout": rollout}, SERVICE_TIME)
    assert "(in 1 h), at once" in capsys.readouterr().out
