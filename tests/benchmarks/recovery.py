"""Measures the store: recovery, snapshots under load, memory and disk for each execution, and what syncing
costs.

Each size runs in a process of its own, on a real disk, at the level of the runner: requests come from a
hundred devices in the same process, each asking again as soon as it is answered. Figures of throughput are
ratios of measurements taken one after the other.
"""

import argparse
import asyncio
import gc
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks import load, servers
from tests.benchmarks.fleet import filled_state, tail_of_updates
from tests.support import ROOT
from thingjobs_broker import logs
from thingjobs_broker.clock import SystemClock
from thingjobs_broker.core.outcome import Message
from thingjobs_broker.core.service import JobsService
from thingjobs_broker.core.state import State
from thingjobs_broker.runner import Runner
from thingjobs_broker.snapshotter import Policy, Snapshotter
from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.store import Store
from thingjobs_protocol import topics

DEVICES = 100
LAG_TICK_SECONDS = 0.001
PAGE_BYTES = 4096


class Figures(msgspec.Struct, frozen=True):
    """What one size gave."""

    executions: int
    per_thing: int
    memory_bytes: float
    snapshot_bytes: int
    recovery_s: float
    journal_bytes: int
    recovery_with_journal_s: float
    recovery_with_journal_cpu_s: float
    snapshot_s: float
    snapshot_alone_s: float
    pause_ms: float
    pause_without_ms: float
    own_pause_ms: float
    own_pause_without_ms: float
    per_s: float
    per_s_during: float

    @property
    def ratio(self) -> float:
        """Throughput while a snapshot is taken, as a part of what it is otherwise."""
        return self.per_s_during / self.per_s


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sizes and prints a table, and for each aim whether it is met."""
    options = _options(arguments)
    if options.fill:
        _fill(options.executions[0], options.per_thing[0], options.folder)
        return 0
    if options.serve:
        print(msgspec.json.encode(_serve(options)).decode())
        return 0
    print(f"{platform.machine()}, {_cores()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="thingjobs-bench-", dir=options.folder) as folder:
        found = [
            _one_size(Path(folder), count, per_thing, options)
            for per_thing in options.per_thing
            for count in options.executions
        ]
        lines = [*table(found), "", *aims(found)]
        if not options.without_service:
            lines += syncing(Path(folder), options.seconds, options.rounds)
        for line in lines:
            print(line)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.recovery", description=__doc__)
    sizes = [10_000, 100_000, 1_000_000]
    parser.add_argument("--executions", type=int, nargs="+", default=sizes, help="default: 10k 100k 1M")
    parser.add_argument("--per-thing", type=int, nargs="+", default=[20, 1], help="executions of each thing")
    parser.add_argument("--seconds", type=int, default=4, help="measured time of one run (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="of the service with and without syncing")
    parser.add_argument("--journal-mib", type=int, default=64, help="journal behind a snapshot (default: 64)")
    parser.add_argument("--folder", type=Path, help="where to put the data (default: the system's)")
    parser.add_argument("--without-service", action="store_true", help="leave out the cost of syncing")
    parser.add_argument("--fill", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def table(found: Sequence[Figures]) -> list[str]:
    """The figures as a table in Markdown."""
    head = [
        *(
            "executions",
            "per thing",
            "memory B each",
            "snapshot B each",
            "recovery s",
            "with journal s (wall)",
        ),
        *("snapshot s", "under load s", "longest pause ms", "without snapshot ms"),
        *("requests/s", "during", "ratio"),
    ]
    lines = [f"| {' | '.join(head)} |", f"|{' ---: |' * len(head)}"]
    for one in found:
        cells = [
            *(f"{one.executions:,}", f"{one.per_thing}", f"{one.memory_bytes:.0f}"),
            f"{one.snapshot_bytes / one.executions:.0f}",
            f"{one.recovery_s:.2f}",
            f"{one.recovery_with_journal_cpu_s:.2f} ({one.recovery_with_journal_s:.2f})",
            *(f"{one.snapshot_alone_s:.2f}", f"{one.snapshot_s:.1f}"),
            f"{one.own_pause_ms:.1f} ({one.pause_ms:.1f})",
            f"{one.own_pause_without_ms:.1f} ({one.pause_without_ms:.1f})",
            *(f"{one.per_s:,.0f}", f"{one.per_s_during:,.0f}", f"{one.ratio:.2f}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def aims(found: Sequence[Figures]) -> list[str]:
    """What was wanted of the worst of the figures, and whether it was reached."""
    rows = [
        ("memory, B each", max(one.memory_bytes for one in found), "at most", 1024),
        ("snapshot, B each", max(one.snapshot_bytes / one.executions for one in found), "at most", 300),
        (
            "recovery with journal, s of one core",
            max(one.recovery_with_journal_cpu_s for one in found),
            "at most",
            30,
        ),
        (
            "longest pause of the loop by its own work, ms",
            max(one.own_pause_ms for one in found),
            "at most",
            50,
        ),
        (
            "throughput while a snapshot is taken / otherwise",
            min(one.ratio for one in found),
            "at least",
            0.7,
        ),
    ]
    return [_aim(*row) for row in rows]


def _aim(what: str, value: float, bound: str, limit: float) -> str:
    is_met = value <= limit if bound == "at most" else value >= limit
    return f"{what:52}{value:9.2f}   aim {bound} {limit:g}: {'met' if is_met else 'missed'}"


# One size


def _one_size(folder: Path, executions: int, per_thing: int, options: argparse.Namespace) -> Figures:
    data_dir = folder / f"{executions}-{per_thing}"
    data_dir.mkdir(mode=0o700)
    common = ["--executions", str(executions), "--per-thing", str(per_thing), "--folder", str(data_dir)]
    common += ["--seconds", str(options.seconds), "--journal-mib", str(options.journal_mib)]
    command = [sys.executable, "-m", "tests.benchmarks.recovery", *common]
    subprocess.run([*command, "--fill"], cwd=ROOT, check=True)
    done = subprocess.run([*command, "--serve"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Figures)


def _fill(executions: int, per_thing: int, data_dir: Path) -> None:
    """Makes a snapshot of so many executions."""
    state = filled_state(executions, per_thing)
    store = Store(OsFiles(), data_dir)
    store.write_snapshot(state)
    store.close()


def _serve(options: argparse.Namespace) -> Figures:
    logs.configure("warning", json_lines=False)
    executions, data_dir = options.executions[0], options.folder
    before = _resident_bytes()
    store, state, recovery_s = _recovered(data_dir)
    memory_bytes = (_resident_bytes() - before) / executions
    # As the service does after its recovery.
    gc.collect()
    gc.freeze()
    snapshot_bytes = store.snapshot_bytes
    measured = asyncio.run(_under_load(store, state, options.seconds))
    started_at = time.perf_counter()
    store.write_snapshot(state)
    snapshot_alone_s = time.perf_counter() - started_at
    # As much journal as can stand behind a snapshot with the default settings.
    wanted_bytes = max(options.journal_mib * 1024 * 1024, store.snapshot_bytes // 2)
    journal_bytes = 0
    for entries in tail_of_updates(state, wanted_bytes):
        store.append(entries)
        journal_bytes += sum(map(len, entries))
    store.close()
    del state, store
    cpu_before_s = time.process_time()
    store, _, recovery_with_journal_s = _recovered(data_dir)
    recovery_with_journal_cpu_s = time.process_time() - cpu_before_s
    store.close()
    return Figures(
        executions=executions,
        per_thing=options.per_thing[0],
        memory_bytes=memory_bytes,
        snapshot_bytes=snapshot_bytes,
        recovery_s=recovery_s,
        journal_bytes=journal_bytes,
        recovery_with_journal_s=recovery_with_journal_s,
        recovery_with_journal_cpu_s=recovery_with_journal_cpu_s,
        snapshot_alone_s=snapshot_alone_s,
        **measured,
    )


def _recovered(data_dir: Path) -> tuple[Store, State, float]:
    started_at = time.perf_counter()
    store = Store(OsFiles(), data_dir)
    state = store.load()
    return store, state, time.perf_counter() - started_at


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES


# Load


class Load:
    """A hundred devices that report progress on one execution each, as fast as they are answered."""

    def __init__(self, runner: Runner, state: State) -> None:
        self.answered = 0
        self._runner = runner
        self._stopped = False
        pending = [thing for thing in state.things.values() if thing.pending]
        things = random.Random(1).sample(pending, k=min(DEVICES, len(pending)))
        self._requests: list[topics.RequestTopic] = []
        for thing in things:
            topic = f"$aws/things/{thing.thing_name}/jobs/{next(iter(thing.pending))}/update"
            request = topics.parse_request(topic)
            assert request is not None
            self._requests.append(request)
        body = {"status": "IN_PROGRESS", "statusDetails": {"step": "install", "progress": "42 %"}}
        self._payload = json.dumps(body).encode()

    # runner.Publisher

    def publish(self, message: Message) -> None:
        """What leaves is encoded, as it would be for a subscriber."""
        message.payload()

    def flush(self) -> None:
        """Nobody listens."""

    async def run(self, until: Callable[[float], bool]) -> tuple[float, float, float]:
        """Asks until `until(elapsed seconds)`.

        Returns answers/s, the longest pause of the loop in ms, and the longest that this process worked
        through: the difference is what other programs, and the machine below, took from it.
        """
        self.answered, self._stopped = 0, False
        started_at = last = time.perf_counter()
        last_cpu = time.process_time()
        for request in self._requests:
            self._ask(request)
        longest = longest_own = 0.0
        while not until(last - started_at):
            await asyncio.sleep(LAG_TICK_SECONDS)
            now, now_cpu = time.perf_counter(), time.process_time()
            longest = max(longest, now - last - LAG_TICK_SECONDS)
            longest_own = max(longest_own, min(now - last - LAG_TICK_SECONDS, now_cpu - last_cpu))
            last, last_cpu = now, now_cpu
        rate = self.answered / (last - started_at)
        self._stopped = True
        await self._runner.commits.drain()
        return rate, longest * 1000, longest_own * 1000

    def _ask(self, request: topics.RequestTopic) -> None:
        if not self._stopped:
            self._runner.handle(request, self._payload, lambda: self._was_answered(request))

    def _was_answered(self, request: topics.RequestTopic) -> None:
        self.answered += 1
        asyncio.get_running_loop().call_soon(self._ask, request)


async def _under_load(store: Store, state: State, seconds: int) -> dict[str, Any]:
    """Throughput and pauses before, during and after a snapshot."""
    runner: Runner
    failures: list[BaseException] = []

    class Late:
        """Stands in until the load is made, which needs the runner."""

        def publish(self, message: Message) -> None:
            devices.publish(message)

        def flush(self) -> None:
            """Nobody listens."""

    clock = SystemClock(state.last_at_ms, state.last_start)
    runner = Runner(
        state, store, lambda state: JobsService(state, lambda: "id"), clock, Late(), failed=failures.append
    )
    devices = Load(runner, state)
    runner.start()
    snapshotter = Snapshotter(runner, store, Policy(1, 0.0))
    before, *pauses_before = await devices.run(lambda elapsed: elapsed >= seconds)
    started_at = time.perf_counter()
    taking = asyncio.ensure_future(_snapshots(snapshotter, started_at + seconds))
    during, pause, own_pause = await devices.run(lambda _: taking.done())
    snapshot_s = (time.perf_counter() - started_at) / taking.result()
    after, *pauses_after = await devices.run(lambda elapsed: elapsed >= seconds)
    assert not failures, failures
    await snapshotter.close()
    await runner.close()
    return {
        "snapshot_s": snapshot_s,
        "pause_ms": pause,
        "own_pause_ms": own_pause,
        "pause_without_ms": max(pauses_before[0], pauses_after[0]),
        "own_pause_without_ms": max(pauses_before[1], pauses_after[1]),
        "per_s": (before + after) / 2,
        "per_s_during": during,
    }


async def _snapshots(snapshotter: Snapshotter, until: float) -> int:
    """Takes one after the other; of a small state one is over too soon for its load to be measured."""
    count = 0
    while not count or time.perf_counter() < until:
        assert await snapshotter.take(), "the snapshot failed"
        count += 1
    return count


# What syncing costs


def syncing(folder: Path, seconds: int, rounds: int) -> list[str]:
    """The whole service with its journal synced, and the same with syncing off, in turn.

    Who waits for the disk loses its core to whoever else wants it, so of three times the rounds the quietest
    third counts.
    """
    program = load.build(folder)
    pairs = [
        [_cycles(folder, program, seconds, synced=synced) for synced in (True, False)]
        for _ in range(3 * rounds)
    ]
    pairs.sort(key=lambda pair: max(result.other_cpu for result in pair))
    pairs = pairs[:rounds]
    on, off = (statistics.median(result.per_s for result in column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(synced.per_s / unsynced.per_s for synced, unsynced in pairs)
    others = max(result.other_cpu for pair in pairs for result in pair)
    return [
        f"the service with {DEVICES} devices: {on:,.0f} durable requests/s, {off:,.0f}/s with syncing off",
        f"(other programs used up to {others:.0f} % of a core meanwhile)",
        _aim("durable / with syncing off", ratio, "at least", 0.8),
    ]


def _cycles(folder: Path, program: Path, seconds: int, *, synced: bool) -> load.Result:
    with servers.jobs_service(folder, DEVICES, synced=synced) as server:
        options = ("-n", str(DEVICES), "-x", servers.THING_PREFIX)
        result = load.run(program, "cycle", server.port, *options, seconds=seconds, pids=server.pids)
    if result.complaints():
        raise load.BenchmarkError(", ".join(result.complaints()))
    return result


if __name__ == "__main__":
    sys.exit(main())
