"""The way between the outbox and the socket: messages and acknowledgments past paho, all else through it.

Everything happens in the event loop, save that paho opens the socket in a thread of aiomqtt's.
"""

from __future__ import annotations

import asyncio
import socket
from importlib.metadata import version
from ssl import SSLWantReadError, SSLWantWriteError
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from thingjobs_broker.data_packets import (
    Received,
    build_puback,
    build_publish,
    parse_puback,
    parse_publish,
    topic_of,
)
from thingjobs_broker.front.frames import ANY_BYTES, PUBACK, PUBLISH, FrameSplitter

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiomqtt
    import paho.mqtt.client as paho
    from paho.mqtt.reasoncodes import ReasonCode

TESTED: Final = {"aiomqtt": ("2.5.",), "paho-mqtt": ("2.1.", "2.2.")}
"""`PahoLink` leans on internals of both; another series has to pass the tests first."""

PACKET_BYTES_MAX: Final = 268_435_455
PACKET_IDS: Final = 65_535
READ_BYTES: Final = 16 * 1024
"""Read from the socket in one turn of the loop: some fifty requests, and one TLS record."""
FRAMES_AT_ONCE: Final = 1_000
READS_MAX: Final = 16
"""How often the socket is read in one turn while most of what it brings is dropped."""
REST_SECONDS: Final = 0.002
"""How long requests gather during a flood: to wake up for one costs many times what dropping it does."""

_FROM_A_BROKER: Final = [ANY_BYTES] * 256
"""What paho is handed it judges itself."""


def untested() -> str | None:
    """Return what is wrong with the installed MQTT libraries, or None."""
    for package, series in TESTED.items():
        installed = version(package)
        if not installed.startswith(series):
            wanted = " or ".join(f"{one}x" for one in series)
            return f"{package} {installed} is not a tested version; install {package} {wanted}"
    return None


