"""A snapshot parts the journal: damage before it costs nothing, damage after it no more than what follows."""

import errno
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
import pytest

from tests.broker.core.world import START_MS, picture
from tests.broker.store.faults import PowerCut, SimulatedDisk
from tests.broker.store.test_repair import ASIDE, files, repaired, segments, stored
from tests.broker.store.test_store import StoredWorld, _small_segments, reopened
from thingjobs_broker.store import journal as journal_module
from thingjobs_broker.store.errors import JournalCorrupt, JournalFailed
from thingjobs_broker.store.examine import examine
from thingjobs_broker.store.framing import HEADER_BYTES, decode_header, read_frames
from thingjobs_broker.store.journal import Journal
from thingjobs_broker.store.loss import Loss
from thingjobs_broker.store.repair import carry_out, plan
from thingjobs_broker.store.store import Store

JOBS = 12
SNAPSHOTS = (3, 7)
THINGS = 2
"""Two entries for the things, then one for each job."""
POSITION = THINGS + 7
"""Of the newer snapshot."""


class Kept(NamedTuple):
    """What the files of a store hold that was stopped, and the state after each of its entries."""

    files: dict[Path, bytes]
    pictures: list[dict[str, Any]]

    def disk(self) -> SimulatedDisk:
        """A disk with it."""
        disk = SimulatedDisk()
        for path, content in self.files.items():
            disk.make_directory(path.parent)
            write(disk, path, content)
        return disk


@cache
def kept() -> Kept:
    """With two snapshots, entries before, between and behind them."""
    disk = SimulatedDisk()
    pictures = stored(disk, JOBS, *SNAPSHOTS)
    assert begins(disk) == [1, THINGS + 4, POSITION + 1]
    return Kept({Path(path): content for path, content in files(disk).items()}, [{}] * THINGS + pictures)


def write(disk: SimulatedDisk, path: Path, content: bytes) -> None:
    """Let a file have this content."""
    file = disk.create(path)
    file.write(content, 0)
    file.sync()
    file.close()


def flip(content: bytes, offset: int, length: int) -> bytes:
    """One bit."""
    return content[:offset] + bytes([content[offset] ^ (1 << length % 8)]) + content[offset + 1 :]


def zero(content: bytes, offset: int, length: int) -> bytes:
    """A block that the disk has forgotten."""
    return content[:offset] + bytes(min(length, len(content) - offset)) + content[offset + length :]


def insert(content: bytes, offset: int, length: int) -> bytes:
    """Bytes that do not belong there: a piece of the file itself, frames that are whole among them."""
    return content[:offset] + content[:length] + content[offset:]


def remove(content: bytes, offset: int, length: int) -> bytes:
    """Bytes that are not there any more."""
    return content[:offset] + content[offset + length :]


def cut(content: bytes, offset: int, _: int) -> bytes:
    """The rest of the file."""
    return content[:offset]


Damage = Callable[[bytes, int, int], bytes]
DAMAGES: list[Damage] = [flip, zero, insert, remove, cut]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_before_the_snapshot_costs_nothing(damage: Damage) -> None:
    """At every place of every segment before it: a start gives the full state, and nothing is cut."""
    for path in segments(kept().disk())[:-1]:
        content = kept().files[path]
        for offset in range(0, len(content), 29):
            disk = kept().disk()
            write(disk, path, damage(content, offset, 67))
            assert not plan(disk, disk.root).is_needed
            assert examine(disk, disk.root).loss is None
            assert picture(reopened(disk).load()) == kept().pictures[-1], (path, offset)


def test_nor_does_it_where_the_segments_before_are_gone() -> None:
    """All of them."""
    disk = kept().disk()
    for path in segments(disk)[:-1]:
        disk.remove(path)
    assert not plan(disk, disk.root).is_needed
    assert picture(reopened(disk).load()) == kept().pictures[-1]


PLACES = st.tuples(st.integers(0, 2), st.floats(0, 1, exclude_max=True), st.integers(1, 600))
"""A segment, where in it, and how much."""


