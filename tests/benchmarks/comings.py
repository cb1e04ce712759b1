"""How long the embedded service pauses while devices connect, ask as fast as they are answered, and leave:
with its own way with the garbage collector, and in turns with Python's.
"""

import argparse
import asyncio
import resource
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import load, servers, watched
from tests.benchmarks.load import BenchmarkError
from tests.benchmarks.scale_served import SETTLE_S, WATCHED, Service

# The first devices find a service that has just started.
UNCOUNTED = 1


class Visit(NamedTuple):
    """All devices came, asked and left."""

    per_s: float
    longest: watched.Longest


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.comings", description=__doc__)
    parser.add_argument("--devices", type=int, nargs="+", default=[100, 2000])
    parser.add_argument("--rounds", type=int, default=2, help="services of each kind")
    parser.add_argument("--visits", type=int, default=4, help="of the devices to each service")
    parser.add_argument("--seconds", type=int, default=3, help="of each visit")
    options = parser.parse_args(arguments)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print("| devices | garbage collector | requests/s | longest collection ms | longest turn ms |")
    print("| ---: | --- | ---: | ---: | ---: |")
    try:
        for devices in options.devices:
            kinds: dict[str, list[Visit]] = {"Python's": [], "ours": []}
            for _ in range(options.rounds):
                for kind, visits in kinds.items():
                    visits.extend(_visits(devices, options.visits, options.seconds, kind))
            for kind, visits in kinds.items():
                print(_row(devices, kind, visits), flush=True)
    except BenchmarkError as reason:
        print(f"comings: {reason}", file=sys.stderr)
        return 1
    return 0


def _row(devices: int, kind: str, visits: Sequence[Visit]) -> str:
    cells = [
        f"{devices:,}",
        kind,
        f"{statistics.median(visit.per_s for visit in visits):,.0f}",
        f"{max(visit.longest.collection_ms for visit in visits):.1f}",
        f"{max(visit.longest.turn_cpu_ms for visit in visits):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _visits(devices: int, count: int, seconds: int, kind: str) -> list[Visit]:
    """Those to a service that has had some already."""
    with tempfile.TemporaryDirectory(prefix="thingjobs-comings-") as name:
        folder = Path(name)
        program, told = load.build(folder), folder / "watched"
        environ = {watched.FILE_VARIABLE: str(told)}
        if kind != "ours":
            environ[watched.USUAL_VARIABLE] = "1"
        with servers.jobs_service(folder, devices, environ=environ, program=WATCHED) as server:
            service = Service(server, told)
            return [_visit(program, service, devices, seconds) for _ in range(UNCOUNTED + count)][UNCOUNTED:]


def _visit(program: Path, service: Service, devices: int, seconds: int) -> Visit:
    async def longest() -> watched.Longest:
        await asyncio.sleep(SETTLE_S)
        return await service.longest()

    server = service.server
    asyncio.run(longest())
    arguments = ("cycle", server.port, "-n", str(devices), "-x", servers.THING_PREFIX)
    result = load.run(program, *arguments, seconds=seconds, pids=server.pids)
    if result.complaints():
        raise BenchmarkError(", ".join(result.complaints()))
    return Visit(result.per_s, asyncio.run(longest()))


if __name__ == "__main__":
    sys.exit(main())
