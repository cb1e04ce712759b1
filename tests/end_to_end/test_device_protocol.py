"""The device protocol over real MQTT on both brokers (data plane, section 11): the transcripts, byte by byte.

Every message of every case is checked to be QoS 1, not retained and no duplicate (1.5), see `JobsClient`.
C81 and C82 are about rights, which the services of these tests do not limit.
"""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.broker.front import wire
from tests.end_to_end import wire_transcript
from tests.end_to_end.jobs_client import DOCUMENT, JobsClient
from tests.end_to_end.wire_fixtures import WireService, new_name
from tests.scenarios import transcript

pytestmark = pytest.mark.broker

CASES = [
    pytest.param(case, id=f"{path.stem}-{case.case_id}")
    for path in sorted(Path(transcript.__file__).parent.glob("*.txt"))
    for case in transcript.read_cases(path)
]


@pytest.mark.asyncio
@pytest.mark.parametrize("case", CASES)
async def test_the_wire_answers_as_the_transcript_says(service: WireService, case: transcript.Case) -> None:
    """C01 to C85 in full and in order, the example of twenty minutes (C64, 6.5) among them."""
    wanted, performed = await wire_transcript.perform(case, service)
    assert performed == wanted


# What a transcript cannot say.

JOBS = "$aws/things/{thing}/jobs"
FILTERS = {
    "SDK v2, v1-style client": [
        *("{jobs}/get/accepted", "{jobs}/get/rejected", "{jobs}/start-next/accepted"),
        *("{jobs}/start-next/rejected", "{jobs}/{job}/get/accepted", "{jobs}/{job}/get/rejected"),
        *("{jobs}/{job}/update/accepted", "{jobs}/{job}/update/rejected", "{jobs}/$next/get/accepted"),
        *("{jobs}/notify", "{jobs}/notify-next"),
    ],
    "the same with a wildcard for the job": [
        *("{jobs}/+/get/accepted", "{jobs}/+/get/rejected", "{jobs}/+/update/accepted"),
        "{jobs}/+/update/rejected",
    ],
    "SDK v2 request/response client": [
        *("{jobs}/get/+", "{jobs}/start-next/+", "{jobs}/{job}/get/+", "{jobs}/{job}/update/+"),
    ],
    "Device Client": [
        *("{jobs}/notify-next", "{jobs}/start-next/accepted", "{jobs}/start-next/rejected"),
        *("{jobs}/+/update/accepted", "{jobs}/+/update/rejected"),
    ],
    "FreeRTOS and C SDK": [
        *("{jobs}/notify-next", "{jobs}/$next/get/accepted", "{jobs}/$next/get/+", "{jobs}/+/get/accepted"),
        *("{jobs}/start-next/accepted", "{jobs}/+/update/+"),
    ],
    "ad-hoc tools": ["{jobs}/#", "{jobs}/+/update/+"],
}
# A job from its creation to its end, every reply and notification on the way.
DIALOGUE: list[tuple[str, dict[str, Any], list[str]]] = [
    ("get", {}, ["get/accepted"]),
    ("get", {"clientToken": 1}, ["get/rejected"]),
    ("$next/get", {}, ["$next/get/accepted"]),
    ("start-next", {"stepTimeoutInMinutes": 0}, ["start-next/rejected"]),
    ("start-next", {}, ["start-next/accepted"]),
    ("{job}/get", {}, ["{job}/get/accepted"]),
    ("{job}/get", {"executionNumber": 9}, ["{job}/get/rejected"]),
    ("{job}/update", {"status": "IN_PROGRESS"}, ["{job}/update/accepted"]),
    ("{job}/update", {"status": "QUEUED"}, ["{job}/update/rejected"]),
    ("{job}/update", {"status": "SUCCEEDED"}, ["{job}/update/accepted", "notify", "notify-next"]),
]


class Story:
    """A thing with its topics, and a client that speaks for it and for an operator."""

    def __init__(self, client: JobsClient) -> None:
        self.client = client
        self.thing = new_name("press")
        self.jobs = JOBS.format(thing=self.thing)

    async def create_job(self) -> str:
        """A job for the thing; its id."""
        job_id = new_name("job")
        await self.client.call("CreateJob", jobId=job_id, targets=[self.thing], document=DOCUMENT)
        return job_id

    async def start_job(self) -> str:
        """A job that is IN_PROGRESS at version 2; its id."""
        job_id = await self.create_job()
        await self.client.ask(f"{self.jobs}/start-next")
        return job_id


@asynccontextmanager
async def telling(service: WireService, **options: Any) -> AsyncIterator[Story]:
    """A registered thing without jobs."""
    async with JobsClient.connect(service.port, **options) as client:
        story = Story(client)
        await client.call("CreateThing", thingName=story.thing)
        yield story


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter of MQTT matches a topic."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted, levels = wanted[:-1], levels[: len(wanted) - 1]
    return len(wanted) == len(levels) and all(
        want in {"+", level} for want, level in zip(wanted, levels, strict=True)
    )