@hypothesis.given(st.lists(st.tuples(st.sampled_from(DAMAGES), PLACES), min_size=1, max_size=4))
@hypothesis.settings(max_examples=150)
def test_after_any_damage_a_repair_keeps_a_history_without_a_gap(
    damages: list[tuple[Damage, tuple[int, float, int]]],
) -> None:
    """The state after some entry at or behind the snapshot; all of it if the damage lies before that."""
    disk = kept().disk()
    paths = segments(disk)
    for damage, (which, share, length) in damages:
        content = disk.read(paths[which])
        if content:
            write(disk, paths[which], damage(content, int(share * len(content)), length))
    wanted = plan(disk, disk.root)
    carry_out(disk, disk.root, wanted, ASIDE)
    assert not plan(disk, disk.root).is_needed
    store = reopened(disk)
    assert picture(store.load()) == kept().pictures[store.position]
    assert POSITION <= store.position <= THINGS + JOBS
    if all(which < 2 for _, (which, _, _) in damages):
        assert store.position == THINGS + JOBS
    if wanted.loss is not None:
        assert wanted.loss.first == store.position + 1
    store.append([])
    assert examine(disk, disk.root).problem is None


@pytest.mark.parametrize("number", range(8, JOBS))
@pytest.mark.parametrize("where", ["frame", "length"])
def test_what_damage_costs_is_told_exactly(number: int, where: str) -> None:
    """How many entries, from which on, and since when; a frame that is no frame any more had one at least."""
    disk = kept().disk()
    path = segments(disk)[-1]
    content = disk.read(path)
    header = decode_header(content)
    assert header is not None
    begin = [HEADER_BYTES, *(end for end, _ in read_frames(content, header.marker))][number - 7]
    disk.corrupt(path, begin + (8 if where == "length" else 60))
    found = examine(disk, disk.root)
    first = THINGS + number + 1
    assert isinstance(found.problem, JournalCorrupt)
    assert found.problem.offset == begin
    assert found.loss == plan(disk, disk.root).loss == Loss(first, JOBS - number, where == "frame", START_MS)
    assert picture(repaired(disk).load()) == kept().pictures[first - 1]


@pytest.mark.parametrize("how", ["removed", "emptied", "header cut"])
def test_a_last_segment_that_is_lost_is_no_torn_creation(how: str) -> None:
    """The one before says that it was there. A repair keeps the snapshot and says that more may be lost."""
    disk = kept().disk()
    path = segments(disk)[-1]
    if how == "removed":
        disk.remove(path)
    else:
        write(disk, path, disk.read(path)[: 0 if how == "emptied" else HEADER_BYTES - 1])
    with pytest.raises(JournalCorrupt, match="thingjobs store repair"):
        reopened(disk)
    assert isinstance(examine(disk, disk.root).problem, JournalCorrupt)
    wanted = plan(disk, disk.root)
    assert wanted.begin_anew
    assert wanted.loss == Loss(POSITION + 1, 0, is_exact=False, since_ms=START_MS)
    store = repaired(disk)
    assert picture(store.load()) == kept().pictures[POSITION]
    store.append([b"\x90"])
    assert reopened(disk).position == POSITION + 1


def test_an_interrupted_repair_is_begun_again() -> None:
    """Wherever the power fails: what is kept does not depend on it."""
    for changes in range(1, 12):
        disk = kept().disk()
        disk.corrupt(segments(disk)[-1], 9)
        wanted = plan(disk, disk.root)
        disk.changes_left = changes
        with pytest.raises(PowerCut):
            carry_out(disk, disk.root, wanted, ASIDE)
        disk.changes_left = None
        again = plan(disk, disk.root)
        carry_out(disk, disk.root, again, disk.root / "again")
        assert picture(reopened(disk).load()) == kept().pictures[POSITION], changes


# How it is parted


def opened(disk: SimulatedDisk, **options: Any) -> Journal:
    """The journal alone."""
    return Journal.open(disk, disk.root / "journal", **options)


def begins(disk: SimulatedDisk) -> list[int]:
    """What each segment begins with."""
    return [int(path.stem) for path in segments(disk)]


def test_an_append_is_parted_at_the_end_of_a_segment() -> None:
    """A snapshot's position may lie within what waits for the disk; the order stays."""
    disk = SimulatedDisk()
    journal = opened(disk)
    journal.append([b"1", b"2"])
    journal.end_segment_at(4)
    assert journal.append([b"3", b"4", b"5", b"6"]) == 6
    journal.append([b"7"])
    assert begins(disk) == [1, 5]
    assert [payload for _, payload in journal.replay()] == [b"%d" % number for number in range(1, 8)]
    journal.close()
    assert [payload for _, payload in opened(disk).replay(5)] == [b"5", b"6", b"7"]


