"""The snapshot container: wholly there or not used, and the one before it as a fallback."""

import errno
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.broker.store.faults import PowerCut, SimulatedDisk
from thingjobs_broker.store import snapshot
from thingjobs_broker.store.errors import FormatUnsupported, RecordTooLarge, SnapshotFailed
from thingjobs_broker.store.files import Files, OsFiles
from thingjobs_broker.store.snapshot import SnapshotWriter, newest_valid, prune

OLDER = [["older", 1], ["older", 2]]
NEWER = [["newer", number, {"details": b"\x00\xff"}, None, True] for number in range(5)]


def take(files: Files, directory: Path, position: int, objects: list[Any]) -> Path:
    """A committed snapshot."""
    with SnapshotWriter(files, directory, position) as writer:
        writer.add(objects)
        return writer.commit()


def loaded(files: Files, directory: Path) -> tuple[int, list[Any]] | None:
    """Position and objects of the newest valid snapshot."""
    found = newest_valid(files, directory)
    return None if found is None else (found.position, list(found.objects))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Every fallback is logged."""
    with capture_logs():
        yield


def test_objects_come_back_in_order(tmp_path: Path) -> None:
    """Lists of what msgpack knows, bytes apart from text, added in slices."""
    directory = tmp_path / "snapshot"
    with SnapshotWriter(OsFiles(), directory, 42) as writer:
        writer.add(NEWER[:2])
        writer.add(iter(NEWER[2:]))
        assert writer.commit() == directory / f"{42:020d}.snapshot"
    assert loaded(OsFiles(), directory) == (42, NEWER)


def test_an_empty_state_is_a_snapshot_too(tmp_path: Path) -> None:
    """Position 0 and no objects."""
    take(OsFiles(), tmp_path, 0, [])
    assert loaded(OsFiles(), tmp_path) == (0, [])


def test_without_a_snapshot_there_is_none(tmp_path: Path) -> None:
    """Neither in an empty directory nor without one."""
    assert newest_valid(OsFiles(), tmp_path) is None
    assert newest_valid(OsFiles(), tmp_path / "absent") is None
    assert prune(OsFiles(), tmp_path) is None


@given(
    slices=st.lists(
        st.lists(st.lists(st.none() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary()))
    ),
    block_bytes=st.integers(min_value=1, max_value=200),
)
def test_any_objects_come_back(slices: list[list[Any]], block_bytes: int) -> None:
    """Over any number of blocks."""
    disk = SimulatedDisk()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "BLOCK_BYTES", block_bytes)
        with SnapshotWriter(disk, disk.root / "s", 7) as writer:
            for objects in slices:
                writer.add(objects)
            writer.commit()
        assert loaded(disk, disk.root / "s") == (7, [item for objects in slices for item in objects])


def test_files_are_private(tmp_path: Path) -> None:
    """0600 in a directory of 0700."""
    path = take(OsFiles(), tmp_path / "snapshot", 1, NEWER)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_an_aborted_snapshot_leaves_nothing(tmp_path: Path) -> None:
    """Neither by abort, nor by leaving the block with an error."""
    SnapshotWriter(OsFiles(), tmp_path, 1).abort()
    with pytest.raises(ZeroDivisionError), SnapshotWriter(OsFiles(), tmp_path, 1) as writer:
        writer.add(NEWER)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_snapshot_is_not_used(tmp_path: Path) -> None:
    """The one before is."""
    take(OsFiles(), tmp_path, 1, OLDER)
    writer = SnapshotWriter(OsFiles(), tmp_path, 2)
    writer.add(NEWER)
    assert loaded(OsFiles(), tmp_path) == (1, OLDER)
    writer.abort()


def small_snapshot() -> bytes:
    """The bytes of a snapshot of several blocks."""
    disk = SimulatedDisk()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "BLOCK_BYTES", 30)
        return disk.read(take(disk, disk.root / "s", 9, NEWER))


SMALL = small_snapshot()


@pytest.mark.parametrize("cut", range(len(SMALL)))
def test_a_snapshot_cut_at_any_byte_falls_back(tmp_path: Path, cut: int) -> None:
    """Also where the cut falls between two blocks."""
    take(OsFiles(), tmp_path, 8, OLDER)
    (tmp_path / f"{9:020d}.snapshot").write_bytes(SMALL[:cut])
    assert loaded(OsFiles(), tmp_path) == (8, OLDER)


@pytest.mark.parametrize("offset", range(len(SMALL)))
def test_a_flipped_byte_falls_back(tmp_path: Path, offset: int) -> None:
    """It is found before the first object is used, logged with file and offset, and set aside."""
    take(OsFiles(), tmp_path, 8, OLDER)
    damaged = bytearray(SMALL)
    damaged[offset] ^= 0x10
    path = tmp_path / f"{9:020d}.snapshot"
    path.write_bytes(damaged)
    with capture_logs() as logs:
        assert loaded(OsFiles(), tmp_path) == (8, OLDER)
    [entry] = logs
    assert (entry["action"], entry["log_level"]) == ("snapshot_damaged", "warning")
    assert entry["file"] == str(path)
    assert entry["reason"].startswith("offset ")
    assert path.with_suffix(".damaged").read_bytes() == damaged


@pytest.mark.parametrize("tail", [b"\x00", SMALL])
def test_bytes_after_the_trailer_are_damage(tmp_path: Path, tail: bytes) -> None:
    """The trailer ends the file."""
    (tmp_path / f"{9:020d}.snapshot").write_bytes(SMALL + tail)
    assert loaded(OsFiles(), tmp_path) is None


def test_a_block_that_is_missing_whole_is_damage(tmp_path: Path) -> None:
    """The trailer counts blocks and vouches for each."""
    first_length = int.from_bytes(SMALL[28:32], "little")
    (tmp_path / f"{9:020d}.snapshot").write_bytes(SMALL[:24] + SMALL[24 + 12 + first_length :])
    assert loaded(OsFiles(), tmp_path) is None


def test_a_snapshot_under_another_name_is_damage(tmp_path: Path) -> None:
    """Its name is the position replay starts from."""
    (tmp_path / f"{10:020d}.snapshot").write_bytes(SMALL)
    assert loaded(OsFiles(), tmp_path) is None


def test_when_all_are_damaged_there_is_none(tmp_path: Path) -> None:
    """Then the journal must reach back to record 1, and says so when it does not."""
    for position in (1, 2):
        (tmp_path / f"{position:020d}.snapshot").write_bytes(b"junk")
    assert loaded(OsFiles(), tmp_path) is None


def test_a_snapshot_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """It is not damage: falling back would hide what a newer release wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "FORMAT_VERSION", 2)
        path = take(OsFiles(), tmp_path, 5, NEWER)
    with pytest.raises(FormatUnsupported, match="format version 2, but this release reads version 1"):
        newest_valid(OsFiles(), tmp_path)
    assert path.exists()


