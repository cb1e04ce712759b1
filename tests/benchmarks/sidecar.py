"""Measures `thingjobs serve` beside Mosquitto next to responders that store nothing, on the same broker.

    python -m tests.benchmarks.sidecar

The responders answer start-next with its own payload, in C and on aiomqtt; the service answers
UpdateJobExecution, each one a record in the synced journal, with 100 live executions in its state and with
100,000. Contenders run in turn, several rounds; figures are medians, ratios are taken within a round.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import beside, load, servers
from tests.benchmarks.load import BenchmarkError, Result
from tests.benchmarks.servers import Server

DEVICES = 100
LITTLE, MUCH = 100, 100_000
# A device starts its job once and then reports on it for the rest of the run.
UPDATES = ("-k", "1000000")
OTHER_CPU_MAX = 30

ECHO_C, ECHO_AIOMQTT, ECHO_SIDECAR = "echo-c", "echo-aiomqtt", "echo-sidecar"
SERVICE, SERVICE_MUCH = "serve", "serve-100k"
TITLES = {
    ECHO_C: "echo in C",
    ECHO_AIOMQTT: "echo on aiomqtt",
    ECHO_SIDECAR: "echo on the sidecar's connection",
    SERVICE: f"serve, {LITTLE:,} live executions",
    SERVICE_MUCH: f"serve, {MUCH:,} live executions",
}
HALF_LOAD = " at half load"
RATIOS = (
    (SERVICE, ECHO_C, 0.4),
    (SERVICE, ECHO_AIOMQTT, 0.75),
    (SERVICE, ECHO_SIDECAR, 0.75),
    (SERVICE_MUCH, SERVICE, 0.9),
)
P99_MS_MAX = 50.0
SETTLE_S = 0.5
ATTEMPTS_MAX = 3

# Contender, with HALF_LOAD or without -> the results of its rounds.
Results = dict[str, list[Result]]


class Contender(NamedTuple):
    """Who is measured, started in a folder, and in which mode the load generator speaks to it."""

    start: Callable[[Path], contextlib.AbstractContextManager[Server]]
    mode: str
    options: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the rounds and prints what they gave."""
    options = _options(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="thingjobs-bench-") as folder:
            results = measure(Path(folder), options.only, options.rounds, options.seconds)
    except BenchmarkError as reason:
        print(f"sidecar: {reason}", file=sys.stderr)
        return 1
    for line in [*table(results), "", *verdicts(results), "", machine()]:
        print(line)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sidecar", description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="measured time of one run (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs (default: 3)")
    parser.add_argument("--only", nargs="+", choices=list(TITLES), default=list(TITLES), help="default: all")
    return parser.parse_args(arguments)


def contenders(folder: Path, program: Path, wanted: Sequence[str]) -> dict[str, Contender]:
    """The contenders by name; the states they need are made here."""
    found = {
        ECHO_C: Contender(lambda at: servers.mosquitto_with_echo(at, program), "rr"),
        ECHO_AIOMQTT: Contender(lambda at: beside.python_echo(at, "callback"), "rr"),
        ECHO_SIDECAR: Contender(lambda at: beside.python_echo(at, "sidecar"), "rr"),
    }
    for name, executions in ((SERVICE, LITTLE), (SERVICE_MUCH, MUCH)):
        if name in wanted:
            data_dir = folder / f"data-{executions}"
            beside.prepare(data_dir, executions)
            found[name] = Contender(_serve(data_dir), "cycle", UPDATES)
    return {name: found[name] for name in wanted}


def _serve(data_dir: Path) -> Callable[[Path], contextlib.AbstractContextManager[Server]]:
    return lambda folder: beside.sidecar(folder, data_dir)


def measure(folder: Path, wanted: Sequence[str], rounds: int, seconds: int) -> Results:
    """Runs every contender in every round, a service also at half of what it has just reached."""
    program = load.build(folder)
    found = contenders(folder, program, wanted)
    results: Results = {}
    for number in range(1, rounds + 1):
        for name, contender in found.items():
            print(f"round {number} of {rounds}: {TITLES[name]}", file=sys.stderr)
            with contender.start(folder) as server:
                full = _run(program, contender, server, seconds)
                results.setdefault(name, []).append(full)
                if contender.options:
                    pace = str(max(1, round(full.per_s / 2 / DEVICES)))
                    half = _run(program, contender, server, seconds, "-r", pace)
                    results.setdefault(name + HALF_LOAD, []).append(half)
    return results


def _run(program: Path, contender: Contender, server: Server, seconds: int, *more: str) -> Result:
    """The least disturbed of a few attempts; one is enough where nobody else was busy."""
    options = ("-n", str(DEVICES), "-x", servers.THING_PREFIX, *contender.options, *more)
    attempts: list[Result] = []
    while len(attempts) < ATTEMPTS_MAX and not any(one.other_cpu <= OTHER_CPU_MAX for one in attempts):
        # Until the last answers have gone, so that nobody takes them for those of this run.
        time.sleep(SETTLE_S)
        attempts.append(
            load.run(program, contender.mode, server.port, *options, seconds=seconds, pids=server.pids)
        )
        if attempts[-1].complaints():
            raise BenchmarkError(", ".join(attempts[-1].complaints()))
    return min(attempts, key=lambda one: one.other_cpu)


def table(results: Results) -> list[str]:
    """A Markdown table, medians over the rounds; the shares of a core are of broker, responder and load."""
    lines = [
        "| answered by | requests/s | p50 ms | p99 ms | responder µs/request | CPU % of each |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, rounds in results.items():
        cpu = [statistics.median(shares) for shares in zip(*(result.cpu for result in rounds), strict=True)]
        columns = [
            title(name),
            f"{_median(rounds, 'per_s'):,.0f}",
            f"{_median(rounds, 'p50_ms'):.1f}",
            f"{_median(rounds, 'p99_ms'):.1f}",
            f"{statistics.median(responder_us(result) for result in rounds):.0f}",
            " + ".join(f"{share:.0f}" for share in (*cpu, _median(rounds, "own_cpu"))),
        ]
        lines.append(f"| {' | '.join(columns)} |")
    return lines


def responder_us(result: Result) -> float:
    """What a request costs the responder, which says something on a busy machine, too."""
    return result.cpu[-1] / 100 * 1e6 / result.per_s


def title(name: str) -> str:
    """How a contender is called, at full load or at half."""
    base = name.removesuffix(HALF_LOAD)
    return TITLES[base] + name.removeprefix(base)


def verdicts(results: Results) -> list[str]:
    """The comparisons that matter, each with its aim; a ratio is the median of those within a round."""
    lines = []
    for ours, theirs, aim in RATIOS:
        if ours in results and theirs in results:
            pairs = zip(results[ours], results[theirs], strict=True)
            ratio = statistics.median(one.per_s / other.per_s for one, other in pairs)
            met = "met" if ratio >= aim else "missed"
            lines.append(f"{TITLES[ours]} / {TITLES[theirs]}: {ratio:.2f}, aim at least {aim:.2f}: {met}")
    for name in (SERVICE + HALF_LOAD, SERVICE_MUCH + HALF_LOAD):
        if name in results:
            p99_ms = _median(results[name], "p99_ms")
            met = "met" if p99_ms < P99_MS_MAX else "missed"
            lines.append(f"{title(name)}: p99 {p99_ms:.1f} ms, aim under {P99_MS_MAX:.0f} ms: {met}")
    others = max(result.other_cpu for rounds in results.values() for result in rounds)
    if others > OTHER_CPU_MAX:
        lines.append(f"Other programs used up to {others:.0f} % of a core: repeat on a quiet machine.")
    return lines


def machine() -> str:
    """What the figures were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        "an unknown processor",
    )
    return f"{os.cpu_count()} cores of {model}; all programs share them."


def _median(results: Sequence[Result], name: str) -> float:
    return statistics.median(float(getattr(result, name)) for result in results)


if __name__ == "__main__":
    sys.exit(main())