@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_a_segment_ends_once_and_never_without_a_record(position: int) -> None:
    """Where a segment begins already, or the place is behind, nothing happens."""
    disk = SimulatedDisk()
    journal = opened(disk)
    for mark in (position, position):
        journal.end_segment_at(mark)
        journal.begin_segment()
    for payload in (b"1", b"2", b"3"):
        journal.append([payload])
    journal.end_segment_at(position)
    journal.begin_segment()
    journal.begin_segment()
    assert begins(disk) == ([1] if position == 0 else [1, position + 1])
    journal.close()


@pytest.mark.parametrize("operation", ["create", "write", "sync", "sync_directory", "sync_data"])
@pytest.mark.parametrize("skip", [0, 1])
def test_a_segment_that_cannot_be_begun_loses_nothing(operation: str, skip: int) -> None:
    """The journal takes no more; opened again it goes on, whatever reached the disk."""
    disk = SimulatedDisk()
    journal = opened(disk)
    journal.append([b"1", b"2"])
    journal.end_segment_at(2)
    disk.fail(operation, errno.EIO, file="*", skip=skip)
    disk.fail("truncate", errno.EIO)
    try:
        journal.append([b"3"])
    except JournalFailed:
        with pytest.raises(JournalFailed):
            journal.append([b"3"])
        kept_before = journal.last_position
        disk.faults.clear()
        journal = opened(disk, cut_after=kept_before)
        assert journal.append([b"3"]) == 3
    journal.close()
    disk.faults.clear()
    assert [payload for _, payload in opened(disk).replay()] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("changes", range(1, 9))
def test_a_power_cut_while_a_segment_begins_loses_nothing(changes: int) -> None:
    """Neither the torn frame that ends the one before, nor a header that was not written, is damage."""
    for seed in range(20):
        disk = SimulatedDisk()
        journal = opened(disk, room_bytes=0)
        journal.append([b"1", b"2"])
        journal.end_segment_at(2)
        disk.changes_left = changes
        try:
            journal.append([b"3"])
        except PowerCut:
            disk = disk.after_power_cut(Random(seed))
        disk.changes_left = None
        again = opened(disk)
        found = [payload for _, payload in again.replay()]
        assert found in ([b"1", b"2"], [b"1", b"2", b"3"])
        again.append([b"next"])
        assert [payload for _, payload in opened(disk).replay()] == [*found, b"next"]


@pytest.mark.parametrize("torn_bytes", [1, 23])
def test_what_is_torn_of_the_end_of_a_segment_is_no_damage(
    torn_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next segment begins where it should, so all records are there: no start and no repair minds."""
    disk = SimulatedDisk()
    _small_segments(monkeypatch)
    pictures = stored(disk, 3)
    path = segments(disk)[1]
    write(disk, path, disk.read(path)[:-torn_bytes])
    assert examine(disk, disk.root).is_sound
    assert not plan(disk, disk.root).is_needed
    assert picture(reopened(disk).load()) == pictures[-1]


def test_a_start_parts_what_a_snapshot_before_a_crash_could_not() -> None:
    """The process died between the snapshot and the next segment."""
    disk = SimulatedDisk()
    world = StoredWorld(disk)
    world.create_job("J1", "A")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "tidy", lambda _: None)
        world.store.write_snapshot(world.state)
    assert begins(disk) == [1]
    store = reopened(disk)
    store.load()
    store.append([b"\x90"])
    assert begins(disk) == [1, THINGS + 2]


def test_a_snapshot_at_the_end_leaves_nothing_behind_it_to_be_damaged() -> None:
    """As a clean stop does: damage to all that the journal has is no reason to refuse a start."""
    disk = SimulatedDisk()
    pictures = stored(disk, 3, 3)
    write(disk, segments(disk)[0], bytes(4096))
    assert picture(reopened(disk).load()) == pictures[-1]


def test_segments_that_no_snapshot_needs_stay_until_they_are_worth_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are there to fall back on where both snapshots are damaged, from the beginning; not for ever."""
    disk = SimulatedDisk()
    world = StoredWorld(disk)
    for number in range(4):
        world.create_job(f"J{number}", "A")
        world.store.write_snapshot(world.state)
    assert begins(disk)[0] == 1
    for path in disk.list_names(disk.root / "snapshot"):
        disk.corrupt(disk.root / "snapshot" / path, 60)
    assert picture(reopened(disk).load(read_only=True)) == picture(world.state)
    monkeypatch.setattr(journal_module, "SPARE_SEGMENTS", 2)
    world.store.write_snapshot(world.state)
    world.create_job("J9", "A")
    world.store.write_snapshot(world.state)
    assert begins(disk)[0] > 1
