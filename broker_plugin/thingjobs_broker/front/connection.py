"""One client's socket: bytes in, read at the client's and our own pace; bytes out; limits; the end.

Life: AWAIT_CONNECT -> AWAIT_CONNACK -> OPEN -> CLOSED. CLOSED means that nothing more is taken from the
client or sent to it; the socket may still be emptying. What is said in OPEN is the exchange's matter.
"""

import asyncio
import ssl
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import structlog

from thingjobs_broker.front import packets
from thingjobs_broker.front.bridge import BridgeReader, BridgeWriter
from thingjobs_broker.front.endpoint import Client
from thingjobs_broker.front.exchange import Exchange
from thingjobs_broker.front.frames import DISCONNECT, FrameSplitter, FrameTooLong, MalformedFrame
from thingjobs_broker.front.limits import CloseReason

if TYPE_CHECKING:
    from thingjobs_broker.front.listener import Front

log: Final = structlog.get_logger(__name__)

_ORDINARY: Final = {CloseReason.ENDED, CloseReason.SHUTDOWN, CloseReason.DISCONNECTED}


class State(Enum):
    """Where a connection is in its life."""

    AWAIT_CONNECT = auto()
    AWAIT_CONNACK = auto()
    OPEN = auto()
    CLOSED = auto()


