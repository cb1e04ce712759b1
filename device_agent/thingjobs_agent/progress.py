"""What a handler writes to its progress file, as status details.

Each line is `key=value` or a JSON object of such pairs; later values replace earlier ones. Lines that are
neither, and keys the protocol refuses, are passed over: a handler's slip must not fail its job.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from thingjobs_agent.output import last_part
from thingjobs_protocol.limits import STATUS_DETAILS_KEY_PATTERN, STATUS_DETAILS_PAIRS_MAX

LINE_BYTES_MAX: Final = 16 * 1024
"""Ten pairs of full length; a longer line is passed over."""

PAIRS_MAX: Final = STATUS_DETAILS_PAIRS_MAX - 1
"""One pair is the agent's own: `step`."""

_is_key: Final = re.compile(STATUS_DETAILS_KEY_PATTERN).match


class Progress:
    """Collects a handler's details from the pieces of its progress file."""

    def __init__(self, hide: Callable[[str], str]) -> None:
        """Take what hides secrets in a value."""
        self.details: dict[str, str] = {}
        self._hide = hide
        self._rest = b""

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes of the file; tell whether the details changed. A last line waits for its
        newline.
        """
        before = dict(self.details)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        # Past the limit the line is lost anyway; one byte more than the limit keeps it recognizable as too
        # long.
        self._rest = self._rest[: LINE_BYTES_MAX + 1]
        for line in lines:
            if len(line) <= LINE_BYTES_MAX:
                self._take(line.strip())
        return self.details != before

    def _take(self, line: bytes) -> None:
        for key, value in _pairs(line):
            text = last_part(self._hide(value))
            if text and _is_key(key) and (key in self.details or len(self.details) < PAIRS_MAX):
                self.details[key] = text


def _pairs(line: bytes) -> list[tuple[str, str]]:
    if line.startswith(b"{"):
        try:
            pairs = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return []
        return [(key, _as_text(value)) for key, value in pairs.items()]
    key, equals, value = line.decode("utf-8", errors="replace").partition("=")
    return [(key.strip(), value)] if equals else []


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or isinstance(value, dict | list) else msgspec.json.encode(value).decode()
