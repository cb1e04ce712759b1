"""The adapter for any MQTT broker: serves the reserved topics, carries on after a loss, stops cleanly.

Who may publish a request is the broker's to decide: its access control list vouches for the thing's name, or
the operator's client id, in the topic. Decided here is what arrived twice, what is dropped, when to give up.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from thingjobs_broker.access import access_of, device_of, stranger_of
from thingjobs_broker.floods import Floods
from thingjobs_broker.forgery import NotLetIn, NotTheService, may_forge
from thingjobs_broker.host import ServiceHost, StartError
from thingjobs_broker.http import http_front
from thingjobs_broker.outbox import Outbox
from thingjobs_broker.paho_link import Accepted, ConnectionLost, untested
from thingjobs_broker.responses import Responses
from thingjobs_broker.rivals import Rivals
from thingjobs_broker.two_ways import TwoWays

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.config import SidecarSettings
    from thingjobs_broker.core.outcome import Message
    from thingjobs_broker.data_packets import Received

log = structlog.get_logger()

REQUESTS_IN_HAND_MAX: Final = 1_000
"""Requests that are not answered yet; at this many the broker, or the socket, has to wait."""

RETRY_SECONDS_MIN: Final = 0.25
RETRY_SECONDS_MAX: Final = 30.0
FINISH_SECONDS_MAX: Final = 5.0
"""What the broker gets at the end to take the last answers."""

REFUSED_FOR_GOOD: Final = {
    0x84: "it may speak MQTT 3.1.1 only: give --mqtt-version 3.1.1",
    0x85: "choose another --client-id",
    0x86: "check the user in --broker and THINGJOBS_PASSWORD",
    # Mosquitto also says so where the password is wrong.
    0x87: "check the user in --broker and THINGJOBS_PASSWORD, and its rights in the access control list",
    0x8A: "the broker has banned the service",
    0x8C: "the broker asks for another way to log in",
}
"""Reason codes (MQTT 5, 2.4) after which trying again changes nothing, with the way out."""


class Sidecar:
    """The jobs service beside a broker.

    Args:
        settings: of the service.
        ready: called at each connection, once requests can arrive.

    Raises:
        StartError: the settings cannot work, or the MQTT libraries were never tested.

    """

    def __init__(self, settings: SidecarSettings, ready: Callable[[], None] = lambda: None) -> None:
        if complaint := untested():
            raise StartError(complaint)
        self.host = ServiceHost(settings, self._failed)
        self.listening = ""
        """The URL of the HTTP listener, if there is one."""
        self._http = http_front(settings, self.host, self._gauges)
        self._access = access_of(settings, receive_maximum=REQUESTS_IN_HAND_MAX)
        self.host.serves_at(self._access.host)
        device = device_of(settings, self._access)
        self._forgers = [] if settings.insecure else [stranger_of(settings, self._access)]
        if device is not None and not settings.insecure:
            self._forgers.append(device)
        elif device is None:
            log.info("What devices may forge is not tried without a check_user", action="devices_not_tried")
        self._ready = ready
        self._root = settings.topic_root
        self._outbox = Outbox()
        self._connection: TwoWays | None = None
        self._rivals = Rivals()
        self._was_connected = False
        self._lost_at = time.monotonic()
        self._stopping = asyncio.Event()
        self._is_finishing = False
        self._in_hand = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._handled: dict[int, int] = {}
        """By packet id, a fingerprint of what arrived in the broker's present session."""
        self._responses = Responses(settings.topic_root)
        limits = settings.limits
        self._floods = Floods(settings.topic_root, limits.requests_per_second or 1, limits.requests_burst)

    def stop(self) -> None:
        """Finish what is in hand and return from `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until `stop`, or until `host.failure` says why it is impossible to go on.

        Raises:
            StartError: the broker refuses the service for good, or another service uses its client id.
            StoreError: the data directory is in use, unusable or damaged.
            OSError: the disk refuses.

        """
        try:
            await self.host.open()
            self.host.start(self)
            if self._http is not None:
                await self._http.start()
                self.listening = self._http.url
            await self._serve_until_stopped()
        finally:
            if self._http is not None:
                await self._http.close()
            await self.host.release()
            if self.host.runner is not None:
                log.info("The jobs service has stopped", action="stopped")

    async def _serve_until_stopped(self) -> None:
        serving = asyncio.ensure_future(self._serve())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        # What arrives from now on stays with the broker, for the next start.
        self._is_finishing = True
        if self._http is not None:
            await self._http.close()
        await self.host.finish()
        await self._hand_over_answers()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving

    async def _hand_over_answers(self) -> None:
        connection = self._connection
        if connection is None or self.host.failure is not None:
            return
        deadline = time.monotonic() + FINISH_SECONDS_MAX
        # Looking now and then, once in a process, is plainer than an event that each confirmation would set.
        while len(self._outbox) and not connection.lost.done() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if len(self._outbox):
            log.warning(
                "The broker has not taken the last messages", action="unsent", messages=len(self._outbox)
            )

    # Connections

    async def _serve(self) -> None:
        """Keep connected; ends only by an exception."""
        failures = 0
        while True:
            loss, lasted_seconds = await self._serve_one_connection()
            failures = 0 if lasted_seconds else failures + 1
            # At once after a loss, which tells a rival from a broker that restarts.
            retry_seconds = (
                min(RETRY_SECONDS_MAX, RETRY_SECONDS_MIN * 2 ** min(failures, 10)) if failures else 0.0
            )
            # Jitter keeps several services from hitting a broker that comes back at the same moment.
            retry_seconds *= random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            log.warning(
                "Lost the broker" if lasted_seconds else "Cannot reach the broker",
                action="broker_lost" if lasted_seconds else "broker_unreachable",
                broker=self._address,
                reason=str(loss),
                retry_seconds=round(retry_seconds, 1),
            )
            await asyncio.sleep(retry_seconds)

    async def _serve_one_connection(self) -> tuple[ConnectionLost, float]:
        """Return why the connection ended and how long it lasted, 0 where it never was of use."""
        # What is in hand must be durable before the broker sends it again; see `_is_repeated`.
        await self._idle.wait()
        self._connection = connection = TwoWays(
            self._access, self._root, self._received, self._outbox.confirmed
        )
        connected_at = 0.0
        try:
            accepted = await connection.open()
            connected_at = time.monotonic()
            await self._begin(connection, accepted)
            await asyncio.wait({connection.lost})
            loss = connection.lost.result()
        except ConnectionLost as error:
            if connection.lost.done():
                # A rival may be so quick that nothing can be begun; that counts as a connection, too.
                loss = connection.lost.result()
            else:
                loss, connected_at = error, 0.0
        finally:
            self._connection = None
            self._outbox.detach()
            await connection.close()
        if not connected_at:
            self._refused(loss)
            return loss, 0.0
        self._lost_at = now = time.monotonic()
        if connection.is_rivalry_possible and self._rivals.lost(loss.code, connected_at, now):
            raise StartError(
                f"{self._address}: each connection is soon ended; another client seems to use the client id"
                f" {self._access.client_id!r}: stop it, or give it another (or the broker gives the"
                " service's connections one client id, as with use_username_as_clientid; else see its log)"
            )
        return loss, now - connected_at

    async def _begin(self, connection: TwoWays, accepted: Accepted) -> None:
        await self._check_broker()
        if not accepted.session_present:
            self._handled.clear()
            if self._was_connected:
                log.warning("The broker has lost our session and what it held", action="session_lost")
        self._outbox.attach(
            connection.link,
            accepted.receive_maximum,
            accepted.packet_bytes_max,
            time.monotonic() - self._lost_at,
        )
        await connection.subscribe()
        self._was_connected = True
        log.info(
            "Connected to the broker",
            action="connected",
            broker=self._address,
            client_id=self._access.client_id,
            session_present=accepted.session_present,
        )
        self._ready()

    async def _check_broker(self) -> None:
        """Refuse, once, a broker where others can forge what devices take for the service's word (C82)."""
        try:
            while self._forgers:
                if await may_forge(self._access, forger := self._forgers[0], self._root):
                    raise StartError(
                        f"{self._address} lets {_called(forger.user)} forge the service's messages: give it a"
                        " password file and the access control list of broker_plugin/mosquitto, or try it out"
                        " with --insecure"
                    )
                del self._forgers[0]
        except NotLetIn:
            raise StartError(
                f"{self._address} does not let check_user {forger.user!r} in: give the broker its password,"
                " as thingjobs init does, or leave check_user away"
            ) from None
        except NotTheService:
            who = f"user {self._access.user!r}" if self._access.user else "a client without a user name"
            raise StartError(
                f"{self._address} does not let {who} publish and hear what the service has to: name the"
                " service's user in --broker, and give it its rights (broker_plugin/mosquitto/acl)"
            ) from None

    def _refused(self, loss: ConnectionLost) -> None:
        self._rivals.refused()
        way_out = REFUSED_FOR_GOOD.get(loss.code) if loss.code is not None else None
        # Once we were in, it may be the broker that is being reconfigured.
        if way_out is not None and not self._was_connected:
            raise StartError(f"{self._address}: {loss}; {way_out}")

    @property
    def _address(self) -> str:
        return f"{self._access.host}:{self._access.port}"

    # Requests

    def _received(self, message: Received) -> None:
        """Bring a request to the core; it is acknowledged when it is answered."""
        connection, topic = self._connection, message.topic
        if self._is_finishing or connection is None:
            return
        if self._floods.drops(topic):
            connection.link.dropped()
            # At once: it has no answer to wait for, and a flood's would hold up those of the others.
            if message.packet_id:
                connection.link.acknowledge(message.packet_id)
            return
        # A retained request would be a stale replay (spec: data plane 1.5).
        if not topic or message.retain or self._is_repeated(message):
            self._acknowledge(connection, message.packet_id)
            return
        self._in_hand += 1
        self._idle.clear()
        if self._in_hand == REQUESTS_IN_HAND_MAX:
            connection.link.pause()
        settled: Callable[[], None] = partial(self._settled, connection, message.packet_id)
        if message.response_topic is not None:
            settled = self._control_settled(message, message.response_topic, settled)
        wait_ms = self.host.receive(topic, message.payload, None, settled)
        if wait_ms:
            self._floods.refused(topic, wait_ms)

    def _is_repeated(self, message: Received) -> bool:
        """Tell whether the broker sends again what was handled, its acknowledgment lost with a connection.

        It comes with its old packet id then (MQTT 5, 4.4), and its answer is in the outbox. Handling it twice
        would refuse an update that has succeeded. After a restart of the service it is handled again.
        """
        packet_id = message.packet_id
        fingerprint = hash((message.topic, message.payload))
        if message.dup and self._handled.get(packet_id) == fingerprint:
            return True
        if packet_id:
            self._handled[packet_id] = fingerprint
        return False

    def _settled(self, connection: TwoWays, packet_id: int) -> None:
        self._in_hand -= 1
        if not self._in_hand:
            self._idle.set()
        if self._in_hand == REQUESTS_IN_HAND_MAX // 2:
            connection.link.resume()
        self._acknowledge(connection, packet_id)

    def _acknowledge(self, connection: TwoWays, packet_id: int) -> None:
        # The packet ids of QoS 0 are 0; those of an earlier connection mean nothing on this one.
        if packet_id and connection is self._connection:
            self._outbox.acknowledge(packet_id)

    def _control_settled(
        self, message: Received, response_topic: str, settled: Callable[[], None]
    ) -> Callable[[], None]:
        """Return what is to be done when an operator's request with a response topic is answered."""
        correlation = message.correlation

        def send(payload: bytes) -> None:
            self._outbox.publish(response_topic, payload, correlation)

        return self._responses.settled(message.topic, response_topic, correlation, send=send, settled=settled)

    # What the runner publishes (runner.Publisher)

    def publish(self, message: Message) -> None:
        """Send a message; it is kept until the broker has confirmed it."""
        self._outbox.publish(message.topic, message.payload())
        self._responses.published(message)

    def flush(self) -> None:
        """Let a batch out."""
        if self._connection is not None:
            self._connection.link.flush()

    def _gauges(self) -> dict[str, float]:
        """Tell what `/metrics` shows of the broker."""
        return {
            "thingjobs_broker_connected": float(self._connection is not None and self._outbox.is_attached),
            "thingjobs_outbox_messages": float(len(self._outbox)),
        }

    def _failed(self, _: BaseException) -> None:
        self._stopping.set()


def _called(user: str | None) -> str:
    return "anybody" if user is None else f"devices (it tried as {user!r})"