@pytest.mark.asyncio
@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS.keys())
async def test_every_filter_of_a_real_client_gets_what_it_matches(
    service: WireService, filters: list[str]
) -> None:
    """Data plane 1.6, 2.3 to 2.6, 5: all replies and notifications of a job, each on its exact topic."""
    async with telling(service) as operator, JobsClient.connect(service.port) as device:
        names = {"jobs": operator.jobs, "job": new_name("job")}
        own_filters = [one.format(**names) for one in filters]
        assert await device.subscribe(*own_filters) == [1] * len(own_filters)
        request = {"jobId": names["job"], "targets": [operator.thing], "document": DOCUMENT}
        await operator.client.call("CreateJob", **request)
        wanted = ["notify", "notify-next"]
        arrived = [message.topic for message in await device.settle()]
        for what, payload, answers in DIALOGUE:
            wanted += [answer.format(**names) for answer in answers]
            found = await device.ask(f"{operator.jobs}/{what.format(**names)}", payload)
            arrived += [message.topic for message in found]
    topics = [f"{operator.jobs}/{one}" for one in wanted]
    topics = [topic for topic in topics if any(matches(own, topic) for own in own_filters)]
    if service.broker == "mosquitto":
        # It may deliver a copy for each of the filters that overlap [MQTT-3.3.5-1].
        arrived = [topic for topic, _ in itertools.groupby(arrived)]
    assert arrived == topics


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "token", ["a" * 12, "", "0f3c1e6a-75f7-4c3d-b3bc-5d7a5b1b2a11", 'ÄÖ 🛠 \\ "\n', "x" * 10_000]
)
async def test_a_client_token_is_echoed_as_it_came(service: WireService, token: str) -> None:
    """Data plane 2.1, A18: in accepted and rejected, of any length and content; the v1 SDKs send 12 bytes."""
    async with telling(service) as story:
        await story.client.subscribe(f"{story.jobs}/#")
        for what, ending in (("get", "accepted"), ("no-such-job/get", "rejected")):
            (answer,) = await story.client.ask(f"{story.jobs}/{what}", {"clientToken": token})
            assert (answer.ending, answer.body["clientToken"]) == (ending, token)


@pytest.mark.asyncio
async def test_a_payload_of_no_bytes_is_an_empty_request(service: WireService) -> None:
    """C04, data plane 2.1: for all operations that need no member."""
    async with telling(service) as story:
        await story.client.subscribe(f"{story.jobs}/#")
        for what in ("get", "start-next", "$next/get"):
            (answer,) = await story.client.ask(f"{story.jobs}/{what}", b"")
            assert (answer.ending, "clientToken" in answer.body) == ("accepted", False)
        (answer,) = await story.client.ask(f"{story.jobs}/j/update", b"")
        assert (answer.ending, answer.body["code"]) == ("rejected", "InvalidRequest")


@pytest.mark.asyncio
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_requests_of_any_qos_get_the_same_answer(service: WireService, qos: int) -> None:
    """C83, data plane 1.5: QoS 0, 1 and 2; the two that are acknowledged are acknowledged."""
    async with telling(service) as story:
        await story.client.subscribe(f"{story.jobs}/#")
        job_id = await story.start_job()
        await story.client.settle()
        update = {"status": "IN_PROGRESS", "includeJobExecutionState": True, "clientToken": "c"}
        (answer,) = await story.client.ask(f"{story.jobs}/{job_id}/update", update, qos=qos)
        await story.client.acknowledged()
        assert answer.topic == f"{story.jobs}/{job_id}/update/accepted"
        assert answer.body["executionState"] == {"status": "IN_PROGRESS", "versionNumber": 3}


@pytest.mark.asyncio
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_messages_come_with_the_qos_of_the_subscription_but_at_most_1(
    service: WireService, qos: int
) -> None:
    """Data plane 1.5: everything is published at QoS 1."""
    async with telling(service) as story:
        codes = await story.client.subscribe(f"{story.jobs}/#", qos=qos)
        assert codes in ([qos], [min(qos, 1)])
        story.client.publish(f"{story.jobs}/get")
        assert (await story.client.receive()).qos == min(qos, 1)


@pytest.mark.asyncio
async def test_a_redelivered_final_update_is_refused_and_notifies_nobody(service: WireService) -> None:
    """C85, A26: the same packet again, marked DUP as MQTT asks; its notifications come once."""
    async with telling(service) as story:
        await story.client.subscribe(f"{story.jobs}/#")
        job_id = await story.start_job()
        await story.client.settle()
        topic, payload = f"{story.jobs}/{job_id}/update", {"status": "SUCCEEDED", "clientToken": "c"}
        first = await story.client.ask(topic, payload, packet_id=999)
        again = await story.client.ask(topic, payload, packet_id=999, dup=True)
        assert [message.ending for message in first] == ["accepted", "notify", "notify-next"]
        assert [message.body["code"] for message in again] == ["InvalidStateTransition"]
        assert again[0].body["executionState"] == {"status": "SUCCEEDED", "versionNumber": 3}


