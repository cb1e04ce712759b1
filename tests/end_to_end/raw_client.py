"""A blocking MQTT 3.1.1 client of bare packets, for tests that have to know what did not arrive.

`drain` asks for a PINGRESP and returns what came before it: both brokers answer a client in the order of what
happened, so nothing here waits for something not to happen.
"""

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.broker.front import wire

PATIENCE_S = 10.0
CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, PINGRESP = 2, 3, 4, 9, 11, 13


class RefusedError(Exception):
    """The broker did not let the client in; the message says at which step."""


class RawClient:
    """One connection, logged in."""

    def __init__(
        self,
        port: int,
        *,
        user: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
        client_id: str = "",
        clean: bool = True,
        will: tuple[str, bytes] | None = None,
    ) -> None:
        self._arrived: list[str] = []
        self._packet_id = 0
        self._buffer = b""
        plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket: socket.socket = plain
        try:
            if tls is not None:
                self._socket = tls.wrap_socket(plain, server_hostname="localhost")
            self._socket.sendall(
                wire.connect(client_id, clean=clean, user=user, password=password, will=will)
            )
            # With TLS 1.3 a refused certificate shows here.
            kind, body = self._packet()
        except (ssl.SSLError, ConnectionError) as error:
            self._socket.close()
            raise RefusedError(f"during the handshake: {error}") from None
        assert kind == CONNACK
        if body[1]:
            self._socket.close()
            raise RefusedError(f"return code {body[1]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Says goodbye."""
        with suppress(OSError):  # The broker was first.
            self._socket.sendall(wire.DISCONNECT)
        self.vanish()

    def vanish(self) -> None:
        """Ends the connection without a word, as a power cut would: the will is due."""
        self._socket.close()

    def publish(self, topics: Sequence[str], payload: bytes = b"{}") -> None:
        """Publishes to each topic at QoS 1; returns when all are acknowledged."""
        waiting = set()
        for topic in topics:
            packet_id = self._next_id()
            waiting.add(packet_id)
            self._socket.sendall(wire.publish(topic, payload, qos=1, packet_id=packet_id))
        while waiting:
            waiting.remove(int.from_bytes(self._await(PUBACK)[:2], "big"))

    def subscribe(self, *filters: str) -> list[int]:
        """The return codes of a subscription at QoS 1: 1, or 128 where it was refused."""
        wanted = [(topic_filter, 1) for topic_filter in filters]
        self._socket.sendall(wire.subscribe(self._next_id(), *wanted))
        return list(self._await(SUBACK)[2:])

    def unsubscribe(self, *filters: str) -> None:
        """Takes subscriptions back."""
        self._socket.sendall(wire.unsubscribe(self._next_id(), *filters))
        self._await(UNSUBACK)

    def drain(self) -> list[str]:
        """The topics of everything that arrived since the last time."""
        self._socket.sendall(wire.PINGREQ)
        self._await(PINGRESP)
        arrived, self._arrived = self._arrived, []
        return arrived

    def wait_for(self, topic: str) -> None:
        """Returns once a message on the topic has arrived."""
        while topic not in self._arrived:
            self._take_message(*self._packet())

    def _await(self, wanted: int) -> bytes:
        """The body of the next packet of a kind; messages before it are kept and acknowledged."""
        while True:
            kind, body = self._packet()
            if kind == wanted:
                return body
            self._take_message(kind, body)

    def _take_message(self, kind: int, body: bytes) -> None:
        assert kind & 15 == PUBLISH, f"unexpected packet {kind}"
        end = 2 + int.from_bytes(body[:2], "big")
        self._arrived.append(body[2:end].decode())
        if self._qos:
            self._socket.sendall(wire.puback(int.from_bytes(body[end : end + 2], "big")))

    def _packet(self) -> tuple[int, bytes]:
        first = self._read(1)[0]
        self._qos = first >> 1 & 3
        length = shift = 0
        while True:
            digit = self._read(1)[0]
            length |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                return first >> 4, self._read(length)

    def _read(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError("the broker ended the connection")
            self._buffer += data
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _next_id(self) -> int:
        self._packet_id += 1
        return self._packet_id
