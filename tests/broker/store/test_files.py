"""The two disks behind one protocol: the real one does what it says, and the simulated one agrees with it."""

import errno
import os
import stat
from pathlib import Path
from random import Random

import pytest

from tests.broker.store.faults import PowerCut, SimulatedDisk
from thingjobs_broker.store.files import Files, OsFiles


@pytest.fixture(params=["os", "simulated"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Files, Path]:
    """A disk and an empty directory on it."""
    if request.param == "os":
        return OsFiles(), tmp_path
    simulated = SimulatedDisk()
    return simulated, simulated.root


def test_both_disks_write_read_and_cut(disk: tuple[Files, Path]) -> None:
    """Writes go to their offset, holes are zeros, reads stop at the end."""
    files, root = disk
    file = files.create(root / "a")
    file.write(b"hello", 0)
    file.write(b"!", 7)
    file.write(b"J", 0)
    file.sync_data()
    assert files.read(root / "a") == b"Jello\0\0!"
    assert files.read(root / "a", 4, 2) == b"o\0"
    assert files.read(root / "a", 6, 99) == b"\0!"
    assert files.read(root / "a", 50) == b""
    file.truncate(2)
    file.sync()
    file.close()
    file.close()
    assert files.read(root / "a") == b"Je"
    reopened = files.open(root / "a")
    reopened.write(b"rk", 2)
    reopened.close()
    assert files.read(root / "a") == b"Jerk"
    files.create(root / "a").close()
    assert files.read(root / "a") == b""


def test_both_disks_name_and_list(disk: tuple[Files, Path]) -> None:
    """Names are sorted, renaming replaces, making a directory twice is no error."""
    files, root = disk
    files.make_directory(root / "d")
    files.make_directory(root / "d")
    for name in ("b", "a"):
        file = files.create(root / "d" / name)
        file.write(name.encode(), 0)
        file.close()
    assert files.list_names(root / "d") == ["a", "b"]
    files.rename(root / "d" / "a", root / "d" / "b")
    files.sync_directory(root / "d")
    assert files.list_names(root / "d") == ["b"]
    assert files.read(root / "d" / "b") == b"a"
    files.remove(root / "d" / "b")
    assert files.list_names(root / "d") == []
    assert files.free_bytes(root) > 0


def test_both_disks_miss_the_same_files(disk: tuple[Files, Path]) -> None:
    """FileNotFoundError from each operation on what is not there."""
    files, root = disk
    absent = root / "absent"
    for call in (files.open, files.read, files.remove, files.list_names):
        with pytest.raises(FileNotFoundError):
            call(absent)
    with pytest.raises(FileNotFoundError):
        files.rename(absent, root / "other")
    for make in (files.create, files.make_directory):
        with pytest.raises(FileNotFoundError):
            make(absent / "below")


def test_files_and_directories_are_private(tmp_path: Path) -> None:
    """0600 and 0700, and no more under a lax umask."""
    umask = os.umask(0)
    try:
        OsFiles().make_directory(tmp_path / "d")
        OsFiles().create(tmp_path / "d" / "f").close()
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "d" / "f").stat().st_mode) == 0o600


def test_a_short_write_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may take less than it was given."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, data[:3], offset))
    file = OsFiles().create(tmp_path / "f")
    file.write(b"0123456789", 2)
    file.close()
    assert (tmp_path / "f").read_bytes() == b"\0\x000123456789"


def written(disk: SimulatedDisk, name: str, data: bytes) -> None:
    """A file that is seen and not synced."""
    file = disk.create(disk.root / name)
    file.write(data, 0)
    file.close()


def test_a_power_cut_takes_any_part_of_what_was_not_synced() -> None:
    """Sectors go one by one, names too; all, nothing and parts are all met."""
    met = set()
    for seed in range(60):
        disk = SimulatedDisk()
        written(disk, "a", b"x" * 1500)
        disk.sync_directory(disk.root)
        after = disk.after_power_cut(Random(seed))
        content = after.read(disk.root / "a")
        pieces = [content[at : at + 512] for at in (0, 512, 1024)]
        met.add(tuple(b"x" in piece for piece in pieces))
    assert len(met) == 8


def test_what_was_synced_survives_a_power_cut() -> None:
    """Content by the file, names by the directory; a rename is done or not done."""
    for seed in range(30):
        disk = SimulatedDisk()
        file = disk.create(disk.root / "a")
        file.write(b"kept", 0)
        file.sync()
        disk.sync_directory(disk.root)
        file.write(b"lost", 4)
        disk.rename(disk.root / "a", disk.root / "b")
        after = disk.after_power_cut(Random(seed))
        [name] = after.list_names(disk.root)
        assert after.read(disk.root / name)[:4] == b"kept"


def test_a_failed_sync_loses_what_can_still_be_read() -> None:
    """And the next sync of the same file says that all is well."""
    disk = SimulatedDisk()
    file = disk.create(disk.root / "a")
    disk.sync_directory(disk.root)
    file.write(b"x", 0)
    disk.fail("sync", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    file.sync()
    assert disk.read(disk.root / "a") == b"x"
    assert disk.after_power_cut(Random(1)).read(disk.root / "a") == b""


def test_a_full_disk_takes_what_fits() -> None:
    """Then ENOSPC; removing a file makes room."""
    disk = SimulatedDisk()
    disk.capacity_bytes = 10
    written(disk, "a", b"123456")
    with pytest.raises(OSError, match="No space") as caught:
        written(disk, "b", b"123456")
    assert caught.value.errno == errno.ENOSPC
    assert disk.read(disk.root / "b") == b"1234"
    assert disk.free_bytes(disk.root) == 0
    disk.remove(disk.root / "a")
    written(disk, "b", b"123456")


def test_after_a_power_cut_nothing_changes_any_more() -> None:
    """What cleans up on the way out must not reach the disk."""
    disk = SimulatedDisk()
    written(disk, "a", b"x")
    disk.changes_left = 1
    with pytest.raises(PowerCut):
        disk.remove(disk.root / "a")
    with pytest.raises(PowerCut):
        written(disk, "b", b"x")
    assert disk.list_names(disk.root) == ["a"]
