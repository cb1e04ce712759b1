"""Real programs for the tests of the agent: Mosquitto, an agent's process, the fake service on a link."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiomqtt

from tests.agent.fake_service import THING, FakeService, Published
from tests.support import free_port, require_program, wait_for_port
from thingjobs_agent.client import end
from thingjobs_protocol.errors import InvalidTopic
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.topics import jobs_base, parse_request


def contents(path: str) -> str:
    return Path(path).read_text()


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return contents(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Mosquitto:
    """A broker on a free port that can go down and come back."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.program = require_program("mosquitto", package="mosquitto")
        self.config = directory / "mosquitto.conf"
        self.config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nlog_dest none\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen([self.program, "-c", str(self.config)], stderr=subprocess.DEVNULL)
        wait_for_port(self.port, while_running=self.process)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None


class Agent:
    """A `thingjobs-agent run` of its own process."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.state_dir = directory / "state"
        self.handler_dir = directory / "handlers"
        self.log = directory / "agent.log"
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        self.python = [sys.executable]
        self.program = ["-m", "thingjobs_agent"]
        self.handler_dir.mkdir(mode=0o755)
        self.log.touch()

    def handler(self, name: str, text: str) -> None:
        path = self.handler_dir / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)

    def arguments(self, *options: str) -> list[str]:
        """The settings, for any command."""
        where = ["--broker", f"mqtt://127.0.0.1:{self.port}", "--state-dir", str(self.state_dir)]
        return ["--thing", THING, *where, "--handler-dir", str(self.handler_dir), *options]

    def start(self, *options: str) -> None:
        command = [*self.python, "-W", "error", *self.program, "run", "--json", *self.arguments(*options)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command beside the agent."""
        command = [*self.python, *self.program, *arguments, *self.arguments()]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    def follow(self, *arguments: str) -> subprocess.Popen[str]:
        """As above, for a command that goes on."""
        command = [*self.python, *self.program, *arguments, *self.arguments()]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        return code

    def logged(self, action: str) -> bool:
        return f'"action":"{action}"' in self.log.read_text().replace('": "', '":"')


class Served:
    """The fake service behind a real connection."""

    def __init__(self, service: FakeService, client: aiomqtt.Client) -> None:
        self.service = service
        self._client = client
        self._changed = asyncio.Event()

    async def serve(self) -> None:
        async for message in self._client.messages:
            topic = message.topic.value
            with contextlib.suppress(InvalidTopic):
                if parse_request(topic) is not None:
                    await self.publish(self.service.receive(topic, message.payload))
                    self._changed.set()

    async def publish(self, published: Published) -> None:
        for topic, payload in published:
            await self._client.publish(topic, payload, qos=1)

    async def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.05)

    async def until_over(self, job_id: str) -> tuple[Status, dict[str, str]]:
        over = (Status.SUCCEEDED, Status.FAILED, Status.REJECTED)
        await self.until(lambda: self.service.of(job_id).status in over)
        execution = self.service.of(job_id)
        return execution.status, execution.details or {}


@contextlib.asynccontextmanager
async def connected(service: FakeService, port: int) -> AsyncIterator[Served]:
    nodelay = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    async with aiomqtt.Client("127.0.0.1", port, socket_options=nodelay) as client:
        await client.subscribe(f"{jobs_base(THING)}/#", qos=1)
        served = Served(service, client)
        task = asyncio.create_task(served.serve())
        try:
            yield served
        finally:
            await end(task)
