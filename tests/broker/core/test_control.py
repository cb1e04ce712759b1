"""The control plane's refusals: each constraint broken, each error code, and nothing changed."""

from typing import Any

import pytest

from tests.broker.core.world import World, only, picture
from thingjobs_broker.core import errors
from thingjobs_broker.core.control import OPERATIONS, client_token

ARN = "arn:aws:iot:local:000000000000:"
INVALID = "InvalidRequestException"
NOT_FOUND = "ResourceNotFoundException"
EXISTS = "ResourceAlreadyExistsException"
TRANSITION = "InvalidStateTransitionException"
VERSION = "VersionConflictException"
LIMIT = "LimitExceededException"


def retries(*criteria: tuple[str, Any]) -> dict[str, Any]:
    return {"criteriaList": [{"failureType": name, "numberOfRetries": count} for name, count in criteria]}


# Every way to be refused

CREATE_JOB: dict[str, Any] = {"jobId": "J9", "targets": ["T"], "document": "{}"}
CANCEL_EXECUTION: dict[str, Any] = {"jobId": "J1", "thingName": "T"}
DELETE_EXECUTION: dict[str, Any] = {"jobId": "J1", "thingName": "T", "executionNumber": 1}

WRONG_ATTRIBUTES: list[Any] = [
    {"a": "1", "b": "2", "c": "3", "d": "4"},
    {"a" * 129: "1"},
    {"": "1"},
    {"a b": "1"},
    {"a": "1" * 801},
    {"a": "x y"},
    {"a": 1},
    [],
]
WRONG_RETRIES: list[Any] = [
    {},
    {"criteriaList": []},
    retries(("FAILED", 1), ("TIMED_OUT", 1), ("FAILED", 1)),
    retries(("FAILED", 11)),
    retries(("FAILED", -1)),
    retries(("FAILED", 1.5)),
    retries(("REJECTED", 1)),
    retries(("failed", 1)),
    retries(("FAILED", 1), ("FAILED", 1)),
    retries(("ALL", 1), ("FAILED", 1)),
    retries(("FAILED", 6), ("TIMED_OUT", 5)),
    {"criteriaList": [{"failureType": "FAILED"}]},
]
REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("CreateThing", {}, {}, INVALID),
    *[("CreateThing", {}, {"thingName": name}, INVALID) for name in ("", "a b", "T" * 129, "ü", 5, None)],
    ("CreateThing", {}, {"thingName": "N", "thingTypeName": "type"}, NOT_FOUND),
    *[
        ("CreateThing", {"thingName": "N"}, {"attributePayload": {"attributes": attributes}}, INVALID)
        for attributes in WRONG_ATTRIBUTES
    ],
    ("CreateThing", {"thingName": "T"}, {"attributePayload": {"attributes": {"other": "1"}}}, EXISTS),
    *[("ListThings", {}, {"maxResults": size}, INVALID) for size in (0, 251, -1, "5", 1.5, True)],
    ("ListThings", {}, {"nextToken": "nonsense"}, INVALID),
    ("ListThings", {}, {"attributeName": "a b"}, INVALID),
    *[
        ("CreateJob", CREATE_JOB, {"jobId": job_id}, INVALID)
        for job_id in ("", "a:b", "J" * 65, "$next", None, 1)
    ],
    ("CreateJob", CREATE_JOB, {"jobId": "J1"}, EXISTS),
    *[
        ("CreateJob", CREATE_JOB, {"targets": targets}, INVALID)
        for targets in ([], None, "T", [1], [""], ["x" * 2049])
    ],
    *[
        ("CreateJob", CREATE_JOB, {"targets": targets}, NOT_FOUND)
        for targets in (
            ["X"],
            ["T", "X"],
            [f"{ARN}thing/X"],
            [f"{ARN}thinggroup/T"],
            ["arn:aws:iot:x:y:thing/T"],
        )
    ],
    ("CreateJob", CREATE_JOB, {"targets": ["T"] * 101}, LIMIT),
    *[
        ("CreateJob", CREATE_JOB, {"document": document}, INVALID)
        for document in (
            None,
            "",
            "{",
            "[]",
            '"text"',
            "null",
            "\ufeff{}",
            '{"a":NaN}',
            "{} {}",
            {"a": 1},
            "[" * 9999,
        )
    ],
    ("CreateJob", CREATE_JOB, {"document": '{"a":"%s"}' % ("x" * 32_761)}, INVALID),
    ("CreateJob", CREATE_JOB, {"document": '{"a":"%s"}' % ("ü" * 32_761)}, INVALID),
    *[
        ("CreateJob", CREATE_JOB, {"description": text}, INVALID)
        for text in ("x" * 2029, "a\nb", "\u200b", 5)
    ],
    *[("CreateJob", CREATE_JOB, {"targetSelection": value}, INVALID) for value in ("snapshot", "", 1)],
    *[
        ("CreateJob", CREATE_JOB, {"timeoutConfig": {"inProgressTimeoutInMinutes": minutes}}, INVALID)
        for minutes in (0, -1, 10_081, 1.5, "5", True)
    ],
    *[("CreateJob", CREATE_JOB, {"jobExecutionsRetryConfig": config}, INVALID) for config in WRONG_RETRIES],
    *[
        (operation, {}, {"jobId": "J8"}, NOT_FOUND)
        for operation in ("DescribeJob", "GetJobDocument", "CancelJob")
    ],
    *[
        (operation, {}, {"jobId": "J8"}, NOT_FOUND)
        for operation in ("ListJobExecutionsForJob", "DescribeTimeline")
    ],
    *[
        (operation, {}, {"jobId": "a b"}, INVALID)
        for operation in ("DescribeJob", "GetJobDocument", "CancelJob")
    ],
    *[(operation, {}, {}, INVALID) for operation in ("DescribeJob", "GetJobDocument", "CancelJob")],
    *[("ListJobs", {}, {"status": status}, INVALID) for status in ("DONE", "completed", "", 1)],
    ("ListJobs", {}, {"targetSelection": "NONE"}, INVALID),
    *[("ListJobs", {}, {"maxResults": size}, INVALID) for size in (0, 251)],
    ("ListJobs", {}, {"nextToken": "nonsense"}, INVALID),
    *[
        ("CancelJob", {"jobId": "J1"}, members, INVALID)
        for members in (
            {"force": "true"},
            {"reasonCode": "Because"},
            {"reasonCode": "A" * 129},
            {"reasonCode": ""},
            {"comment": "x" * 2029},
            {"comment": "a\x00b"},
        )
    ],
    ("CancelJob", {"jobId": "J0"}, {}, INVALID),
    ("CancelJob", {"jobId": "J0"}, {"force": True}, INVALID),
    *[
        ("CancelJobExecution", CANCEL_EXECUTION, members, NOT_FOUND)
        for members in ({"jobId": "J8"}, {"thingName": "X"}, {"thingName": "U"})
    ],
    ("CancelJobExecution", CANCEL_EXECUTION, {}, TRANSITION),
    ("CancelJobExecution", CANCEL_EXECUTION, {"jobId": "J0"}, TRANSITION),
    ("CancelJobExecution", CANCEL_EXECUTION, {"jobId": "J0", "force": True}, TRANSITION),
    ("CancelJobExecution", CANCEL_EXECUTION, {"expectedVersion": 1, "force": True}, VERSION),
    ("CancelJobExecution", CANCEL_EXECUTION, {"expectedVersion": "2", "force": True}, INVALID),
    *[
        ("CancelJobExecution", CANCEL_EXECUTION, {"force": True, "statusDetails": details}, INVALID)
        for details in (
            {"a b": "1"},
            {"a": ""},
            {"a": "x" * 1025},
            {"a": 1},
            {str(n): "v" for n in range(11)},
        )
    ],
    *[
        ("DeleteJobExecution", DELETE_EXECUTION, members, NOT_FOUND)
        for members in ({"executionNumber": 2, "force": True}, {"jobId": "J8"}, {"thingName": "U"})
    ],
    ("DeleteJobExecution", DELETE_EXECUTION, {}, TRANSITION),
    *[
        ("DeleteJobExecution", DELETE_EXECUTION, {"executionNumber": number}, INVALID)
        for number in (None, "1", 1.5)
    ],
    *[
        ("DescribeJobExecution", CANCEL_EXECUTION, members, NOT_FOUND)
        for members in ({"executionNumber": 2}, {"jobId": "J8"}, {"thingName": "X"})
    ],
    *[("ListJobExecutionsForJob", {"jobId": "J1"}, {"status": status}, INVALID) for status in ("DONE", 1)],
    *[("ListJobExecutionsForJob", {"jobId": "J1"}, {"maxResults": size}, INVALID) for size in (0, 251)],
    ("ListJobExecutionsForJob", {"jobId": "J1"}, {"nextToken": "nonsense"}, INVALID),
    ("DescribeTimeline", {"jobId": "J1"}, {"thingName": "X"}, NOT_FOUND),
    ("DescribeTimeline", {"jobId": "J1"}, {"thingName": "T", "executionNumber": 3}, NOT_FOUND),
    *[(operation, {}, {}, INVALID) for operation in ("DropJob", "createJob", "", "describe/Job")],
]


