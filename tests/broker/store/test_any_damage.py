"""Whatever happens to the files of a store: a start gives the true state or is refused, and repair helps."""

import copy
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from tests.broker.core.world import World, picture
from thingjobs_broker.store.errors import FormatUnsupported, StoreError
from thingjobs_broker.store.examine import examine
from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.record_codec import pack
from thingjobs_broker.store.repair import carry_out, plan
from thingjobs_broker.store.store import Store

SEAL_BYTES = 16
"""A seal ends the journal; without it, or damaged, it is a tail that was torn off."""

END_BYTES = 24
"""What ends a segment that another follows: what is left of it means nothing, where all records are there."""


class Kept(NamedTuple):
    """A store that was stopped, and its state."""

    data_dir: Path
    state: dict[str, Any]

    def files(self, folder: str) -> list[Path]:
        """Paths in the data directory, in order."""
        return sorted(path.relative_to(self.data_dir) for path in (self.data_dir / folder).iterdir())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Three segments, the last behind the newer of two snapshots."""
    data_dir = tmp_path_factory.mktemp("kept") / "data"
    data_dir.mkdir(mode=0o700)
    world, written = World("A", "B", "C"), 0
    store = Store(OsFiles(), data_dir)
    store._journal._segment_bytes_max = 1500
    for number in range(3):
        world.create_job(f"J{number}", "A", "B", "C")
        for thing in "ABC":
            world.update(thing, f"J{number}", "IN_PROGRESS", statusDetails={"step": "x" * 50})
        for record in world.journal[written:]:
            store.append([pack([record])])
        written = len(world.journal)
        if number < 2:
            store.write_snapshot(world.state)
    store.close()
    found = Kept(data_dir, copy.deepcopy(picture(world.state)))
    assert (len(found.files("journal")), len(found.files("snapshot"))) == (3, 2)
    return found


def started(data_dir: Path) -> dict[str, Any] | str:
    """The state that a start gives, or the name of the error that refuses it."""
    try:
        store = Store(OsFiles(), data_dir)
        try:
            return picture(store.load())
        finally:
            store.close()
    except StoreError as error:
        return type(error).__name__


def after(kept: Kept, damage: Callable[[Path], object], folder: Path) -> Path:
    """A copy that was damaged."""
    data_dir = folder / "data"
    shutil.rmtree(data_dir, ignore_errors=True)
    shutil.copytree(kept.data_dir, data_dir)
    damage(data_dir)
    return data_dir


def check(kept: Kept, damage: Callable[[Path], object], folder: Path) -> tuple[bool, bool]:
    """Check what must hold after any damage; whether it was seen, and whether a start is refused."""
    data_dir = after(kept, damage, folder)
    is_sound = examine(OsFiles(), data_dir).is_sound
    found = started(data_dir)
    assert isinstance(found, str) or found == kept.state
    if isinstance(found, str):
        assert not is_sound
        data_dir = after(kept, damage, folder)
        carry_out(OsFiles(), data_dir, plan(OsFiles(), data_dir), data_dir / "aside")
        assert not isinstance(started(data_dir), str), "repair has not helped"
    return not is_sound, isinstance(found, str)


@pytest.mark.parametrize("stride", [47, pytest.param(11, marks=pytest.mark.broker)])
@pytest.mark.parametrize("folder", ["journal", "snapshot"])
def test_a_flipped_bit_is_seen_wherever_it_is(kept: Kept, tmp_path: Path, folder: str, stride: int) -> None:
    """In every frame and header; only a seal, or an end, passes for a tail that was torn off, which loses
    nothing.
    """
    random = Random(folder)
    for path in kept.files(folder):
        size = (kept.data_dir / path).stat().st_size
        is_last_segment = path == kept.files("journal")[-1]
        for offset in range(random.randrange(stride), size, stride):

            def flip(data_dir: Path, path: Path = path, offset: int = offset) -> None:
                data = bytearray((data_dir / path).read_bytes())
                data[offset] ^= 1 << random.randrange(8)
                (data_dir / path).write_bytes(data)

            seen, refused = check(kept, flip, tmp_path)
            end_bytes = SEAL_BYTES if is_last_segment else END_BYTES
            in_seal = folder == "journal" and offset >= size - end_bytes
            assert seen == (not in_seal), (path, offset)
            assert refused == (is_last_segment and not in_seal), (path, offset)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("folder", ["journal", "snapshot"])
@pytest.mark.parametrize("how", ["emptied", "removed", "halved", "zeros behind", "anything behind"])
def test_a_file_that_is_not_whole(kept: Kept, tmp_path: Path, folder: str, which: int, how: str) -> None:
    """The newest snapshot may be missing, there is an older one; of the newest segment only a tail."""

    def damage(data_dir: Path) -> None:
        path = data_dir / kept.files(folder)[-which]
        if how == "removed":
            path.unlink()
            return
        size = {"emptied": 0, "halved": path.stat().st_size // 2}.get(how, path.stat().st_size)
        os.truncate(path, size)
        with path.open("ab") as file:
            file.write(
                {"zeros behind": bytes(4096), "anything behind": Random(1).randbytes(777)}.get(how, b"")
            )

    if (folder, which, how) == ("journal", 1, "halved"):
        # What a power cut leaves of appends that never returned looks the same.
        found = started(after(kept, damage, tmp_path))
        assert not isinstance(found, str)
        return
    _, refused = check(kept, damage, tmp_path)
    assert refused == ((folder, which) == ("journal", 1) and how in ("emptied", "removed"))


@pytest.mark.parametrize("folder", ["journal", "snapshot"])
def test_files_that_have_changed_places(kept: Kept, tmp_path: Path, folder: str) -> None:
    """Each says what it begins with, so its name alone is not believed."""

    def swap(data_dir: Path) -> None:
        first, *_, second = (data_dir / path for path in kept.files(folder))
        first.rename(data_dir / "aside")
        second.rename(first)
        (data_dir / "aside").rename(second)

    assert check(kept, swap, tmp_path) == (True, folder == "journal")


def test_files_of_others_are_passed_over(kept: Kept, tmp_path: Path) -> None:
    """Neither read nor removed, whatever they are called."""
    names = ["journal/notes", "journal/lost+found", f"journal/{'9' * 20}.log", "snapshot/1.snapshot~"]
    names.append(f"{kept.files('journal')[0]}.bak")

    def add(data_dir: Path) -> None:
        for name in names:
            (data_dir / name).write_bytes(b"mine")

    assert check(kept, add, tmp_path) == (False, False)
    assert [name for name in names if not (tmp_path / "data" / name).exists()] == []


@pytest.mark.parametrize("folder", ["journal", "snapshot"])
def test_the_format_of_a_newer_version_is_no_damage(kept: Kept, tmp_path: Path, folder: str) -> None:
    """It is refused and left alone, and so does a repair."""
    path = kept.files(folder)[-1]
    header_bytes = {"journal": 24, "snapshot": 20}[folder]

    def write(data_dir: Path) -> None:
        data = bytearray((data_dir / path).read_bytes())
        data[8:12] = struct.pack("<I", 9)
        data[header_bytes : header_bytes + 4] = struct.pack("<I", zlib.crc32(data[:header_bytes]))
        (data_dir / path).write_bytes(data)

    data_dir = after(kept, write, tmp_path)
    before = (data_dir / path).read_bytes()
    assert started(data_dir) == "FormatUnsupported"
    with pytest.raises(FormatUnsupported, match="install a newer thingjobs"):
        plan(OsFiles(), data_dir)
    assert (data_dir / path).read_bytes() == before
