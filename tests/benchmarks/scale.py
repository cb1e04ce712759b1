"""Measures jobs for large groups: their creation, rollout, cancellation and deletion, and the pages of their
executions.

Each size runs in a process of its own, with the runner and a journal on a real disk, garbage collection as in
the service. A pause is one turn of the event loop, in processor time of its thread, and in wall time in
brackets. Then the embedded service: 100 devices that ask as fast as they are answered, without and with such
work beside.
"""

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec

from tests.benchmarks import load, servers
from tests.benchmarks.load import BenchmarkError
from tests.support import ROOT
from thingjobs_broker import logs
from thingjobs_broker.clock import SystemClock
from thingjobs_broker.core import paging, records
from thingjobs_broker.core.outcome import Message, Outcome
from thingjobs_broker.core.ports import Ports, Rules
from thingjobs_broker.core.rollout import PER_MINUTE_MAX, WINDOW_MS
from thingjobs_broker.core.service import JobsService
from thingjobs_broker.core.state import State
from thingjobs_broker.runner import Runner
from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.record_codec import pack
from thingjobs_broker.store.store import Store

SIZES = [1_000, 10_000, 100_000, 1_000_000]
GROUP = "fleet"
START_MS = 1_700_000_000_000
PAGE = 250
DEVICES = 100
SERVED_THINGS = 100_000
# Until the last answers have gone, so that nobody takes them for those of the next run.
SETTLE_S = 1.0
# The load generator has warmed up by then.
HEAD_START_S = 1.5
WORK_S_MAX = 120.0
# As fast as possible; and devices are not kept from asking.
ENVIRON = {"THINGJOBS_JOBS_ROLLOUT_PER_MINUTE": "0"}


class Work(msgspec.Struct, frozen=True):
    """One kind of work on all executions: processor time of each, and the longest turn of the loop."""

    each_us: float
    pause_cpu_ms: float
    pause_wall_ms: float
    per_s: float


class Figures(msgspec.Struct, frozen=True):
    """What one size gave; `windows` and `window_max` are minutes of a rollout of 1,000 a minute."""

    executions: int
    create_cpu_ms: float
    create_wall_ms: float
    rollout: Work
    cancel: Work
    delete: Work
    page_ms: list[float]
    filtered_ms: float
    windows: int
    window_max: int
    window_slice_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sizes and prints tables in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument("--executions", type=int, nargs="*", default=SIZES, help="default: 1k to 1M")
    parser.add_argument("--rounds", type=int, default=3, help="of the service (default: 3)")
    parser.add_argument("--seconds", type=int, default=4, help="of one run of the service (default: 4)")
    parser.add_argument("--without-service", action="store_true", help="leave out the devices served")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print(msgspec.json.encode(_one_size(options.one)).decode())
        return 0
    for line in table([_in_a_process(count) for count in options.executions]):
        print(line, flush=True)
    if not options.without_service:
        with tempfile.TemporaryDirectory(prefix="thingjobs-scale-") as folder:
            for line in served(Path(folder), options.rounds, options.seconds):
                print(line)
    return 0


def _in_a_process(count: int) -> Figures:
    command = [sys.executable, "-m", "tests.benchmarks.scale", "--one", str(count)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Figures)