@pytest.mark.asyncio
async def test_a_request_of_qos_2_that_is_repeated_is_carried_out_once(service: WireService) -> None:
    """MQTT 4.3.3: the packet comes again before it is released, and is the same message."""
    async with telling(service) as story:
        await story.client.subscribe(f"{story.jobs}/#")
        job_id = await story.start_job()
        await story.client.settle()
        client, line, topic = story.client, story.client.line, f"{story.jobs}/{job_id}/update"
        packet: dict[str, Any] = {"payload": b'{"status":"IN_PROGRESS"}', "qos": 2, "packet_id": 999}
        line.send(wire.publish(topic, **packet))
        await client.hear(wire.pubrec(999))
        line.send(wire.publish(topic, **packet, dup=True))
        await client.hear(wire.pubrec(999))
        line.send(wire.pubrel(999))
        await client.hear(wire.pubcomp(999))
        answer = (await client.ask(f"{story.jobs}/{job_id}/get"))[-1]
        assert answer.body["execution"]["versionNumber"] == 3


@pytest.mark.asyncio
async def test_devices_that_ask_at_once_get_their_own_answers(service: WireService) -> None:
    """C84: each answer carries its own token and goes to its own device."""
    async with AsyncExitStack() as stack:
        stories = [await stack.enter_async_context(telling(service)) for _ in range(8)]
        for story in stories:
            await story.client.subscribe(f"{story.jobs}/#")
        for story in stories:
            for number in range(5):
                story.client.publish(f"{story.jobs}/get", {"clientToken": f"{story.thing} {number}"})
        for story in stories:
            answers = await story.client.settle()
            assert [one.body["clientToken"] for one in answers] == [f"{story.thing} {n}" for n in range(5)]


@pytest.mark.asyncio
async def test_requests_without_waiting_are_answered_in_order(service: WireService) -> None:
    """Client quirks: the requests of a thing are applied as they arrive; 10,000 on one connection."""
    count = 10_000 if service.broker == "embedded" else 3_000
    async with telling(service) as story:
        await story.client.subscribe(f"{story.jobs}/#")
        job_id = await story.start_job()
        await story.client.settle()
        payload = {"status": "IN_PROGRESS", "includeJobExecutionState": True}
        for _ in range(count):
            story.client.publish(f"{story.jobs}/{job_id}/update", payload)
        answers = await story.client.settle()
    versions = [one.body["executionState"]["versionNumber"] for one in answers]
    assert versions == list(range(3, count + 3))


@pytest.mark.asyncio
async def test_nothing_is_retained_and_a_returning_device_hears_nothing(service: WireService) -> None:
    """C56, C57: neither a late subscriber nor a reconnect gets what was said before."""
    async with telling(service) as story:
        await story.client.subscribe(f"{story.jobs}/#")
        job_id = await story.start_job()
        await story.client.ask(f"{story.jobs}/{job_id}/update", {"status": "FAILED"})
        for _ in range(2):
            async with JobsClient.connect(service.port, "$aws/#", client_id=story.thing) as late:
                assert await late.settle() == []


@pytest.mark.asyncio
async def test_a_persistent_session_keeps_notifications_for_an_absent_device(service: WireService) -> None:
    """Data plane 1.5: a QoS 1 subscription of a session that is not clean."""
    async with telling(service) as story:
        session: dict[str, Any] = {"client_id": story.thing, "clean": False}
        async with JobsClient.connect(service.port, f"{story.jobs}/#", **session) as device:
            await device.settle()
        job_id = await story.create_job()
        async with JobsClient.connect(service.port, present=True, **session) as device:
            arrived = await device.settle()
        assert [message.ending for message in arrived] == ["notify", "notify-next"]
        assert arrived[1].body["execution"]["jobId"] == job_id


@pytest.mark.asyncio
async def test_a_response_topic_of_mqtt_5_does_not_divert_an_answer_to_a_device(service: WireService) -> None:
    """A24: the contract of devices is topic and clientToken."""
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = "elsewhere"
    properties.CorrelationData = b"7"
    thing = new_name("press")
    async with aiomqtt.Client("127.0.0.1", service.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe([("elsewhere", 1), (f"$aws/things/{thing}/jobs/get/+", 1)])
        await client.publish(f"$aws/things/{thing}/jobs/get", b"{}", qos=1, properties=properties)
        assert str((await anext(client.messages)).topic) == f"$aws/things/{thing}/jobs/get/accepted"
        await client.publish("elsewhere", b"last", qos=1)
        assert (await anext(client.messages)).payload == b"last"
