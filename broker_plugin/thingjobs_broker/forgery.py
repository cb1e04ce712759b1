"""Asks a broker whether a stranger could speak in the service's name: without a login, on a topic of replies.

What a device may do with its own login is not asked here; that takes a device's credentials.
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
from thingjobs_protocol.topics import notify_topic

if TYPE_CHECKING:
    from thingjobs_broker.transport import Access

FORGED: Final = b"forged"
HONEST: Final = b"honest"

HEAR_SECONDS_MAX: Final = 5.0
"""After the broker has confirmed a message, how long the service waits to hear itself."""


class NotTheService(Exception):
    """The broker does not let the login do what the service has to do."""


async def stranger_may_forge(service: Access, stranger: Access, root: str) -> bool:
    """Tell whether `stranger` can publish what only the service may, to somebody who listens as the service.

    Raises:
        ConnectionLost: the broker does not answer the service.
        NotTheService: the service cannot publish there, or cannot listen.

    """
    name = f"thingjobs-check-{secrets.token_hex(4)}"
    topic = notify_topic(name, root)
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX + HEAR_SECONDS_MAX):
            async with plain_client(dataclasses.replace(service, client_id=name)) as witness:
                await witness.subscribe(topic, qos=QOS)
                await _try_to_forge(dataclasses.replace(stranger, client_id=f"{name}-stranger"), topic)
                # What was forged has been routed before; nothing here waits for something not to happen.
                await witness.publish(topic, HONEST, qos=QOS)
                return await _first_message(witness) == FORGED
    except (aiomqtt.MqttError, TimeoutError) as error:
        raise ConnectionLost(f"no answer to the check for forgery: {error}") from None


async def _first_message(witness: aiomqtt.Client) -> object:
    try:
        async with asyncio.timeout(HEAR_SECONDS_MAX):
            return (await anext(witness.messages)).payload
    except TimeoutError:
        raise NotTheService from None


async def _try_to_forge(stranger: Access, topic: str) -> None:
    try:
        async with plain_client(stranger) as forger:
            await forger.publish(topic, FORGED, qos=QOS)
    except aiomqtt.MqttError:
        return
