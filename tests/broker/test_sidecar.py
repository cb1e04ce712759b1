"""The service beside a real Mosquitto: the device protocol, the control plane, and what is never answered."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import pytest_asyncio
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.broker.beside import (
    Mosquitto,
    base,
    create_job,
    peer,
    sidecar,
)
from tests.support import free_port
from thingjobs_broker.data_packets import Received
from thingjobs_broker.responses import may_answer_on
from thingjobs_broker.sidecar import Sidecar
from thingjobs_broker.two_ways import TwoLinks

pytestmark = pytest.mark.broker

PRESS, LATHE = base("press-7"), base("lathe-2")
CONTROL = "$aws/control/ada"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A Mosquitto that has seen nothing yet."""
    mosquitto = Mosquitto(tmp_path, free_port()).start()
    yield mosquitto
    mosquitto.stop()


@pytest_asyncio.fixture(params=["5", "3.1.1"])
async def port(broker: Mosquitto, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[int]:
    """The port of the broker with a service beside it that speaks the version of MQTT."""
    async with sidecar(broker.url, tmp_path / "data", mqtt_version=request.param):
        yield broker.port


@pytest.mark.asyncio
async def test_a_job_goes_the_whole_way(port: int) -> None:
    """Create, notify, notify-next, start-next, update, describe, get, and the events at the end."""
    async with (
        peer(port, "$aws/control/ada/+/+", "$aws/events/#") as operator,
        peer(port, f"{PRESS}/#") as device,
    ):
        await create_job(operator, "job-1", "press-7")
        created = await device.until(f"{PRESS}/notify-next")
        assert created[f"{PRESS}/notify"]["jobs"]["QUEUED"][0]["jobId"] == "job-1"
        assert created[f"{PRESS}/notify-next"]["execution"]["jobDocument"] == {"operation": "greet"}

        end, started = await device.ask(f"{PRESS}/start-next", {"clientToken": "t-1"})
        assert (end, started["clientToken"], started["execution"]["status"]) == (
            "accepted",
            "t-1",
            "IN_PROGRESS",
        )
        end, described = await device.ask(f"{PRESS}/$next/get")
        assert (end, described["execution"]["versionNumber"]) == ("accepted", 2)
        end, pending = await device.ask(f"{PRESS}/get")
        assert [summary["jobId"] for summary in pending["inProgressJobs"]] == ["job-1"]

        end, stale = await device.ask(f"{PRESS}/job-1/update", {"status": "SUCCEEDED", "expectedVersion": 9})
        assert (end, stale["code"]) == ("rejected", "VersionMismatch")
        end, _ = await device.ask(f"{PRESS}/job-1/update", {"status": "SUCCEEDED", "expectedVersion": 2})
        assert end == "accepted"
        assert (await device.until(f"{PRESS}/notify-next"))[f"{PRESS}/notify-next"].get("execution") is None
        events = await operator.until("$aws/events/job/job-1/completed")
        assert events["$aws/events/jobExecution/job-1/succeeded"]["status"] == "SUCCEEDED"


@pytest.mark.asyncio
async def test_what_is_refused_is_refused_on_its_own_topic(port: int) -> None:
    """Broken JSON, an unknown job, an unknown operation of the control plane; each is answered once (C82)."""
    async with peer(port, f"{PRESS}/#", f"{CONTROL}/+/+") as device:
        assert (await device.ask(f"{PRESS}/start-next", b"{"))[1]["code"] == "InvalidJson"
        assert (await device.ask(f"{PRESS}/no-such-job/get"))[1]["code"] == "ResourceNotFound"
        end, refused = await device.ask(f"{CONTROL}/NoSuchOperation", {"clientToken": "t-2"})
        assert (end, refused["clientToken"]) == ("rejected", "t-2")


@pytest.mark.asyncio
async def test_the_client_id_in_the_topic_is_the_operator(port: int) -> None:
    """On a plain broker the access control list vouches for that level, so it is who did it."""
    async with peer(port, f"{CONTROL}/+/+") as operator:
        await create_job(operator, "job-by", "lathe-2")
        body = {"jobId": "job-by", "comment": "not needed"}
        assert (await operator.ask(f"{CONTROL}/CancelJob", body))[0] == "accepted"
        end, timeline = await operator.ask(f"{CONTROL}/DescribeTimeline", {"jobId": "job-by"})
        assert (end, timeline["timeline"][0]["by"]) == ("accepted", "ada")


@pytest.mark.asyncio
async def test_a_retained_request_is_dropped(broker: Mosquitto, tmp_path: Path) -> None:
    """With MQTT 5 also when it comes live; 3.1.1 does not tell then (data plane 1.5)."""
    async with sidecar(broker.url, tmp_path / "data"), peer(broker.port, f"{LATHE}/#") as device:
        await device.publish(f"{LATHE}/start-next", {"clientToken": "stale"}, retain=True)
        end, answer = await device.ask(f"{LATHE}/start-next", {"clientToken": "fresh"})
        assert (end, answer["clientToken"]) == ("accepted", "fresh")


@pytest.mark.asyncio
@pytest.mark.parametrize("mqtt_version", ["5", "3.1.1"])
async def test_a_retained_request_is_dropped_when_the_service_starts(
    broker: Mosquitto, tmp_path: Path, mqtt_version: str
) -> None:
    """The broker hands it over with the subscription, marked as retained."""
    async with peer(broker.port, f"{LATHE}/start-next/+") as device:
        await device.publish(f"{LATHE}/start-next", {"clientToken": "stale"}, retain=True)
        async with sidecar(broker.url, tmp_path / "data", mqtt_version=mqtt_version):
            end, answer = await device.ask(f"{LATHE}/start-next", {"clientToken": "fresh"})
        assert (end, answer["clientToken"]) == ("accepted", "fresh")


@pytest.mark.asyncio
async def test_replies_and_notifications_are_never_answered(port: int) -> None:
    """Neither its own nor forged ones come back to the service (A23)."""
    forged = [f"{PRESS}/start-next/accepted", f"{PRESS}/notify", f"{PRESS}/job-1/update/rejected"]
    async with peer(port, "$aws/things/#") as onlooker:
        for topic in forged:
            await onlooker.publish(topic, {"forged": True})
        assert (await onlooker.ask(f"{PRESS}/get"))[0] == "accepted"
        await onlooker.publish("$aws/things/end/jobs/notify", {})
        seen = await onlooker.until("$aws/things/end/jobs/notify")
        assert not [topic for topic in seen if topic.count("/accepted") + topic.count("/rejected") > 1]


@pytest.mark.asyncio
async def test_a_topic_that_names_no_operation_is_refused(broker: Mosquitto, tmp_path: Path) -> None:
    """C49; each is answered once, also at QoS 0, and a retained one not at all."""
    async with (
        sidecar(broker.url, tmp_path / "data"),
        peer(broker.port, f"{PRESS}/#") as device,
    ):
        for number, last in enumerate(["J1/frob", "frob", "update", "J1/start-next", "J1/ns/more/get"]):
            topic = f"{PRESS}/{last}"
            await device.publish(topic, {"clientToken": f"t-{number}"})
            refused = await device.refused(topic)
            assert (refused["code"], refused["clientToken"]) == ("InvalidTopic", f"t-{number}")
        await device.client.publish(f"{PRESS}/J1/frob", b"{}", qos=0)
        assert (await device.refused(f"{PRESS}/J1/frob"))["code"] == "InvalidTopic"
        await device.publish(f"{PRESS}/J2/frob", retain=True)
        assert (await device.ask(f"{PRESS}/get"))[0] == "accepted"


@pytest.mark.asyncio
async def test_with_3_1_1_a_topic_that_names_no_operation_is_not_heard(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """It has no way to keep the service's own messages from it."""
    async with (
        sidecar(broker.url, tmp_path / "data", mqtt_version="3.1.1"),
        peer(broker.port, f"{PRESS}/#") as device,
    ):
        await device.publish(f"{PRESS}/J1/frob")
        await device.publish(f"{PRESS}/get")
        assert list(await device.until(f"{PRESS}/get/accepted")) == [
            f"{PRESS}/J1/frob",
            f"{PRESS}/get/accepted",
        ]


@pytest.mark.asyncio
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_the_service_does_not_hear_itself(
    broker: Mosquitto, tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it publishes would double what it reads; each request is looked at once."""
    heard: list[str] = []
    received = Sidecar._received

    def note(self: Sidecar, message: Received) -> None:
        heard.append(message.topic)
        received(self, message)

    monkeypatch.setattr(Sidecar, "_received", note)
    async with (
        sidecar(broker.url, tmp_path / "data", mqtt_version=version),
        peer(broker.port, "$aws/control/ada/+/+") as operator,
        peer(broker.port, f"{PRESS}/#") as device,
    ):
        await create_job(operator, "job-1", "press-7")
        await device.until(f"{PRESS}/notify-next")
        for request in ("get", "start-next", "job-1/get"):
            assert (await device.ask(f"{PRESS}/{request}"))[0] == "accepted"
        assert (await device.ask(f"{PRESS}/job-1/update", {"status": "SUCCEEDED"}))[0] == "accepted"
        assert (await device.ask(f"{PRESS}/get"))[0] == "accepted"
        requests = [f"{PRESS}/{one}" for one in ("get", "start-next", "job-1/get", "job-1/update", "get")]
        assert [topic for topic in heard if not topic.startswith(CONTROL)] == requests


@pytest.mark.asyncio
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_session_of_an_earlier_version_is_answered_once(
    broker: Mosquitto, tmp_path: Path, version: str
) -> None:
    """The service used to have everything below `jobs/` in its session; the broker keeps that for it."""
    async with peer(broker.port, identifier="thingjobs-service", clean_session=False) as former:
        await former.client.subscribe(f"{base('+')}/#", qos=1)
    heard: list[str] = []
    received = Sidecar._received

    def note(self: Sidecar, message: Received) -> None:
        heard.append(message.topic)
        received(self, message)

    with patch.object(Sidecar, "_received", note):
        async with (
            sidecar(broker.url, tmp_path / "data", mqtt_version=version),
            peer(broker.port, f"{PRESS}/#") as device,
        ):
            for token in ("first", "second"):
                end, answer = await device.ask(f"{PRESS}/get", {"clientToken": token})
                assert (end, answer["clientToken"]) == ("accepted", token)
    assert heard == [f"{PRESS}/get"] * 2


@pytest.mark.asyncio
async def test_two_thousand_requests_at_once_are_all_answered(port: int) -> None:
    """More than any default queue holds; each exactly once, none started twice."""
    count = 2_000
    async with peer(port, "$aws/things/+/jobs/start-next/+", max_inflight_messages=0) as crowd:
        sending = [
            asyncio.ensure_future(
                crowd.publish(f"{base(f'd{number}')}/start-next", {"clientToken": str(number)})
            )
            for number in range(count)
        ]
        answers = [await crowd.next() for _ in range(count)]
        await asyncio.gather(*sending)
    assert sorted(int(body["clientToken"]) for _, body in answers) == list(range(count))
    assert all(topic.endswith("/accepted") for topic, _ in answers)


@pytest.mark.asyncio
async def test_a_flood_is_refused_and_then_dropped(port: int) -> None:
    """Each of the first requests gets its answer, in order; all are acknowledged, and others are served."""
    count = 2_000
    with patch.object(TwoLinks, "dropped", autospec=True, side_effect=TwoLinks.dropped) as dropped:
        await flooded(port, count)
    # What was dropped was told to the connection, which reads a flood in another way.
    assert 0 < dropped.call_count < count - 200


async def flooded(port: int, count: int) -> None:
    """See the test above."""
    async with (
        peer(port, f"{PRESS}/get/+", max_inflight_messages=0) as hasty,
        peer(port, f"{LATHE}/get/+") as calm,
    ):
        await asyncio.gather(*(hasty.publish(f"{PRESS}/get", {"clientToken": str(n)}) for n in range(count)))
        answers = [await hasty.next() for _ in range(200)]
        assert [body["clientToken"] for _, body in answers] == [str(number) for number in range(200)]
        assert {body.get("code") for topic, body in answers if topic.endswith("rejected")} == {
            "RequestThrottled"
        }
        assert (await calm.ask(f"{LATHE}/get"))[0] == "accepted"
        await asyncio.sleep(0.1)
        assert len(hasty.client.messages) < count - 200


@pytest.mark.asyncio
async def test_an_operator_gets_the_answer_on_the_response_topic_too(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """MQTT 5 request and response: the correlation data comes back, for accepted and rejected alike."""
    async with (
        sidecar(broker.url, tmp_path / "data"),
        peer(broker.port, "ada/inbox", f"{CONTROL}/+/+", mqtt_5=True) as operator,
    ):
        for operation, correlation in [("ListJobs", b"\x00one"), ("NoSuchOperation", b"two")]:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ResponseTopic = "ada/inbox"
            properties.CorrelationData = correlation
            await operator.publish(f"{CONTROL}/{operation}", properties=properties)
            usual, private = await operator.message(), await operator.message()
            assert str(usual.topic).startswith(f"{CONTROL}/{operation}/")
            assert str(private.topic) == "ada/inbox"
            assert private.payload == usual.payload
            assert getattr(private.properties, "CorrelationData", None) == correlation


@pytest.mark.asyncio
async def test_a_response_topic_cannot_make_the_service_forge(broker: Mosquitto, tmp_path: Path) -> None:
    """The service may publish what an operator may not, and does not lend that right."""
    async with (
        sidecar(broker.url, tmp_path / "data"),
        peer(broker.port, f"{CONTROL}/+/+", f"{PRESS}/#", mqtt_5=True) as operator,
    ):
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = f"{PRESS}/notify-next"
        await operator.publish(f"{CONTROL}/ListJobs", properties=properties)
        await operator.publish(f"{CONTROL}/ListThings")
        seen = await operator.until(f"{CONTROL}/ListThings/accepted")
    assert set(seen) == {f"{CONTROL}/ListJobs/accepted", f"{CONTROL}/ListThings/accepted"}


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [
        ("ada/inbox", True),
        ("$aws/control/ada/replies/7", True),
        ("$aws/control/ada/CreateJob", False),
        ("$aws/control/ada/CreateJob/accepted", False),
        ("$aws/control/bob/replies/7", False),
        ("$aws/things/press-7/jobs/notify", False),
        ("$aws", False),
        ("$SYS/broker/version", False),
        ("", False),
        ("inbox/+", False),
        ("inbox/#", False),
        ("x" * 513, False),
    ],
)
def test_response_topics_that_are_allowed(topic: str, allowed: bool) -> None:
    """Plain topics, and the operator's own branch where nothing can be mistaken for a request or a reply."""
    assert may_answer_on(topic, "$aws", "ada") is allowed
