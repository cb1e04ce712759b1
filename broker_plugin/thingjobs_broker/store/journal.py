"""The append-only journal: records in, positions out, durable when `append` returns.

Decides when a segment ends, which are removed, and that a failed append poisons. What damage means is
decided in `segment`, the bytes in `framing`. Records are opaque. Synchronous, for one thread at a time.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import structlog

from thingjobs_broker.store.errors import JournalCorrupt, JournalFailed, RecordTooLarge, StoreError
from thingjobs_broker.store.framing import BODY_BYTES_MAX, LENGTH_BYTES, MARKER_BYTES, RECORD_BYTES_MAX
from thingjobs_broker.store.segment import (
    ROOM_BYTES,
    SegmentWriter,
    TornTail,
    is_room,
    next_segment,
    read_segment,
    scan_last_segment,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from thingjobs_broker.store.files import Files

SEGMENT_BYTES_MAX = 64 * 1024 * 1024
SPARE_SEGMENTS = 1000
"""So many that no snapshot needs are kept at most, however small they are."""

POSITION_MAX = 2**64 - 1
_SEGMENT_NAME = re.compile(r"(\d{20})\.log")

logger = structlog.get_logger(__name__)


class Journal:
    """An open journal. Made by `Journal.open`.

    Positions count records from 1 for ever: over segments, restarts and removals. All methods raise
    JournalFailed when the disk refuses. A failed append poisons the journal: what of it reached the disk
    cannot be known, and a sync that failed says nothing when repeated, so every later append fails too. The
    way on is `close` and `open`.
    """

    def __init__(
        self,
        files: Files,
        directory: Path,
        *,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        room_bytes: int = ROOM_BYTES,
        new_marker: Callable[[], bytes] = lambda: os.urandom(MARKER_BYTES),
    ) -> None:
        self._files = files
        self._directory = directory
        self._segment_bytes_max = segment_bytes_max
        self._room_bytes = room_bytes
        self._new_marker = new_marker
        # First positions, ascending; the last is the segment that takes appends.
        self._segments: list[int] = []
        self._writer: SegmentWriter | None = None
        # How much of the last segment is whole, in a journal that is only read.
        self._whole_bytes: int | None = None
        self._failure: tuple[Path, OSError] | None = None
        self._last_position = 0
        self._segment_end = 0
        self.torn_tail: TornTail | None = None

    @classmethod
    def open(
        cls,
        files: Files,
        directory: Path,
        *,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        room_bytes: int = ROOM_BYTES,
        new_marker: Callable[[], bytes] = lambda: os.urandom(MARKER_BYTES),
        first_position: int = 1,
        cut_after: int | None = None,
    ) -> Self:
        """Open the journal in `directory`, created when absent; its parent must exist.

        Scans the last segment and cuts its torn tail (logged, and kept in `torn_tail`); earlier segments
        are checked by `replay` as it reads them. On return all that `replay` will yield is durable, even
        where the process before died between write and sync. A segment takes appends until it holds
        `segment_bytes_max` bytes; the first of a new journal begins with `first_position`.

        After a failed append, `cut_after` is the `last_position` that the journal had before: what of the
        append reached the disk is cut off, since its callers were refused.

        Raises JournalCorrupt, FormatUnsupported, JournalFailed.
        """
        journal = cls(
            files,
            directory,
            segment_bytes_max=segment_bytes_max,
            room_bytes=room_bytes,
            new_marker=new_marker,
        )
        with _naming(directory):
            files.make_directory(directory)
            files.sync_directory(directory.parent)
            names = files.list_names(directory)
        journal._segments = segments_in(names)
        journal._open_last_segment(first_position, cut_after)
        return journal

    @classmethod
    def read_only(cls, files: Files, directory: Path) -> Self:
        """Open the journal in `directory` for `replay` alone, without changing a byte.

        A torn tail is passed over and kept in `torn_tail`. Raises as `open` does.
        """
        journal = cls(files, directory)
        with _naming(directory), suppress(FileNotFoundError):
            journal._segments = segments_in(files.list_names(directory))
        if not journal._segments:
            return journal
        first = journal._segments[-1]
        path = journal._path(first)
        data = journal._read(path)
        scan = scan_last_segment(path, data, first)
        if scan is None:
            journal._check_torn_creation(data)
        whole_bytes, records = (scan.end, scan.records) if scan else (0, 0)
        journal._last_position = first + records - 1
        if scan is None:
            # A creation cut short: there is nothing to read in it.
            journal._segments.pop()
        else:
            journal._whole_bytes = whole_bytes
        if not is_room(data, whole_bytes):
            journal.torn_tail = TornTail(path, whole_bytes, len(data) - whole_bytes)
        return journal

    # Reading.

    @property
    def first_position(self) -> int:
        """The position of the oldest record kept, or of the next one when there is none."""
        return self._segments[0] if self._segments else self._last_position + 1

    @property
    def last_position(self) -> int:
        """The position of the newest durable record; 0 in a new journal."""
        return self._last_position

    def replay(self, from_position: int = 1) -> Iterator[tuple[int, bytes]]:
        """Yield (position, payload) of every record from `from_position` on, in order.

        `last_position + 1` is allowed and yields nothing. Raises JournalCorrupt at once when the journal
        does not reach from there to here, and while iterating when it meets damage: what was built by then
        must not be served.
        """
        if not self.first_position <= from_position <= self._last_position + 1:
            kept = f"records {self.first_position} to {self._last_position}"
            raise JournalCorrupt(self._directory, None, f"record {from_position} or the place for it", kept)
        return self._replay(from_position)

    def _replay(self, from_position: int) -> Iterator[tuple[int, bytes]]:
        segments = self._segments[bisect_right(self._segments, from_position) - 1 :]
        for first, next_first in pairwise([*segments, self._last_position + 1]):
            path, position = self._path(first), first
            for payloads in read_segment(path, self._read(path), first, next_first - first):
                for payload in payloads:
                    if position >= from_position:
                        yield position, payload
                    position += 1

    def _read(self, path: Path) -> bytes:
        # Of the segment that takes appends only what is durable: a failed append may stand behind it.
        bytes_max = self._writer.size_bytes if self._writer and self._writer.path == path else None
        if self._whole_bytes is not None and path == self._path(self._segments[-1]):
            bytes_max = self._whole_bytes
        with _naming(path):
            return self._files.read(path, 0, bytes_max)

    # Writing.

    def append(self, payloads: Sequence[bytes]) -> int:
        """Append `payloads` in order, sync once, and return the position of the last; all are durable then.

        A crash keeps all of them or none, and a prefix of those that are synced in pieces: 16 MiB at a time,
        and up to the end of a segment (`end_segment_at`). Raises RecordTooLarge, before anything is written,
        for a payload over RECORD_BYTES_MAX. After JournalFailed a restart may or may not find them. An empty
        sequence writes nothing.
        """
        writer = self._usable_writer()
        before_end = max(self._segment_end - self._last_position, 0)
        for frame_payloads in [*_split(payloads[:before_end]), *_split(payloads[before_end:])]:
            # Rotating now and not after the sync, so that a full disk cannot fail an append that is durable.
            writer = self._rotated_if_due(writer)
            with self._poisoning(writer.path):
                writer.append(frame_payloads)
            self._last_position += len(frame_payloads)
        return self._last_position

    def end_segment_at(self, position: int) -> None:
        """Let the record after `position` begin a segment, unless it is there already; the last call counts.

        Nothing changes on the disk before the next `append` or `begin_segment`. Allowed on any thread, as
        long as no record after `position` has been given to `append`.
        """
        self._segment_end = position

    def begin_segment(self) -> None:
        """Begin the segment that the next record would begin."""
        self._rotated_if_due(self._usable_writer())

    def remove_before(self, position: int, *, in_bulk: bool = False) -> None:
        """Remove the segments all of whose records are before `position`; never the last segment.

        `in_bulk` not before they are many, or have the size that one may have: until then they stay to fall
        back on, where all snapshots are damaged and this is the journal from its beginning.

        Oldest first, each removal durable before the next, so that a crash leaves no gap. A failure here
        does not poison the journal.
        """
        if in_bulk and not self._is_much_before(position):
            return
        while len(self._segments) > 1 and self._segments[1] <= position:
            path = self._path(self._segments[0])
            with _naming(path):
                # Gone already when only the sync failed the last time.
                with suppress(FileNotFoundError):
                    self._files.remove(path)
                self._files.sync_directory(self._directory)
            del self._segments[0]

    def _is_much_before(self, position: int) -> bool:
        spare = self._segments[: max(bisect_right(self._segments, position) - 1, 0)]
        paths = map(self._path, spare)
        with _naming(self._directory):
            return len(spare) >= SPARE_SEGMENTS or self._size_bytes(paths) >= self._segment_bytes_max

    def _size_bytes(self, paths: Iterable[Path]) -> int:
        size_bytes = 0
        for path in paths:
            # Gone already when only the sync failed the last time.
            with suppress(FileNotFoundError):
                size_bytes += self._files.size_bytes(path)
        return size_bytes

    def close(self) -> None:
        """Seal and close; a poisoned journal is only closed. Never raises JournalFailed; may be repeated.

        The seal is owed to nobody, since each append was durable when it returned: failing to write it is
        no error.
        """
        writer, self._writer = self._writer, None
        if writer is None:
            return
        with suppress(OSError):
            if self._failure is None:
                writer.seal()
                writer.cut_back()
        with suppress(OSError):
            writer.close()

    def _usable_writer(self) -> SegmentWriter:
        if self._failure is not None:
            path, error = self._failure
            raise JournalFailed(path, error)
        if self._writer is None:
            raise StoreError(f"{self._directory}: the journal is closed")
        return self._writer

    @contextmanager
    def _poisoning(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failure = (path, error)
            failed = JournalFailed(path, error)
            logger.error("Journal takes no more records", action="journal_failed", error=str(failed))  # noqa: TRY400
            with suppress(OSError):
                if self._writer is not None:
                    self._writer.cut_back()
            raise failed from error

    # Segments.

    def _path(self, first_position: int) -> Path:
        return segment_path(self._directory, first_position)

    def _open_last_segment(self, first_position: int, cut_after: int | None) -> None:
        first = self._segments[-1] if self._segments else first_position
        records_max = None if cut_after is None else cut_after + 1 - first
        path = self._path(first)
        with _naming(path):
            data = self._files.read(path) if self._segments else b""
            scan = scan_last_segment(path, data, first, records_max)
            if scan is None:
                self._check_torn_creation(data)
                # A creation cut short, or the very first: it holds no record.
                self._writer = SegmentWriter.create(
                    self._files, path, first, self._new_marker(), self._room_bytes
                )
                kept_bytes, records = 0, 0
            else:
                self._writer = SegmentWriter.reopen(self._files, path, data, scan, self._room_bytes)
                kept_bytes, records = scan.end, scan.records
        self._segments = self._segments or [first]
        self._last_position = first + records - 1
        if not is_room(data, kept_bytes):
            self._report_torn(TornTail(path, kept_bytes, len(data) - kept_bytes))

    def _check_torn_creation(self, data: bytes) -> None:
        """Raise JournalCorrupt where the last segment, of no more than `data`, was on the disk once."""
        if len(self._segments) > 1:
            before, last = map(self._path, self._segments[-2:])
            if next_segment(self._read(before)) is not None:
                raise JournalCorrupt(last, 0, "the header of a segment", data.hex() or "no bytes")

    def _report_torn(self, torn: TornTail) -> None:
        self.torn_tail = torn
        logger.warning(
            "Cut an append that had not finished off the journal",
            action="journal_tail_cut",
            file=str(torn.path),
            offset=torn.offset,
            bytes_cut=torn.bytes_cut,
            last_position=self._last_position,
        )

    def _rotated_if_due(self, writer: SegmentWriter) -> SegmentWriter:
        is_full = writer.size_bytes >= self._segment_bytes_max or self._last_position == self._segment_end
        return self._rotate(writer) if is_full and self._last_position >= self._segments[-1] else writer

    def _rotate(self, full: SegmentWriter) -> SegmentWriter:
        first = self._last_position + 1
        path = self._path(first)
        with self._poisoning(path):
            writer = SegmentWriter.create(self._files, path, first, self._new_marker(), self._room_bytes)
        try:
            with self._poisoning(full.path):
                full.end(first)
        except JournalFailed:
            writer.close()
            raise
        self._writer = writer
        self._segments.append(first)
        with suppress(OSError):
            # All of it was synced; what may still be reported is old news.
            full.cut_back()
            full.close()
        return writer


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn an OSError into a JournalFailed that names `path`."""
    try:
        yield
    except OSError as error:
        raise JournalFailed(path, error) from error


def segment_path(directory: Path, first_position: int) -> Path:
    """Return where the segment is that begins with `first_position`."""
    return directory / f"{first_position:020d}.log"


def segments_in(names: Sequence[str]) -> list[int]:
    """Return the first positions of the segments with these sorted names; other files are not ours."""
    firsts = [int(match[1]) for match in map(_SEGMENT_NAME.fullmatch, names) if match]
    return [first for first in firsts if 0 < first <= POSITION_MAX]


def _split(payloads: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Return `payloads` in runs that each fit a frame: nearly always one run. Raises RecordTooLarge."""
    sizes = [len(payload) + LENGTH_BYTES for payload in payloads]
    if not sizes:
        return []
    if max(sizes) > BODY_BYTES_MAX:
        raise RecordTooLarge(max(sizes) - LENGTH_BYTES, RECORD_BYTES_MAX)
    if sum(sizes) <= BODY_BYTES_MAX:
        return [payloads]
    begins, run_bytes = [0], 0
    for index, size in enumerate(sizes):
        if run_bytes + size > BODY_BYTES_MAX:
            begins.append(index)
            run_bytes = 0
        run_bytes += size
    return [payloads[begin:end] for begin, end in pairwise([*begins, len(payloads)])]
