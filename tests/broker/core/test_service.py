"""The door of the core: one reply for each request, and a refusal changes nothing."""

import json
from typing import Any

import pytest

from tests.broker.core.world import (
    MINUTE_MS,
    START_MS,
    START_S,
    World,
    encoded,
    endings,
    only,
    picture,
    rejection,
)
from thingjobs_broker.core.errors import ControlError, InvalidStateTransitionError
from thingjobs_broker.core.naming import Naming
from thingjobs_broker.core.outcome import Message, Outcome
from thingjobs_broker.core.records import ExecutionChanged, ThingCreated
from thingjobs_broker.core.service import JobsService
from thingjobs_broker.core.state import State
from thingjobs_protocol import topics
from thingjobs_protocol.errors import InternalError, RequestThrottled
from thingjobs_protocol.status import JobExecutionStatus as Status

REQUESTS = [
    "get",
    "start-next",
    "$next/get",
    "J1/get",
    "J1/update",
    "J9/get",
    "J9/update",
    "$next/update",
    "frob",
]
PAYLOADS = [
    b"",
    b"{}",
    b"[]",
    b"{",
    b"\xff",
    b'{"clientToken":1}',
    b'{"clientToken":"c"}',
    b'{"status":"IN_PROGRESS","clientToken":"c"}',
    b'{"status":"CANCELED","clientToken":"c","expectedVersion":9}',
    b'{"status":"SUCCEEDED","clientToken":"c","executionNumber":"1"}',
]


@pytest.mark.parametrize("what", REQUESTS)
def test_every_request_has_exactly_one_reply_with_its_token(what: str) -> None:
    """Accepted or rejected, never both, first of all messages (data plane 1.1, 2.1; checked by World)."""
    for payload in PAYLOADS:
        world = World("T")
        world.create_job("J1")
        reply = world.device("T", what, payload)[0]
        assert reply.topic in (f"$aws/things/T/jobs/{what}/accepted", f"$aws/things/T/jobs/{what}/rejected")
        assert reply.body["timestamp"] == START_S
        assert isinstance(reply.body["timestamp"], int)
        assert reply.body.get("clientToken") == ("c" if b'"c"' in payload else None)


REFUSED: list[tuple[str, Any, str]] = [
    ("get", b"{", "InvalidJson"),
    ("start-next", {"stepTimeoutInMinutes": 0}, "InvalidRequest"),
    ("J1/get", {"executionNumber": 5}, "ResourceNotFound"),
    ("J9/get", {}, "ResourceNotFound"),
    ("J0/get", {}, "TerminalStateReached"),
    ("a b/get", {}, "InvalidRequest"),
    ("J" * 65 + "/get", {}, "InvalidRequest"),
    ("$other/get", {}, "InvalidRequest"),
    ("$next/update", {"status": "FAILED"}, "InvalidRequest"),
    ("J9/update", {"status": "FAILED"}, "ResourceNotFound"),
    ("J1/update", {"status": "FAILED", "expectedVersion": 1}, "VersionMismatch"),
    ("J1/update", {"status": "QUEUED"}, "InvalidStateTransition"),
    ("J0/update", {"status": "FAILED"}, "InvalidStateTransition"),
    ("J1/frob", {}, "InvalidTopic"),
]


@pytest.mark.parametrize(("what", "payload", "code"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_refused_request_changes_nothing(what: str, payload: Any, code: str) -> None:
    """No record, no timer, no message but the refusal (data plane 3.4)."""
    world = World("T")
    world.create_job("J0")
    world.update("T", "J0", "SUCCEEDED")
    world.create_job("J1", timeoutConfig={"inProgressTimeoutInMinutes": 5})
    world.device("T", "start-next", {"stepTimeoutInMinutes": 2})
    world.pass_unnoticed(1000)
    before, deadline_ms = picture(world.state), world.service.next_deadline_ms()
    assert rejection(world.device("T", what, payload))[0] == code
    assert world.records == []
    assert picture(world.state) == before
    assert world.service.next_deadline_ms() == deadline_ms


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"status": "CANCELED", "expectedVersion": 9, "executionNumber": 7}, "ResourceNotFound"),
        ({"status": "CANCELED", "expectedVersion": 9}, "VersionMismatch"),
        ({"status": "CANCELED", "expectedVersion": 2}, "InvalidStateTransition"),
        ({"status": "DONE", "expectedVersion": 9, "executionNumber": 7}, "InvalidRequest"),
    ],
)
def test_the_first_check_that_fails_names_the_refusal(members: dict[str, Any], code: str) -> None:
    """Shape, existence, version, state (data plane 3.4, A27, A28)."""
    world = World("T")
    world.create_job("J1")
    world.update("T", "J1", "SUCCEEDED")
    assert rejection(world.device("T", "J1/update", members))[0] == code


