"""A real agent process, Mosquitto, and the small service of `fake_service`, with everything that goes wrong
between.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiomqtt
import pytest
import pytest_asyncio

from tests.agent.fake_service import THING, FakeService, Published
from tests.agent.harness import document, let_others_pass, step
from tests.support import ROOT, free_port, require_program, wait_for_port
from thingjobs_agent.client import end
from thingjobs_protocol.errors import InvalidTopic
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.topics import jobs_base, parse_request

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]
HANDLERS = ROOT / "device_agent" / "handlers"


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
        self.handler_dir.mkdir(mode=0o755)

    def handler(self, name: str, text: str) -> None:
        path = self.handler_dir / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)

    def start(self, *options: str) -> None:
        command = [sys.executable, "-W", "error", "-m", "thingjobs_agent", "run", "--thing", THING, "--json"]
        command += ["--broker", f"mqtt://127.0.0.1:{self.port}", "--state-dir", str(self.state_dir)]
        command += ["--handler-dir", str(self.handler_dir), *options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        return code

    def logged(self, action: str) -> bool:
        return f'"action":"{action}"' in self.log.read_text().replace('": "', '":"')


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def agent(tmp_path: Path, broker: Mosquitto) -> Iterator[Agent]:
    made = Agent(tmp_path, broker.port)
    yield made
    if made.process is not None:
        made.end()
    assert '"action":"fault"' not in made.log.read_text().replace('": "', '":"')


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


@pytest_asyncio.fixture
async def served(broker: Mosquitto) -> AsyncIterator[Served]:
    async with connected(FakeService(), broker.port) as made:
        yield made


async def test_shipped_handlers_make_a_report(agent: Agent, served: Served, tmp_path: Path) -> None:
    """The job of the demo: three steps with progress, then SUCCEEDED with the output."""
    for source in HANDLERS.glob("*.sh"):
        agent.handler(source.name, source.read_text().partition("\n")[2])
    report = str(tmp_path / "report.txt")
    value = document(
        "collect-facts.sh", "write-report.sh", finalStep=step("check-report.sh"), includeStdOut=True
    )
    value["steps"][1]["action"]["input"]["args"] = [report]
    value["finalStep"]["action"]["input"]["args"] = [report]
    served.service.queue("J1", value)
    agent.start()
    status, details = await served.until_over("J1")
    assert (status, details["reason"]) == (Status.SUCCEEDED, "3 steps succeeded")
    assert details["stdout"].startswith("collected 9 facts wrote ")
    assert f"System report of {THING}\njob J1, execution 1\n" in contents(report)
    steps = {(given or {}).get("step") for _, given in served.service.of("J1").history}
    assert "1/3 collect-facts" in steps
    await served.until(lambda: not list((agent.state_dir / "work").iterdir()))


async def test_agent_started_before_its_broker_connects_later(
    tmp_path: Path, broker: Mosquitto, agent: Agent
) -> None:
    """Reconnects for ever with jittered backoff."""
    agent.handler("a.sh", "exit 0\n")
    broker.stop()
    agent.start()
    await asyncio.sleep(1)
    broker.start()
    async with connected(FakeService(), broker.port) as served:
        served.service.queue("J1", document("a.sh"))
        assert (await served.until_over("J1"))[0] is Status.SUCCEEDED
    assert agent.logged("broker_lost")


async def test_job_goes_on_while_the_broker_is_away(tmp_path: Path, broker: Mosquitto, agent: Agent) -> None:
    """The result waits for the connection."""
    agent.handler("a.sh", "touch ../../../ready; while [ ! -e ../../../go ]; do sleep 0.05; done\n")
    service = FakeService()
    agent.start()
    async with connected(service, broker.port) as served:
        await served.publish(service.queue("J1", document("a.sh")))
        await served.until((tmp_path / "ready").exists)
        broker.stop()
    (tmp_path / "go").touch()
    broker.start()
    async with connected(service, broker.port) as served:
        assert (await served.until_over("J1"))[0] is Status.SUCCEEDED
    assert [status for status, _ in service.of("J1").history].count(Status.SUCCEEDED) == 1


async def test_forced_cancel_reaches_the_running_process(
    tmp_path: Path, agent: Agent, served: Served
) -> None:
    """Issue 6: within two seconds plus grace; descendants included, even with a session of their own."""
    agent.handler("a.sh", "setsid sleep 61 & echo $! >../../../pid; touch ../../../ready; sleep 60\n")
    agent.start()
    await served.publish(served.service.queue("J1", document("a.sh")))
    await served.until((tmp_path / "ready").exists)
    pid = int((tmp_path / "pid").read_text())
    await served.publish(served.service.end("J1"))
    await served.until(lambda: agent.logged("job_dropped"), 5)
    assert not is_alive(pid)
    assert served.service.of("J1").status is Status.CANCELED


async def test_killed_agent_reports_the_interrupted_job_and_ends_its_handler(
    tmp_path: Path, agent: Agent, served: Served
) -> None:
    """Promise 9: kill -9 in the middle; the job does not run twice and its processes do not live on."""
    agent.handler(
        "a.sh", "echo x >>../../../ran; echo $$ >../../../pid; touch ../../../ready; exec sleep 60\n"
    )
    agent.start()
    await served.publish(served.service.queue("J1", document("a.sh")))
    await served.until((tmp_path / "ready").exists)
    agent.end(signal.SIGKILL)
    pid = int((tmp_path / "pid").read_text())
    assert is_alive(pid)
    agent.start()
    status, details = await served.until_over("J1")
    assert (status, details["reason"]) == (Status.FAILED, "interrupted by restart during step 1/1 a")
    assert (tmp_path / "ran").read_text() == "x\n"
    assert not is_alive(pid)


async def test_sigterm_stops_agent_and_handler_cleanly(tmp_path: Path, agent: Agent, served: Served) -> None:
    """Exit code 0, the handler gone, and the document's rule applied at the next start."""
    agent.handler(
        "a.sh", "touch ../../../ready; [ -e ../../../again ] || { touch ../../../again; sleep 60; }\n"
    )
    agent.start()
    await served.publish(served.service.queue("J1", document("a.sh", onRestart="restart")))
    await served.until((tmp_path / "ready").exists)
    await served.until((tmp_path / "again").exists)
    assert await asyncio.to_thread(agent.end) == 0
    assert served.service.of("J1").status is Status.IN_PROGRESS
    agent.start()
    assert (await served.until_over("J1"))[0] is Status.SUCCEEDED


