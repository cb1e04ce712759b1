"""Cutting off what cannot be trusted, so that a service can start again.

Kept is the longest history without a gap: the newest whole snapshot, and the journal after it up to the first
damage. Whatever is cut or set aside is copied before.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from thingjobs_broker.core.state import State
from thingjobs_broker.store.errors import FormatUnsupported, JournalContradicts, StoreError
from thingjobs_broker.store.framing import (
    FORMAT_VERSION,
    HEADER_BYTES,
    MARKER_BYTES,
    decode_header,
    describe_damage,
    read_frames,
)
from thingjobs_broker.store.journal import segment_path, segments_in
from thingjobs_broker.store.loss import Loss, stood_in
from thingjobs_broker.store.recover import replay
from thingjobs_broker.store.restore import restore
from thingjobs_broker.store.segment import SegmentWriter, is_room, is_torn, next_segment
from thingjobs_broker.store.snapshot import find_damage, newest_valid, positions, snapshot_path
from thingjobs_broker.store.store import JOURNAL, SNAPSHOTS

if TYPE_CHECKING:
    from pathlib import Path

    from thingjobs_broker.store.files import Files


class NothingToKeep(StoreError):
    """There is no whole snapshot and no journal from the beginning: no state can be told."""


class CopyFailed(StoreError):
    """What is to be cut could not be copied before, and so nothing was."""


class Cut(NamedTuple):
    """What a file loses: all from `offset` on, for None the whole of it. `reason` is a phrase."""

    path: Path
    offset: int | None
    reason: str


class Plan(NamedTuple):
    """What a repair would do, without having done it.

    Entries up to `position` are kept, `loss` is what is not (None: all are). `begin_anew` says that a segment
    has to begin after it, because the one that held what follows goes or is gone.
    """

    cuts: list[Cut]
    position: int
    begin_anew: bool
    loss: Loss | None

    @property
    def is_needed(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.cuts) or self.begin_anew


class _Damage(NamedTuple):
    first_position: int
    offset: int
    reason: str


def plan(files: Files, data_dir: Path) -> Plan:
    """Return what has to be cut for a service to start from `data_dir`; changes nothing.

    Raises:
        NothingToKeep: only a backup helps.
        FormatUnsupported, RecordUnreadable, SnapshotUnreadable: not damaged, but of a newer version.
        JournalFailed, SnapshotFailed: the disk refuses.

    """
    cuts = _damaged_snapshots(files, data_dir / SNAPSHOTS)
    snapshot = newest_valid(files, data_dir / SNAPSHOTS, read_only=True)
    state = restore(snapshot.objects) if snapshot else State()
    base = snapshot.position if snapshot else 0
    directory = data_dir / JOURNAL
    try:
        segments = segments_in(files.list_names(directory))
    except FileNotFoundError:
        segments = []
    position, damage = _Walk(files, directory, state, base).through(segments)
    if not base and segments and segments[0] > 1:
        raise NothingToKeep(
            f"{data_dir}: no snapshot is whole, and the journal begins with entry {segments[0]};"
            " restore the data directory from a backup"
        )
    begin_anew = position < base
    if begin_anew:
        reason = f"does not connect with the snapshot of entry {base}"
        cuts += [Cut(segment_path(directory, first), None, reason) for first in segments]
    elif damage is not None:
        reason = f"{damage.reason}; entries from {position + 1} on are lost"
        if damage.first_position in segments:
            cuts.append(Cut(segment_path(directory, damage.first_position), damage.offset or None, reason))
        begin_anew = not damage.offset
        later = [first for first in segments if first > damage.first_position]
        cuts += [Cut(segment_path(directory, first), None, "follows the damage") for first in later]
    if damage is None and not begin_anew:
        return Plan(cuts, position, begin_anew=False, loss=None)
    newest, is_exact = _newest(files, directory, segments, position, damage)
    kept = max(position, base)
    lost = Loss(kept + 1, max(newest - kept, 0), is_exact and newest >= kept, state.last_at_ms)
    return Plan(cuts, kept, begin_anew, lost)


def carry_out(files: Files, data_dir: Path, wanted: Plan, aside: Path) -> None:
    """Copy every file that loses something to the directory `aside`, which is made, then cut.

    The last segment goes first, so that an interruption leaves damage that is still seen as such.

    Raises:
        CopyFailed: the disk has no room for the copies, or refuses; nothing has changed.
        OSError: the disk refuses to be changed.

    """
    try:
        files.make_directory(aside)
        files.sync_directory(aside.parent)
        for cut in wanted.cuts:
            _copy(files, cut.path, aside / cut.path.name)
        files.sync_directory(aside)
    except OSError as error:
        for cut in wanted.cuts:
            with suppress(OSError):
                files.remove(aside / cut.path.name)
        raise CopyFailed(
            f"{aside}: {error.strerror}; nothing was cut, because no copy can be kept"
        ) from error
    for cut in reversed(wanted.cuts):
        if cut.offset is None:
            files.remove(cut.path)
        else:
            file = files.open(cut.path)
            try:
                file.truncate(cut.offset)
                file.sync()
            finally:
                file.close()
        files.sync_directory(cut.path.parent)
    if wanted.begin_anew:
        _begin_segment(files, data_dir / JOURNAL, wanted.position + 1)


def _newest(
    files: Files, directory: Path, segments: list[int], position: int, damage: _Damage | None
) -> tuple[int, bool]:
    """Return the position of the newest entry there was, and whether that is exact or at least so much."""
    if not segments or (damage is not None and damage.first_position > segments[-1]):
        return position, False
    last = segments[-1]
    is_there = damage is not None and damage.first_position == last
    before, offset = (position, damage.offset) if damage is not None and is_there else (last - 1, 0)
    entries, is_exact = stood_in(files.read(segment_path(directory, last)), last, offset)
    return before + entries, is_exact


def _damaged_snapshots(files: Files, directory: Path) -> list[Cut]:
    cuts = []
    for position in positions(files, directory):
        path = snapshot_path(directory, position)
        damage = find_damage(files, path, position)
        if damage is not None:
            cuts.append(Cut(path, None, f"the snapshot is damaged: {damage}"))
    return cuts


def _begin_segment(files: Files, directory: Path, first: int) -> None:
    files.make_directory(directory)
    files.sync_directory(directory.parent)
    SegmentWriter.create(files, segment_path(directory, first), first, os.urandom(MARKER_BYTES)).close()


def _copy(files: Files, path: Path, target: Path) -> None:
    file = files.create(target)
    try:
        file.write(files.read(path), 0)
        file.sync()
    finally:
        file.close()


class _Walk:
    """A walk through the journal behind a snapshot, applying what follows, up to the first damage."""

    def __init__(self, files: Files, directory: Path, state: State, base: int) -> None:
        self._files = files
        self._directory = directory
        self._state = state
        self._base = base
        self._next = 0

    def through(self, segments: list[int]) -> tuple[int, _Damage | None]:
        """Return the position of the last entry that can be used, and what stopped the walk."""
        begin = max(bisect_right(segments, self._base + 1) - 1, 0)
        self._next = segments[begin] if segments else 1
        if self._next > self._base + 1:
            return 0, None
        for index, first in enumerate(segments[begin:], begin):
            if first != self._next:
                reason = f"expected entry {self._next}, found a segment that begins with {first}"
                return self._next - 1, _Damage(first, 0, reason)
            damage = self._through(segments, index)
            if damage is not None:
                return self._next - 1, damage
        return self._next - 1, None

    def _through(self, segments: list[int], index: int) -> _Damage | None:
        first = segments[index]
        is_last = first == segments[-1]
        path = segment_path(self._directory, first)
        data = self._files.read(path)
        header = decode_header(data)
        if header is None:
            was_begun = len(data) > HEADER_BYTES or (index and self._is_ended(segments[index - 1]))
            is_torn_creation = is_last and not was_begun
            return None if is_torn_creation else _Damage(first, 0, "the header of the segment is damaged")
        if header.version != FORMAT_VERSION:
            raise FormatUnsupported(path, header.version, FORMAT_VERSION)
        if header.first_position != first:
            reason = f"the header says that the segment begins with entry {header.first_position}"
            return _Damage(first, 0, reason)
        offset = HEADER_BYTES
        for end, payloads in read_frames(data, header.marker):
            entries = [entry for entry in enumerate(payloads, self._next) if entry[0] > self._base]
            try:
                replay(self._state, entries, self._directory)
            except JournalContradicts as error:
                return _Damage(first, offset, str(error).partition(";")[0])
            self._next += len(payloads)
            offset = end
        has_all = is_last or self._next == segments[index + 1]
        if is_room(data, offset) or (has_all and is_torn(data, header.marker, offset)):
            is_missing = is_last and next_segment(data) is not None
            return _Damage(self._next, 0, "the segment after it is missing") if is_missing else None
        expected, found = describe_damage(data, header.marker, offset)
        return _Damage(first, offset, f"expected {expected}, found {found}")

    def _is_ended(self, first: int) -> bool:
        return next_segment(self._files.read(segment_path(self._directory, first))) is not None