def test_prune_keeps_the_newest_and_says_from_where_the_journal_is_needed(tmp_path: Path) -> None:
    """What crashes left behind goes too; files of others stay."""
    for position in (1, 20, 300):
        take(OsFiles(), tmp_path, position, NEWER)
    (tmp_path / f"{250:020d}.tmp").write_bytes(b"")
    (tmp_path / f"{5:020d}.damaged").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    assert prune(OsFiles(), tmp_path, keep=2) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{20:020d}.snapshot",
        f"{300:020d}.snapshot",
        "notes.txt",
    ]
    assert prune(OsFiles(), tmp_path, keep=1) == 300


def test_prune_does_not_count_on_a_snapshot_that_was_found_damaged(tmp_path: Path) -> None:
    """Of two kept, both must be good, or the fallback would fall through."""
    take(OsFiles(), tmp_path, 1, OLDER)
    (tmp_path / f"{2:020d}.snapshot").write_bytes(b"junk")
    assert loaded(OsFiles(), tmp_path) == (1, OLDER)
    take(OsFiles(), tmp_path, 3, NEWER)
    assert prune(OsFiles(), tmp_path) == 1


def test_an_object_over_the_limit_is_refused(tmp_path: Path) -> None:
    """What could not be read back is not written."""
    with SnapshotWriter(OsFiles(), tmp_path, 1) as writer, pytest.raises(RecordTooLarge):
        writer.add([[bytes(snapshot.OBJECT_BYTES_MAX)]])
    assert list(tmp_path.iterdir()) == []


def test_the_largest_object_comes_back(tmp_path: Path) -> None:
    """Behind a block that is nearly full."""
    objects = [[bytes(snapshot.BLOCK_BYTES - 100)], [bytes(snapshot.OBJECT_BYTES_MAX - 100)]]
    assert len(msgpack.packb(objects[1])) <= snapshot.OBJECT_BYTES_MAX
    take(OsFiles(), tmp_path, 1, objects)
    assert loaded(OsFiles(), tmp_path) == (1, objects)


@pytest.mark.parametrize(
    "operation", ["make_directory", "create", "write", "sync", "rename", "sync_directory"]
)
@pytest.mark.parametrize("skip", [0, 1])
def test_a_disk_that_refuses_leaves_the_snapshot_before(operation: str, skip: int) -> None:
    """One error of ours; the older snapshot is still there, nothing lies about, and a later one succeeds."""
    disk = SimulatedDisk()
    directory = disk.root / "s"
    take(disk, directory, 1, OLDER)
    disk.fail(operation, errno.ENOSPC, skip=skip)
    with suppress(SnapshotFailed):
        take(disk, directory, 2, NEWER)
        assert disk.faults[0].times, "the fault was swallowed"
    # A rename whose directory would not sync may have happened.
    assert loaded(disk, directory) in ((1, OLDER), (2, NEWER))
    assert not [name for name in disk.list_names(directory) if name.endswith(".tmp")]
    disk.faults.clear()
    take(disk, directory, 3, NEWER)
    assert loaded(disk, directory) == (3, NEWER)


def test_an_unreadable_sector_is_damage_and_other_trouble_is_not() -> None:
    """EIO falls back; EMFILE says nothing about the snapshot and is raised."""
    disk = SimulatedDisk()
    directory = disk.root / "s"
    take(disk, directory, 1, OLDER)
    take(disk, directory, 2, NEWER)
    disk.fail("read", errno.EMFILE)
    with pytest.raises(SnapshotFailed, match=rf"{2:020d}\.snapshot: .*EMFILE"):
        newest_valid(disk, directory)
    assert loaded(disk, directory) == (2, NEWER)
    disk.fail("read", errno.EIO, skip=2)
    assert loaded(disk, directory) == (1, OLDER)
    # It may have been a moment's trouble: nothing was set aside.
    assert loaded(disk, directory) == (2, NEWER)


def test_a_power_cut_at_any_point_leaves_one_of_the_two() -> None:
    """Promise 6: once commit has returned it is the newer, before that it may be either, never a part."""
    for seed in range(300):
        disk = SimulatedDisk()
        directory = disk.root / "s"
        take(disk, directory, 1, OLDER)
        random = Random(seed)
        disk.changes_left = random.randint(1, 14)
        committed = False
        try:
            take(disk, directory, 2, NEWER)
            committed = True
            prune(disk, directory, keep=1)
        except PowerCut:
            pass
        after = disk.after_power_cut(random)
        found = loaded(after, directory)
        assert found in ([(2, NEWER)] if committed else [(1, OLDER), (2, NEWER)]), seed
