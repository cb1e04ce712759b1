"""One segment file: begun, appended to, scanned after a stop, read back.

Decides what damage in it means: a torn tail to cut, or corruption to refuse.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from thingjobs_broker.store.errors import FormatUnsupported, JournalCorrupt
from thingjobs_broker.store.framing import (
    FORMAT_VERSION,
    HEADER_BYTES,
    decode_end,
    decode_header,
    describe_damage,
    encode_end,
    encode_frame,
    encode_header,
    find_frame,
    read_frames,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from thingjobs_broker.store.files import Files, WritableFile

# A frame is written only after the one before it was synced, and `SegmentWriter.reopen` syncs the last one
# again before anything is written behind it. So:
#
# 1. A damaged frame with a whole one after it was synced once: corruption, however small. Refuse. So is any
#    damage in a segment that is not the last, since a segment is begun only after the one before was synced;
#    but for what is torn of the frame that ends it, which is written after the next one was begun. Without
#    that frame all records are there or their number does not fit.
# 2. A damaged frame with nothing whole after it is what a power cut leaves of the one append that had not
#    returned (any mix of its sectors, zeros included). Nobody was told of it: cut it, whole, and say so.
# 3. Not decidable from the file: a last frame damaged after it was synced looks like 2, and so does damage
#    from some frame to the end of the file. A seal (an empty frame) therefore ends the journal at a clean
#    stop: then every record has a whole frame behind it, and only the seal itself can pass for torn. After a
#    crash the doubt remains for the last append alone.
#
# 4. A segment's end says that the next one is there, on disk, before it takes records: a next one that is
#    missing, or has no header, was not torn but lost.
#
# Zeros behind the last frame are room: written ahead, so that a sync has only data to write and no new size,
# which on ext4 takes a commit of its journal as well. They mean nothing.

ROOM_BYTES: Final = 256 * 1024
"""Room that is made at once: several hundred updates, and little enough for a slow disk to write."""


class TornTail(NamedTuple):
    """What was cut off: an append that was under way when the service last stopped."""

    path: Path
    offset: int
    bytes_cut: int


class SegmentScan(NamedTuple):
    """What a scan of the last segment found; its last frame, or its header, is [last_frame:end]."""

    marker: bytes
    records: int
    last_frame: int
    end: int
    sealed: bool


class SegmentWriter:
    """The segment that takes appends. OSErrors pass through; `size_bytes` counts only what was synced."""

    def __init__(
        self,
        file: WritableFile,
        path: Path,
        marker: bytes,
        size_bytes: int,
        *,
        sealed: bool,
        room_bytes: int,
    ) -> None:
        self._file = file
        self._marker = marker
        self._sealed = sealed
        self._room_bytes = room_bytes
        self._room_end = 0
        self.path = path
        self.size_bytes = size_bytes

    @classmethod
    def create(
        cls, files: Files, path: Path, first_position: int, marker: bytes, room_bytes: int = ROOM_BYTES
    ) -> Self:
        """Begin an empty segment at `path`, replacing what is there; header and name are durable on return.

        The header is synced before the first frame follows, so a damaged header is a torn creation only in
        a file that is no longer than a header.
        """
        header = encode_header(first_position, marker)
        file = files.create(path)
        try:
            file.write(header, 0)
            file.sync()
            files.sync_directory(path.parent)
        except BaseException:
            file.close()
            raise
        return cls(file, path, marker, len(header), sealed=True, room_bytes=room_bytes)

    @classmethod
    def reopen(
        cls, files: Files, path: Path, data: bytes, scan: SegmentScan, room_bytes: int = ROOM_BYTES
    ) -> Self:
        """Go on after `scan` of `data`, the content of `path`: cut what is behind it, make the rest durable.

        The process before may have died between write and sync, or have seen a sync fail: what we read may
        be in the page cache alone, on pages the kernel holds to be clean. Only the last frame can be so;
        writing its very bytes again makes the next sync mean them, and harms nothing if the power fails
        meanwhile.
        """
        file = files.open(path)
        try:
            if scan.end < len(data):
                file.truncate(scan.end)
            file.write(data[scan.last_frame : scan.end], scan.last_frame)
            file.sync()
            files.sync_directory(path.parent)
        except BaseException:
            file.close()
            raise
        return cls(file, path, scan.marker, scan.end, sealed=scan.sealed, room_bytes=room_bytes)

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write one frame of `payloads` and sync it. After an OSError the segment takes no more appends."""
        self._write(encode_frame(payloads, self._marker), make_room=bool(payloads))
        self._sealed = not payloads

    def end(self, next_position: int) -> None:
        """Say on disk that the segment follows which begins with `next_position`, and is on disk already."""
        self._write(encode_end(next_position, self._marker), make_room=False)
        self._sealed = True

    def _write(self, frame: bytes, *, make_room: bool) -> None:
        end = self.size_bytes + len(frame)
        self._file.write(frame, self.size_bytes)
        if end > self._room_end and make_room:
            self._make_room(end)
        self._file.sync_data()
        self.size_bytes = end

    def _make_room(self, begin: int) -> None:
        # A disk that has none left says so when a frame needs it.
        with suppress(OSError):
            self._file.write(bytes(self._room_bytes), begin)
            self._room_end = begin + self._room_bytes

    def seal(self) -> None:
        """Say on disk that all before was synced, unless a seal says so already."""
        if not self._sealed:
            self.append([])

    def cut_back(self) -> None:
        """Drop room, and what was not synced: a restart shall not find a change its client was refused."""
        self._file.truncate(self.size_bytes)

    def close(self) -> None:
        """Give the descriptor back; neither seals nor syncs."""
        self._file.close()