def test_two_refusals_alone_carry_the_state() -> None:
    """VersionMismatch and InvalidStateTransition, with the details if there are any (data plane 3.1)."""
    world = World("T")
    world.create_job("J1")
    world.device("T", "start-next", {"statusDetails": {"a": "b"}})
    state = {"status": "IN_PROGRESS", "versionNumber": 2, "statusDetails": {"a": "b"}}
    assert rejection(world.update("T", "J1", "FAILED", expectedVersion=1)) == ("VersionMismatch", state)
    assert rejection(world.update("T", "J1", "QUEUED")) == ("InvalidStateTransition", state)
    world.update("T", "J1", "SUCCEEDED")
    assert rejection(world.device("T", "J1/get")) == ("TerminalStateReached", None)


# Things that nobody registered


@pytest.mark.parametrize("what", ["get", "start-next", "$next/get"])
def test_a_device_that_asks_for_its_jobs_becomes_a_thing(what: str) -> None:
    """Architecture, "Things": once, durably."""
    world = World()
    assert endings(world.device("new:thing", what)) == ["accepted"]
    (record,) = world.records
    assert isinstance(record, ThingCreated)
    assert (record.thing_name, record.by, record.attributes) == ("new:thing", "auto_register", {})
    world.device("new:thing", what)
    assert world.records == []
    world.restart()
    assert endings(world.create_job("J1", "new:thing")) == ["accepted", "notify", "notify-next"]


@pytest.mark.parametrize("what", ["J1/get", "J1/update"])
def test_a_device_that_asks_for_a_job_it_cannot_have_does_not_become_a_thing(what: str) -> None:
    """ResourceNotFound, and a refusal changes nothing (A20)."""
    world = World()
    assert rejection(world.device("new", what, {"status": "FAILED"}))[0] == "ResourceNotFound"
    assert world.state.things == {}


@pytest.mark.parametrize("what", ["get", "start-next", "$next/get", "J1/get", "J1/update"])
def test_without_auto_register_an_unknown_thing_is_not_found(what: str) -> None:
    """On all four operations (A20)."""
    world = World(auto_register=False)
    refused = world.device("new", what, {"status": "FAILED", "clientToken": "c"})
    assert rejection(refused)[0] == "ResourceNotFound"
    assert refused[0].body["clientToken"] == "c"
    assert world.journal == []


@pytest.mark.parametrize("thing_name", ["", "a b", "ü", "T" * 129, "$aws", "T\n"])
@pytest.mark.parametrize("what", ["get", "start-next", "$next/get"])
def test_a_name_that_no_thing_may_have_is_not_registered(thing_name: str, what: str) -> None:
    """InvalidRequest (data plane 1.3)."""
    world = World()
    assert rejection(world.device(thing_name, what))[0] == "InvalidRequest"
    assert world.journal == []


def test_a_broken_request_does_not_register_anybody() -> None:
    """The payload is looked at first (data plane 3.4)."""
    world = World()
    assert rejection(world.device("new", "get", b"["))[0] == "InvalidJson"
    assert world.journal == []


# Refusals without a handler


def test_a_request_that_cannot_be_handled_is_refused_with_its_token() -> None:
    """RequestThrottled, InternalError and InvalidTopic go out beside `handle` (data plane 3.2, A23)."""
    service = World("T").service
    topic = "$aws/things/T/jobs/get"
    for refusal in (RequestThrottled("slow down"), InternalError("disk full")):
        outcome = service.refuse(topic, refusal, START_MS, b'{"clientToken":"c"}')
        assert outcome.records == []
        (message,) = outcome.messages
        assert message.topic == f"{topic}/rejected"
        expected = {
            "timestamp": START_S,
            "code": refusal.code,
            "message": refusal.message,
            "clientToken": "c",
        }
        assert json.loads(message.payload()) == expected
    unread = service.refuse(topic, RequestThrottled("slow down"), START_MS, b"{broken")
    assert b"clientToken" not in unread.messages[0].payload()


def test_a_message_is_a_topic_and_a_body_and_nothing_else() -> None:
    """So nothing is ever retained (data plane 1.5, C57)."""
    assert Message.__struct_fields__ == ("topic", "body")


# Timers that ran out but were not looked at


@pytest.mark.parametrize("what", ["get", "start-next", "$next/get", "J1/get", "J1/update"])
def test_a_timer_that_ran_out_is_applied_before_the_request(what: str) -> None:
    """The reply shows it; N, NN and the event follow; the records are there (data plane 6.3, 3.4)."""
    world = World("T")
    world.create_job("J1")
    world.device("T", "start-next", {"stepTimeoutInMinutes": 1})
    world.pass_unnoticed(MINUTE_MS)
    sent = world.device("T", what, {"status": "SUCCEEDED"})
    assert endings(sent)[1:] == ["notify", "notify-next", "timed_out", "completed"]
    changes = [record for record in world.records if isinstance(record, ExecutionChanged)]
    assert [(record.status, record.version_number) for record in changes] == [(Status.TIMED_OUT, 3)]
    match what:
        case "get":
            assert sent[0].body["inProgressJobs"] == sent[0].body["queuedJobs"] == []
        case "start-next" | "$next/get":
            assert "execution" not in sent[0].body
        case "J1/get":
            assert sent[0].body["code"] == "TerminalStateReached"
        case _:
            assert sent[0].body["code"] == "InvalidStateTransition"
            assert sent[0].body["executionState"] == {"status": "TIMED_OUT", "versionNumber": 3}
    assert picture(world.recovered()) == picture(world.state)


