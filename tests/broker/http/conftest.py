"""One service for the tests of a module, and one for each test that wants its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.http.served import Served


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A service of its own, for whoever signs or does not."""
    with Served(tmp_path, test_clock=True) as one:
        yield one
        assert not one.failures