def scan_last_segment(
    path: Path, data: bytes, first_position: int, records_max: int | None = None
) -> SegmentScan | None:
    """Return what is whole in `data`, the content of the last segment; None when its creation was torn.

    Frames that would make more than `records_max` records are left out, whole or not: the caller knows that
    their append failed. Raises JournalCorrupt for damage that cannot be a torn tail, FormatUnsupported.
    """
    if decode_header(data) is None and len(data) <= HEADER_BYTES:
        return None
    marker = _check_header(path, data, first_position)
    records, last_frame, end, sealed = 0, 0, HEADER_BYTES, True
    for frame_end, payloads in read_frames(data, marker):
        if records_max is not None and records + len(payloads) > records_max:
            return SegmentScan(marker, records, last_frame, end, sealed)
        last_frame, end = end, frame_end
        records += len(payloads)
        sealed = not payloads
    following = find_frame(data, marker, end + 1)
    if following is not None:
        expected, found = describe_damage(data, marker, end)
        raise JournalCorrupt(path, end, expected, f"{found} (a whole frame follows at offset {following})")
    next_position = decode_end(data, last_frame) if last_frame else None
    if next_position is not None:
        raise JournalCorrupt(path, last_frame, f"a segment that begins with entry {next_position}", "none")
    return SegmentScan(marker, records, last_frame, end, sealed)


def read_segment(path: Path, data: bytes, first_position: int, count: int) -> Iterator[list[bytes]]:
    """Yield the records of each frame in `data`, the content of `path`: `count` of them, or it is damaged.

    Raises JournalCorrupt, FormatUnsupported.
    """
    marker = _check_header(path, data, first_position)
    end, records = HEADER_BYTES, 0
    for frame_end, payloads in read_frames(data, marker):
        yield payloads
        end = frame_end
        records += len(payloads)
    if not (is_room(data, end) or (records == count and is_torn(data, marker, end))):
        raise JournalCorrupt(path, end, *describe_damage(data, marker, end))
    if records != count:
        raise JournalCorrupt(path, None, f"{count} records", str(records))


def next_segment(data: bytes) -> int | None:
    """Return what the segment begins with that `data`, the content of one, says to follow, or None."""
    header = decode_header(data)
    begin = end = HEADER_BYTES
    for frame_end, _ in read_frames(data, header.marker) if header else ():
        begin, end = end, frame_end
    return decode_end(data, begin) if begin < end else None


def is_torn(data: bytes, marker: bytes, end: int) -> bool:
    """Tell whether nothing whole stands in `data` behind `end`, that of the last whole frame."""
    return find_frame(data, marker, end + 1) is None


def is_room(data: bytes, begin: int) -> bool:
    """Tell whether nothing stands in `data` from `begin` on: neither a frame nor what is left of one."""
    return data.count(0, begin) == len(data) - begin


def _check_header(path: Path, data: bytes, first_position: int) -> bytes:
    header = decode_header(data)
    if header is None:
        raise JournalCorrupt(path, 0, "the header of a segment", data[:HEADER_BYTES].hex() or "no bytes")
    if header.version != FORMAT_VERSION:
        raise FormatUnsupported(path, header.version, FORMAT_VERSION)
    if header.first_position != first_position:
        raise JournalCorrupt(path, 0, f"first position {first_position}", str(header.first_position))
    return header.marker
