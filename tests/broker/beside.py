"""What the tests of the sidecar share: a Mosquitto that can be stopped, services in and out of process."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import aiomqtt

from tests.support import require_program, wait_for_port
from thingjobs_broker.config import SidecarSettings
from thingjobs_broker.sidecar import Sidecar

ANSWER_SECONDS_MAX = 20.0
NODELAY = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
DOCUMENT = '{"operation":"greet"}'
LAST_LEVELS_OF_REQUESTS = {"get", "start-next", "update"}

CONFIG = """
listener 1883 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 1000000
max_inflight_messages 0
persistence true
persistence_location /var/lib/mosquitto/
autosave_interval 1
"""

SERVICE = """
import sys, time
from thingjobs_broker.config import SidecarSettings
from thingjobs_broker.server import run_sidecar
from thingjobs_broker.store.journal import Journal

append = Journal.append

def stuck(self, payloads):
    if any(b"press-7" in payload for payload in payloads):
        print("syncing", flush=True)
        time.sleep(60)
    return append(self, payloads)

broker, data_dir, mqtt_version, journal = sys.argv[1:]
if journal == "stuck":
    Journal.append = stuck
settings = SidecarSettings(broker=broker, data_dir=data_dir, mqtt_version=mqtt_version, insecure=True)
sys.exit(run_sidecar(settings))
"""


class Mosquitto:
    """A broker on a port of its own, with persistence, that can go and come back; all may do everything."""

    def __init__(self, folder: Path, port: int, config: str = CONFIG) -> None:
        self.port = port
        self.url = f"mqtt://127.0.0.1:{port}"
        self._program = require_program("mosquitto", package="mosquitto")
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        text = config.replace("listener 1883", f"listener {port}").replace(
            "/var/lib/mosquitto/", f"{folder}/"
        )
        if os.geteuid() == 0:
            # Started by root it would otherwise become a user who cannot read the folder.
            text += "user root\n"
        (folder / "mosquitto.conf").write_text(text, encoding="utf-8")

    def start(self) -> Self:
        """Start, and return when it listens."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(self._folder / "mosquitto.conf")], stdout=log, stderr=log
            )
        wait_for_port(self.port)
        return self

    def kill(self) -> None:
        """End it as a power cut would; nothing is saved."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stop in an orderly way; the sessions are saved."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None


@contextmanager
def service(
    url: str, data_dir: Path, *, mqtt_version: str = "5", journal: str = "real"
) -> Iterator[subprocess.Popen[str]]:
    """A service in a process of its own; killed at the end if it is still there."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SERVICE, url, str(data_dir), mqtt_version, journal],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    """Return when the service has printed a line that begins so."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(text):
            return
    assert process.stderr is not None
    raise AssertionError(f"never printed {text!r}: {process.stderr.read()}")


def settings_for(url: str, data_dir: Path, **others: Any) -> SidecarSettings:
    """Settings for a broker that lets everybody in."""
    chosen: dict[str, Any] = {"broker": url, "data_dir": str(data_dir), "insecure": True}
    return SidecarSettings(**(chosen | others))


@asynccontextmanager
async def sidecar(url: str, data_dir: Path, **settings: Any) -> AsyncIterator[Sidecar]:
    """A service in this process, connected on entry and stopped on exit."""
    ready = asyncio.Event()
    one = Sidecar(settings_for(url, data_dir, **settings), ready.set)
    running = asyncio.ensure_future(one.run())
    waiting = asyncio.ensure_future(ready.wait())
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield one
    finally:
        waiting.cancel()
        one.stop()
        await running
    assert one.host.failure is None


class Peer:
    """A device, an operator or an onlooker."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self._messages = aiter(client.messages)

    async def publish(self, topic: str, body: object = None, **options: Any) -> None:
        """Publish a JSON body at QoS 1."""
        payload = body if isinstance(body, bytes) else json.dumps({} if body is None else body)
        await self.client.publish(topic, payload, qos=1, **options)

    async def message(self) -> aiomqtt.Message:
        """The next message that is no request."""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            while True:
                message = await anext(self._messages)
                levels = str(message.topic).split("/")
                if levels[-1] not in LAST_LEVELS_OF_REQUESTS and not (
                    levels[1] == "control" and len(levels) == 4
                ):
                    return message

    async def next(self) -> tuple[str, dict[str, Any]]:
        """Topic and body of the next message that is no request."""
        message = await self.message()
        assert isinstance(message.payload, bytes)
        assert not message.retain
        return str(message.topic), json.loads(message.payload)

    async def until(self, last: str) -> dict[str, dict[str, Any]]:
        """Bodies by topic, up to the one on `last`."""
        bodies: dict[str, dict[str, Any]] = {}
        while last not in bodies:
            topic, body = await self.next()
            bodies[topic] = body
        return bodies

    async def refused(self, topic: str) -> dict[str, Any]:
        """The next answer that says no to a request on `topic`; other messages are passed over."""
        return (await self.until(f"{topic}/rejected"))[f"{topic}/rejected"]

    async def ask(self, topic: str, body: object = None, **options: Any) -> tuple[str, dict[str, Any]]:
        """Send a request; `accepted` or `rejected`, and the answer. Other messages are passed over."""
        await self.publish(topic, body, **options)
        while True:
            answered, answer = await self.next()
            front, _, end = answered.rpartition("/")
            if front == topic:
                return end, answer


@asynccontextmanager
async def peer(port: int, *filters: str, mqtt_5: bool = False, **options: Any) -> AsyncIterator[Peer]:
    """A client that has subscribed to `filters`."""
    version = aiomqtt.ProtocolVersion.V5 if mqtt_5 else aiomqtt.ProtocolVersion.V311
    async with aiomqtt.Client(
        "127.0.0.1", port, protocol=version, socket_options=NODELAY, timeout=ANSWER_SECONDS_MAX, **options
    ) as client:
        client.pending_calls_threshold = 100_000
        for topic_filter in filters:
            await client.subscribe(topic_filter, qos=1)
        yield Peer(client)


def base(thing: str) -> str:
    """The prefix of a thing's job topics."""
    return f"$aws/things/{thing}/jobs"


async def create_job(operator: Peer, job_id: str, *things: str, **members: Any) -> None:
    """Create a job for things, which are made first."""
    for thing in things:
        await operator.ask("$aws/control/ada/CreateThing", {"thingName": thing})
    body = {"jobId": job_id, "targets": list(things), "document": DOCUMENT, **members}
    assert (await operator.ask("$aws/control/ada/CreateJob", body))[0] == "accepted"
