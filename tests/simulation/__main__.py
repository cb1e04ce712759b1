"""Runs worlds: one seed, some, or as many as fit into a time.

python -m tests.simulation --seed 7
python -m tests.simulation --runs 1000 --from 5000
python -m tests.simulation --seconds 600
"""

import argparse
import sys
import time

from tests.simulation.world import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one and show what it was")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first seed (default: 1)")
    parser.add_argument("--runs", type=int, help="how many seeds")
    parser.add_argument("--seconds", type=float, help="for how long")
    given = parser.parse_args()
    if given.seed is not None:
        result = run(given.seed)
        print(result)
        return 0 if result.found is None else 1
    runs = given.runs if given.runs is not None else 10**9 if given.seconds is not None else 300
    ends_at = time.monotonic() + (given.seconds if given.seconds is not None else 1e9)
    began_at, done, failures = time.monotonic(), 0, 0
    while done < runs and time.monotonic() < ends_at:
        result = run(given.first + done)
        done += 1
        if result.found is not None:
            failures += 1
            print(result, flush=True)
    seconds = time.monotonic() - began_at
    print(f"{done} worlds from seed {given.first} in {seconds:.1f} s, {failures} with a broken promise")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