class Connection(asyncio.BufferedProtocol):
    """A client's connection. What is public is so for `Front`, the exchange and the bridge."""

    def __init__(self, front: "Front") -> None:
        self._front = front
        self._limits = limits = front.limits
        self._loop = front.loop
        self._splitter = FrameSplitter(limits.frame_bytes_max)
        self.reader = BridgeReader(limits.foreign_bytes_max, self._wake)
        self.writer = BridgeWriter(self)
        self.state = State.AWAIT_CONNECT
        self.peer = ("unknown", 0)
        self.ssl_object: ssl.SSLObject | None = None
        self.client: Client | None = None
        self.exchange: Exchange | None = None
        # amqtt's part: begun with the CONNECT, over when amqtt has let go of the client id.
        self.task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport
        self._clean_session = True
        self._disconnect_seen = False
        self._finished = False
        self._out: list[bytes] = []
        self.dirty = False
        self._reading_paused = False
        self._wake_scheduled = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._unwritable_since = 0.0
        self._heard = False
        self._heard_at = 0.0
        self._silence_seconds_max = 0.0
        self._deadline = self._loop.time() + limits.connect_seconds_max

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
        self._front.forget(self)
        self._leave(CloseReason.ENDED)
        self._finish()
        if self.task is None or self.task.done():
            return
        # Close behind a DISCONNECT, the end of the stream could overtake it in amqtt: the will would be sent.
        if not self._disconnect_seen:
            self.reader.feed_eof()
        self._loop.call_later(self._limits.close_seconds_max, self._give_up_amqtt)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio names it
        """Where the next bytes go: one buffer for all connections, emptied before anything else happens.

        Without it asyncio makes a new one of 256 KiB for each read, which costs more than all the rest.
        """
        return self._front.receive_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes from the client."""
        self._heard = True
        if self.state is not State.CLOSED:
            self._splitter.feed(bytes(self._front.receive_buffer[:nbytes]))
            if not self._reading_paused:
                self._pump()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._writable.clear()
        self._unwritable_since = self._loop.time()
        self._regulate()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable.set()
        self._wake()

    async def drained(self) -> None:
        """Hold amqtt back while the client reads too slowly."""
        await self._writable.wait()

    # Reading, in turns.

    def _pump(self) -> None:
        """Handle one turn's worth of frames, then decide whether to read on."""
        try:
            self._take_turn()
        except FrameTooLong as error:
            self.close(CloseReason.OVERSIZE, str(error))
        except MalformedFrame as error:
            self.close(CloseReason.MALFORMED, str(error))
        except Exception as error:  # noqa: BLE001  # It goes to the exception handler of the loop.
            self._fault(error)
        if self._out:
            self.write_out()
        if self._splitter.ready or self._reading_paused or self._must_wait():
            self._regulate()

    def _take_turn(self) -> None:
        exchange = self.exchange
        if exchange is not None:
            handlers = Exchange.HANDLERS
            for frame in self._splitter.take(self._limits.frames_per_turn_max):
                kind = frame[0] >> 4
                if kind == DISCONNECT:
                    self._on_disconnect(frame)
                else:
                    handlers[kind](exchange, frame)
                if self.state is not State.OPEN:
                    return
        elif self.state is State.AWAIT_CONNECT:
            for frame in self._splitter.take(1):
                self._on_connect(frame)

    def _must_wait(self) -> bool:
        """Whether this client must not be read further for now."""
        if self.exchange is None:
            return self._splitter.unread_bytes > self._limits.pipelined_bytes_max
        return (
            self.exchange.requests_in_progress >= self._limits.requests_in_progress_max
            or self.reader.full
            or not self._writable.is_set()
        )

    def _regulate(self) -> None:
        """Pause or resume reading. While whole frames are left over, nothing more is read."""
        pause = self._must_wait()
        if not pause and self._splitter.ready and self.state is State.OPEN:
            pause = True
            self._wake()
        if pause is not self._reading_paused:
            self._reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def settled_one(self) -> None:
        """A request is no longer in progress, so reading may go on."""
        if self._reading_paused:
            self._wake()

    def _wake(self) -> None:
        """Go on with what was left over, after the other connections had their turn."""
        if not self._wake_scheduled:
            self._wake_scheduled = True
            self._loop.call_soon(self._continue)

    def _continue(self) -> None:
        self._wake_scheduled = False
        if self.state is State.OPEN and not self._must_wait():
            self._pump()

    # Getting in, and saying goodbye.

    def _on_connect(self, frame: bytes) -> None:
        connect = packets.parse_connect(frame)
        if connect.protocol_name != "MQTT" or connect.protocol_level != 4:
            self._refuse(packets.UNACCEPTABLE_PROTOCOL)  # [MQTT-3.1.2-2]
            return
        client_id = connect.client_id
        if not client_id:
            if not connect.clean_session:
                self._refuse(packets.IDENTIFIER_REJECTED)  # [MQTT-3.1.3-8]
                return
            client_id = self._front.make_client_id()
            frame = packets.with_client_id(frame, client_id)
        # Two AWS SDKs append their own name to the user name (client quirks).
        user_name = (connect.user_name or "").partition("?SDK=")[0] or None
        self.client = Client(client_id, user_name, _common_name(self._transport), "{}:{}".format(*self.peer))
        self._clean_session = connect.clean_session
        self._silence_seconds_max = connect.keep_alive_seconds * 1.5  # [MQTT-3.1.2-24]
        self.state = State.AWAIT_CONNACK
        predecessor = self._front.claim(client_id, self)
        self.task = self._loop.create_task(self._serve(frame, predecessor))
        self.task.add_done_callback(partial(self._served, client_id))

    def _refuse(self, return_code: int) -> None:
        self._transport.write(packets.build_connack(return_code))
        self.close(CloseReason.REFUSED, f"return code {return_code}")

    async def _serve(self, connect_frame: bytes, predecessor: "Connection | None") -> None:
        """Let amqtt serve the connection, once an earlier one of the same client id is entirely gone.

        amqtt's own take-over leaves the old connection alive, and takes its end for the end of the new one.
        """
        if predecessor is not None and predecessor.task is not None:
            predecessor.abort(CloseReason.TAKEN_OVER)
            await asyncio.wait({predecessor.task}, timeout=2 * self._limits.close_seconds_max)
        if self.state is State.AWAIT_CONNACK:
            self.reader.feed(connect_frame)
            await self._front.serve(self.reader, self.writer)

    def _on_connack(self, *, session_present: bool, return_code: int) -> None:
        """Whether amqtt let the client in."""
        client = self.client
        if client is None or self.state is not State.AWAIT_CONNACK:
            return
        if return_code != packets.ACCEPTED:
            self._write(packets.build_connack(return_code))  # Never with a session [MQTT-3.2.2-4].
            return
        self.exchange, resumed = self._front.enter(
            self, client, clean=self._clean_session, session_present=session_present
        )
        # What was not resumed is gone: the client must hear that, whatever amqtt has kept of its own.
        self._transport.write(packets.build_connack(packets.ACCEPTED, session_present=resumed))
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

    def _on_disconnect(self, frame: bytes) -> None:
        self._disconnect_seen = True
        self.write_out()
        self.reader.feed(frame)
        self._leave(CloseReason.ENDED)

    # Writing.

    def send(self, frame: bytes) -> None:
        """Append a frame to what the next flush writes."""
        if self.state is State.OPEN:
            self._out.append(frame)
            if not self.dirty:
                self.dirty = True
                self._front.dirty.append(self)

    def write_out(self) -> None:
        """Write everything that was appended, in one piece."""
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._write(data)

    def amqtt_wrote(self, frame: bytes) -> None:
        """A packet from amqtt: the CONNACK is read and may be changed, a SUBACK may be completed."""
        packet_type = frame[0] >> 4
        if packet_type == 2:
            self._on_connack(session_present=frame[2] & 1 == 1, return_code=frame[3])
        elif packet_type == 9 and self.exchange is not None:
            self._write(self.exchange.complete_suback(frame))
        else:
            self._write(frame)

    def _write(self, data: bytes) -> None:
        if self.state is State.CLOSED or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > self._limits.unsent_bytes_max:
            self.abort(CloseReason.SLOW_READER)
        else:
            self._transport.write(data)

    # The end.

    def close(self, reason: CloseReason, detail: str = "") -> None:
        """Close after what was written is sent."""
        self.write_out()
        self._leave(reason, detail)
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

    def _leave(self, reason: CloseReason, detail: str = "") -> None:
        """Take nothing more from the client and send it nothing more. The first reason counts."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
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
