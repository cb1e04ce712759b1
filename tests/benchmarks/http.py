"""Measures the HTTP API next to moto's server: CreateJob, DescribeJob and ListJobs with few and many jobs.

`python -m tests.benchmarks.http`. Both servers run at once and are asked in turns by the same light client,
so that a machine that is busy for a while is busy for both; what is printed are medians and, of the rates,
the ratio within a round. moto stores nothing and looks at no signature.
"""

import argparse
import contextlib
import itertools
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.benchmarks import beside, http_load, servers
from tests.benchmarks.http_load import Request, Result
from tests.benchmarks.load import BenchmarkError
from tests.benchmarks.servers import Server
from tests.support import free_port

THINGS = 1000
OPERATIONS = ("DescribeJob", "ListJobs", "CreateJob")
"""In this order, because the last one makes jobs."""
CREATES_MAX = 500
"""In one run, so that there are not many more jobs than the line says."""
PAGE_SIZE = 50

# Operation and number of jobs -> our result and moto's, round by round.
Pairs = dict[tuple[str, int], list[tuple[Result, Result]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the rounds and prints what they gave."""
    options = _options(arguments)
    results: Pairs = {}
    try:
        with tempfile.TemporaryDirectory(prefix="thingjobs-http-") as folder:
            for jobs in options.jobs:
                results |= measure(Path(folder) / str(jobs), jobs, options)
    except BenchmarkError as reason:
        print(f"http: {reason}", file=sys.stderr)
        return 1
    for line in table(results):
        print(line)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.http", description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[10, 1000, 100_000])
    parser.add_argument("--seconds", type=float, default=2.0, help="of one run (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--connections", type=int, default=8, help="default: 8")
    return parser.parse_args(arguments)


def measure(folder: Path, jobs: int, options: argparse.Namespace) -> Pairs:
    """Asks both in every round, each operation by itself."""
    folder.mkdir()
    results: Pairs = {}
    fresh = itertools.count(jobs)
    with ours(folder, jobs) as our_server, moto(folder, jobs) as moto_server:
        for server in (our_server, moto_server):
            # moto reads its tables of routes at the first requests.
            http_load.run(
                server, _requests("DescribeJob", jobs, "", fresh), connections=1, seconds=60, requests_max=20
            )
        for operation in OPERATIONS:
            requests_max = CREATES_MAX if operation == "CreateJob" else sys.maxsize
            for _ in range(options.rounds):
                pair = [
                    http_load.run(
                        server,
                        _requests(operation, jobs, account, fresh),
                        connections=options.connections,
                        seconds=options.seconds,
                        requests_max=requests_max,
                    )
                    for server, account in ((our_server, "000000000000"), (moto_server, "123456789012"))
                ]
                results.setdefault((operation, jobs), []).append((pair[0], pair[1]))
    return results


def _requests(operation: str, jobs: int, account: str, fresh: Iterator[int]) -> Callable[[], Request]:
    if operation == "DescribeJob":
        return lambda: Request("GET", f"/jobs/job-{random.randrange(jobs)}")
    if operation == "ListJobs":
        return lambda: Request("GET", "/jobs", f"maxResults={PAGE_SIZE}")

    def create() -> Request:
        number = next(fresh)
        body = {
            "targets": [f"arn:aws:iot:{http_load.REGION}:{account}:thing/bench-{number % THINGS}"],
            "document": '{"operation":"benchmark"}',
        }
        return Request("PUT", f"/jobs/job-{number}", body=json.dumps(body).encode())

    return create


@contextlib.contextmanager
def ours(folder: Path, jobs: int) -> Iterator[Server]:
    """`thingjobs up --http` as a user starts it: a journal that syncs, verified signatures."""
    data_dir, keys = folder / "data", folder / "access_keys"
    with beside.recording(data_dir) as (_, execute):
        for number in range(THINGS):
            execute("CreateThing", thingName=f"bench-{number}")
        for number in range(jobs):
            target = f"bench-{number % THINGS}"
            execute(
                "CreateJob", jobId=f"job-{number}", targets=[target], document='{"operation":"benchmark"}'
            )
    keys.touch(0o600)
    keys.write_text(f"{http_load.KEY_ID} {http_load.SECRET} operator benchmark\n", encoding="utf-8")
    port = free_port()
    command = [
        *(str(servers.thingjobs()), "up", "--anonymous", "--listen", f"127.0.0.1:{free_port()}"),
        *("--data-dir", str(data_dir)),
        *("--http", f"127.0.0.1:{port}", "--http-access-keys", str(keys)),
    ]
    # 100,000 jobs are the most that AWS allows; some more are made here.
    environ = {
        "THINGJOBS_REGION": http_load.REGION,
        "THINGJOBS_QUOTAS_ACTIVE_JOBS_MAX": str(2 * jobs + 10_000),
    }
    with servers._running(folder / "service.log", port, *command, environ=environ) as pid:
        yield Server(port, [pid])


@contextlib.contextmanager
def moto(folder: Path, jobs: int) -> Iterator[Server]:
    """The server of moto, filled within its process."""
    port = free_port()
    module = [sys.executable, "-m", "tests.benchmarks.moto_server"]
    with servers._running(folder / "moto.log", port, *module, str(port), str(jobs), http_load.REGION) as pid:
        yield Server(port, [pid])


def table(results: Pairs) -> list[str]:
    """One line for each operation and number of jobs, in Markdown."""
    lines = [
        "| operation | jobs | requests/s | moto | ratio | p50 ms | moto | p99 ms | moto | ms of CPU | moto |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (operation, jobs), pairs in sorted(results.items()):
        sides = list(zip(*pairs, strict=True))
        rates = [statistics.median(one.per_s for one in side) for side in sides]
        ratio = statistics.median(one.per_s / other.per_s for one, other in pairs)
        columns = [
            *(operation, f"{jobs:,}", *(f"{rate:,.0f}" for rate in rates), f"{ratio:.1f}"),
            *(
                f"{statistics.median(one.percentile_ms(part) for one in side):.1f}"
                for part in (0.5, 0.99)
                for side in sides
            ),
            *(f"{statistics.median(one.cpu_ms for one in side):.2f}" for side in sides),
        ]
        lines.append(f"| {' | '.join(columns)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
