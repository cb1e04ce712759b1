"""Bad input at the service's doors, on both brokers: a refusal or a hang-up, nothing changed, others served.

How a process ends that cannot start is in test_bad_start.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.broker.front import wire
from tests.broker.front.wire import Wire
from tests.end_to_end.jobs_client import Arrived, JobsClient
from tests.end_to_end.wire_fixtures import WireService, new_name

pytestmark = pytest.mark.broker

OPERATIONS = ["get", "start-next", "$next/get", "j/get", "j/update"]
NOT_JSON = {
    "nothing at all": b" ",
    "cut off": b'{"status":"IN_PROGRESS"',
    "not UTF-8": b'{"clientToken":"\xff\xfe"}',
    "UTF-16": '{"clientToken":"c"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b'{"status":"SUCCEEDED","expectedVersion":NaN}',
    "array": b"[]",
    "null": b"null",
    "text": b'"SUCCEEDED"',
    "number": b"1",
    "two objects": b"{}{}",
    "deep": b'{"statusDetails":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "binary": bytes(range(256)),
}


def _each(what: str, member: str, *values: Any, **more: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(what, {**more, member: value}) for value in values]


WRONG_MEMBERS = [
    *(wrong for what in OPERATIONS for wrong in _each(what, "clientToken", 1, True, [], {}, 1.5)),
    *_each("start-next", "statusDetails", "x", [], 1, {"a": None}, {"a\0": "b"}),
    *_each("start-next", "stepTimeoutInMinutes", "1", 1.5, [], 10**30),
    *_each("j/get", "executionNumber", "one", 1.5, [], "-1", 10**30, "9" * 400),
    *_each("j/get", "includeJobDocument", "true", 1, {}),
    *_each("j/update", "status", None, 1, "", "in_progress", ["SUCCEEDED"]),
    *_each("j/update", "expectedVersion", "", " 1", "1e0", -(10**30), True, {}, status="SUCCEEDED"),
    *_each("j/update", "statusDetails", {"k": "\N{RIGHT-TO-LEFT OVERRIDE}"}, {"ä": "v"}, status="SUCCEEDED"),
    *_each("j/update", "statusDetails", {str(number): "v" for number in range(1000)}, status="SUCCEEDED"),
]
HOSTILE_NAMES = {
    "plus": b"a+b",
    "hash": b"a#b",
    "nul": b"a\0b",
    "not utf-8": b"a\xff",
    "surrogate": b"\xed\xa0\x80",
    "control": b"a\x01\x1b[31mb",
    "line break": b"a\r\nb",
    "slash": b"a/b",
    "slashes": b"////",
    "empty": b"",
    "space": b"a b",
    "dots": b"../../etc",
    "dollar": b"$next$",
    "unicode": "dröhn-🛠".encode(),
    "overlong": b"x" * 129,
    "10 kB": b"x" * 10_000,
    "no room for an answer": b"x" * 65_495,
}


@asynccontextmanager
async def telling(service: WireService, *filters: str) -> AsyncIterator[tuple[JobsClient, str]]:
    """A client, and a thing with a queued job `j...` whose jobs it listens to."""
    async with JobsClient.connect(service.port, *filters) as client:
        thing = new_name("press")
        await client.call("CreateThing", thingName=thing)
        await client.subscribe(f"$aws/things/{thing}/jobs/#")
        yield client, f"$aws/things/{thing}/jobs"


async def provoke(client: JobsClient, frame: bytes) -> list[Arrived] | None:
    """What a packet brings about: messages, or None where the connection is ended."""
    client.line.send(frame)
    try:
        return await client.settle()
    except (ConnectionError, asyncio.IncompleteReadError):
        return None


async def serves_others(service: WireService) -> bool:
    """Whether somebody else is answered."""
    async with JobsClient.connect(service.port) as client:
        return await client.settle() == []


def code(answers: list[Arrived]) -> str:
    """The code of the one refusal."""
    (answer,) = answers
    assert answer.ending == "rejected", answer
    assert answer.body["message"]
    assert len(answer.body["message"]) < 500
    found: str = answer.body["code"]
    return found


@pytest.mark.asyncio
@pytest.mark.parametrize("payload", NOT_JSON.values(), ids=NOT_JSON.keys())
async def test_what_is_no_json_object_is_refused_by_all_operations(
    service: WireService, payload: bytes
) -> None:
    """Data plane 3.2, A19: InvalidJson, with nothing changed; the control plane says it in its own words."""
    async with telling(service) as (client, jobs):
        before = service.names()
        for what in OPERATIONS:
            assert code(await client.ask(f"{jobs}/{what}", payload)) == "InvalidJson"
        control = f"$aws/control/{client.client_id}/CreateJob"
        await client.subscribe(f"{control}/+")
        assert code(await client.ask(control, payload)) == "InvalidRequestException"
        assert service.names() == before


@pytest.mark.asyncio
async def test_members_of_wrong_type_or_value_are_refused(service: WireService) -> None:
    """Data plane 3.2, A16 to A18: InvalidRequest, each of them."""
    async with telling(service) as (client, jobs):
        for what, members in WRONG_MEMBERS:
            assert code(await client.ask(f"{jobs}/{what}", members)) == "InvalidRequest", (what, members)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES.keys())
@pytest.mark.parametrize("what", [b"$aws/things/%s/jobs/get", b"$aws/things/%s/jobs/$next/get"])
async def test_a_hostile_thing_name_is_refused_or_cut_off(
    service: WireService, what: bytes, name: bytes
) -> None:
    """Data plane 1.3: no such thing comes to be; a topic that MQTT forbids ends the connection."""
    async with JobsClient.connect(service.port, "$aws/things/+/jobs/#") as client:
        before = service.names()
        answers = await provoke(client, wire.publish(what % name, b"{}"))
        _check_refused(service, name, answers)
        assert service.names() == before
    assert await serves_others(service)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES.keys())
@pytest.mark.parametrize("operation", [b"get", b"update"])
async def test_a_hostile_job_id_is_refused_or_cut_off(
    service: WireService, operation: bytes, name: bytes
) -> None:
    """Data plane 1.3: InvalidRequest, or InvalidTopic where slashes make another shape of it."""
    async with telling(service) as (client, jobs):
        topic = b"%s/%s/%s" % (jobs.encode(), name, operation)
        answers = await provoke(client, wire.publish(topic, b'{"status":"SUCCEEDED"}'))
        _check_refused(service, name, answers)
    assert await serves_others(service)


def _check_refused(service: WireService, name: bytes, answers: list[Arrived] | None) -> None:
    """Cut off, refused once, or, where the topic leaves those of the service, not heard at all."""
    found = [answer for answer in answers or [] if answer.ending in {"accepted", "rejected"}]
    if found:
        assert code(found) in {"InvalidRequest", "InvalidTopic"}
    elif service.broker == "embedded":
        is_topic = name.isascii() and not set(name) & set(b"+#\0")
        assert not is_topic or b"/" in name or len(name) > 15_000, "it could have been answered"


@pytest.mark.asyncio
async def test_a_topic_without_room_for_its_answer_takes_no_other_answer_along(service: WireService) -> None:
    """Mqtt 1.5.3: a topic has 65,535 bytes at most; what was asked with it in one go is still answered."""
    async with telling(service) as (client, jobs):
        longest = 65_535 - len(f"{jobs}//update")
        client.publish(f"{jobs}/{'x' * longest}/update", b"{}")
        client.publish(f"{jobs}/get", {"clientToken": "c"})
        (answer,) = await client.settle()
        assert (answer.ending, answer.body["clientToken"]) == ("accepted", "c")
        await client.acknowledged()


@pytest.mark.asyncio
@pytest.mark.parametrize("payload_bytes", [200_000, 1_000_000])
async def test_a_payload_beyond_the_limit_ends_the_connection(
    service: WireService, payload_bytes: int
) -> None:
    """Data plane 9: over 128 KiB there is no answer; what was asked before is, and others are served."""
    async with telling(service) as (client, jobs):
        (answer,) = await client.ask(f"{jobs}/get")
        assert answer.ending == "accepted"
        assert await provoke(client, wire.publish(f"{jobs}/get", b"x" * payload_bytes)) is None
    assert await serves_others(service)


@pytest.mark.asyncio
async def test_a_payload_at_the_limit_is_answered(service: WireService) -> None:
    """Data plane 9: 128 KiB, with a client token that fills it and comes back."""
    token = "t" * (128 * 1024 - len('{"clientToken": ""}'))
    async with telling(service) as (client, jobs):
        (answer,) = await client.ask(f"{jobs}/get", {"clientToken": token})
        assert answer.body["clientToken"] == token


@pytest.mark.asyncio
async def test_a_retained_request_is_dropped(service: WireService) -> None:
    """Data plane 1.5: a retained request would be carried out again at each start of the service."""
    async with telling(service) as (client, jobs):
        await client.call(
            "CreateJob", jobId=(job_id := new_name("job")), targets=[_thing(jobs)], document="{}"
        )
        await client.settle()
        try:
            assert await client.ask(f"{jobs}/start-next", {"clientToken": "stale"}, retain=True) == []
            service.restart()
            if not service.outlives_restart:
                await client.reconnect()
            (answer,) = await client.ask(f"{jobs}/{job_id}/get")
            assert answer.body["execution"]["status"] == "QUEUED"
        finally:
            client.publish(f"{jobs}/start-next", b"", retain=True)
            await client.settle()


def _thing(jobs: str) -> str:
    return jobs.split("/")[2]


@pytest.mark.asyncio
async def test_what_only_the_service_says_is_never_answered(service: WireService) -> None:
    """C82, A23: neither for devices nor on the control plane nor on events; no loop comes of it."""
    async with telling(service, "$aws/control/#", "$aws/events/#") as (client, jobs):
        topics = [
            f"{jobs}/{what}/{ending}" for what in ("get", "j/get", "j") for ending in ("accepted", "rejected")
        ]
        topics += [f"{jobs}/notify", f"{jobs}/notify-next", f"{jobs}/get/accepted/accepted", jobs]
        topics += [f"$aws/control/{client.client_id}/CreateJob/accepted", "$aws/events/job/j/completed"]
        for topic in topics:
            assert await client.ask(topic, {"jobId": "j"}) == [], topic


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("operation", "members", "wanted"),
    [
        ("MakeCoffee", {}, "InvalidRequestException"),
        ("createjob", {}, "InvalidRequestException"),
        ("CreateJob", {"targets": ["press"], "document": "{}"}, "InvalidRequestException"),
        ("CreateJob", {"jobId": "j", "targets": [], "document": "{}"}, "InvalidRequestException"),
        ("CreateJob", {"jobId": "a b", "targets": ["{thing}"], "document": "{}"}, "InvalidRequestException"),
        ("CreateJob", {"jobId": "j", "targets": ["{thing}"], "document": "no"}, "InvalidRequestException"),
        ("CreateJob", {"jobId": "j", "targets": ["{thing}"], "document": "[1]"}, "InvalidRequestException"),
        ("CreateJob", {"jobId": "j", "targets": ["{thing}"], "document": 1}, "InvalidRequestException"),
        (
            "CreateJob",
            {"jobId": "j", "targets": ["{thing}"], "document": '{"x":"' + "x" * 32_768 + '"}'},
            "InvalidRequestException",
        ),
        ("CreateThing", {"thingName": "a/b"}, "InvalidRequestException"),
        ("CreateThing", {"thingName": "x" * 129}, "InvalidRequestException"),
        ("DescribeJob", {"jobId": "no-such-job"}, "ResourceNotFoundException"),
        ("ListJobs", {"maxResults": "many"}, "InvalidRequestException"),
        ("ListJobs", {"nextToken": "forged"}, "InvalidRequestException"),
    ],
)
async def test_a_bad_operator_request_is_refused(
    service: WireService, operation: str, members: dict[str, Any], wanted: str
) -> None:
    """Control plane 1.4: unknown operations, missing members, documents that are not JSON."""
    async with telling(service) as (client, jobs):
        before = service.names()
        topic = f"$aws/control/{client.client_id}/{operation}"
        await client.subscribe(f"{topic}/+")
        if members.get("targets"):
            members = {
                **members,
                "targets": [target.format(thing=_thing(jobs)) for target in members["targets"]],
            }
        assert code(await client.ask(topic, members)) == wanted
        assert service.names() == before


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        wire.publish("$aws/things/a/jobs/get"),
        wire.connect("x", name="NOTMQTT"),
        b"\x10\xff\xff\xff\xff\xff",
    ],
    ids=["http", "tls", "publish first", "other protocol", "length"],
)
async def test_whoever_speaks_no_mqtt_is_cut_off(service: WireService, garbage: bytes) -> None:
    """Mqtt 3.1, 4.8: the connection ends, and the next client is served."""
    async with Wire.dial(service.port) as line:
        line.send(garbage)
        await line.expect_end()
    assert await serves_others(service)


@pytest.mark.asyncio
@pytest.mark.parametrize("topic_filter", ["$aws/things/#/jobs", "$aws/things/a+/jobs/#", "$aws/##", ""])
async def test_a_filter_that_mqtt_forbids_is_refused_or_ends_the_connection(
    service: WireService, topic_filter: str
) -> None:
    """Mqtt 4.7.1: with the code 0x80, or by a hang-up."""
    async with JobsClient.connect(service.port) as client:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            assert await client.subscribe(topic_filter) == [0x80]
    assert await serves_others(service)


@pytest.mark.asyncio
async def test_the_document_of_a_job_arrives_as_it_was_written(service: WireService) -> None:
    """What looks hostile in a document is the operator's: it passes through unharmed (2.2, jobDocument)."""
    document = '{"sh":"$(rm -rf /)","html":"<script>","topic":"#/+/$aws","nul":"\\u0000","emoji":"🛠"}'
    async with telling(service) as (client, jobs):
        job_id = new_name("job")
        await client.call("CreateJob", jobId=job_id, targets=[_thing(jobs)], document=document)
        await client.settle()
        (answer,) = await client.ask(f"{jobs}/start-next")
    assert answer.body["execution"]["jobDocument"] == {
        "sh": "$(rm -rf /)",
        "html": "<script>",
        "topic": "#/+/$aws",
        "nul": "\0",
        "emoji": "🛠",
    }
