"""Measures jobs for large groups: their creation, rollout, cancellation and deletion, and the pages of their
executions.

Each size runs in a process of its own, with the runner and a journal on a real disk. Things and executions
all come after the start, so that the garbage collector sees them; what was imported is frozen as in the
service. A pause is one turn of the event loop, in processor time of its thread, and in wall time in brackets:
what is longer there, others have taken. Then the embedded service with devices, see `scale_served`.
"""

import argparse
import asyncio
import gc
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks.load import BenchmarkError
from tests.benchmarks.scale_served import served
from tests.benchmarks.watched import Longest, Watch, WatchedLoop
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
SERVED_THINGS = 100_000


class Work(msgspec.Struct, frozen=True):
    """One kind of work on all executions: processor time of each, and the longest turn of the loop."""

    each_us: float
    pause_cpu_ms: float
    pause_wall_ms: float
    per_s: float


class Figures(msgspec.Struct, frozen=True):
    """What one size gave; `windows` and `window_max` are minutes of a rollout of 1,000 a minute,
    `collection_ms` is the longest of the garbage collector, and `memory_mib` the most that the process had.
    """

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
    window_slice_cpu_ms: float
    window_slice_wall_ms: float
    collection_ms: float
    memory_mib: int


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
    for line in table([_in_a_process(count) for count in options.executions]) if options.executions else ():
        print(line, flush=True)
    if not options.without_service:
        with tempfile.TemporaryDirectory(prefix="thingjobs-scale-") as folder:
            for line in served(Path(folder), fleet(SERVED_THINGS), GROUP, options.rounds, options.seconds):
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
    head += ["1,000/min: minutes", "most in one", "slice ms", "collection ms", "peak MiB"]
    lines = [f"| {' | '.join(head)} |", f"|{' ---: |' * len(head)}"]
    for one in found:
        cells = [f"{one.executions:,}", f"{one.create_cpu_ms:.1f} ({one.create_wall_ms:.1f})"]
        for work in (one.rollout, one.cancel, one.delete):
            cells += [f"{work.each_us:.1f}", f"{work.pause_cpu_ms:.1f} ({work.pause_wall_ms:.1f})"]
        cells += [", ".join(f"{page:.2f}" for page in one.page_ms), f"{one.filtered_ms:.2f}"]
        cells += [f"{one.windows:,}", f"{one.window_max:,}"]
        cells += [f"{one.window_slice_cpu_ms:.1f} ({one.window_slice_wall_ms:.1f})"]
        cells += [f"{one.collection_ms:.1f}", f"{one.memory_mib:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


# One size, at the level of the runner


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
    # As the service does after its recovery, of nothing.
    gc.collect()
    gc.freeze()
    watch = Watch()
    windows, window_max, slice_cpu_s, slice_wall_s = paced(count)
    longest = watch.take()
    # The state of that is garbage, all of it, which no state of the service ever is.
    gc.collect()
    watch.take()
    state = fleet(count)
    loop = WatchedLoop(watch)
    with tempfile.TemporaryDirectory(prefix="thingjobs-scale-") as folder:
        store = Store(OsFiles(), Path(folder))
        try:
            found = loop.run_until_complete(_measured(watch, store, state, count))
        finally:
            loop.close()
            store.close()
    collection_ms = max(longest.collection_ms, *found.pop("collections_ms"))
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Figures(
        count,
        **found,
        windows=windows,
        window_max=window_max,
        window_slice_cpu_ms=slice_cpu_s * 1000,
        window_slice_wall_ms=slice_wall_s * 1000,
        collection_ms=collection_ms,
        memory_mib=memory_mib,
    )


async def _measured(watch: Watch, store: Store, state: State, count: int) -> dict[str, Any]:
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
        # Of building the fleet and creating the job, to begin with.
        "collections_ms": [watch.take().collection_ms],
    }

    async def work(is_done: Callable[[], bool]) -> Work:
        done, longest = await _work(watch, runner, count, is_done)
        found["collections_ms"].append(longest.collection_ms)
        return done

    found["rollout"] = await work(lambda: state.jobs["J"].rollout is None)
    assert len(state.jobs["J"].executions) == count
    found["page_ms"] = [_page(state, position) for position in (0, count // 2, count - PAGE)]
    found["filtered_ms"] = _page(state, 0, status="FAILED")
    await _asked(runner, "CancelJob", force=True)
    found["cancel"] = await work(lambda: state.jobs["J"].settled)
    await _asked(runner, "DeleteJob", force=True)
    found["delete"] = await work(lambda: "J" not in state.jobs)
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


async def _work(
    watch: Watch, runner: Runner, count: int, is_done: Callable[[], bool]
) -> tuple[Work, Longest]:
    watch.take()
    cpu, wall = time.thread_time(), time.perf_counter()
    while not is_done():
        await asyncio.sleep(0.001)
    await runner.commits.drain()
    cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
    longest = watch.take()
    return Work(cpu / count * 1e6, longest.turn_cpu_ms, longest.turn_wall_ms, count / wall), longest


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


def paced(count: int) -> tuple[int, int, float, float]:
    """A rollout at 1,000 a minute with a clock moved by hand: minutes, most in one, the longest slice in
    seconds, of the processor and of the wall clock.
    """
    service = _service(fleet(count), PER_MINUTE_MAX)
    request = json.dumps({"jobId": "J", "targets": [GROUP], "document": "{}"}).encode()
    service.execute("CreateJob", request, "ada", START_MS)
    job, now_ms = service.state.jobs["J"], START_MS
    created, longest_cpu, longest_wall, most, windows = 0, 0.0, 0.0, 0, 0
    while job.rollout is not None:
        windows += 1
        while (due_ms := service.next_deadline_ms()) is not None and due_ms <= now_ms:
            cpu, wall = time.thread_time(), time.perf_counter()
            pack(service.fire_timers(now_ms).records)
            longest_cpu = max(longest_cpu, time.thread_time() - cpu)
            longest_wall = max(longest_wall, time.perf_counter() - wall)
        most, created = max(most, len(job.executions) - created), len(job.executions)
        now_ms += WINDOW_MS
    assert created == count
    return windows, most, longest_cpu, longest_wall


if __name__ == "__main__":
    sys.exit(main())