class ConnectionLost(Exception):
    """The connection ended, or never came to be. `code` is the reason code the broker gave, or None."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Accepted(NamedTuple):
    """What the broker said when it let us in."""

    session_present: bool = False
    receive_maximum: int = PACKET_IDS
    packet_bytes_max: int = PACKET_BYTES_MAX


class PahoLink:
    """All that is used of what aiomqtt and paho keep to themselves, with the reason; hence `TESTED`.

    - `Client._client`, paho's client: aiomqtt's iterator makes a task for each message, its publish waits for
      each acknowledgment, and it acknowledges before anybody has seen the message.
    - `_sock`, paho's socket: paho spends 60 us on what a request needs, a PUBLISH and a PUBACK each way. They
      pass it by, over a `SharedSocket`; handshake, subscriptions, keep-alive and the end stay with paho.
    - `_sock_close()`: nothing else closes a connection whose handshake never ended.
    """

    def __init__(
        self,
        client: aiomqtt.Client,
        received: Callable[[Received], None],
        confirmed: Callable[[int, int], None],
        ended: Callable[[ConnectionLost], None],
        *,
        mqtt_5: bool,
        is_unwanted: Callable[[bytes], object] | None = None,
    ) -> None:
        self._paho = client._client  # noqa: SLF001 - see the docstring
        self._loop = asyncio.get_running_loop()
        self._socket: SharedSocket | None = None
        self._accepted = Accepted()
        self._received = received
        self._dropped = 0
        self._is_paused = False
        self._is_resting = False
        self._confirmed = confirmed
        self._ended = ended
        self._mqtt_5 = mqtt_5
        self._is_unwanted = is_unwanted
        self._frames = FrameSplitter(PACKET_BYTES_MAX)
        self._frames.follow(_FROM_A_BROKER)
        self._aiomqtt_on_connect: Any = self._paho.on_connect
        paho = self._paho
        # What paho would log ends up in the reason of the loss.
        paho.disable_logger()
        paho.on_connect = self._on_connect
        paho.on_disconnect = self._on_disconnect

    def begin(self) -> Accepted:
        """Read what the broker sends, from the first packet after the handshake on."""
        self.resume()
        return self._accepted

    def publish(self, packet_id: int, topic: str, payload: bytes, correlation: bytes | None) -> None:
        """Queue a message; it leaves with `flush`, unasked in the next turn."""
        assert self._socket is not None, "after the handshake"
        self._socket.send(build_publish(packet_id, topic, payload, correlation, mqtt_5=self._mqtt_5))

    def acknowledge(self, packet_id: int) -> None:
        """Queue the acknowledgment of a received message likewise."""
        assert self._socket is not None, "after the handshake"
        self._socket.send(build_puback(packet_id))

    def flush(self) -> None:
        """Write what is queued, with as few calls as possible."""
        if self._socket is not None:
            self._socket.flush()

    def pause(self) -> None:
        """Stop reading."""
        self._is_paused = True
        self._watch()

    def resume(self) -> None:
        """Read again."""
        self._is_paused = False
        self._watch()
        # What came in one TLS record with the CONNACK has left the socket already, and wakes nobody up.
        self._loop.call_soon(self._read_on)

    def dropped(self) -> None:
        """What was just received, here or over the other connection, is dropped: more is read, less often."""
        self._dropped += 1

    def disconnect(self) -> None:
        """Queue a DISCONNECT; paho closes the socket when it has left."""
        self._paho.disconnect()

    def drop(self) -> None:
        """Close the socket, if it is still open."""
        self._paho._sock_close()  # noqa: SLF001 - see the docstring

    def _paho_wants_write(self, *_: object) -> None:
        self._loop.call_soon(self._paho.loop_write)

    def _watch(self) -> None:
        """Have the loop call for what arrives, or not."""
        if self._socket is None or (descriptor := self._socket.fileno()) < 0:
            return
        if self._is_paused or self._is_resting:
            self._loop.remove_reader(descriptor)
        else:
            self._loop.add_reader(descriptor, self._read)

    def _rest(self) -> None:
        self._is_resting = True
        self._watch()
        self._loop.call_later(REST_SECONDS, self._end_rest)

    def _end_rest(self) -> None:
        self._is_resting = False
        self._watch()

    def _read_on(self) -> None:
        may_read = not (self._is_paused or self._is_resting)
        if may_read and self._socket is not None and not self._socket.is_closed:
            self._read()

    def _read(self) -> None:
        """Handle what one read of the socket brings, several of a flood; the loop calls again for more."""
        connection = self._socket
        assert connection is not None
        try:
            for _ in range(READS_MAX):
                data, dropped_before = connection.read(), self._dropped
                if data is None:
                    break
                frames = self._take(connection, data)
                if (self._dropped - dropped_before) * 2 <= frames:
                    break
        except Exception as error:  # noqa: BLE001 - a packet that cannot be read ends the connection
            self._ended(ConnectionLost(f"unreadable packet: {error!r}"))
            self.drop()
            return
        if self._dropped and not self._is_resting:
            self._rest()
        self._dropped = 0

    def _take(self, connection: SharedSocket, data: bytes) -> int:
        """Handle what has arrived; tell how many packets it was."""
        frames, is_unwanted, count = self._frames, self._is_unwanted, 0
        if not data:
            # The end, which paho tells from one that was agreed.
            self._hand_over(connection, data)
        frames.feed(data)
        while taken := frames.take(FRAMES_AT_ONCE):
            count += len(taken)
            for frame in taken:
                if connection.is_closed:
                    return 0
                kind = frame[0] >> 4
                if kind == PUBLISH and is_unwanted is not None and is_unwanted(topic_of(frame)):
                    self._dropped += 1
                elif kind == PUBLISH:
                    self._received(parse_publish(frame, mqtt_5=self._mqtt_5))
                elif kind == PUBACK:
                    self._confirmed(*parse_puback(frame))
                else:
                    self._hand_over(connection, frame)
        return count

    def _hand_over(self, connection: SharedSocket, frame: bytes) -> None:
        """Let paho read one packet, or the end where it is empty."""
        connection.for_paho = frame
        self._paho.loop_read()

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Any,
    ) -> None:
        if reason.is_failure:
            self._ended(ConnectionLost(f"the broker refuses the connection: {reason}", reason.value))
            return
        self._accepted = Accepted(
            flags.session_present,
            getattr(properties, "ReceiveMaximum", PACKET_IDS),
            getattr(properties, "MaximumPacketSize", PACKET_BYTES_MAX),
        )
        self._take_over()
        self._aiomqtt_on_connect(client, userdata, flags, reason, properties)

    def _take_over(self) -> None:
        """Put our socket in the place of paho's, which shall not read, and acknowledge, what comes next."""
        paho = self._paho
        inner: Any = paho._sock  # noqa: SLF001 - see the docstring
        self._loop.remove_reader(inner.fileno())
        self._socket = SharedSocket(inner, self._loop)
        paho._sock = cast("Any", self._socket)  # noqa: SLF001 - see the docstring
        paho.on_socket_register_write = self._paho_wants_write
        paho.on_socket_unregister_write = None

    def _on_disconnect(
        self,
        _client: paho.Client,
        _userdata: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Any,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._ended(ConnectionLost(f"the broker ended the connection: {reason}", reason.value))
        else:
            self._ended(ConnectionLost("the connection broke"))


class SharedSocket:
    """Stands between paho and its socket: paho reads `for_paho`; all writes are gathered until `flush`."""

    def __init__(self, inner: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self.is_closed = False
        self.for_paho = b""
        self._inner = inner
        self._loop = loop
        self._unsent = bytearray()
        self._is_waiting = False
        self.fileno = inner.fileno

    def read(self) -> bytes | None:
        """Return what has arrived, at most READ_BYTES; empty at the end or when broken, None for nothing."""
        try:
            return self._inner.recv(READ_BYTES)
        except (BlockingIOError, SSLWantReadError, SSLWantWriteError):
            return None
        except OSError:
            return b""

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes of what paho is to have."""
        data, self.for_paho = self.for_paho[:size], self.for_paho[size:]
        return data

    def send(self, packet: bytes) -> int:
        """Take a packet; it leaves with `flush`, unasked in the next turn."""
        if not self._unsent:
            self._loop.call_soon(self.flush)
        self._unsent += packet
        return len(packet)

    def flush(self) -> None:
        """Write what was gathered; the rest follows when the socket can take it."""
        if self._is_waiting or self.is_closed or not self._unsent:
            return
        self._write()
        if self._unsent:
            self._is_waiting = True
            self._loop.add_writer(self.fileno(), self._write_on)

    def close(self) -> None:
        """Write what can still be written, and close."""
        self._write()
        self._stop_waiting()
        self.is_closed = True
        self._inner.close()

    def _write(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._inner.send(self._unsent)]
        except (BlockingIOError, SSLWantReadError, SSLWantWriteError):
            return
        except OSError:
            # Reading from the broken connection tells the reason.
            self._unsent.clear()

    def _write_on(self) -> None:
        self._write()
        if not self._unsent:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._loop.remove_writer(self.fileno())