async def test_corrupt_checkpoint_is_set_aside_and_the_agent_goes_on(agent: Agent, served: Served) -> None:
    """Never a crash loop."""
    agent.handler("a.sh", "exit 0\n")
    agent.state_dir.mkdir()
    (agent.state_dir / "checkpoint.json").write_bytes(b"\0" * 100)
    served.service.queue("J1", document("a.sh"))
    agent.start()
    assert (await served.until_over("J1"))[0] is Status.SUCCEEDED
    assert agent.logged("checkpoint_lost")
    assert (agent.state_dir / "checkpoint.json.unreadable-1").exists()


async def test_hostile_messages_are_passed_over(agent: Agent, served: Served) -> None:
    """Bad payloads on our topics are logged and change nothing; the next job runs."""
    agent.handler("a.sh", "exit 0\n")
    agent.start()
    await served.until(lambda: bool(served.service.requests))
    hostile = [b"", b"\xff", b"[" * 50_000, b'{"timestamp":1,"execution":{"jobId":"../x"}}', b"x" * 1_000_000]
    base = jobs_base(THING)
    await served.publish([(f"{base}/notify-next", payload) for payload in hostile])
    await served.publish([(f"{base}/start-next/accepted", payload) for payload in hostile])
    await served.publish(served.service.queue("J1", document("a.sh")))
    assert (await served.until_over("J1"))[0] is Status.SUCCEEDED
    assert agent.logged("message_bad")


async def test_memory_of_an_idle_agent_is_small(agent: Agent, served: Served) -> None:
    """Architecture 3: at most 28 MiB on a gateway; development machines have rich, which structlog loads."""
    agent.start()
    await served.until(lambda: bool(served.service.requests))
    assert agent.process is not None
    text = contents(f"/proc/{agent.process.pid}/status")
    kib = int(text.partition("VmRSS:")[2].split()[0])
    assert kib < 40 * 1024, f"{kib} KiB"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_step_runs_as_the_user_its_document_names(tmp_path: Path, agent: Agent, served: Served) -> None:
    """Control plane 8.3, fixed: the agent itself becomes the user, who has a private working directory."""
    let_others_pass(tmp_path)
    agent.handler(
        "a.sh", 'echo me=$(id -un) >>"$THINGJOBS_PROGRESS_FILE"; echo "$1 $(id -un) $(stat -c %a .)"\n'
    )
    served.service.queue(
        "J1", {"version": "1.0", "includeStdOut": True, "steps": [step("a.sh", runAsUser="nobody")]}
    )
    agent.start()
    status, details = await served.until_over("J1")
    assert (status, details.get("stdout")) == (Status.SUCCEEDED, "nobody nobody 700")
    assert {"me": "nobody", "step": "1/1 a"} in [given for _, given in served.service.of("J1").history]