OVERDUE = [
    ("CancelJobExecution", {"force": True}),
    ("CancelJobExecution", {"expectedVersion": 2}),
    ("DescribeJobExecution", {}),
    ("DeleteJobExecution", {"executionNumber": 1}),
]


@pytest.mark.parametrize(("operation", "members"), OVERDUE, ids=str)
def test_the_control_plane_sees_timers_that_ran_out_too(operation: str, members: dict[str, Any]) -> None:
    """Nobody cancels by force what has timed out; what was applied is never lost, by either entrance."""
    for entrance in ("call", "execute"):
        world = World("T")
        world.create_job("J1")
        world.device("T", "start-next", {"stepTimeoutInMinutes": 1})
        world.pass_unnoticed(MINUTE_MS)
        payload = {"jobId": "J1", "thingName": "T", **members}
        if entrance == "call":
            world.call(operation, payload)
        else:
            _, outcome = world.service.execute(operation, encoded(payload), "operator", world.now_ms)
            world.journal += outcome.records
            assert "timed_out" in [message.topic.rpartition("/")[2] for message in outcome.messages]
        assert picture(world.recovered()) == picture(world.state)
        assert world.job("J1").counts[Status.CANCELED] == 0


# The control plane's two entrances


def test_a_control_request_is_answered_where_it_was_asked_with_its_token() -> None:
    """Architecture, "Control plane over MQTT"."""
    world = World("T")
    answer = world.call("DescribeJob", {"jobId": "J9", "clientToken": "c"})[0]
    assert answer.topic == "$aws/control/op/DescribeJob/rejected"
    assert answer.body == {
        "code": "ResourceNotFoundException",
        "message": "Job J9 not found",
        "clientToken": "c",
    }
    assert world.control("ListThings", clientToken="d")["clientToken"] == "d"
    assert "clientToken" not in world.control("ListThings")


def test_another_front_end_gets_the_same_answer_beside_the_outcome() -> None:
    """No reply among the messages; a refusal is an answer too, with nothing in the outcome."""
    world = World("T")
    request = {"jobId": "J1", "targets": ["T"], "document": "{}"}
    answer, outcome = world.service.execute("CreateJob", encoded(request), "ann", world.now_ms)
    assert answer == {"jobArn": "arn:aws:iot:local:000000000000:job/J1", "jobId": "J1"}
    assert [message.topic.rpartition("/")[2] for message in outcome.messages] == ["notify", "notify-next"]
    assert world.job("J1").created_by == "ann"
    world.device("T", "start-next")
    cancel = encoded({"jobId": "J1", "thingName": "T"})
    answer, outcome = world.service.execute("CancelJobExecution", cancel, "ann", world.now_ms)
    assert isinstance(answer, ControlError)
    assert isinstance(answer, InvalidStateTransitionError)
    assert outcome == Outcome([], [])


# The driver's view


def test_the_next_deadline_is_none_without_timers_and_the_tick_with_one() -> None:
    """Duty 4 of the driver."""
    world = World("T")
    assert world.service.next_deadline_ms() is None
    world.pass_unnoticed(1)
    world.create_job("J1")
    world.device("T", "start-next", {"stepTimeoutInMinutes": 1})
    assert world.service.next_deadline_ms() == START_MS + MINUTE_MS + 1000
    assert world.fire() == []
    assert world.records == []


def test_another_root_moves_every_topic_of_devices_and_events() -> None:
    """The root is a value (architecture); some brokers refuse `$` topics."""
    service = JobsService(State(), lambda: "id", Naming(topic_root="jobs"))
    create = {"jobId": "J1", "targets": ["T"], "document": "{}"}
    service.execute("CreateThing", b'{"thingName":"T"}', "op", START_MS)
    request = topics.ControlTopic("jobs/control/op/CreateJob", "op", "CreateJob")
    found = service.call(request, encoded(create), "op", START_MS).messages
    update = topics.parse_request("jobs/things/T/jobs/J1/update", "jobs")
    assert update is not None
    found += service.handle(update, b'{"status":"FAILED"}', START_MS).messages
    assert [message.topic for message in found] == [
        "jobs/control/op/CreateJob/accepted",
        "jobs/things/T/jobs/notify",
        "jobs/things/T/jobs/notify-next",
        "jobs/things/T/jobs/J1/update/accepted",
        "jobs/things/T/jobs/notify",
        "jobs/things/T/jobs/notify-next",
        "jobs/events/jobExecution/J1/failed",
        "jobs/events/job/J1/completed",
    ]


def test_several_things_are_notified_in_one_step() -> None:
    """Each of its own change, after the one reply."""
    world = World("A", "B")
    sent = world.create_job("J1", "A", "B")
    assert [message.topic for message in sent[1:]] == [
        "$aws/things/A/jobs/notify",
        "$aws/things/A/jobs/notify-next",
        "$aws/things/B/jobs/notify",
        "$aws/things/B/jobs/notify-next",
    ]
    assert only(world.device("A", "get"))["queuedJobs"][0]["jobId"] == "J1"
