"""The budget of worlds that is run each time, and that a seed is a world: the same again, event by event."""

import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable

import pytest

from tests.simulation.world import run
from tests.support import ROOT

QUICK_SEEDS = 6
SEEDS = 300
BUDGET_SECONDS = 60.0
PARTS = 12


def test_some_worlds_keep_their_promises() -> None:
    """Architecture 4: every promise, where everything goes wrong. The seed of a failure replays it."""
    check(range(1, QUICK_SEEDS + 1))


@pytest.mark.broker
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
def test_worlds_keep_their_promises(part: int) -> None:
    """The same with the whole budget: so many worlds or so many seconds of a processor, what ends first.

    There is no broker, but it takes the time of one.
    """
    check(range(QUICK_SEEDS + 1 + part, SEEDS + 1, PARTS), BUDGET_SECONDS / PARTS)


def check(seeds: Iterable[int], seconds_max: float = math.inf) -> None:
    until_seconds = time.process_time() + seconds_max
    for seed in seeds:
        if time.process_time() > until_seconds:
            break
        result = run(seed)
        assert result.found is None, str(result)


@pytest.mark.parametrize("seed", [3, *(pytest.param(seed, marks=pytest.mark.broker) for seed in (18, 46))])
def test_a_seed_is_a_world(seed: int) -> None:
    """The trace is the same again, to the last event, in another process with another order of sets."""
    first = run(seed)
    assert first.line_count > 200
    script = f"from tests.simulation.world import run; print(run({seed}).digest)"
    again = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout.strip() == first.digest


def test_seeds_differ() -> None:
    """No world is another one."""
    assert len({run(seed).digest for seed in (5, 9)}) == 2
