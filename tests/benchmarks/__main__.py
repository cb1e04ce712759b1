"""Measures the embedded broker next to a bare echo and to Mosquitto, and prints figures and ratios.

The contenders run in turn, several rounds, so that a machine that is busy for a while is busy for all of
them; what is printed are medians. Absolute figures say little on a shared machine, the ratios more.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.benchmarks import load, servers
from tests.benchmarks.load import BenchmarkError, Result

ECHO, SERVICE, MOSQUITTO = "echo", "service", "mosquitto"
TITLES = {
    ECHO: "bare echo, embedded",
    SERVICE: "jobs service, journal on",
    MOSQUITTO: "Mosquitto, echo in C",
}
# The load generator runs on one core; well below this it was waiting for the server.
OWN_CPU_MAX = 85
# What the rest of the machine may do before it shows in the figures.
OTHER_CPU_MAX = 30

# Contender and number of devices -> the results of its rounds.
Results = dict[tuple[str, int], list[Result]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the rounds and prints what they gave; 0 when every figure is sound."""
    options = _options(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="thingjobs-bench-") as folder:
            results = measure(Path(folder), options.only, options.devices, options.rounds, options.seconds)
    except BenchmarkError as reason:
        print(f"bench: {reason}", file=sys.stderr)
        return 1
    for line in [*table(results), "", *ratios(results)]:
        print(line)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="measured time of one run (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs (default: 3)")
    parser.add_argument("--devices", type=int, nargs="+", default=[100, 2000], help="default: 100 2000")
    parser.add_argument("--only", nargs="+", choices=list(TITLES), default=list(TITLES), help="default: all")
    return parser.parse_args(arguments)


def measure(
    folder: Path, contenders: Sequence[str], devices: Sequence[int], rounds: int, seconds: int
) -> Results:
    """Runs every contender with every number of devices in every round."""
    program = load.build(folder)
    results: Results = {}
    for number in range(1, rounds + 1):
        for count in devices:
            for contender in contenders:
                _progress(f"round {number} of {rounds}: {TITLES[contender]}, {count} devices")
                with _started(contender, folder, program, count) as (server, mode):
                    options = ("-n", str(count), "-x", servers.THING_PREFIX)
                    result = load.run(program, mode, server.port, *options, seconds=seconds, pids=server.pids)
                if result.complaints():
                    raise BenchmarkError(
                        f"{TITLES[contender]}, {count} devices: {', '.join(result.complaints())}"
                    )
                results.setdefault((contender, count), []).append(result)
    _progress("")
    return results


@contextlib.contextmanager
def _started(
    contender: str, folder: Path, program: Path, devices: int
) -> Iterator[tuple[servers.Server, str]]:
    """The contender, and the mode in which the load generator speaks to it."""
    if contender == MOSQUITTO:
        with servers.mosquitto_with_echo(folder, program) as server:
            yield server, "rr"
    elif contender == ECHO:
        with servers.bare_echo(folder) as server:
            yield server, "rr"
    else:
        with servers.jobs_service(folder, devices) as server:
            yield server, "cycle"


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _median(results: Sequence[Result], value: Callable[[Result], float]) -> float:
    return statistics.median(value(result) for result in results)


def table(results: Results) -> list[str]:
    """One line for each contender and number of devices: medians over the rounds."""
    head = ["devices", "requests/s", "p50 ms", "p99 ms", "server CPU %", "load CPU %"]
    lines = [f"{'':26}" + "".join(f"{title:>13}" for title in head)]
    for (contender, devices), rounds in sorted(results.items(), key=lambda item: item[0][1]):
        # Each process of the server by itself: "60+16" is a broker and its responder.
        cpu = [statistics.median(shares) for shares in zip(*(result.cpu for result in rounds), strict=True)]
        columns = [
            f"{devices:,}",
            f"{_median(rounds, lambda result: result.per_s):,.0f}",
            f"{_median(rounds, lambda result: result.p50_ms):.2f}",
            f"{_median(rounds, lambda result: result.p99_ms):.2f}",
            "+".join(f"{share:.0f}" for share in cpu),
            f"{_median(rounds, lambda result: result.own_cpu):.0f}",
        ]
        lines.append(f"{TITLES[contender]:26}" + "".join(f"{column:>13}" for column in columns))
    everything = [result for rounds in results.values() for result in rounds]
    own_cpu = max(result.own_cpu for result in everything)
    verdict = "not the bottleneck" if own_cpu <= OWN_CPU_MAX else "TOO BUSY: the figures are too low"
    lines.append(f"The load generator used at most {own_cpu:.0f} % of a core: {verdict}.")
    other_cpu = max(result.other_cpu for result in everything)
    if other_cpu > OTHER_CPU_MAX:
        lines.append(f"Other programs used up to {other_cpu:.0f} % of a core: repeat on a quiet machine.")
    return lines


def ratios(results: Results) -> list[str]:
    """The comparisons that matter, each with its aim. Ratios are taken within a round, then their median."""
    lines = []
    counts = sorted({devices for _, devices in results})
    for count in counts:
        for other, aim in [(ECHO, 0.35), (MOSQUITTO, 1.0)]:
            title = f"{TITLES[SERVICE]} / {TITLES[other]}, {count:,} devices"
            lines += _ratio(title, results.get((SERVICE, count)), results.get((other, count)), aim)
    if len(counts) > 1:
        title = f"{TITLES[SERVICE]}, {counts[-1]:,} devices / {counts[0]:,} devices"
        most, least = results.get((SERVICE, counts[-1])), results.get((SERVICE, counts[0]))
        lines += _ratio(title, most, least, 0.8)
    return lines


def _ratio(title: str, ours: list[Result] | None, theirs: list[Result] | None, aim: float) -> list[str]:
    if ours is None or theirs is None:
        return []
    ratio = statistics.median(a.per_s / b.per_s for a, b in zip(ours, theirs, strict=True))
    verdict = "met" if ratio >= aim else "missed"
    return [f"{title:68}{ratio:6.2f}   aim at least {aim:.2f}: {verdict}"]


if __name__ == "__main__":
    sys.exit(main())
