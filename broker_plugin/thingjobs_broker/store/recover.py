"""From the disk to the state: the newest whole snapshot and the journal's records after it, in order.

Damage is the journal's and the snapshots' to refuse.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from thingjobs_broker.core.state import State
from thingjobs_broker.store.errors import JournalContradicts
from thingjobs_broker.store.record_codec import unpack
from thingjobs_broker.store.restore import restore
from thingjobs_broker.store.snapshot import newest_valid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from thingjobs_broker.store.files import Files
    from thingjobs_broker.store.journal import Journal


class Recovered(NamedTuple):
    """A state, position and size of the snapshot it began with (0: none), and the size of what followed."""

    state: State
    snapshot_position: int
    snapshot_bytes: int
    replayed_bytes: int


def recover(files: Files, snapshots: Path, journal: Journal, *, read_only: bool = False) -> Recovered:
    """Return what the snapshots in `snapshots` and the journal lead to.

    Raises:
        JournalCorrupt: an entry in the middle is damaged, or the journal does not reach back to the snapshot.
        JournalContradicts: an entry does not fit what came before it.
        RecordUnreadable, SnapshotUnreadable, FormatUnsupported: written by a newer version.
        JournalFailed, SnapshotFailed: the disk refuses.

    """
    with _without_garbage_collection():
        snapshot = newest_valid(files, snapshots, read_only=read_only, is_needed=journal.first_position > 1)
        state = restore(snapshot.objects) if snapshot else State()
        first = snapshot.position + 1 if snapshot else 1
        replayed_bytes = replay(state, journal.replay(first), snapshots.parent)
    return Recovered(state, first - 1, snapshot.size_bytes if snapshot else 0, replayed_bytes)


def replay(state: State, entries: Iterable[tuple[int, bytes]], data_dir: Path) -> int:
    """Apply journal entries, (position, entry) each; return their size in bytes.

    Raises:
        JournalContradicts: the entry at the error's `position` does not fit the state before it.
        RecordUnreadable: it was written by a newer version.

    """
    size_bytes = 0
    for position, entry in entries:
        found = unpack(entry)
        try:
            for record in found:
                state.apply(record)
        except (AssertionError, LookupError) as error:
            raise JournalContradicts(data_dir, position, repr(error)) from error
        size_bytes += len(entry)
    return size_bytes


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A million new objects, none of them garbage, would be looked through again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
