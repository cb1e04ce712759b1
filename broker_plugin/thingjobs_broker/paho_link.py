"""What is used of paho beneath aiomqtt: callbacks, late acknowledgment, gathered reads and writes.

Everything happens in the event loop, save that paho opens the socket in a thread of aiomqtt's.
"""

from __future__ import annotations

import asyncio
import socket
from importlib.metadata import version
from ssl import SSLWantReadError, SSLWantWriteError
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from paho.mqtt.enums import MQTTErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiomqtt
    import paho.mqtt.client as paho
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

TESTED: Final = {"aiomqtt": ("2.5.",), "paho-mqtt": ("2.1.", "2.2.")}
"""`PahoLink` leans on internals of both; another series has to pass the tests first."""

QOS: Final = 1
PACKET_BYTES_MAX: Final = 268_435_455
PACKET_IDS: Final = 65_535
READ_BYTES: Final = 16 * 1024
"""Read from the socket in one turn of the loop: some fifty requests, and one TLS record."""


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
    - `_sock`, paho's socket: paho reads a packet with four calls and writes each with one; `GatheringSocket`
      makes that one call for many packets.
    - `_sock_close()`: nothing else closes a connection whose handshake never ended.
    """

    def __init__(
        self,
        client: aiomqtt.Client,
        received: Callable[[paho.MQTTMessage], None],
        confirmed: Callable[[int, int], None],
        ended: Callable[[ConnectionLost], None],
    ) -> None:
        self._paho = client._client  # noqa: SLF001 - see the docstring
        self._loop = asyncio.get_running_loop()
        self._socket: GatheringSocket | None = None
        self._accepted = Accepted()
        self._ended = ended
        self._aiomqtt_on_connect: Any = self._paho.on_connect
        paho = self._paho
        # What paho would log ends up in the reason of the loss.
        paho.disable_logger()
        paho.manual_ack_set(True)
        paho.on_connect = self._on_connect
        paho.on_disconnect = self._on_disconnect
        paho.on_message = lambda _client, _userdata, message: received(message)
        paho.on_publish = lambda _client, _userdata, packet_id, reason, _properties: confirmed(
            packet_id, reason.value
        )

    def take_over(self) -> Accepted:
        """Put our socket and our callbacks in the place of aiomqtt's, after the handshake."""
        paho = self._paho
        inner: Any = paho._sock  # noqa: SLF001 - see the docstring
        if inner is None:
            raise ConnectionLost("the broker closed the connection at once")
        self._socket = GatheringSocket(inner, self._loop)
        paho._sock = cast("Any", self._socket)  # noqa: SLF001 - see the docstring
        paho.on_socket_register_write = self._wants_write
        paho.on_socket_unregister_write = None
        self.resume()
        return self._accepted

    def publish(self, topic: str, payload: bytes, properties: Properties | None) -> int | None:
        """Queue a message and return its packet id, or None where the connection is gone."""
        sent = self._paho.publish(topic, payload, QOS, False, properties)
        return sent.mid if sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def acknowledge(self, packet_id: int) -> None:
        """Queue the acknowledgment of a received message."""
        self._paho.ack(packet_id, QOS)

    def flush(self) -> None:
        """Write what is queued, with as few calls as possible. Unasked it happens in the next turn."""
        # During the handshake paho belongs to aiomqtt and its thread.
        if self._socket is not None:
            self._paho.loop_write()
            self._socket.flush()

    def pause(self) -> None:
        """Stop reading."""
        if self._socket is not None and (descriptor := self._socket.fileno()) >= 0:
            self._loop.remove_reader(descriptor)

    def resume(self) -> None:
        """Read again."""
        if self._socket is not None and (descriptor := self._socket.fileno()) >= 0:
            self._loop.add_reader(descriptor, self._read)

    def disconnect(self) -> None:
        """Queue a DISCONNECT; paho closes the socket when it has left."""
        self._paho.disconnect()

    def drop(self) -> None:
        """Close the socket, if it is still open."""
        self._paho._sock_close()  # noqa: SLF001 - see the docstring

    def _wants_write(self, *_: object) -> None:
        self._loop.call_soon(self.flush)

    def _read(self) -> None:
        """Handle what one read of the socket brings; the loop calls again while there is more."""
        connection = self._socket
        assert connection is not None
        connection.may_read = True
        try:
            while True:
                self._paho.loop_read()
                if not connection.has_more:
                    return
        except Exception as error:  # noqa: BLE001 - a packet that paho cannot read ends the connection
            self._ended(ConnectionLost(f"unreadable packet: {error!r}"))
            self.drop()

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
        self._aiomqtt_on_connect(client, userdata, flags, reason, properties)

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


class GatheringSocket:
    """Stands between paho and its socket: reads ahead, once a turn, and gathers writes until `flush`."""

    def __init__(self, inner: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self.may_read = False
        self._inner = inner
        self._loop = loop
        self._ahead = b""
        self._position = 0
        self._unsent = bytearray()
        self._is_waiting = False
        self.fileno = inner.fileno

    @property
    def has_more(self) -> bool:
        """Whether bytes are left that paho has not taken."""
        return self._position < len(self._ahead)

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes; empty at the end. Raises BlockingIOError when this turn has no more."""
        start = self._position
        if start >= len(self._ahead):
            if not self.may_read:
                raise BlockingIOError
            self.may_read = False
            self._ahead = self._inner.recv(READ_BYTES)
            start = 0
        self._position = end = start + size
        return self._ahead[start:end]

    def send(self, packet: bytes) -> int:
        """Take a packet; it leaves with `flush`."""
        self._unsent += packet
        return len(packet)

    def flush(self) -> None:
        """Write what was gathered; the rest follows when the socket can take it."""
        if self._is_waiting or not self._unsent:
            return
        self._write()
        if self._unsent:
            self._is_waiting = True
            self._loop.add_writer(self.fileno(), self._write_on)

    def close(self) -> None:
        """Write what can still be written, and close."""
        self._write()
        self._stop_waiting()
        self._ahead = b""
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
