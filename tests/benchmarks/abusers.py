"""Devices that misbehave, each a program of its own that goes on until it is terminated.

`python -m tests.benchmarks.abusers KIND PORT`; the kinds are the keys of KINDS. They are as fast as one core
of Python and the operating system allow.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tests.broker.front import wire

THING: Final = "abuser"
JOBS: Final = f"$aws/things/{THING}/jobs"
AT_ONCE: Final = 200
PAYLOAD: Final = b'{"clientToken":"%s"}' % (b"x" * 200)


def _dial(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _log_in(port: int) -> socket.socket:
    connection = _dial(port)
    connection.sendall(wire.connect(THING, keep_alive=0, user=THING))
    if connection.recv(4) != wire.connack():
        raise ConnectionRefusedError("not let in")
    return connection


def _discard(connection: socket.socket) -> None:
    with suppress(OSError):
        while connection.recv(1 << 20):
            pass


def _flood(port: int, topic: str, *, reads: bool = True, qos: int = 0) -> None:
    """Publish to one topic as fast as the broker takes it."""
    connection = _log_in(port)
    connection.settimeout(None)
    connection.sendall(wire.subscribe(1, (f"{JOBS}/#", 0)))
    if reads:
        threading.Thread(target=_discard, args=(connection,), daemon=True).start()
    packet_ids = range(1, AT_ONCE + 1)
    requests = b"".join(wire.publish(topic, PAYLOAD, qos=qos, packet_id=one) for one in packet_ids)
    while True:
        connection.sendall(requests)


def flood(port: int) -> None:
    """Ask again and again, without waiting for answers."""
    _flood(port, f"{JOBS}/get")


def flood_qos_1(port: int) -> None:
    """Ask again and again, so that the broker has to keep each request until it is acknowledged."""
    _flood(port, f"{JOBS}/get", qos=1)


def flood_nowhere(port: int) -> None:
    """Ask for an operation that does not exist, again and again."""
    _flood(port, f"{JOBS}/job/frob")


def flood_plain(port: int) -> None:
    """Publish to a topic that is none of the service's, again and again."""
    _flood(port, "plain/topic")


def never_read(port: int) -> None:
    """Ask again and again, and read no answer; come back when thrown out."""
    while True:
        with suppress(OSError):
            _flood(port, f"{JOBS}/get", reads=False)


def garbage(port: int) -> None:
    """Log in, send what is no MQTT, and come back when thrown out."""
    while True:
        with suppress(OSError), _log_in(port) as connection:
            connection.sendall(b"\xff" * 4096)
            _discard(connection)


def garbage_from_strangers(port: int) -> None:
    """Send what is no MQTT without logging in, again and again."""
    while True:
        with suppress(OSError), _dial(port) as connection:
            connection.sendall(os.urandom(4096))
            _discard(connection)


KINDS: Final[dict[str, Callable[[int], None]]] = {
    kind.__name__: kind
    for kind in (flood, flood_qos_1, flood_nowhere, flood_plain, never_read, garbage, garbage_from_strangers)
}


if __name__ == "__main__":
    KINDS[sys.argv[1]](int(sys.argv[2]))
