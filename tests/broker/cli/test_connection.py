"""Calls over a real broker: replies matched by client token, and the ways in which nobody answers."""

import asyncio
import gc
import json
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from tests.support import free_port, require_program, wait_for_port
from thingjobs_broker.cli.broker_address import BrokerAddress
from thingjobs_broker.cli.connection import connect
from thingjobs_broker.cli.errors import LocalFileError, RefusedError, UnreachableError, UsageError

pytestmark = pytest.mark.broker

Respond = Callable[[aiomqtt.Client, str, dict[str, Any]], Awaitable[None]]


@contextmanager
def mosquitto(folder: Path, *lines: str) -> Iterator[BrokerAddress]:
    """A Mosquitto with these lines of configuration on a free port."""
    program, port = require_program("mosquitto", package="mosquitto"), free_port()
    user = ["user root"] if os.geteuid() == 0 else []
    config = folder / "mosquitto.conf"
    config.write_text("\n".join([f"listener {port} 127.0.0.1", "set_tcp_nodelay true", *user, *lines, ""]))
    with (folder / "log").open("wb") as log:
        broker = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log)
    try:
        wait_for_port(port)
        yield BrokerAddress("127.0.0.1", port, timeout_seconds=5)
    finally:
        broker.terminate()
        broker.wait(timeout=10)


def run(command: list[str]) -> None:
    """Runs a program that must succeed."""
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerAddress]:
    """A broker that lets everybody in, without a jobs service."""
    with mosquitto(tmp_path_factory.mktemp("mosquitto"), "allow_anonymous true") as found:
        yield found


@asynccontextmanager
async def service(address: BrokerAddress, respond: Respond) -> AsyncIterator[None]:
    """Somebody who answers each control-plane request with `respond(client, topic, members)`."""
    async with aiomqtt.Client(address.host, address.port) as client:
        await client.subscribe("$aws/control/+/+", qos=1)

        async def serve() -> None:
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                await respond(client, message.topic.value, json.loads(message.payload))

        serving = asyncio.create_task(serve())
        try:
            yield
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def echo(client: aiomqtt.Client, topic: str, members: dict[str, Any]) -> None:
    """Accepts everything and returns the members."""
    await client.publish(f"{topic}/accepted", json.dumps(members), qos=1)


@pytest.mark.asyncio
async def test_a_call_returns_the_reply_without_the_token(address: BrokerAddress) -> None:
    """Members that are None are left out; the rest arrives as it was given, whatever it is called."""
    async with service(address, echo), connect(address) as connection:
        assert await connection.call("DescribeJob", jobId="j", status=None) == {"jobId": "j"}
        odd = {"operation": "o", "self": None, "members": [1], "text": "\u00e9"}
        assert await connection.request("DescribeJob", odd) == odd


@pytest.mark.asyncio
async def test_a_refusal_has_the_code_of_the_service(address: BrokerAddress) -> None:
    """AWS's code and message, in one line."""

    async def refuse(client: aiomqtt.Client, topic: str, members: dict[str, Any]) -> None:
        body = {"code": "ResourceNotFoundException", "message": "Job j not found"}
        await client.publish(f"{topic}/rejected", json.dumps({**body, **members}), qos=1)

    async with service(address, refuse), connect(address) as connection:
        with pytest.raises(RefusedError, match="ResourceNotFoundException: Job j not found"):
            await connection.call("DescribeJob", jobId="j")


@pytest.mark.asyncio
async def test_only_the_reply_with_our_token_counts(address: BrokerAddress) -> None:
    """Noise on the reply topics, and the replies to other requests, are passed over."""

    async def noisy(client: aiomqtt.Client, topic: str, members: dict[str, Any]) -> None:
        for noise in (
            b"",
            b"\xff",
            b"[]",
            b"{}",
            b'{"clientToken": "other"}',
            b'{"clientToken": {}}',
            b"[" * 5000,
        ):
            await client.publish(f"{topic}/accepted", noise, qos=1)
        await echo(client, topic, members)

    async with service(address, noisy), connect(address) as connection:
        assert await connection.call("DescribeJob", jobId="j") == {"jobId": "j"}


@pytest.mark.asyncio
async def test_calls_at_the_same_time_get_their_own_replies(address: BrokerAddress) -> None:
    """Also when the replies come in the opposite order."""
    held: list[tuple[str, dict[str, Any]]] = []

    async def reversed_(client: aiomqtt.Client, topic: str, members: dict[str, Any]) -> None:
        held.append((topic, members))
        while len(held) == 5 and len(answered) < 5:
            answered.append(held[-1 - len(answered)])
            await echo(client, *answered[-1])

    answered: list[tuple[str, dict[str, Any]]] = []
    async with service(address, reversed_), connect(address) as connection:
        calls = [connection.call("DescribeJob", jobId=str(number)) for number in range(5)]
        assert await asyncio.gather(*calls) == [{"jobId": str(number)} for number in range(5)]


