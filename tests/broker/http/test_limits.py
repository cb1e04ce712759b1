"""What one slow or hostile HTTP client may cost: time, memory and connections have an end; others go on."""

import socket
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.broker.http.served import PATIENCE_S, Served
from thingjobs_broker.http import api, server
from thingjobs_broker.http import connection as http_connection
from thingjobs_broker.provision.setup import Setup

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"


def connected(served: Served) -> socket.socket:
    """A bare connection."""
    parts = urlsplit(served.url)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 0), PATIENCE_S)


def rest(connection: socket.socket) -> bytes:
    """What still arrives until the server ends the connection."""
    found = b""
    try:
        while received := connection.recv(65536):
            found += received
    except ConnectionResetError:
        pass
    return found


def healthy(connection: socket.socket) -> bool:
    """Whether a request for the health page is answered on this connection."""
    connection.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"ok\n"):
        received = connection.recv(65536)
        if not received:
            return False
        answer += received
    return answer.startswith(b"HTTP/1.1 200")


def is_ended(connection: socket.socket, dribble: bytes) -> bool:
    """Whether the server ends the connection while bytes go on dribbling in."""
    connection.settimeout(0.05)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            if not connection.recv(65536):
                return True
        except TimeoutError:
            pass
        except OSError:
            return True
        try:
            connection.sendall(dribble)
        except OSError:
            return True
    return False


@pytest.mark.parametrize(
    ("begin", "dribble"),
    [
        (b"", b""),
        (b"GET /healthz HTTP/1.1\r\nHost: h\r\nX-Slow: ", b"x"),
        (b"PUT /jobs/j HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n{", b"x"),
        (b"PUT /jobs/j HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{", b"x"),
        (b"PUT /jobs/j HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (REQUEST + b"GET /heal", b"x"),
    ],
    ids=["silent", "head", "long", "body", "chunks", "second"],
)
def test_a_request_that_does_not_arrive_ends_the_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch, begin: bytes, dribble: bytes
) -> None:
    """Whatever dribbles in meanwhile: the time of a request counts from its first byte."""
    monkeypatch.setattr(http_connection, "ARRIVE_SECONDS_MAX", 0.3)
    with connected(served) as connection:
        connection.sendall(begin)
        assert is_ended(connection, dribble)
    assert served.raw("GET", "/healthz")[0] == 200


