"""What handlers print, made fit for status details: the last part, printable, with what was cut off marked.

Values of status details hold 1 to 1024 characters, none of them a control character (spec: data plane 2.2).
"""

from __future__ import annotations

from typing import Final

from thingjobs_protocol.limits import STATUS_DETAILS_VALUE_CHARACTERS_MAX

TRUNCATED: Final = "[...] "
"""Stands for what was cut off."""

_TAIL_BYTES_MAX: Final = 4 * STATUS_DETAILS_VALUE_CHARACTERS_MAX
"""A character takes at most four bytes in UTF-8."""


class Tail:
    """The end of a stream, however long the stream is; counts its lines.

    Memory stays bounded: at most twice the kept bytes, plus the chunk being fed.
    """

    def __init__(self) -> None:
        self._kept = bytearray()
        self._bytes_seen = 0
        self._newlines = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        self._bytes_seen += len(chunk)
        self._newlines += chunk.count(b"\n")
        self._kept += chunk[-_TAIL_BYTES_MAX:]
        del self._kept[:-_TAIL_BYTES_MAX]

    @property
    def line_count(self) -> int:
        """The lines so far; a last one without its newline counts."""
        return self._newlines + (1 if self._kept and not self._kept.endswith(b"\n") else 0)

    def text(self) -> str:
        """Return the end of the stream as a value for status details; empty if there was none."""
        kept = bytes(self._kept)
        is_cut = self._bytes_seen > len(kept)
        if is_cut:
            # The cut may fall inside a character: drop its rest.
            kept = kept.lstrip(bytes(range(0x80, 0xC0)))
        return last_part(kept.decode("utf-8", errors="replace"), is_cut=is_cut)


def printable(text: str) -> str:
    """Return the text with each character that status details refuse as a space, and no space at its ends."""
    if text.isprintable():
        return text.strip()
    return "".join(character if character.isprintable() else " " for character in text).strip()


def last_part(text: str, *, is_cut: bool = False) -> str:
    """Return the end of a text as a value for status details; `is_cut` says that its beginning is already
    gone.
    """
    clean = printable(text)
    if not clean:
        return ""
    room = STATUS_DETAILS_VALUE_CHARACTERS_MAX
    if not is_cut and len(clean) <= room:
        return clean
    return TRUNCATED + clean[-(room - len(TRUNCATED)) :]


def first_part(text: str) -> str:
    """Return the beginning of a text as a value for status details: reasons begin with the point."""
    clean = printable(text)
    room = STATUS_DETAILS_VALUE_CHARACTERS_MAX
    if len(clean) <= room:
        return clean
    end = TRUNCATED.rstrip()
    return clean[: room - len(end)] + end
