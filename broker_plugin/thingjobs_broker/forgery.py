"""Asks a broker who else could speak in the service's name: a client without a login, or a device.

What they would get to hear, and what they could ask for others, is the matter of `thingjobs doctor`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from typing import TYPE_CHECKING, Final

import aiomqtt

from thingjobs_broker.data_packets import QOS
from thingjobs_broker.paho_link import ConnectionLost
from thingjobs_broker.transport import CONNECT_SECONDS_MAX, plain_client
from thingjobs_protocol.topics import (
    ACCEPTED,
    NAMESPACE,
    REJECTED,
    job_notify_topic,
    jobs_base,
    notify_next_topic,
    notify_topic,
)

if TYPE_CHECKING:
    from thingjobs_broker.transport import Access

FORGED: Final = b"forged"
HONEST: Final = b"honest"

NAMESPACE_TRIED: Final = "aws-gg-deployment"
"""Greengrass's: lists of Mosquitto have to name the namespaces, and the shipped one names this."""

NAMESPACES: Final = ("", NAMESPACE_TRIED)
"""None, and the one."""

HEAR_SECONDS_MAX: Final = 5.0
"""After the broker has confirmed a message, how long the service waits to hear itself."""


class NotTheService(Exception):
    """The broker does not let the login do what the service has to do."""


class NotLetIn(Exception):
    """The broker refuses the login of the device to try."""


async def may_forge(service: Access, forger: Access, root: str) -> bool:
    """Tell whether `forger` can publish what only the service may, to somebody who listens as the service.

    A forger with a user name is a device, and tries its own topics; the thing need not exist.

    Raises:
        ConnectionLost: the broker does not answer the service.
        NotTheService: the service cannot publish there, or cannot listen.
        NotLetIn: the broker does not let in a forger with a user name.

    """
    name = f"thingjobs-check-{secrets.token_hex(4)}"
    thing = forger.user or name
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX + HEAR_SECONDS_MAX):
            async with plain_client(dataclasses.replace(service, client_id=name)) as witness:
                await witness.subscribe(f"{jobs_base(thing, root)}/#", qos=QOS)
                await _try_to_forge(dataclasses.replace(forger, client_id=f"{name}-forger"), thing, root)
                # What was forged has been routed before; nothing here waits for something not to happen.
                await witness.publish(notify_topic(thing, root), HONEST, qos=QOS)
                return await _first_message(witness) == FORGED
    except (aiomqtt.MqttError, TimeoutError) as error:
        raise ConnectionLost(f"no answer to the check for forgery: {error}") from None


def service_topics(thing: str, job_id: str, root: str) -> list[str]:
    """Return what only the service publishes for a thing: one topic for each line that an access control list
    may have for them, those of a namespace included (spec: control plane 1.7).
    """
    base, of_namespace = jobs_base(thing, root), f"{job_id}/{NAMESPACE}{NAMESPACE_TRIED}"
    requests = ["get", "start-next"]
    requests += [f"{job}/{request}" for job in (job_id, of_namespace) for request in ("get", "update")]
    return [
        *(f"{base}/{request}/{reply}" for request in requests for reply in (ACCEPTED, REJECTED)),
        *(topic(thing, root, name) for topic in (notify_topic, notify_next_topic) for name in NAMESPACES),
        job_notify_topic(thing, job_id, NAMESPACE_TRIED, root),
    ]


async def _first_message(witness: aiomqtt.Client) -> object:
    try:
        async with asyncio.timeout(HEAR_SECONDS_MAX):
            return (await anext(witness.messages)).payload
    except TimeoutError:
        raise NotTheService from None


async def _try_to_forge(forger: Access, thing: str, root: str) -> None:
    is_in = False
    try:
        async with plain_client(forger) as client:
            is_in = True
            for topic in service_topics(thing, "check", root):
                await client.publish(topic, FORGED, qos=QOS)
    except aiomqtt.MqttError:
        # Refused at the door, or thrown out for trying.
        if forger.user and not is_in:
            raise NotLetIn from None
