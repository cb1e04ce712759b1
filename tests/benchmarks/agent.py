"""What the agent costs: memory, start, idling, and many jobs one after the other, with or without link cuts.

    python -m tests.benchmarks.agent [--jobs 10000] [--cuts] [--program /usr/bin/thingjobs-agent]

The agent is a process of its own, behind TLS, against Mosquitto and a small service in this process. Between
the agent and the broker stands a relay, which cuts the link at random times with --cuts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests.agent.authority import Authority
from tests.agent.fake_service import THING, FakeService
from tests.agent.harness import document
from tests.agent.programs import Mosquitto, Served, connected
from tests.support import ROOT, free_port
from thingjobs_protocol.status import TERMINAL
from thingjobs_protocol.status import JobExecutionStatus as Status

CUT_SECONDS = (0.02, 3.0)
KEPT_EXECUTIONS = 3
IDLE_SECONDS = 20
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")

UNIT = ROOT / "device_agent" / "packaging" / "thingjobs-agent.service"

# An agent that does not wait longer and longer for a link that is cut on purpose.
IMPATIENT = """
import thingjobs_agent.client as client
client.BACKOFF_SECONDS_MIN = client.BACKOFF_SECONDS_MAX = 0.05
import thingjobs_agent.cli
thingjobs_agent.cli.run()
"""

# The handler says when it began, as its first act, in nanoseconds since the epoch.
HANDLER = "#!/bin/sh\nexec date +%s%N\n"


class Relay:
    """A way to the broker that can be cut."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.cuts = 0
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()

    async def run(self, *, cuts: bool, seed: int) -> None:
        chance = random.Random(seed)
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        async with server:
            while True:
                await asyncio.sleep(chance.uniform(*CUT_SECONDS))
                if cuts and self._writers:
                    self.cuts += 1
                    for writer in list(self._writers):
                        writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(self._pass(reader, other_writer), self._pass(other_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()


class Process:
    """What the system says of the agent."""

    def __init__(self, pid: int, state_dir: Path) -> None:
        self._proc = Path(f"/proc/{pid}")
        self._state_dir = state_dir

    def memory_mib(self) -> tuple[float, float, float]:
        """RSS, PSS and USS, which is the part that ends with the process. PSS depends on who else runs."""
        lines = (self._proc / "smaps_rollup").read_text().splitlines()[1:]
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        own = kib["Private_Clean"] + kib["Private_Dirty"]
        return kib["Rss"] / 1024, kib["Pss"] / 1024, own / 1024

    def cpu_ms(self) -> float:
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_MS

    def descriptors(self) -> int:
        return len(list((self._proc / "fd").iterdir()))

    def disk_kib(self) -> float:
        return sum(path.stat().st_size for path in self._state_dir.rglob("*") if path.is_file()) / 1024

    def line(self) -> str:
        rss, pss, uss = self.memory_mib()
        held = f"{self.descriptors()} descriptors, {self.disk_kib():.0f} KiB on disk"
        return f"RSS {rss:.1f} MiB, PSS {pss:.1f} MiB, USS {uss:.1f} MiB, {held}"


@contextlib.contextmanager
def broker_with_tls(directory: Path, authority: Authority) -> Iterator[tuple[int, int]]:
    """The ports of a broker, without and with TLS."""
    broker, tls_port = Mosquitto(directory), free_port()
    certificate, key = authority.issue("localhost")
    text = broker.config.read_text() + f"listener {tls_port} 127.0.0.1\nallow_anonymous true\n"
    # As root it would become somebody who cannot read the key.
    user = "user root\n" if os.geteuid() == 0 else ""
    broker.config.write_text(user + text + f"certfile {certificate}\nkeyfile {key}\n")
    broker.start()
    try:
        yield broker.port, tls_port
    finally:
        broker.stop()


def started(program: list[str], directory: Path, port: int, ca: str) -> subprocess.Popen[bytes]:
    handlers = directory / "handlers"
    handlers.mkdir(mode=0o755)
    (handlers / "a.sh").write_text(HANDLER)
    (handlers / "a.sh").chmod(0o755)
    settings = {"thing": THING, "broker": f"mqtts://localhost:{port}", "tls-ca-file": ca}
    settings |= {"state-dir": str(directory / "state"), "handler-dir": str(handlers), "log-level": "warning"}
    options = [word for key, value in settings.items() for word in (f"--{key}", value)]
    with (directory / "agent.log").open("wb") as log:
        return subprocess.Popen(
            [*program, "run", *options], stderr=log, env={**os.environ, **unit_environment()}
        )


def unit_environment() -> dict[str, str]:
    """What the shipped unit sets, so that the figures are those of the service."""
    lines = UNIT.read_text().splitlines()
    words = [word for line in lines if line.startswith("Environment=") for word in line[12:].split()]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


async def one_job(served: Served, number: int) -> float:
    """Run a job; return the milliseconds from its announcement to the first instruction of its handler."""
    service = served.service
    announced = service.queue(
        f"J{number}", document("a.sh", includeStdOut=True), queued_at=1_700_000_000 + number
    )
    execution = service.executions[-1]
    began_ns = time.time_ns()
    await served.publish(announced)
    await served.until(lambda: execution.status in TERMINAL, 120)
    assert execution.status is Status.SUCCEEDED, execution
    ends = [status for status, _ in execution.history if status in TERMINAL]
    assert len(ends) == 1, execution
    del service.executions[:-KEPT_EXECUTIONS]
    service.requests.clear()
    return (int((execution.details or {})["stdout"]) - began_ns) / 1e6


async def measure(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Print the figures as they come, and return them."""
    authority = Authority(directory)
    with broker_with_tls(directory, authority) as (port, tls_port):
        relay = Relay(tls_port)
        relaying = asyncio.create_task(relay.run(cuts=options.cuts, seed=options.seed))
        async with connected(FakeService(), port) as served:
            process = started(options.program, directory, relay.port, authority.ca)
            try:
                return await _figures(options, served, Process(process.pid, directory / "state"), relay)
            finally:
                process.terminate()
                process.wait(20)
                relaying.cancel()


async def _figures(
    options: argparse.Namespace, served: Served, process: Process, relay: Relay
) -> dict[str, Any]:
    await served.until(lambda: bool(served.service.requests))
    figures: dict[str, Any] = {"start_cpu_ms": process.cpu_ms()}
    print(f"processor time until subscribed and asked: {process.cpu_ms():.0f} ms")
    for number in range(20):
        await one_job(served, number)
    before = process.cpu_ms()
    await asyncio.sleep(options.idle_seconds)
    figures["idle_percent"] = (process.cpu_ms() - before) / options.idle_seconds / 10
    figures["rss_mib"], figures["pss_mib"], figures["uss_mib"] = process.memory_mib()
    print(f"idle, after 20 jobs: {process.line()}, {figures['idle_percent']:.2f} % of a core")
    delays, began, cpu = [], time.monotonic(), process.cpu_ms()
    for number in range(20, 20 + options.jobs):
        delays.append(await one_job(served, number))
        if (number - 19) % max(options.jobs // 10, 1) == 0:
            print(f"after {number - 19:6} jobs: {process.line()}", flush=True)
    seconds = time.monotonic() - began
    figures["p50_ms"] = statistics.median(delays)
    figures["p99_ms"] = statistics.quantiles(delays, n=100)[98] if len(delays) > 1 else delays[0]
    figures["job_cpu_ms"] = (process.cpu_ms() - cpu) / options.jobs
    figures["rss_growth_mib"] = process.memory_mib()[0] - figures["rss_mib"]
    print(
        f"announced to first instruction: p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms; "
        f"{options.jobs / seconds:.0f} jobs/s, {figures['job_cpu_ms']:.1f} ms of processor time each; "
        f"{relay.cuts} link cuts; RSS grew by {figures['rss_growth_mib']:+.1f} MiB"
    )
    return figures


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.agent")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--cuts", action="store_true", help="cut the link at random times")
    parser.add_argument("--seed", type=int, default=1, help="of the cuts")
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS)
    parser.add_argument("--program", nargs="+")
    parser.add_argument("--json", action="store_true", help="print all figures at the end")
    options = parser.parse_args(arguments)
    if options.program is None:
        how = ["-c", IMPATIENT] if options.cuts else ["-m", "thingjobs_agent"]
        options.program = [sys.executable, *how]
    with tempfile.TemporaryDirectory(prefix="thingjobs-bench-") as name:
        Path(name).chmod(0o755)
        figures = asyncio.run(measure(options, Path(name)))
    if options.json:
        print(msgspec.json.encode(figures).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
