"""The bytes of a journal segment: a header, then frames. Pure: bytes in, bytes and findings out.

Decides what a whole frame is; what a damaged one means is decided in `segment`.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from struct import Struct, pack, unpack_from
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# A frame holds all records of one append under one checksum, so an append is recovered whole or not at all.
#
#   header  magic 8s · format version u32 · first position u64 · marker 4s · crc32 of these
#   frame   marker 4s · crc32 u32 of the rest · body length u32 · record count u32 · body
#   body    each record's length u32, then the records
#
# All integers are little-endian. The header's layout is for ever; the version speaks of what follows it.
# The marker is random for each segment: it finds the next frame after a damaged one, and a client cannot
# forge a frame inside a record's payload. A frame of no records is a seal: all before it had been synced.
# With a body, the position u64 that the next segment begins with, it ends the segment: that one exists.

MAGIC = b"thingjnl"
FORMAT_VERSION = 1
MARKER_BYTES = 4
RECORD_BYTES_MAX = 16 * 1024 * 1024
LENGTH_BYTES = 4
BODY_BYTES_MAX = RECORD_BYTES_MAX + LENGTH_BYTES

_HEADER = Struct("<8sIQ4s")
_FRAME = Struct("<4sIII")
_CRC = Struct("<I")
_NEXT = Struct("<Q")
# The checksum covers the frame from here: its own length and count, and the body.
_CHECKED_FROM = MARKER_BYTES + _CRC.size
HEADER_BYTES = _HEADER.size + _CRC.size
FRAME_HEADER_BYTES = _FRAME.size


class SegmentHeader(NamedTuple):
    """What the header of a segment says."""

    version: int
    first_position: int
    marker: bytes


def encode_header(first_position: int, marker: bytes) -> bytes:
    """Return the header of a segment whose first record has position `first_position` (from 1)."""
    header = _HEADER.pack(MAGIC, FORMAT_VERSION, first_position, marker)
    return header + _CRC.pack(crc32(header))


def decode_header(data: bytes) -> SegmentHeader | None:
    """Return the header at the start of `data`, or None when it is damaged or cut short."""
    if len(data) < HEADER_BYTES:
        return None
    magic, version, first_position, marker = _HEADER.unpack_from(data)
    (checksum,) = _CRC.unpack_from(data, _HEADER.size)
    if magic != MAGIC or checksum != crc32(data[: _HEADER.size]):
        return None
    return SegmentHeader(version, first_position, marker)


def encode_frame(payloads: Sequence[bytes], marker: bytes) -> bytes:
    """Return one frame of `payloads`, which the caller keeps within BODY_BYTES_MAX; none make a seal."""
    lengths = pack(f"<{len(payloads)}I", *map(len, payloads))
    body = b"".join((lengths, *payloads))
    checked = pack("<II", len(body), len(payloads)) + body
    return marker + _CRC.pack(crc32(checked)) + checked


def encode_end(next_position: int, marker: bytes) -> bytes:
    """Return the frame that ends a segment: the next one begins with `next_position`."""
    checked = pack("<II", _NEXT.size, 0) + _NEXT.pack(next_position)
    return marker + _CRC.pack(crc32(checked)) + checked


def decode_end(data: bytes, offset: int) -> int | None:
    """Return what the next segment begins with, if the whole frame at `offset` ends this one, else None."""
    _, _, length, count = _FRAME.unpack_from(data, offset)
    if count or length != _NEXT.size:
        return None
    return int(_NEXT.unpack_from(data, offset + FRAME_HEADER_BYTES)[0])


def read_frames(data: bytes, marker: bytes, offset: int = HEADER_BYTES) -> Iterator[tuple[int, list[bytes]]]:
    """Yield (end offset, records) of each frame from `offset` on; stop before the first that is not whole."""
    view = memoryview(data)
    while (frame := _whole_frame(view, offset, marker)) is not None:
        end, count = frame
        start = offset + FRAME_HEADER_BYTES
        yield end, [data[start + LENGTH_BYTES : end]] if count == 1 else _records(data, start, count)
        offset = end


def find_frame(data: bytes, marker: bytes, offset: int) -> int | None:
    """Return the offset of the first whole frame that starts at `offset` or later, wherever it starts."""
    view = memoryview(data)
    while (offset := data.find(marker, offset)) >= 0:
        if _whole_frame(view, offset, marker) is not None:
            return offset
        offset += 1
    return None


def declared_count(data: bytes, marker: bytes, offset: int, end: int) -> int | None:
    """Return how many records the frame at `offset`, which is not whole, says it has; None if it is not to be
    believed, because it does not end at `end`.
    """
    if end - offset < FRAME_HEADER_BYTES:
        return None
    found_marker, _, length, count = _FRAME.unpack_from(data, offset)
    ends_there = offset + FRAME_HEADER_BYTES + length == end
    return count if found_marker == marker and ends_there and count * LENGTH_BYTES <= length else None


def describe_damage(data: bytes, marker: bytes, offset: int) -> tuple[str, str]:
    """Return (what was expected, what was found) for the frame at `offset` that is not whole."""
    left = len(data) - offset
    if left < FRAME_HEADER_BYTES:
        return f"a frame header of {FRAME_HEADER_BYTES} bytes", f"{left} bytes"
    found_marker, checksum, length, _ = _FRAME.unpack_from(data, offset)
    if found_marker != marker:
        return f"frame marker {marker.hex()}", found_marker.hex()
    body_bytes_max = min(left - FRAME_HEADER_BYTES, BODY_BYTES_MAX)
    if length > body_bytes_max:
        return f"a frame body of at most {body_bytes_max} bytes", f"length {length}"
    computed = crc32(data[offset + _CHECKED_FROM : offset + FRAME_HEADER_BYTES + length])
    return f"checksum {checksum:08x}", f"{computed:08x}"


def _whole_frame(view: memoryview, offset: int, marker: bytes) -> tuple[int, int] | None:
    """Return (end offset, record count) of the frame at `offset`, or None when it is not whole."""
    start = offset + FRAME_HEADER_BYTES
    if start > len(view):
        return None
    found_marker, checksum, length, count = _FRAME.unpack_from(view, offset)
    end = start + length
    if found_marker != marker or length > BODY_BYTES_MAX or end > len(view):
        return None
    return (end, count) if crc32(view[offset + _CHECKED_FROM : end]) == checksum else None


def _records(data: bytes, start: int, count: int) -> list[bytes]:
    lengths = unpack_from(f"<{count}I", data, start)
    edges = accumulate(lengths, initial=start + LENGTH_BYTES * count)
    return [data[left:right] for left, right in pairwise(edges)]
