"""In which order the control plane checks, and limits that only show with much in the way (1.5, 2.4, 10)."""

from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld
from tests.broker.core.world import DOCUMENT, World, only, picture
from thingjobs_broker.core.ports import Rules
from thingjobs_protocol.limits import TARGETS_MAX

# What is wrong with a CreateJob, and its answer, in the order of control plane 1.5.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"description": "a\nb"}, "InvalidRequestException"),
    ({"jobId": "J0"}, "ResourceAlreadyExistsException"),
    ({"targets": ["nobody"]}, "ResourceNotFoundException"),
    ({"jobTemplateArn": "arn:aws:iot:local:000000000000:jobtemplate/none"}, "ResourceNotFoundException"),
    ({"document": "[]"}, "InvalidRequestException"),
    ({"schedulingConfig": {"startTime": "1700000001"}}, "InvalidRequestException"),
]
NAMED = ["description", "J0", "nobody", "jobtemplate/none", "document", "startTime"]


@pytest.mark.parametrize("first", range(len(WRONG)))
def test_create_job_checks_in_the_order_of_the_spec(first: int) -> None:
    """Control plane 1.5: shape, id, targets, template, document, schedule, quotas; the first failure wins."""
    world = GroupWorld("T", rules=Rules(active_jobs_max=1))
    world.create_job("J0", schedulingConfig={"startTime": "1700003600"})
    request: dict[str, Any] = {"jobId": "J1", "targets": ["T"], "document": DOCUMENT}
    for members, _ in WRONG[first:]:
        request |= members
    before = picture(world.state)
    answer = only(world.call("CreateJob", request))
    assert answer["code"] == WRONG[first][1]
    assert NAMED[first] in answer["message"]
    assert (world.records, picture(world.state)) == ([], before)


def test_a_limit_of_active_jobs_comes_last_and_ends_with_one_of_them() -> None:
    """Control plane 2.4, 10: SCHEDULED and IN_PROGRESS jobs count, of both selections."""
    world = GroupWorld("T", rules=Rules(active_jobs_max=2))
    world.create_job("J0", schedulingConfig={"startTime": "1700003600"})
    world.create_job("J1")
    request = {"jobId": "J2", "targets": ["T"], "document": DOCUMENT}
    assert only(world.call("CreateJob", request))["code"] == "LimitExceededException"
    world.restart()
    world.control("CancelJob", jobId="J0")
    world.control("CreateJob", **request)
    assert world.state.active_jobs == {"J1", "J2"}
    world.control("DeleteJob", jobId="J1", force=True)
    assert world.state.active_jobs == {"J2"}


def test_a_target_that_is_there_already_does_not_count_again() -> None:
    """Control plane 1.5, AssociateTargetsWithJob: adding it is a no-op, also where a hundred are there."""
    world = GroupWorld("T")
    names = [f"G{number}" for number in range(TARGETS_MAX + 1)]
    for name in names:
        world.group(name)
    world.create_job("J1", *names[:TARGETS_MAX], targetSelection="CONTINUOUS")
    assert "code" not in only(world.call("AssociateTargetsWithJob", {"jobId": "J1", "targets": names[:2]}))
    sent = world.call("AssociateTargetsWithJob", {"jobId": "J1", "targets": names[-1:]})
    assert only(sent)["code"] == "LimitExceededException"
    assert len(world.job("J1").targets) == TARGETS_MAX


@pytest.mark.parametrize("second", ["FAILED", "ALL"])
def test_an_update_ends_retries_with_a_list_that_create_job_would_take(second: str) -> None:
    """Control plane 5.2, "Valid lists": duplicates, or ALL beside another, are refused here, too."""
    world = World("T")
    world.create_job("J1")
    criteria = [{"failureType": name, "numberOfRetries": 0} for name in ("FAILED", second)]
    request = {"jobId": "J1", "jobExecutionsRetryConfig": {"criteriaList": criteria}}
    assert only(world.call("UpdateJob", request))["code"] == "InvalidRequestException"
    assert world.records == []


def test_a_new_group_has_no_more_attributes_than_a_changed_one() -> None:
    """Control plane 10: fifty."""
    world = World()
    attributes = {f"a{number}": "1" for number in range(51)}
    properties = {"attributePayload": {"attributes": attributes}}
    request = {"thingGroupName": "G", "thingGroupProperties": properties}
    answer = only(world.call("CreateThingGroup", request))
    assert answer["code"] == "InvalidRequestException"
    assert "50" in answer["message"]
    assert world.state.groups == {}
    attributes.pop("a0")
    world.control("CreateThingGroup", **request)


