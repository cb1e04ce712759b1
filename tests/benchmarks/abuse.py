"""Measures what a device that misbehaves costs fifty that do not, and prints rates, latencies and ratios.

`python -m tests.benchmarks.abuse --broker amqtt|mosquitto`. Devices send at a steady rate that their limit
allows, so the rate shows whether they are served, and the time to the answer at what price. Runs with and
without the abuser take turns, and ratios are of neighbors.
"""

import argparse
import contextlib
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

# The results without the abuser and with it, round by round.
Pairs = list[tuple[Result, Result]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the rounds and prints what they gave."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.abuse", description=__doc__)
    parser.add_argument("--broker", choices=list(SERVERS), default="amqtt", help="default: amqtt")
    parser.add_argument("--seconds", type=int, default=3, help="measured time of one run (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each abuser runs (default: 3)")
    parser.add_argument("--rate", type=int, default=40, help="requests a second of each device (default: 40)")
    kinds = list(abusers.KINDS)
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds, help="default: all")
    options = parser.parse_args(arguments)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="thingjobs-abuse-") as folder,
            SERVERS[options.broker](Path(folder)) as server,
        ):
            results = measure(Path(folder), server, options)
    except BenchmarkError as reason:
        print(f"abuse: {reason}", file=sys.stderr)
        return 1
    for line in table(results):
        print(line)
    return 0


def _beside_mosquitto(folder: Path) -> contextlib.AbstractContextManager[Server]:
    data_dir = folder / "data"
    beside.prepare(data_dir, DEVICES)
    return beside.sidecar(folder, data_dir, limited=True)


SERVERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Server]]] = {
    "amqtt": lambda folder: servers.jobs_service(folder, DEVICES, limited=True),
    "mosquitto": _beside_mosquitto,
}


def measure(folder: Path, server: Server, options: argparse.Namespace) -> dict[str, Pairs]:
    """Runs every kind of abuser in every round, each after a run without it."""
    program = load.build(folder)
    results: dict[str, Pairs] = {kind: [] for kind in options.only}
    flags = ("-n", str(DEVICES), "-x", servers.THING_PREFIX, "-r", str(options.rate))

    def run() -> Result:
        time.sleep(SETTLE_S)
        result = load.run(program, "cycle", server.port, *flags, seconds=options.seconds, pids=server.pids)
        if result.complaints():
            raise BenchmarkError(", ".join(result.complaints()))
        return result

    for _ in range(options.rounds):
        for kind in options.only:
            alone = run()
            with running_abuser(kind, server.port):
                results[kind].append((alone, run()))
    return results


@contextlib.contextmanager
def running_abuser(kind: str, port: int) -> Iterator[None]:
    """An abuser at work."""
    command = [sys.executable, "-m", "tests.benchmarks.abusers", kind, str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        time.sleep(HEAD_START_S)
        if process.poll() is not None:
            raise BenchmarkError(f"the abuser {kind} has ended by itself")
        yield
    finally:
        process.kill()
        process.wait()


def table(results: dict[str, Pairs]) -> list[str]:
    """One line for each abuser: medians over the rounds, and the ratio of the rates."""
    head = ["requests/s", "ratio", "p50 ms", "alone", "p99 ms", "alone", "server CPU %", "alone"]
    lines = [f"{'':24}" + "".join(f"{title:>13}" for title in head)]
    for kind, pairs in results.items():
        alone, beside = ([pair[side] for pair in pairs] for side in (0, 1))
        ratio = statistics.median(with_it.per_s / without.per_s for without, with_it in pairs)
        columns = [
            f"{statistics.median(one.per_s for one in beside):,.0f}",
            f"{ratio:.2f}",
            *(f"{statistics.median(one.p50_ms for one in side):.2f}" for side in (beside, alone)),
            *(f"{statistics.median(one.p99_ms for one in side):.2f}" for side in (beside, alone)),
            *(f"{statistics.median(one.cpu[-1] for one in side):.0f}" for side in (beside, alone)),
        ]
        verdict = "" if ratio >= RATIO_MIN else f"   below {RATIO_MIN}"
        lines.append(f"{kind:24}" + "".join(f"{column:>13}" for column in columns) + verdict)
    everything = [result for pairs in results.values() for pair in pairs for result in pair]
    other_cpu = max(result.other_cpu for result in everything)
    lines.append(f"Other programs, the abuser among them, used up to {other_cpu:.0f} % of a core.")
    return lines


if __name__ == "__main__":
    sys.exit(main())
