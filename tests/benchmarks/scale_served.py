"""What 100 devices get from `thingjobs up`, asking as fast as they are answered, while a job for many things
is rolled out, canceled and deleted; and how long the service pauses.

Runs with such work stand between two without it, and are compared with the mean of both.
"""

import asyncio
import json
import os
import signal
import statistics
import sys
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiomqtt
import msgspec

from tests.benchmarks import load, servers, watched
from tests.benchmarks.load import BenchmarkError
from thingjobs_broker.core.state import State
from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.store import Store

DEVICES = 100
# Until the last answers have gone, so that nobody takes them for those of the next run.
SETTLE_S = 1.0
# The load generator has warmed up by then.
HEAD_START_S = 1.5
WORK_S_MAX = 120.0
TELL_S_MAX = 10.0
# As fast as possible; and devices are not kept from asking.
ENVIRON = {"THINGJOBS_JOBS_ROLLOUT_PER_MINUTE": "0"}
WATCHED = (sys.executable, "-m", "tests.benchmarks.watched")


class Run(NamedTuple):
    """What the devices got, and the longest pauses of the service; with work, until that was done."""

    result: load.Result
    longest: watched.Longest


class Step(NamedTuple):
    """A run with work beside, and those before and after it without."""

    before: Run
    during: Run
    after: Run

    @property
    def alone_per_s(self) -> float:
        return (self.before.result.per_s + self.after.result.per_s) / 2

    @property
    def ratio(self) -> float:
        return self.during.result.per_s / self.alone_per_s

    @property
    def drift(self) -> float:
        """How much the two runs without work differ, which nothing but the machine is to blame for."""
        rates = self.before.result.per_s, self.after.result.per_s
        return max(rates) / min(rates)


class Service(NamedTuple):
    """The service under watch."""

    server: servers.Server
    told: Path

    async def longest(self) -> watched.Longest:
        """The longest pauses since it was last asked."""
        count = len(self._lines())
        os.kill(self.server.pids[0], signal.SIGUSR1)
        async with asyncio.timeout(TELL_S_MAX):
            while len(lines := self._lines()) == count:
                await asyncio.sleep(0.01)
        return msgspec.json.decode(lines[-1], type=watched.Longest)

    def _lines(self) -> list[str]:
        return self.told.read_text(encoding="utf-8").splitlines()


def served(folder: Path, fleet: State, group: str, rounds: int, seconds: int) -> list[str]:
    """A table in Markdown: medians of the rounds, and the least and most of what matters."""
    program = load.build(folder)
    steps: dict[str, list[Step]] = {}
    for number in range(rounds):
        data_dir = folder / f"data-{number}"
        data_dir.mkdir(mode=0o700)
        store = Store(OsFiles(), data_dir)
        store.write_snapshot(fleet)
        store.close()
        told = folder / f"watched-{number}"
        environ = {**ENVIRON, watched.FILE_VARIABLE: str(told)}
        with servers.jobs_service(
            folder, DEVICES, data_dir=data_dir, environ=environ, program=WATCHED
        ) as server:
            found = asyncio.run(
                _Round(program, Service(server, told), group, len(fleet.things), seconds).steps()
            )
            for what, step in found.items():
                steps.setdefault(what, []).append(step)
    return _table(steps)


