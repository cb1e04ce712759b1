"""What every test gets: an environment without our variables, and hypothesis without deadlines.

`pytest --hypothesis-profile long` tries many more examples than there is time for each time.
"""

import os

import hypothesis
import pytest

# A shared machine stalls now and then; the suite's own timeout catches what hangs.
hypothesis.settings.register_profile("thingjobs", deadline=None, print_blob=True, max_examples=60)
hypothesis.settings.register_profile("long", deadline=None, print_blob=True, max_examples=2000)
hypothesis.settings.load_profile("thingjobs")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings in the developer's shell do not reach the tests or the programs they start."""
    for name in list(os.environ):
        if name.startswith("THINGJOBS_"):
            monkeypatch.delenv(name)