def table(found: Sequence[Figures]) -> list[str]:
    """The figures as a table in Markdown."""
    head = ["executions", "CreateJob ms", *("rollout µs", "pause ms", "cancel µs", "pause ms")]
    head += ["delete µs", "pause ms", "page ms: first, middle, last", "filtered ms"]
    head += ["1,000/min: minutes", "most in one", "slice ms"]
    lines = [f"| {' | '.join(head)} |", f"|{' ---: |' * len(head)}"]
    for one in found:
        cells = [f"{one.executions:,}", f"{one.create_cpu_ms:.1f} ({one.create_wall_ms:.1f})"]
        for work in (one.rollout, one.cancel, one.delete):
            cells += [f"{work.each_us:.1f}", f"{work.pause_cpu_ms:.1f} ({work.pause_wall_ms:.1f})"]
        cells += [", ".join(f"{page:.2f}" for page in one.page_ms), f"{one.filtered_ms:.2f}"]
        cells += [f"{one.windows:,}", f"{one.window_max:,}", f"{one.window_slice_ms:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


# One size, at the level of the runner


class WatchedLoop(asyncio.SelectorEventLoop):
    """Keeps the longest turn: processor time of all callbacks of one, wall time from the end of its wait."""

    def __init__(self) -> None:
        super().__init__()
        self.longest_cpu = self.longest_wall = 0.0
        self._woken_at = 0.0
        selector = self._selector  # type: ignore[attr-defined]
        select = selector.select

        def watched(timeout: float | None = None) -> Any:
            events = select(timeout)
            self._woken_at = time.perf_counter()
            return events

        selector.select = watched

    def _run_once(self) -> None:
        began = time.thread_time()
        super()._run_once()  # type: ignore[misc]
        self.longest_cpu = max(self.longest_cpu, time.thread_time() - began)
        self.longest_wall = max(self.longest_wall, time.perf_counter() - self._woken_at)


class Everybody:
    """A publisher with subscribers to everything: all is encoded."""

    def publish(self, message: Message) -> None:
        """See `runner.Publisher`."""
        message.payload()

    def flush(self) -> None:
        """See `runner.Publisher`."""


def fleet(things: int) -> State:
    """A state of so many things in one group."""
    state = State()
    state.apply(records.GroupCreated(GROUP, "group", START_MS, "ada", "", "", {}))
    for number in range(things):
        name = f"gateway-{number:07d}"
        thing_id = str(uuid.UUID(int=number * 7919 << 32))
        state.apply(records.ThingCreated(name, thing_id, START_MS, "ada"))
        state.apply(records.ThingGroupsChanged(name, START_MS, "ada", ["group"], []))
    return state


def _one_size(count: int) -> Figures:
    logs.configure("warning", json_lines=False)
    windows, window_max, window_slice_ms = paced(count)
    state = fleet(count)
    # As the service does after its recovery.
    gc.collect()
    gc.freeze()
    loop = WatchedLoop()
    with tempfile.TemporaryDirectory(prefix="thingjobs-scale-") as folder:
        store = Store(OsFiles(), Path(folder))
        try:
            found = loop.run_until_complete(_measured(loop, store, state, count))
        finally:
            loop.close()
            store.close()
    return Figures(count, **found, windows=windows, window_max=window_max, window_slice_ms=window_slice_ms)


async def _measured(loop: WatchedLoop, store: Store, state: State, count: int) -> dict[str, Any]:
    failures: list[BaseException] = []
    clock = SystemClock(state.last_at_ms, state.last_start)
    runner = Runner(
        state, store, lambda state: _service(state, None), clock, Everybody(), failed=failures.append
    )
    runner.start()
    cpu, wall = time.thread_time(), time.perf_counter()
    await _asked(runner, "CreateJob", targets=[GROUP], document="{}")
    found: dict[str, Any] = {
        "create_cpu_ms": (time.thread_time() - cpu) * 1000,
        "create_wall_ms": (time.perf_counter() - wall) * 1000,
    }
    found["rollout"] = await _work(loop, runner, count, lambda: state.jobs["J"].rollout is None)
    assert len(state.jobs["J"].executions) == count
    found["page_ms"] = [_page(state, position) for position in (0, count // 2, count - PAGE)]
    found["filtered_ms"] = _page(state, 0, status="FAILED")
    await _asked(runner, "CancelJob", force=True)
    found["cancel"] = await _work(loop, runner, count, lambda: state.jobs["J"].settled)
    await _asked(runner, "DeleteJob", force=True)
    found["delete"] = await _work(loop, runner, count, lambda: "J" not in state.jobs)
    await runner.close()
    assert not failures, failures
    return found


def _service(state: State, per_minute: int | None) -> JobsService:
    ports = Ports(rules=Rules(rollout_per_minute=per_minute))
    return JobsService(state, lambda: str(uuid.uuid4()), ports=ports)


async def _asked(runner: Runner, operation: str, **members: object) -> None:
    """Returns when the answer may leave: its records are durable."""
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    payload = json.dumps({"jobId": "J"} | members).encode()

    def ask(service: JobsService, now_ms: int) -> tuple[object, Outcome]:
        return service.execute(operation, payload, "ada", now_ms)

    unavailable: object = RuntimeError("the disk is in trouble")
    runner.answer(ask, unavailable, answered.set_result)
    if isinstance(answer := await answered, Exception):
        raise BenchmarkError(f"{operation} was refused: {answer}")


async def _work(loop: WatchedLoop, runner: Runner, count: int, is_done: Callable[[], bool]) -> Work:
    loop.longest_cpu = loop.longest_wall = 0.0
    cpu, wall = time.thread_time(), time.perf_counter()
    while not is_done():
        await asyncio.sleep(0.001)
    await runner.commits.drain()
    cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
    return Work(cpu / count * 1e6, loop.longest_cpu * 1000, loop.longest_wall * 1000, count / wall)


def _page(state: State, position: int, **filters: str) -> float:
    """The processor time of a page, in ms; the median of five."""
    request: dict[str, object] = {"jobId": "J", "maxResults": PAGE, **filters}
    if position:
        request["nextToken"] = paging._token(position, zlib.crc32(repr(("J", None)).encode()))
    took, service = [], _service(state, None)
    for _ in range(5):
        began = time.thread_time()
        answer, _ = service.execute("ListJobExecutionsForJob", json.dumps(request).encode(), "ada", START_MS)
        took.append(time.thread_time() - began)
        assert isinstance(answer, dict), answer
    return statistics.median(took) * 1000


def paced(count: int) -> tuple[int, int, float]:
    """A rollout at 1,000 a minute with a clock moved by hand: minutes, most in one, the longest slice in
    ms.
    """
    service = _service(fleet(count), PER_MINUTE_MAX)
    request = json.dumps({"jobId": "J", "targets": [GROUP], "document": "{}"}).encode()
    service.execute("CreateJob", request, "ada", START_MS)
    job, now_ms = service.state.jobs["J"], START_MS
    created, longest, most, windows = 0, 0.0, 0, 0
    while job.rollout is not None:
        windows += 1
        while (due_ms := service.next_deadline_ms()) is not None and due_ms <= now_ms:
            began = time.thread_time()
            pack(service.fire_timers(now_ms).records)
            longest = max(longest, time.thread_time() - began)
        most, created = max(most, len(job.executions) - created), len(job.executions)
        now_ms += WINDOW_MS
    assert created == count
    return windows, most, longest * 1000


# The embedded service


def served(folder: Path, rounds: int, seconds: int) -> list[str]:
    """What the devices get while a job of 100,000 is rolled out, canceled, deleted, and without that."""
    program = load.build(folder)
    results: dict[str, list[tuple[load.Result, load.Result]]] = {}
    for number in range(rounds):
        data_dir = folder / f"data-{number}"
        data_dir.mkdir(mode=0o700)
        store = Store(OsFiles(), data_dir)
        store.write_snapshot(fleet(SERVED_THINGS))
        store.close()
        with servers.jobs_service(folder, DEVICES, data_dir=data_dir, environ=ENVIRON) as server:
            for what, pair in asyncio.run(_served(program, server, seconds)).items():
                results.setdefault(what, []).append(pair)
    lines = ["", "| work beside | requests/s | without | ratio | p99 ms | without |", f"|{' ---: |' * 6}"]
    for what, pairs in results.items():
        ratio = statistics.median(during.per_s / alone.per_s for alone, during in pairs)
        cells = [
            f"{statistics.median(getattr(pair[side], name) for pair in pairs):,.{digits}f}"
            for name, digits in (("per_s", 0), ("p99_ms", 1))
            for side in (1, 0)
        ]
        lines.append(f"| {' | '.join([what, *cells[:2], f'{ratio:.2f}', *cells[2:]])} |")
    return lines


async def _served(
    program: Path, server: servers.Server, seconds: int
) -> dict[str, tuple[load.Result, load.Result]]:
    options = ("-n", str(DEVICES), "-x", servers.THING_PREFIX)

    async def run(work: Awaitable[object] | None = None) -> load.Result:
        await asyncio.sleep(SETTLE_S)
        running = asyncio.create_task(
            asyncio.to_thread(load.run, program, "cycle", server.port, *options, seconds=seconds)
        )
        await asyncio.sleep(HEAD_START_S)
        if work is not None:
            await work
        result = await running
        if result.complaints():
            raise BenchmarkError(", ".join(result.complaints()))
        return result

    steps: dict[str, tuple[str, dict[str, object]]] = {
        "rollout": ("CreateJob", {"targets": [GROUP], "document": "{}"}),
        "cancel": ("CancelJob", {"force": True}),
        "delete": ("DeleteJob", {"force": True}),
    }
    found: dict[str, tuple[load.Result, load.Result]] = {}
    async with aiomqtt.Client("127.0.0.1", server.port, identifier="benchmark-work") as client:
        await client.subscribe("$aws/control/benchmark-work/+/+", qos=1)
        for what, (operation, members) in steps.items():
            alone = await run()
            during = await run(_call(client, operation, **members))
            if _is_done(what, await _call(client, "DescribeJob")):
                raise BenchmarkError(f"the {what} was over before the measurement")
            found[what] = alone, during
            async with asyncio.timeout(WORK_S_MAX):
                while not _is_done(what, await _call(client, "DescribeJob")):
                    await asyncio.sleep(0.2)
    return found


async def _call(client: aiomqtt.Client, operation: str, **members: object) -> dict[str, Any]:
    request = json.dumps({"jobId": "large"} | members)
    await client.publish(f"$aws/control/benchmark-work/{operation}", request)
    async with asyncio.timeout(servers.REPLY_TIME_S_MAX):
        while True:
            reply = await anext(client.messages)
            outcome = reply.topic.value.rpartition("/")[2]
            if outcome in ("accepted", "rejected"):
                return {"outcome": outcome, **json.loads(bytes(reply.payload))}


def _is_done(what: str, answer: dict[str, Any]) -> bool:
    if what == "delete":
        return bool(answer["outcome"] == "rejected")
    counts = answer["job"]["jobProcessDetails"]
    reached = "numberOfQueuedThings" if what == "rollout" else "numberOfCanceledThings"
    return bool(counts[reached] == SERVED_THINGS)


if __name__ == "__main__":
    sys.exit(main())
