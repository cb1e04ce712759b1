"""MQTT 5 request and response on the control plane, on both brokers, with an ordinary client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.end_to_end.wire_fixtures import WireService, new_name

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]


@asynccontextmanager
async def operator(service: WireService) -> AsyncIterator[aiomqtt.Client]:
    """An operator who speaks MQTT 5."""
    async with aiomqtt.Client(
        "127.0.0.1", service.port, identifier=new_name("ops"), protocol=aiomqtt.ProtocolVersion.V5
    ) as client:
        yield client


def reply_to(topic: str, correlation: bytes | None = None) -> Properties:
    """The properties of a request."""
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = topic
    if correlation is not None:
        properties.CorrelationData = correlation
    return properties


async def arrivals(client: aiomqtt.Client, count: int) -> dict[str, aiomqtt.Message]:
    """The next messages, by topic."""
    async with asyncio.timeout(10):
        return {
            str(message.topic): message for message in [await anext(client.messages) for _ in range(count)]
        }


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("answers", ["inbox/{}", "$aws/control/{}/answers/7"])
async def test_an_answer_also_goes_to_the_response_topic(
    service: WireService, answers: str, qos: int
) -> None:
    """With the correlation data of its request, whether accepted or rejected (architecture, 2)."""
    async with operator(service) as client:
        answers = answers.format(client.identifier)
        requests = f"$aws/control/{client.identifier}"
        await client.subscribe(
            [(f"{requests}/ListThings/+", qos), (f"{requests}/Frob/+", qos), (answers, qos)]
        )
        for operation, ending in (("ListThings", "accepted"), ("Frob", "rejected")):
            correlation = operation.encode()
            await client.publish(
                f"{requests}/{operation}", b"{}", qos=1, properties=reply_to(answers, correlation)
            )
            found = await arrivals(client, 2)
            assert found.keys() == {f"{requests}/{operation}/{ending}", answers}
            assert len({bytes(message.payload) for message in found.values()}) == 1
            assert getattr(found[answers].properties, "CorrelationData", None) == correlation
            assert not hasattr(found[f"{requests}/{operation}/{ending}"].properties, "CorrelationData")


async def test_an_operator_lends_no_right_of_the_service(service: WireService) -> None:
    """A response topic on which the operator may not publish is not used: here, a device's notifications."""
    async with operator(service) as client:
        requests = f"$aws/control/{client.identifier}"
        forged = f"$aws/things/{new_name('press')}/jobs/notify"
        await client.subscribe([(f"{requests}/+/+", 1), (forged, 1)])
        await client.publish(f"{requests}/ListThings", b"{}", qos=1, properties=reply_to(forged, b"7"))
        await client.publish(f"{requests}/ListJobs", b"{}", qos=1)
        found = await arrivals(client, 2)
        assert found.keys() == {f"{requests}/ListThings/accepted", f"{requests}/ListJobs/accepted"}
        assert "things" in json.loads(bytes(found[f"{requests}/ListThings/accepted"].payload))