def busy_world() -> World:
    """Things T and U; J0 has ended, J1 runs with version 2, J2 is queued."""
    world = World("T", "U")
    world.create_job("J0")
    world.update("T", "J0", "SUCCEEDED")
    world.create_job("J1")
    world.device("T", "start-next")
    world.create_job("J2")
    return world


@pytest.mark.parametrize(
    ("operation", "base", "members", "code"),
    [pytest.param(*row, id=f"{number} {row[0]} {str(row[2])[:50]}") for number, row in enumerate(REFUSED)],
)
def test_a_broken_constraint_is_refused_and_nothing_changes(
    operation: str, base: dict[str, Any], members: dict[str, Any], code: str
) -> None:
    """The AWS error code, a message of one line, no record (control plane 1.2 to 1.5)."""
    world = busy_world()
    before = picture(world.state)
    body = only(world.call(operation, base | members | {"clientToken": "c"}))
    assert body["code"] == code
    assert body["clientToken"] == "c"
    assert body["message"]
    assert "\n" not in body["message"]
    assert len(body["message"]) < 400
    assert world.records == []
    assert picture(world.state) == before


@pytest.mark.parametrize(
    "payload", [b"{", b"[]", b"\xff", b'{"jobId":"\xff"}', b"1", b'{"a":1e}', b"[" * 99_999]
)
@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_a_payload_that_is_no_object_is_refused(operation: str, payload: bytes) -> None:
    """InvalidRequestException, whatever the operation; there is no token to echo."""
    world = World("T")
    body = only(world.call(operation, payload))
    assert (body["code"], body.get("clientToken")) == (INVALID, None)
    assert world.records == []