def test_a_response_that_is_not_taken_ends_the_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that asks and never reads."""
    monkeypatch.setattr(http_connection, "LEAVE_SECONDS_MAX", 0.3)
    with connected(served) as connection:
        connection.settimeout(PATIENCE_S)
        ended = False
        try:
            for _ in range(1_000_000):
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n" * 10)
        except ConnectionError:
            ended = True
        assert ended
    assert served.raw("GET", "/healthz")[0] == 200


def test_heads_and_bodies_have_a_greatest_length(served: Served) -> None:
    """A longer head is no request, a longer body is refused before it is read, told or not."""
    long_head = REQUEST.replace(b"Host: h", b"X: " + b"x" * server.HEAD_BYTES_MAX)
    with connected(served) as connection:
        connection.sendall(long_head)
        assert rest(connection).startswith(b"HTTP/1.1 400 ")
    size = api.BODY_BYTES_MAX + 1
    status, headers, _ = served.raw("PUT", "/jobs/j", b"", {"content-length": str(size)})
    assert (status, headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException")
    with connected(served) as connection:
        connection.sendall(b"PUT /jobs/j HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"%x\r\n%s\r\n" % (65536, b"x" * 65536)
        connection.sendall(chunk * (size // 65536 + 1) + b"0\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert served.raw("GET", "/healthz")[0] == 200


def test_who_sends_a_long_body_before_reading_sees_the_refusal(served: Served) -> None:
    """A client that writes first gets the 413, not a broken pipe; who waits to be asked gets it at once."""
    status, headers, _ = served.raw("PUT", "/jobs/j", b"x" * (3 * 1024 * 1024))
    assert (status, headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException")
    with connected(served) as connection:
        head = b"PUT /jobs/j HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
        connection.sendall(head)
        assert rest(connection).startswith(b"HTTP/1.1 413 ")


def test_a_body_without_an_end_is_not_read_to_it(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends behind what is discarded."""
    monkeypatch.setattr(api, "DISCARD_BYTES_MAX", 65536)
    with connected(served) as connection:
        connection.settimeout(PATIENCE_S)
        connection.sendall(b"PUT /jobs/j HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999\r\n\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(10_000):
                connection.sendall(b"x" * 65536)


def test_an_access_key_has_a_rate(tmp_path: Path) -> None:
    """ThrottlingException, which every SDK knows; the next second is another."""
    with Served(tmp_path, http={"requests_per_second": 3}) as served:
        statuses = [served.raw("GET", "/jobs")[0] for _ in range(12)]
        assert statuses[:3] == [200, 200, 200]
        assert 429 in statuses


def test_the_endpoint_behind_nat_is_the_one_that_is_set(tmp_path: Path) -> None:
    """DescribeEndpoint tells the public name."""
    with Served(tmp_path, public_host="jobs.example") as served:
        address = served.iot.describe_endpoint(endpointType="iot:Jobs")["endpointAddress"]
    assert address == f"jobs.example:{urlsplit(served.url).port}"


@pytest.mark.parametrize(
    "request_bytes",
    [
        *(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"),
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /jobs HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        b"GET /jobs HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_and_harms_nobody(served: Served, request_bytes: bytes) -> None:
    """TLS on the plain port, bytes, half a request line."""
    with connected(served) as connection:
        connection.sendall(request_bytes)
        connection.settimeout(PATIENCE_S)
        answer = connection.recv(65536)
    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 404"), answer
    assert served.raw("GET", "/healthz")[0] == 200


def test_connections_that_wait_for_their_client_make_room(tmp_path: Path) -> None:
    """The oldest goes when all are taken; who is being answered is left alone."""
    with Served(tmp_path, http={"connections_max": 3}) as served:
        connections = [connected(served) for _ in range(3)]
        assert all(map(healthy, connections))
        assert served.raw("GET", "/healthz")[0] == 200
        assert rest(connections[0]) == b""
        assert healthy(connections[2])
        for connection in connections:
            connection.close()


def test_what_is_in_hand_is_answered_at_the_end(tmp_path: Path) -> None:
    """A stop waits for the disk, and lets nobody wait who has not asked."""
    body = b'{"attributePayload":{"attributes":{"a":"b"}}}'
    with Served(tmp_path) as served:
        idle, busy = connected(served), connected(served)
        busy.sendall(b"POST /things/a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body))
        busy.sendall(body)
        while not served.host.runner or "a" not in served.host.runner._service.state.things:  # type: ignore[union-attr]
            time.sleep(0.001)
        began = time.monotonic()
    assert time.monotonic() - began < server.CLOSE_SECONDS_MAX
    with idle, busy:
        assert rest(busy).startswith(b"HTTP/1.1 200")
        assert rest(idle) == b""


def test_handshakes_that_never_end_make_room(tmp_path: Path) -> None:
    """Who says nothing over TLS has a place until somebody else wants it."""
    setup = Setup(tmp_path / "setup")
    setup.create(["127.0.0.1"], "amqtt")
    layout = setup.layout
    files = {"tls_certificate": str(layout.server_certificate), "tls_key": str(layout.server_key)}
    with Served(tmp_path, http={"tls": True, "connections_max": 2, **files}) as served:
        silent = [connected(served) for _ in range(2)]
        silent[1].sendall(b"\x16\x03\x01\x02\x00")
        context = ssl.create_default_context(cafile=str(layout.ca_certificate))
        for _ in range(3):
            with context.wrap_socket(connected(served), server_hostname="127.0.0.1") as secured:
                secured.sendall(REQUEST)
                assert secured.recv(12) == b"HTTP/1.1 200"
        for connection in silent:
            assert rest(connection) == b""
            connection.close()


def test_https_by_the_certificate_of_the_broker(tmp_path: Path) -> None:
    """`thingjobs init` has made it; a client that trusts the CA is served; plain HTTP is told."""
    setup = Setup(tmp_path / "setup")
    setup.create(["127.0.0.1", "localhost"], "amqtt")
    layout = setup.layout
    http = {
        "tls": True,
        "tls_certificate": str(layout.server_certificate),
        "tls_key": str(layout.server_key),
    }
    with Served(tmp_path, http=http) as served:
        assert served.url.startswith("https://")
        trusting = served.client("iot", verify=str(layout.ca_certificate))
        trusting.create_thing(thingName="a")
        assert [one["thingName"] for one in trusting.list_things()["things"]] == ["a"]
        with connected(served) as connection:
            connection.sendall(REQUEST)
            assert b"This is HTTPS; the address has to begin with https://" in rest(connection)
        context = ssl.create_default_context(cafile=str(layout.ca_certificate))
        with context.wrap_socket(connected(served), server_hostname="127.0.0.1") as secured:
            secured.sendall(REQUEST)
            assert secured.recv(12) == b"HTTP/1.1 200"
