"""The data directory as one thing: the state out of it, entries and snapshots into it.

Decides what is removed when, and what a full disk is. Synchronous. One thread at a time, save that a snapshot
may be written beside it. The lock on the directory is the caller's.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from thingjobs_broker.store.capture import Capture
from thingjobs_broker.store.journal import Journal
from thingjobs_broker.store.recover import recover
from thingjobs_broker.store.snapshot import SnapshotWriter, positions, prune

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from thingjobs_broker.core.state import State
    from thingjobs_broker.store.files import Files

RESERVE_BYTES: Final = 64 * 1024 * 1024
SNAPSHOTS_KEPT: Final = 2
SNAPSHOT_BYTES_MIN: Final = 1024 * 1024
"""The least that a snapshot is expected to take."""

PROBE: Final = "probe"
PROBE_BYTES: Final = 64 * 1024
"""A file that comes and goes, to see whether a disk that was full takes writes again."""

JOURNAL: Final = "journal"
SNAPSHOTS: Final = "snapshot"


class Store:
    """An open data directory.

    `position` counts the durable entries; `replayed_bytes` is what the last `load` found behind its snapshot,
    `snapshot_bytes` the size of the newest snapshot (0: none). All methods raise StoreError.
    """

    def __init__(self, files: Files, data_dir: Path, *, reserve_bytes: int = RESERVE_BYTES) -> None:
        """Open `data_dir`, which must exist; cuts an append that had not finished off the journal."""
        self.replayed_bytes = 0
        self.snapshot_bytes = 0
        self._files = files
        self._data_dir = data_dir
        self._snapshots = data_dir / SNAPSHOTS
        self._reserve_bytes = reserve_bytes
        self._journal = Journal.open(files, data_dir / JOURNAL)

    @property
    def position(self) -> int:
        """The position of the newest durable entry."""
        return self._journal.last_position

    def load(self, *, read_only: bool = False) -> State:
        """Return the state at `position`, also after an append that failed. `read_only` changes no file."""
        found = recover(self._files, self._snapshots, self._journal, read_only=read_only)
        self.replayed_bytes = found.replayed_bytes
        self.snapshot_bytes = found.snapshot_bytes
        # In case that the process before died between the snapshot and the end of the segment.
        self._journal.end_segment_at(found.snapshot_position)
        return found.state

    # Entries

    def append(self, entries: Sequence[bytes]) -> bool:
        """Make entries durable; tell whether there is room for more.

        After JournalFailed nothing can be appended before `reopen`, and the entries that `position` does not
        count are not part of the history, nor will they be.
        """
        self._journal.append(entries)
        return self.has_room()

    def reopen(self) -> None:
        """Begin anew after a failed append; what of it reached the disk is cut off. Harmless when repeated.

        Raises JournalFailed when the disk still refuses; then `load` still works, as far as it can be read.
        """
        failed = self._journal
        self._journal = Journal.open(self._files, self._data_dir / JOURNAL, cut_after=failed.last_position)
        failed.close()

    def has_room(self, *, again: bool = False) -> bool:
        """Tell whether the disk has its reserve.

        When it is to have it `again`, a quarter more, and it must take a file: a quota, or a disk without a
        reserve, has room by its own account. Each try that fails would cost a recovery.
        """
        wanted = self._reserve_bytes * 5 // 4 if again else self._reserve_bytes
        try:
            has_reserve = self._files.free_bytes(self._data_dir) >= wanted
            if has_reserve and again:
                self._write_probe()
        except OSError:
            return False
        return has_reserve

    def _write_probe(self) -> None:
        path = self._data_dir / PROBE
        try:
            file = self._files.create(path)
            try:
                file.write(bytes(PROBE_BYTES), 0)
                file.sync()
            finally:
                file.close()
        finally:
            with suppress(OSError):
                self._files.remove(path)

    def close(self) -> None:
        """End the journal. May be repeated."""
        self._journal.close()

    # Snapshots

    def has_room_for_snapshot(self, *, use_reserve: bool = False) -> bool:
        """Tell whether the next snapshot leaves the reserve alone, or fits into it: in the end it makes room.

        It is expected to be a quarter larger than the last.
        """
        reserved = 0 if use_reserve else self._reserve_bytes
        try:
            expected_bytes = max(self.snapshot_bytes, SNAPSHOT_BYTES_MIN) * 5 // 4
            return self._files.free_bytes(self._data_dir) >= reserved + expected_bytes
        except OSError:
            return False

    def part_journal_at(self, position: int) -> None:
        """Keep what a snapshot of `position` makes useless in other files than what it needs after it.

        Then damage to the one cannot cost the other, and a start need not read it. To be called before any
        entry after `position` is given to `append`; allowed on another thread.
        """
        self._journal.end_segment_at(position)

    def begin_snapshot(self, position: int) -> SnapshotWriter:
        """Begin the snapshot of the state at `position`; to be committed once `position` is durable."""
        return SnapshotWriter(self._files, self._snapshots, position)

    def write_snapshot(self, state: State) -> None:
        """Write a snapshot of a state that stands still, at `position`, and remove what it makes useless."""
        capture = Capture(state)
        with self.begin_snapshot(self.position) as writer:
            while (objects := capture.next_slice()) is not None:
                writer.add_packed(objects)
            writer.commit()
        self.snapshot_bytes = writer.size_bytes
        self.tidy()

    def tidy(self) -> None:
        """Remove snapshots but the newest two, and the journal that even the older of them does not need.

        With one snapshot all of the journal stays, and later as much more than is needed as a segment may
        hold: it is what there is to fall back on. A snapshot at `position` ends the segment, also where
        nothing follows.
        """
        prune(self._files, self._snapshots, SNAPSHOTS_KEPT)
        kept = positions(self._files, self._snapshots)
        if len(kept) == SNAPSHOTS_KEPT:
            self._journal.remove_before(kept[0] + 1, in_bulk=True)
        if kept and kept[-1] == self.position:
            self._journal.end_segment_at(kept[-1])
            self._journal.begin_segment()