def test_a_name_that_is_taken_is_named_in_the_error() -> None:
    """ResourceId and resourceArn (control plane 1.2)."""
    world = busy_world()
    body = only(world.call("CreateJob", CREATE_JOB | {"jobId": "J1"}))
    assert (body["resourceId"], body["resourceArn"]) == ("J1", f"{ARN}job/J1")
    body = only(world.call("CreateThing", {"thingName": "T", "attributePayload": {"attributes": {"a": "b"}}}))
    assert (body["resourceId"], body["resourceArn"]) == ("T", f"{ARN}thing/T")


def test_every_error_has_its_http_status() -> None:
    """Control plane 1.2."""
    assert {kind.code: kind.http_status for kind in errors.ControlError.__subclasses__()} == {
        INVALID: 400,
        "InvalidQueryException": 400,
        NOT_FOUND: 404,
        EXISTS: 409,
        "ConflictException": 409,
        TRANSITION: 409,
        VERSION: 409,
        LIMIT: 410,
        "ThrottlingException": 400,
        "ServiceUnavailableException": 503,
    }


def test_a_token_that_cannot_be_read_is_none() -> None:
    """Whatever is sent for it."""
    assert client_token(b'{"clientToken":"c","foo":[1]}') == "c"
    for payload in (
        b"",
        b"{}",
        b'{"clientToken":1}',
        b"[",
        b'{"clientToken":"\xff"}',
        b"\xff",
        b"[" * 99_999,
    ):
        assert client_token(payload) is None


def test_v11_a_running_execution_is_canceled_with_force_and_the_right_version() -> None:
    """V11: 409 InvalidStateTransition without force; 409 VersionConflict with a stale version, unchanged."""
    world = World("T")
    world.create_job("J1")
    world.device("T", "start-next")
    before = picture(world.state)
    body = only(world.call("CancelJobExecution", {"jobId": "J1", "thingName": "T"}))
    assert body["code"] == TRANSITION
    stale = {"jobId": "J1", "thingName": "T", "force": True, "expectedVersion": 1}
    body = only(world.call("CancelJobExecution", stale))
    assert (body["code"], body["message"]) == (VERSION, "Expected version 1 but found version 2")
    assert picture(world.state) == before
    world.control("CancelJobExecution", **stale | {"expectedVersion": 2})