# What an operation on a job answers in each status (control plane 1.5, 5.3): a code, or "".
BUSY, STATE = "InvalidRequestException", "InvalidStateTransitionException"
STATUSES = ("SCHEDULED", "IN_PROGRESS", "COMPLETED", "CANCELED", "DELETION_IN_PROGRESS")
OPERATIONS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "create": (
        "CreateJob",
        {"targets": ["T"], "document": DOCUMENT},
        ("ResourceAlreadyExistsException",) * 5,
    ),
    "describe": ("DescribeJob", {}, ("",) * 5),
    "document": ("GetJobDocument", {}, ("",) * 5),
    "executions": ("ListJobExecutionsForJob", {}, ("",) * 5),
    "update": ("UpdateJob", {"description": "new"}, ("", "", BUSY, BUSY, BUSY)),
    "cancel": ("CancelJob", {}, ("", "", BUSY, BUSY, BUSY)),
    "cancel with force": ("CancelJob", {"force": True}, ("", "", BUSY, BUSY, BUSY)),
    "delete": ("DeleteJob", {}, (STATE, STATE, "", "", STATE)),
    "delete with force": ("DeleteJob", {"force": True}, ("", "", "", "", STATE)),
    "associate": ("AssociateTargetsWithJob", {"targets": ["H"]}, (BUSY, "", BUSY, BUSY, BUSY)),
    "template": (
        "CreateJobTemplate",
        {"jobTemplateId": "t", "description": "d", "jobArn": "arn:aws:iot:local:000000000000:job/J1"},
        ("",) * 5,
    ),
    "tag": (
        "TagResource",
        {"resourceArn": "arn:aws:iot:local:000000000000:job/J1", "tags": [{"Key": "k"}]},
        ("",) * 5,
    ),
}


def continuous_in(status: str) -> GroupWorld:
    """J1 is CONTINUOUS on G, in that status; 600 members, so that a deletion takes more than a slice."""
    things = [f"T{number:03}" for number in range(600)] if status == "DELETION_IN_PROGRESS" else ["T"]
    world = GroupWorld(*things)
    if "T" not in things:
        world.control("CreateThing", thingName="T")
    world.group("G", *things)
    world.group("H")
    scheduling = {
        "SCHEDULED": {"schedulingConfig": {"startTime": "1700003600"}},
        "COMPLETED": {"schedulingConfig": {"endTime": "1700003600"}},
    }
    world.create_job("J1", "G", targetSelection="CONTINUOUS", **scheduling.get(status, {}))
    world.advance(0)
    match status:
        case "COMPLETED":
            world.update("T", "J1", "SUCCEEDED")
            world.advance(3600_000)
        case "CANCELED":
            world.control("CancelJob", jobId="J1")
        case "DELETION_IN_PROGRESS":
            world.control("DeleteJob", jobId="J1", force=True)
    assert world.job("J1").status == status
    return world


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("status", STATUSES)
def test_every_operation_in_every_status_of_a_job(status: str, name: str) -> None:
    """Control plane 1.5, 5.3, A2, A23: statuses that jobs reach; what is refused changes nothing."""
    operation, members, codes = OPERATIONS[name]
    world = continuous_in(status)
    before = picture(world.state)
    named = {} if name in ("template", "tag") else {"jobId": "J1"}
    answer = world.call(operation, named | members)[0].body
    assert answer.get("code", "") == codes[STATUSES.index(status)]
    if "code" in answer:
        assert (world.records, picture(world.state)) == ([], before)


def test_a_template_has_no_more_windows_than_a_job_may_take() -> None:
    """Control plane 6.1, 7.3: refused as the template is made; one of before is refused with the job."""
    world = GroupWorld("T")
    world.group("G", "T")
    windows = [{"startTime": f"cron(0 {hour} * * ? *)", "durationInMinutes": 5} for hour in range(21)]
    template = {"jobTemplateId": "t", "description": "d", "document": DOCUMENT, "maintenanceWindows": windows}
    assert only(world.call("CreateJobTemplate", template))["code"] == "InvalidRequestException"
    made = world.control("CreateJobTemplate", **template | {"maintenanceWindows": windows[:20]})
    request = {
        "jobId": "J1",
        "targets": ["G"],
        "targetSelection": "CONTINUOUS",
        "jobTemplateArn": made["jobTemplateArn"],
    }
    world.state.templates["t"].options["maintenanceWindows"] = windows
    answer = only(world.call("CreateJob", request))
    assert answer["code"] == "InvalidRequestException"
    assert "maintenanceWindows" in answer["message"]
    world.state.templates["t"].options["maintenanceWindows"] = windows[:20]
    world.control("CreateJob", **request)


@pytest.mark.parametrize(
    ("operation", "request_", "message"),
    [
        (
            "CreateThing",
            {"thingName": "g\u00e4teway"},
            "CreateThing: Expected text of the form [a-zA-Z0-9:_-]{1,128} - at `thingName`",
        ),
        ("DescribeJob", {"jobId": 3}, "DescribeJob: Expected `str`, got `int` - at `jobId`"),
    ],
)
def test_a_name_of_the_wrong_form_is_told_in_plain_words(
    operation: str, request_: dict[str, Any], message: str
) -> None:
    """What is expected and where, without the library's marks around it."""
    answer = only(World("T").call(operation, request_))
    assert (answer["code"], answer["message"]) == ("InvalidRequestException", message)