@pytest.mark.asyncio
async def test_pages_are_followed_to_the_limit(address: BrokerAddress) -> None:
    """No more is asked for than is needed, and no page twice."""
    sizes: list[int] = []

    async def paged(client: aiomqtt.Client, topic: str, members: dict[str, Any]) -> None:
        sizes.append(members["maxResults"])
        start = int(members.get("nextToken", "0"))
        end = min(start + members["maxResults"], 600)
        jobs = [{"n": number} for number in range(start, end)]
        reply: dict[str, Any] = {"jobs": jobs, "clientToken": members["clientToken"]}
        await client.publish(
            f"{topic}/accepted", json.dumps(reply | ({"nextToken": str(end)} if end < 600 else {})), qos=1
        )

    async with service(address, paged), connect(address) as connection:
        assert [job["n"] async for job in connection.pages("ListJobs", "jobs", None)] == list(range(600))
        assert [job["n"] async for job in connection.pages("ListJobs", "jobs", 300)] == list(range(300))
    assert sizes == [250, 250, 250, 250, 50]


@pytest.mark.asyncio
async def test_a_broker_without_a_service_is_told_apart(address: BrokerAddress) -> None:
    """The broker took the request; nobody answered."""
    async with connect(replace(address, timeout_seconds=0.3)) as connection:
        with pytest.raises(
            UnreachableError, match=r"no jobs service answered at mqtt://127.*within 0.3 s; is thing"
        ):
            await connection.call("DescribeJob", jobId="j")


@pytest.mark.asyncio
async def test_a_request_that_can_be_none_is_wrong_usage(address: BrokerAddress) -> None:
    """A topic of our own making, or a payload for which brokers close the connection."""
    async with connect(address) as connection:
        for operation in ("", "a/b", "+", "Describe\0Job", "x" * 65):
            with pytest.raises(UsageError, match="is no name of an operation"):
                await connection.call(operation)
        with pytest.raises(UsageError, match=r"the request is not Unicode text: it holds '\\udcff'"):
            await connection.call("CreateThing", thingName="\udcff")
        with pytest.raises(UsageError, match=r"the request has \d+ bytes; a request may have 131072"):
            await connection.call("CreateJob", document="x" * 140_000)


@pytest.mark.asyncio
async def test_nobody_listens() -> None:
    """The first thing a newcomer meets: the message says how to start one."""
    address = BrokerAddress("127.0.0.1", free_port())
    with pytest.raises(
        UnreachableError, match=r"cannot reach a broker at .*: Connection refused; start one with"
    ):
        async with connect(address):
            pass


@pytest.mark.asyncio
async def test_a_server_that_is_no_broker() -> None:
    """Something accepts the connection and says nothing: the wait is bounded."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    async with server:
        address = BrokerAddress("127.0.0.1", server.sockets[0].getsockname()[1], timeout_seconds=0.3)
        with pytest.raises(UnreachableError, match=r"did not answer within 0.3 s; is it an MQTT broker"):
            async with connect(address):
                pass
    for writer in writers:
        writer.close()
        await writer.wait_closed()


@pytest.mark.asyncio
async def test_a_refused_login_is_told_apart(tmp_path: Path) -> None:
    """Wrong password, unknown user and no user: who was refused, and what to check; never the password."""
    passwords = tmp_path / "passwd"
    passwords.touch(mode=0o600)
    make = require_program("mosquitto_passwd", package="mosquitto")
    run([make, "-b", str(passwords), "ada", "right"])
    with mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}") as address:
        for user, password, who in [
            ("ada", "hunter2", "the login of user 'ada'"),
            ("bob", "hunter2", "the login of user 'bob'"),
            (None, None, "a login without a user name"),
        ]:
            with pytest.raises(
                UnreachableError, match=f"refused {who}; check the user in --broker"
            ) as raised:
                async with connect(replace(address, user=user, password=password)):
                    pass
            assert "hunter2" not in str(raised.value)
        async with connect(replace(address, user="ada", password="right")):
            pass


@pytest.mark.asyncio
async def test_a_connection_that_is_lost_ends_the_calls(tmp_path: Path) -> None:
    """A call in flight ends at once, not at its time limit; so does each later one."""
    with mosquitto(tmp_path, "allow_anonymous true") as address:
        broker = connect(replace(address, timeout_seconds=60))
        connection = await broker.__aenter__()
        call = asyncio.create_task(connection.call("DescribeJob", jobId="j"))
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        for attempt in (call, connection.call("DescribeJob", jobId="j")):
            with pytest.raises(UnreachableError, match=r"the connection to mqtt://127.* was lost"):
                await attempt
        await connection.changed.wait()
        await broker.__aexit__(None, None, None)


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.asyncio
async def test_tls_with_and_without_trust(tmp_path: Path) -> None:
    """A certificate of our own is trusted with --ca-file alone; a plain port and a wrong file are named."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    openssl = require_program("openssl", package="openssl")
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    run([openssl, "req", *kind, *names, *files])
    tls = ["allow_anonymous true", f"certfile {certificate}", f"keyfile {key}"]
    with mosquitto(tmp_path, *tls) as address:
        async with connect(replace(address, tls=True, ca_file=str(certificate))):
            pass
        with pytest.raises(UnreachableError, match=r"is not trusted: .*; give its authority with --ca-file"):
            async with connect(replace(address, tls=True)):
                pass
        gc.collect()
        with pytest.raises(LocalFileError, match=r"cannot use the CA file .*: it holds no certificate"):
            async with connect(replace(address, tls=True, ca_file=str(tmp_path / "mosquitto.conf"))):
                pass
        with pytest.raises(LocalFileError, match=r"cannot use the CA file .*: No such file"):
            async with connect(replace(address, tls=True, ca_file=str(tmp_path / "none"))):
                pass
