"""The life of one client's connection: getting in, amqtt's part in it, limits of time, the end.

Life: AWAIT_CONNECT -> AWAIT_CONNACK -> OPEN -> CLOSED. CLOSED means that nothing more is taken from the
client or sent to it; the socket may still be emptying. What is said in OPEN is the exchange's matter.
"""

import asyncio
import ssl
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import structlog

from thingjobs_broker.front import packets, packets5
from thingjobs_broker.front.bridge import BridgeWriter
from thingjobs_broker.front.endpoint import Client
from thingjobs_broker.front.exchange import Exchange
from thingjobs_broker.front.flow import Flow, State
from thingjobs_broker.front.frames import DISCONNECT, PUBACK
from thingjobs_broker.front.limits import CloseReason
from thingjobs_broker.front.sockets import let_go
from thingjobs_broker.front.translate import Refused, Translator

if TYPE_CHECKING:
    from thingjobs_broker.front.listener import Front

log: Final = structlog.get_logger(__name__)

_ORDINARY: Final = {CloseReason.ENDED, CloseReason.SHUTDOWN, CloseReason.DISCONNECTED}


class Connection(Flow):
    """A client's connection, accepted at a loop time. What is public is so for `Front`, the exchange and the
    bridge.
    """

    def __init__(self, front: "Front", accepted_at: float) -> None:
        super().__init__(front)
        self.writer = BridgeWriter(self)
        self.peer = ("unknown", 0)
        self.ssl_object: ssl.SSLObject | None = None
        self.client: Client | None = None
        # Of a client that speaks MQTT 5.
        self.translator: Translator | None = None
        # amqtt's part: from the CONNECT until amqtt has let go of the client id.
        self.task: asyncio.Task[None] | None = None
        self._clean_session = True
        self._disconnect_seen = False
        self._finished = False
        self._socket_is_gone = False
        self._giving_up: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._silence_seconds_max = 0.0
        self._deadline = accepted_at + self._limits.connect_seconds_max

    # The socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is accepted (and the TLS handshake done)."""
        self._transport = cast("asyncio.Transport", transport)
        self.peer = (transport.get_extra_info("peername") or self.peer)[:2]
        self.ssl_object = transport.get_extra_info("ssl_object")
        self._transport.set_write_buffer_limits(high=self._limits.write_buffer_high_bytes)
        if not self._front.admit(self):
            self.abort(CloseReason.SURPLUS)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio names it
        """The socket is gone."""
        self._socket_is_gone = True
        self._front.forget(self)
        self._leave(CloseReason.ENDED)
        self._finish()
        if self.task is None:
            self._come_apart()
            return
        if self.task.done():
            return
        # Close behind a DISCONNECT, the end of the stream could overtake it in amqtt: the will would be sent.
        if not self._disconnect_seen:
            self.reader.feed_eof()
        self._giving_up = self._loop.call_later(self._limits.close_seconds_max, self._give_up_amqtt)

    # Frames.

    def _handle(self, frames: Iterable[bytes]) -> None:
        """Handle frames until they end or the turn is over."""
        exchange = self.exchange
        if exchange is None:
            for frame in frames:
                self._on_connect(frame)
            return
        handlers = Exchange.HANDLERS
        for frame in frames if self.translator is None else self.translator.incoming(frames):
            kind = frame[0] >> 4
            if kind == DISCONNECT:
                self._on_disconnect(frame)
            else:
                handlers[kind](exchange, frame)
            if self.turn_is_over:
                return

    # Getting in, and saying goodbye.

    def _on_connect(self, frame: bytes) -> None:
        connect = packets.parse_connect(frame)
        if connect.protocol_name != "MQTT" or connect.protocol_level not in {4, packets5.PROTOCOL_LEVEL}:
            self._refuse(packets.build_connack(packets.UNACCEPTABLE_PROTOCOL))  # [MQTT-3.1.2-2]
            return
        if connect.protocol_level == packets5.PROTOCOL_LEVEL:
            try:
                frame = self._speak_5(frame)
            except Refused as refused:
                self._refuse(packets5.build_connack(refused.reason_code, {}))
                return
            connect = packets.parse_connect(frame)
        client_id = connect.client_id
        if not client_id:
            if not connect.clean_session:
                self._refuse(packets.build_connack(packets.IDENTIFIER_REJECTED))  # [MQTT-3.1.3-8]
                return
            client_id = self._front.make_client_id()
            frame = packets.with_client_id(frame, client_id)
        # Two AWS SDKs append their own name to the user name (client quirks).
        user_name = (connect.user_name or "").partition("?SDK=")[0] or None
        self.client = Client(client_id, user_name, _common_name(self._transport), "{}:{}".format(*self.peer))
        self._clean_session = connect.clean_session
        self._silence_seconds_max = connect.keep_alive_seconds * 1.5  # [MQTT-3.1.2-24]
        self.state = State.AWAIT_CONNACK
        # From here on it is we who are slow: sent away, it would come back, and a storm would not end.
        self._deadline = self._loop.time() + self._limits.admission_seconds_max
        self.task = self._loop.create_task(self._serve(self.client, frame))
        self.task.add_done_callback(partial(self._served, client_id))

    def _speak_5(self, frame: bytes) -> bytes:
        """Go on in MQTT 5; the CONNECT in the words of MQTT 3.1.1."""
        connect = packets5.parse_connect(frame)
        self.translator = Translator(self, self._front.endpoint, self._limits, connect)
        self._splitter.follow(packets5.FRAME_BYTES)
        return self.translator.connect_frame(self._front.make_client_id)

    def _refuse(self, connack: bytes) -> None:
        self._transport.write(connack)
        self.close(CloseReason.REFUSED, f"reason code {connack[3]}")

    async def _serve(self, client: Client, connect_frame: bytes) -> None:
        """Let amqtt serve the connection, once its client is let in and an earlier one of its id is gone."""
        await self._front.await_turn(client)
        is_let_in = await self._front.lets_in(connect_frame, self.writer)
        if self.state is not State.AWAIT_CONNACK:
            return
        if not is_let_in:
            self._refuse(self._connack(packets.NOT_AUTHORIZED))  # [MQTT-3.1.4-2]
        elif not self._front.may_claim(client):
            self._refuse(self._connack(packets.IDENTIFIER_REJECTED))
        else:
            await self._take_over(client)
            await self._enter_amqtt(client, connect_frame)

    async def _take_over(self, client: Client) -> None:
        """Claim the client id, and wait until an earlier connection of it is entirely gone.

        amqtt's own take-over leaves the old connection alive, and takes its end for the end of the new one.
        """
        predecessor = self._front.claim(client.client_id, self)
        if predecessor is not None and predecessor.task is not None:
            predecessor.abort(CloseReason.TAKEN_OVER)
            await asyncio.wait({predecessor.task}, timeout=2 * self._limits.close_seconds_max)

    async def _enter_amqtt(self, client: Client, connect_frame: bytes) -> None:
        if self.translator is not None:
            await self._front.forget_behind(client.client_id)
        if self.state is State.AWAIT_CONNACK:
            self.reader.feed(connect_frame)
            await self._front.serve(self.reader, self.writer)

    def _on_connack(self, *, session_present: bool, return_code: int) -> None:
        """Whether amqtt let the client in."""
        client = self.client
        if client is None or self.state is not State.AWAIT_CONNACK:
            return
        if return_code != packets.ACCEPTED:
            self._write(self._connack(return_code))  # Never with a session [MQTT-3.2.2-4].
            return
        self.exchange, resumed = self._front.enter(
            self, client, clean=self._clean_session, session_present=session_present
        )
        # What was not resumed is gone: the client must hear that, whatever amqtt has kept of its own.
        self._transport.write(self._connack(packets.ACCEPTED, session_present=resumed))
        self.state = State.OPEN
        self._heard = True
        self.exchange.resume()
        try:
            self._front.endpoint.opened(client)
        except Exception as error:  # noqa: BLE001  # It goes to the exception handler of the loop.
            self._fault(error)
        self.write_out()
        log.debug("client is connected", action="front_open", client_id=client.client_id, peer=client.peer)
        self._wake()

    def _connack(self, return_code: int, *, session_present: bool = False) -> bytes:
        build = packets.build_connack if self.translator is None else self.translator.connack
        return build(return_code, session_present=session_present)

    def _on_disconnect(self, frame: bytes) -> None:
        self._disconnect_seen = True
        self.write_out()
        self.reader.feed(frame)
        self._leave(CloseReason.ENDED)

    def amqtt_wrote(self, frame: bytes) -> None:
        """A packet from amqtt: the CONNACK is read and may be changed, a SUBACK may be completed."""
        packet_type = frame[0] >> 4
        if packet_type == 2:
            self._on_connack(session_present=frame[2] & 1 == 1, return_code=frame[3])
            return
        if packet_type == PUBACK and self.exchange is not None:
            self.exchange.acknowledged_by_amqtt(frame)
            self.write_out()
            return
        if packet_type == 9 and self.exchange is not None:
            frame = self.exchange.complete_suback(frame)
        if self.translator is not None:
            frame = self.translator.outgoing(frame)
        self._write(frame)

    # The end.

    def close(self, reason: CloseReason, detail: str = "", code: int | None = None) -> None:
        """Close after what was written is sent."""
        self.write_out()
        self._leave(reason, detail, code)
        self._transport.close()

    def close_gently(self) -> None:
        """What amqtt closes with: a refused CONNECT, a DISCONNECT, or a client it no longer wants."""
        self.close(CloseReason.REFUSED if self.exchange is None else CloseReason.BY_AMQTT)

    def abort(self, reason: CloseReason, detail: str = "") -> None:
        """Close at once, whatever is unsent."""
        self._leave(reason, detail)
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """Enforce the time limits as of a loop time; to be called every `sweep_seconds`."""
        if self.state is not State.OPEN:
            if now > self._deadline:
                self.abort(CloseReason.CONNECT_TIMEOUT)
        elif self._heard or self._reading_paused:
            self._heard = False
            self._heard_at = now
        elif 0 < self._silence_seconds_max < now - self._heard_at:
            self.abort(CloseReason.KEEP_ALIVE)
        if (
            not self._writable.is_set()
            and now - self._unwritable_since > self._limits.write_stall_seconds_max
        ):
            self.abort(CloseReason.SLOW_READER)

    def _leave(self, reason: CloseReason, detail: str = "", code: int | None = None) -> None:
        """Take nothing more from the client and send it nothing more. The first reason counts."""
        if self.state is State.CLOSED:
            return
        if self.translator is not None and self.state is State.OPEN:
            self._transport.write(self.translator.farewell(reason, code))
        self.state = State.CLOSED
        self.turn_is_over = True
        self._deadline = self._loop.time() + self._limits.close_seconds_max
        self._writable.set()
        self._out.clear()
        if self.exchange is not None and self.exchange.session.link is self.exchange:
            self.exchange.session.link = None
        self._front.count_closed(reason)
        if reason not in _ORDINARY:
            # A stranger cannot fill the log.
            say = log.info if self.exchange is not None else log.debug
            say(
                "connection closed",
                action="front_close",
                reason=reason.value,
                detail=detail,
                client_id=self.client and self.client.client_id,
                peer="{}:{}".format(*self.peer),
            )

    def _finish(self) -> None:
        """Once, when the socket or amqtt's part has ended: the client is gone."""
        if self.exchange is not None and not self._finished:
            self._finished = True
            self._front.leave(self.exchange)

    def _give_up_amqtt(self) -> None:
        self.reader.feed_eof()
        if self.task is not None:
            self.task.cancel()

    def _served(self, client_id: str, task: asyncio.Task[None]) -> None:
        """The part of amqtt has ended, by itself or because the client left."""
        self.reader.feed_eof()
        if self.exchange is not None:
            self.exchange.let_go()
        self._front.release(client_id, self)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("amqtt failed for a client", action="front_amqtt_failed", error=repr(error))
        # For one, amqtt ends its part after a publish to a `$` topic other than ours.
        self.close_gently()
        self._finish()
        self.task = None
        if self._socket_is_gone:
            self._come_apart()

    def _come_apart(self) -> None:
        """Once socket and amqtt's part are over: take apart what points back here, and let it go at once.

        It would wait for the garbage collector, which does not come for it: see `collector`. With a session
        that outlives its connection, amqtt keeps reader and writer.
        """
        if self._giving_up is not None:
            self._giving_up.cancel()
        if self.translator is not None and self.exchange is not None:
            self.translator.left()
        self.exchange = self.translator = None
        self.reader.detach()
        self.writer.detach()
        let_go(self._transport)

    def _fault(self, error: Exception) -> None:
        self.abort(CloseReason.FAULT, repr(error))
        self._loop.call_exception_handler({"message": "the endpoint of the front failed", "exception": error})


def _common_name(transport: asyncio.BaseTransport) -> str | None:
    """The CN of the client's certificate, if it showed one that was verified."""
    certificate: dict[str, Any] = transport.get_extra_info("peercert") or {}
    for attributes in certificate.get("subject", ()):
        for name, value in attributes:
            if name == "commonName":
                return str(value)
    return None
