"""The checkers bite: each planted bug is soon noticed by the checker whose promise it breaks."""

import pytest

from tests.simulation import planted_changes
from tests.simulation.planted import BUGS, Plant
from tests.simulation.world import run

SEEDS_MAX = 300
assert planted_changes.__doc__, "imported for its bugs, which are in the list with the others"


@pytest.mark.broker
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("plant", "checkers"), BUGS, ids=[plant.__name__ for plant, _ in BUGS])
def test_a_planted_bug_is_noticed(
    plant: Plant, checkers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A promise that can be broken unnoticed is not checked."""
    plant(monkeypatch)
    noticed = []
    for seed in range(1, SEEDS_MAX + 1):
        found = run(seed).found
        if found is not None:
            noticed.append((seed, found.checker))
            if found.checker in checkers:
                return
    pytest.fail(f"nobody of {checkers} has noticed; others have: {noticed}")
