"""The fixtures of the tests on the wire."""

from tests.end_to_end.wire_fixtures import service

__all__ = ["service"]
