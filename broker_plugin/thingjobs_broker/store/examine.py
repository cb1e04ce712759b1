"""What is in a data directory, what is wrong with it, and whether a service could start. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from thingjobs_broker.store.errors import StoreError
from thingjobs_broker.store.journal import Journal, segments_in
from thingjobs_broker.store.recover import recover
from thingjobs_broker.store.repair import plan
from thingjobs_broker.store.snapshot import find_damage, positions, snapshot_path
from thingjobs_broker.store.store import JOURNAL, SNAPSHOTS

if TYPE_CHECKING:
    from pathlib import Path

    from thingjobs_broker.core.state import State
    from thingjobs_broker.store.files import Files
    from thingjobs_broker.store.loss import Loss
    from thingjobs_broker.store.segment import TornTail


class SnapshotFound(NamedTuple):
    """A snapshot; `damage` says what is wrong with it, None for a whole one."""

    path: Path
    position: int
    damage: str | None


class Examination(NamedTuple):
    """The findings.

    `problem` is why a start would be refused, None when it would not; then `state` is what it would serve and
    `position` that of its newest entry; else `loss` is what a repair would lose, where one is possible.
    `spare_problem` is damage in what only a fall back to an older snapshot would need. A torn tail is no
    damage: a start cuts it off.
    """

    snapshots: list[SnapshotFound]
    segments: int
    torn_tail: TornTail | None
    problem: StoreError | None
    spare_problem: StoreError | None
    state: State | None
    position: int
    loss: Loss | None

    @property
    def is_sound(self) -> bool:
        """Whether nothing at all is damaged."""
        damaged = any(snapshot.damage for snapshot in self.snapshots)
        return self.problem is None and self.spare_problem is None and not damaged


def holds_store(files: Files, data_dir: Path) -> bool:
    """Tell whether there is anything of ours in `data_dir`."""
    try:
        names = files.list_names(data_dir)
    except FileNotFoundError:
        return False
    return JOURNAL in names or SNAPSHOTS in names


def examine(files: Files, data_dir: Path) -> Examination:
    """Read everything in `data_dir`.

    Raises:
        JournalFailed, SnapshotFailed: the disk refuses.

    """
    directory = data_dir / SNAPSHOTS
    snapshots = []
    for position in positions(files, directory):
        path = snapshot_path(directory, position)
        snapshots.append(SnapshotFound(path, position, find_damage(files, path, position)))
    try:
        segments = len(segments_in(files.list_names(data_dir / JOURNAL)))
    except FileNotFoundError:
        segments = 0
    journal, state = None, None
    problem = spare_problem = None
    try:
        journal = Journal.read_only(files, data_dir / JOURNAL)
        state = recover(files, directory, journal, read_only=True).state
    except StoreError as error:
        problem = error
    if journal is not None and problem is None:
        spare_problem = _read_all(journal)
    return Examination(
        snapshots,
        segments,
        journal.torn_tail if journal else None,
        problem,
        spare_problem,
        state,
        journal.last_position if journal else 0,
        _loss(files, data_dir) if problem else None,
    )


def _loss(files: Files, data_dir: Path) -> Loss | None:
    try:
        return plan(files, data_dir).loss
    except StoreError:
        return None


def _read_all(journal: Journal) -> StoreError | None:
    try:
        for _ in journal.replay(journal.first_position):
            pass
    except StoreError as error:
        return error
    return None
