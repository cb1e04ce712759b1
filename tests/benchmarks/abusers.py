"""Devices and HTTP clients that misbehave, each a program of its own that goes on until it is terminated.

`python -m tests.benchmarks.abusers KIND PORT`; the kinds are the keys of KINDS. They are as fast as one core
of Python and the operating system allow.
"""

import os
import selectors
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from tests.benchmarks.servers import THING_PREFIX
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


HTTP_CLIENTS: Final = 64
JOBS_LISTED: Final = 250


def _http(port: int, request: bytes, clients: int = HTTP_CLIENTS) -> None:
    """Ask on so many connections at once, each anew as soon as it is answered."""
    selector = selectors.DefaultSelector()
    for _ in range(clients):
        connection = _dial(port)
        connection.sendall(request)
        selector.register(connection, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            connection = cast("socket.socket", key.fileobj)
            # An answer that arrives in two pieces is asked for once more: all the better.
            if connection.recv(1 << 20):
                connection.sendall(request)
                continue
            selector.unregister(connection)
            connection.close()
            connection = _dial(port)
            connection.sendall(request)
            selector.register(connection, selectors.EVENT_READ)


def _request(method: str, target: str, body: bytes = b"") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def http_flood(port: int) -> None:
    """Ask for a job, again and again."""
    _http(port, _request("GET", "/jobs/benchmark-0"))


def http_lists(port: int) -> None:
    """Make some hundred jobs, and list them again and again."""
    with _dial(port) as connection:
        for number in range(JOBS_LISTED):
            body = b'{"targets":["%s0"],"document":"{}"}' % THING_PREFIX.encode()
            connection.sendall(_request("PUT", f"/jobs/list-{number}", body))
            connection.recv(1 << 16)
    _http(port, _request("GET", f"/jobs?maxResults={JOBS_LISTED}"))


def http_bodies(port: int) -> None:
    """Send the longest body there may be, which is no job, again and again."""
    _http(port, _request("PUT", "/jobs/long", b'"' + b"x" * (500 * 1024) + b'"'), clients=16)


def http_slow(port: int) -> None:
    """Open as many connections as there may be, and more, and let a header dribble into each."""
    connections: list[socket.socket] = []
    while True:
        if len(connections) < 4 * HTTP_CLIENTS:
            connections.append(_dial(port))
            connections[-1].sendall(b"GET /jobs HTTP/1.1\r\nHost: h\r\nX-Slow: ")
            continue
        for connection in list(connections):
            try:
                connection.sendall(b"x")
            except OSError:
                connections.remove(connection)


KINDS: Final[dict[str, Callable[[int], None]]] = {
    kind.__name__: kind
    for kind in (
        *(flood, flood_qos_1, flood_nowhere, flood_plain, never_read, garbage, garbage_from_strangers),
        *(http_flood, http_lists, http_bodies, http_slow),
    )
}


if __name__ == "__main__":
    KINDS[sys.argv[1]](int(sys.argv[2]))
