"""Measures what devices and HTTP clients that misbehave cost fifty that do not: rates, latencies and ratios.

`python -m tests.benchmarks.abuse --broker amqtt|mosquitto`. Devices send at a steady rate that their limit
allows, so the rate shows whether they are served, and the time to the answer at what price. Runs with and
without the abuser take turns, and ratios are of neighbors.

Abuser and devices would have machines of their own; here they take processor time from broker and service.
With --priorities (root, or CAP_SYS_NICE) the abuser gets what these leave, and other programs do not matter.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.benchmarks import abusers, beside, load, servers
from tests.benchmarks.load import BenchmarkError, Result
from tests.benchmarks.servers import Server
from tests.support import ROOT

DEVICES = 50
RATIO_MIN = 0.9
# Until the last answers have gone, so that nobody takes them for those of the next run.
SETTLE_S = 0.5
# The abuser has used up its burst by then.
HEAD_START_S = 1.0

# Of the real-time scheduler. Twice as many programs as cores want one; with equal priorities each waits for
# 100 ms until the others have used up their time.
PRIORITY, PRIORITY_BROKER, PRIORITY_ABUSER = 20, 15, 5

# Each of its bytes is a packet. In real time it keeps the kernel's own network threads (ksoftirqd), which are
# not, from the processor, and packets of devices wait there for a second: that is no fault of the servers.
COMMON = {"http_slow"}

# The results without the abuser and with it, round by round; the last share of a processor is the abuser's.
Pairs = list[tuple[Result, Result]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the rounds and prints what they gave."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.abuse", description=__doc__)
    parser.add_argument("--broker", choices=list(SERVERS), default="amqtt", help="default: amqtt")
    parser.add_argument("--seconds", type=int, default=3, help="measured time of one run (default: 3)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each abuser runs (default: 5)")
    parser.add_argument("--rate", type=int, default=40, help="requests a second of each device (default: 40)")
    parser.add_argument("--unlimited", action="store_true", help="devices ask as fast as they are answered")
    kinds = list(abusers.KINDS)
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds, help="default: all")
    parser.add_argument("--priorities", action="store_true", help="let the abuser have what others leave")
    options = parser.parse_args(arguments)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="thingjobs-abuse-") as folder,
            SERVERS[options.broker](Path(folder), not options.unlimited) as server,
        ):
            results = measure(Path(folder), server, options)
    except (BenchmarkError, PermissionError) as reason:
        print(f"abuse: {reason}", file=sys.stderr)
        return 1
    for line in table(results):
        print(line)
    return 0


def _beside_mosquitto(folder: Path, limited: bool) -> contextlib.AbstractContextManager[Server]:
    data_dir = folder / "data"
    beside.prepare(data_dir, DEVICES)
    return beside.sidecar(folder, data_dir, limited=limited, with_http=True)


SERVERS: dict[str, Callable[[Path, bool], contextlib.AbstractContextManager[Server]]] = {
    "amqtt": lambda folder, limited: servers.jobs_service(folder, DEVICES, limited=limited, with_http=True),
    "mosquitto": _beside_mosquitto,
}


def measure(folder: Path, server: Server, options: argparse.Namespace) -> dict[str, Pairs]:
    """Runs every kind of abuser in every round, each after a run without it."""
    program = load.build(folder)
    results: dict[str, Pairs] = {kind: [] for kind in options.only}
    rate = () if options.unlimited else ("-r", str(options.rate))
    flags = ("-n", str(DEVICES), "-x", servers.THING_PREFIX, *rate)

    def run(*abuser: int) -> Result:
        time.sleep(SETTLE_S)
        pids = (*server.pids, *abuser)
        result = load.run(program, "cycle", server.port, *flags, seconds=options.seconds, pids=pids)
        if result.complaints():
            raise BenchmarkError(", ".join(result.complaints()))
        return result

    if options.priorities:
        for pid, priority in zip(server.pids[::-1], (PRIORITY, PRIORITY_BROKER), strict=False):
            _prefer(pid, priority)
        # The load generator inherits it.
        _prefer(os.getpid(), PRIORITY)
    for _ in range(options.rounds):
        for kind in options.only:
            alone = run()
            port = server.http_port if kind.startswith("http_") else server.port
            with running_abuser(kind, port) as abuser:
                if options.priorities:
                    # It has inherited ours.
                    _prefer(abuser, 0 if kind in COMMON else PRIORITY_ABUSER)
                results[kind].append((alone, run(abuser)))
    return results


def _prefer(pid: int, priority: int) -> None:
    """Gives all threads of a process a real-time priority, or with 0 an ordinary one."""
    scheduler = os.SCHED_RR if priority else os.SCHED_OTHER
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setscheduler(int(thread.name), scheduler, os.sched_param(priority))


@contextlib.contextmanager
def running_abuser(kind: str, port: int) -> Iterator[int]:
    """The process id of an abuser at work."""
    command = [sys.executable, "-m", "tests.benchmarks.abusers", kind, str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        time.sleep(HEAD_START_S)
        if process.poll() is not None:
            raise BenchmarkError(f"the abuser {kind} has ended by itself")
        yield process.pid
    finally:
        process.kill()
        process.wait()


def table(results: dict[str, Pairs]) -> list[str]:
    """One row for each abuser: medians over the rounds, of the ratio also the least and the greatest."""
    head = ["abuser", "requests/s", "ratio", "least to most", "p50 ms", "alone", "p99 ms", "alone"]
    head += ["CPU %: servers + load + abuser", "alone"]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for kind, pairs in results.items():
        alone, beside = ([pair[side] for pair in pairs] for side in (0, 1))
        ratios = sorted(with_it.per_s / without.per_s for without, with_it in pairs)
        columns = [
            f"`{kind}`",
            f"{statistics.median(one.per_s for one in beside):,.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            *(f"{statistics.median(one.p50_ms for one in side):.1f}" for side in (beside, alone)),
            *(f"{statistics.median(one.p99_ms for one in side):.1f}" for side in (beside, alone)),
            *(_shares(side, has_abuser=side is beside) for side in (beside, alone)),
        ]
        verdict = "" if statistics.median(ratios) >= RATIO_MIN else f" below {RATIO_MIN}"
        lines.append(f"| {' | '.join(columns)} |{verdict}")
    everything = [result for pairs in results.values() for pair in pairs for result in pair]
    other_cpu = max(result.other_cpu for result in everything)
    lines.append(f"Other programs used up to {other_cpu:.0f} % of a core.")
    return lines


def _shares(results: Sequence[Result], *, has_abuser: bool) -> str:
    """How much of a core each process took."""
    cpu = [statistics.median(shares) for shares in zip(*(one.cpu for one in results), strict=True)]
    load_cpu = statistics.median(one.own_cpu for one in results)
    servers_cpu, abuser_cpu = (cpu[:-1], cpu[-1:]) if has_abuser else (cpu, [])
    return " + ".join(f"{share:.0f}" for share in (*servers_cpu, load_cpu, *abuser_cpu))


if __name__ == "__main__":
    sys.exit(main())
