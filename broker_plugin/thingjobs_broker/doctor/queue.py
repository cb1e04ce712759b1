"""The check that a broker keeps what waits for an absent service, which Mosquitto's defaults do not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from thingjobs_broker.doctor.case import CANARY_THING
from thingjobs_broker.doctor.findings import NotChecked, Problem
from thingjobs_broker.doctor.peer import Peer, peer
from thingjobs_protocol.topics import notify_topic

if TYPE_CHECKING:
    from thingjobs_broker.doctor.case import Case

MESSAGES: Final = 1_200
"""More than Mosquitto's default of 1,000 queued and 20 in flight for each client."""

MARKER: Final = -1
IDLE_SECONDS: Final = 0.5


async def queue(case: Case) -> str:
    """Let messages wait for a client that is away, on a topic that only the service may publish on.

    The broker confirms also those that it then throws away: a device would believe its request arrived.
    """
    topic = notify_topic(CANARY_THING, case.address.topic_root)
    session = {"identifier": f"thingjobs-{case.token}", "clean_session": False}
    async with peer(case.address) as sender:
        await _require_right(case, sender, topic)
        try:
            async with peer(case.address, **session) as absent:
                await absent.subscribe(topic)
            await asyncio.gather(*(sender.publish(topic, [case.token, number]) for number in range(MESSAGES)))
            async with peer(case.address, **session) as back:
                kept = await _arrived(case, back, sender, topic)
        finally:
            # The session goes with a clean start.
            async with peer(case.address, **session | {"clean_session": True}):
                pass
    if kept < MESSAGES:
        raise Problem(
            f"of {MESSAGES} messages for an absent client, all confirmed, {MESSAGES - kept} were lost",
            "Mosquitto: max_queued_messages 1000000 and max_inflight_messages 0, as in mosquitto.conf",
        )
    return f"{MESSAGES} messages waited for an absent client, and none was lost"


async def _require_right(case: Case, sender: Peer, topic: str) -> None:
    granted = await sender.subscribe(topic)
    await sender.publish(topic, [case.token, MARKER])
    heard = await sender.heard(f"{topic}/{case.token}") if granted else []
    if not any(case.token.encode() in message.payload for message in heard):
        raise NotChecked(
            "only the service may publish what could be tried here; beside Mosquitto run doctor once with the"
            " service's login, --broker mqtt://thingjobs-service@..."
        )


async def _arrived(case: Case, back: Peer, sender: Peer, topic: str) -> int:
    """Count what arrives before a marker, which is sent again while it is lost itself."""
    numbers: set[int] = set()
    async with asyncio.timeout(case.address.timeout_seconds * 3):
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    message = await back.next()
            except TimeoutError:
                await sender.publish(topic, [case.token, MARKER])
                continue
            if case.token.encode() not in message.payload:
                continue
            number = int(message.payload.rstrip(b"]").rpartition(b",")[2])
            if number == MARKER:
                return len(numbers)
            numbers.add(number)
