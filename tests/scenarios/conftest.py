"""The flag that writes the transcripts anew; the difference is then reviewed by hand, against the spec."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known when pytest is started on this folder: `pytest tests/scenarios --rewrite-transcripts`."""
    parser.addoption(
        "--rewrite-transcripts", action="store_true", help="write the transcripts as the core answers now"
    )
