"""How much is lost where the journal is cut, which is told before it is done.

What stands behind damage is only counted, never used.
"""

from __future__ import annotations

from typing import NamedTuple

from thingjobs_broker.store.framing import (
    HEADER_BYTES,
    declared_count,
    decode_header,
    find_frame,
    read_frames,
)


class Loss(NamedTuple):
    """The entries from position `first` on are lost: `entries` of them, if not `is_exact` at least so many.

    `since_ms` is when the last entry that is kept was written (0: none is), in milliseconds since 1970.
    """

    first: int
    entries: int
    is_exact: bool
    since_ms: int


def stood_in(data: bytes, first: int, offset: int) -> tuple[int, bool]:
    """Return how many entries stood in a segment from `offset` on, and whether that is exact: else at least.

    `data` is the content of the segment that should begin with entry `first`.
    """
    header = decode_header(data)
    if header is None or header.first_position != first:
        return 0, False
    entries, is_exact, end = 0, True, max(offset, HEADER_BYTES)
    while True:
        for frame_end, payloads in read_frames(data, header.marker, end):
            entries += len(payloads)
            end = frame_end
        following = find_frame(data, header.marker, end + 1)
        if following is None:
            # What is torn off at the end is no loss: nobody was told of it.
            return entries, is_exact
        count = declared_count(data, header.marker, end, following)
        entries += 1 if count is None else count
        is_exact = is_exact and count is not None
        end = following