def _table(steps: dict[str, list[Step]]) -> list[str]:
    head = ["work beside", "requests/s", "without", "ratio", "least to most", "runs without differ by"]
    head += ["p99 ms", "without", "pause ms", "without", "collection ms", "without", "others' CPU %"]
    lines = ["", f"| {' | '.join(head)} |", f"|{' ---: |' * len(head)}"]
    for what, found in steps.items():
        ratios = [step.ratio for step in found]
        cells = [
            what,
            f"{statistics.median(step.during.result.per_s for step in found):,.0f}",
            f"{statistics.median(step.alone_per_s for step in found):,.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f} to {max(ratios):.2f}",
            f"{max(step.drift for step in found) - 1:.0%}",
            f"{statistics.median(step.during.result.p99_ms for step in found):.1f}",
            f"{statistics.median(step.before.result.p99_ms for step in found):.1f}",
            _pause([step.during for step in found]),
            _pause([step.before for step in found]),
            f"{max(step.during.longest.collection_ms for step in found):.1f}",
            f"{max(step.before.longest.collection_ms for step in found):.1f}",
            f"{max(step.during.result.other_cpu for step in found):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _pause(runs: Sequence[Run]) -> str:
    """The longest of all, in processor time, and in wall time in brackets."""
    cpu_ms = max(run.longest.turn_cpu_ms for run in runs)
    return f"{cpu_ms:.1f} ({max(run.longest.turn_wall_ms for run in runs):.1f})"


class _Round:
    """One service from its start to its end."""

    def __init__(self, program: Path, service: Service, group: str, things: int, seconds: int) -> None:
        self._program = program
        self._service = service
        self._group = group
        self._things = things
        self._seconds = seconds

    async def steps(self) -> dict[str, Step]:
        works: dict[str, tuple[str, dict[str, object]]] = {
            "rollout": ("CreateJob", {"targets": [self._group], "document": "{}"}),
            "cancel": ("CancelJob", {"force": True}),
            "delete": ("DeleteJob", {"force": True}),
        }
        found: dict[str, Step] = {}
        server = self._service.server
        async with aiomqtt.Client("127.0.0.1", server.port, identifier="benchmark-work") as client:
            await client.subscribe("$aws/control/benchmark-work/+/+", qos=1)
            before = await self._run()
            for what, (operation, members) in works.items():
                during = await self._during(client, what, operation, members)
                after = await self._run()
                found[what] = Step(before, during, after)
                before = after
        return found

    async def _during(
        self, client: aiomqtt.Client, what: str, operation: str, members: dict[str, object]
    ) -> Run:
        """Run with work beside, then wait until that is done."""
        run = await self._run(_call(client, operation, **members))
        if self._is_done(what, await _call(client, "DescribeJob")):
            raise BenchmarkError(f"the {what} was over before the measurement; give fewer --seconds")
        async with asyncio.timeout(WORK_S_MAX):
            while not self._is_done(what, await _call(client, "DescribeJob")):
                await asyncio.sleep(0.2)
        rest = await self._service.longest()
        pairs = zip(msgspec.structs.astuple(run.longest), msgspec.structs.astuple(rest), strict=True)
        return run._replace(longest=watched.Longest(*(max(pair) for pair in pairs)))

    async def _run(self, work: Awaitable[object] | None = None) -> Run:
        await asyncio.sleep(SETTLE_S)
        await self._service.longest()
        server = self._service.server
        arguments = (self._program, "cycle", server.port, "-n", str(DEVICES), "-x", servers.THING_PREFIX)
        running = asyncio.create_task(
            asyncio.to_thread(load.run, *arguments, seconds=self._seconds, pids=server.pids)
        )
        await asyncio.sleep(HEAD_START_S)
        if work is not None:
            await work
        result = await running
        if result.complaints():
            raise BenchmarkError(", ".join(result.complaints()))
        return Run(result, await self._service.longest())

    def _is_done(self, what: str, answer: dict[str, Any]) -> bool:
        if what == "delete":
            return bool(answer["outcome"] == "rejected")
        counts = answer["job"]["jobProcessDetails"]
        reached = "numberOfQueuedThings" if what == "rollout" else "numberOfCanceledThings"
        return bool(counts[reached] == self._things)


async def _call(client: aiomqtt.Client, operation: str, **members: object) -> dict[str, Any]:
    request = json.dumps({"jobId": "large"} | members)
    await client.publish(f"$aws/control/benchmark-work/{operation}", request)
    async with asyncio.timeout(servers.REPLY_TIME_S_MAX):
        while True:
            reply = await anext(client.messages)
            outcome = reply.topic.value.rpartition("/")[2]
            if outcome in ("accepted", "rejected"):
                return {"outcome": outcome, **json.loads(bytes(reply.payload))}
