"""The store: what is recovered from any snapshot, journal, damage and power cut; what is removed and when."""

import errno
from pathlib import Path
from random import Random
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from tests.broker.core.test_state import ACTIONS, perform
from tests.broker.core.world import World, picture
from tests.broker.store.faults import PowerCut, SimulatedDisk
from thingjobs_broker.core.records import ExecutionDeleted, Record
from thingjobs_broker.store.errors import JournalContradicts, JournalCorrupt, JournalFailed, SnapshotFailed
from thingjobs_broker.store.journal import Journal
from thingjobs_broker.store.record_codec import pack
from thingjobs_broker.store.store import Store


class StoredWorld(World):
    """A world whose records go to a store, an entry for each step."""

    def __init__(self, disk: SimulatedDisk, **options: Any) -> None:
        self.store = Store(disk, disk.root, **options)
        super().__init__("A", "B", checked=False)

    def _take(self, outcome: Any) -> Any:
        self.store.append([pack(outcome.records)] if outcome.records else [])
        return super()._take(outcome)


def reopened(disk: SimulatedDisk) -> Store:
    """The store as the next start opens it."""
    return Store(disk, disk.root)


def snapshots(disk: SimulatedDisk) -> list[str]:
    """The names of the snapshots on the disk."""
    return disk.list_names(disk.root / "snapshot")


@hypothesis.given(
    st.lists(st.one_of(ACTIONS, ACTIONS, ACTIONS, st.just(("snapshot",))), min_size=10, max_size=40)
)
@hypothesis.settings(max_examples=60)
def test_the_state_is_recovered_from_snapshots_and_the_journal_after_them(actions: list[Any]) -> None:
    """Promise 6: whenever snapshots were taken, the recovered state is the live one."""
    disk = SimulatedDisk()
    world = StoredWorld(disk)
    for action in actions:
        if action == ("snapshot",):
            world.store.write_snapshot(world.state)
        else:
            perform(world, action)
    store = reopened(disk)
    assert picture(store.load()) == picture(world.state)
    assert store.snapshot_bytes == world.store.snapshot_bytes


@hypothesis.given(st.integers(1, 120), st.integers(0, 2**32))
@hypothesis.settings(max_examples=120)
def test_a_power_cut_at_any_change_of_the_disk_loses_nothing_that_was_durable(
    changes: int, seed: int
) -> None:
    """Promises 1 and 6, also while a snapshot is written, committed, or old files are removed."""
    disk, random = SimulatedDisk(), Random(seed)
    world = StoredWorld(disk)
    world.create_job("J1", "A", "B")
    disk.changes_left = changes
    with pytest.raises(PowerCut):
        while True:
            world.pass_unnoticed(1000)
            world.device("A", "start-next")
            world.update("A", "J1", "IN_PROGRESS", statusDetails={"step": str(random.random())})
            if random.random() < 0.3:
                world.store.write_snapshot(world.state)
    durable = list(world.journal)
    after = reopened(disk.after_power_cut(random))
    recovered = after.load()
    # The entry under way may have reached the disk: its step is applied, but was told to nobody.
    possible = [_picture(durable), picture(world.state)]
    assert picture(recovered) in possible


def _picture(records: list[Record]) -> dict[str, Any]:
    world = World()
    for record in records:
        world.state.apply(record)
    return picture(world.state)


def test_a_damaged_snapshot_falls_back_to_the_one_before() -> None:
    """Item 2: with the journal after it the state is the same."""
    disk = SimulatedDisk()
    world = StoredWorld(disk)
    for number in range(4):
        world.create_job(f"J{number}", "A")
        world.store.write_snapshot(world.state)
    newest, before = (disk.root / "snapshot" / name for name in reversed(snapshots(disk)))
    disk.corrupt(newest, 100)
    store = reopened(disk)
    assert picture(store.load()) == picture(world.state)
    assert snapshots(disk) == [before.name, f"{newest.stem}.damaged"]


def test_a_first_snapshot_that_is_damaged_falls_back_to_the_journal_alone() -> None:
    """No segment is removed before there are two snapshots."""
    disk = SimulatedDisk()
    world = StoredWorld(disk)
    world.create_job("J1", "A")
    world.store.write_snapshot(world.state)
    disk.corrupt(disk.root / "snapshot" / snapshots(disk)[0], 100)
    assert picture(reopened(disk).load()) == picture(world.state)


def test_without_a_whole_snapshot_and_the_journal_before_it_the_start_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Item 2: rather no service than one that has forgotten; the message names the way out."""
    disk = SimulatedDisk()
    _small_segments(monkeypatch)
    world = StoredWorld(disk)
    for number in range(4):
        world.create_job(f"J{number}", "A")
        world.store.write_snapshot(world.state)
    for name in snapshots(disk):
        disk.corrupt(disk.root / "snapshot" / name, 100)
    with pytest.raises(JournalCorrupt, match="thingjobs store repair"):
        reopened(disk).load()


def test_snapshots_that_cannot_be_read_for_a_moment_are_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is refused, naming the disk and not a repair; the next one finds everything."""
    disk = SimulatedDisk()
    _small_segments(monkeypatch)
    world = StoredWorld(disk)
    for number in range(4):
        world.create_job(f"J{number}", "A")
        world.store.write_snapshot(world.state)
    store = reopened(disk)
    disk.fail("read", errno.EIO, times=2)
    with pytest.raises(SnapshotFailed, match=r"snapshot: .*EIO.*look at the disk, then start again"):
        store.load()
    assert picture(reopened(disk).load()) == picture(world.state)


def test_the_journal_is_removed_up_to_the_older_of_two_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Item 1: old segments go once a snapshot is durable, and the store shrinks."""
    disk = SimulatedDisk()
    _small_segments(monkeypatch)
    world = StoredWorld(disk)
    kept = []
    for number in range(5):
        world.create_job(f"J{number}", "A")
        world.update("A", f"J{number}", "IN_PROGRESS")
        world.store.write_snapshot(world.state)
        kept.append((len(snapshots(disk)), int(disk.list_names(disk.root / "journal")[0][:20])))
    assert [count for count, _ in kept] == [1, 2, 2, 2, 2]
    # Two entries for the things, then two for each job; a segment each.
    assert [first for _, first in kept] == [1, 5, 7, 9, 11]
    assert picture(reopened(disk).load()) == picture(world.state)


def _small_segments(patch: pytest.MonkeyPatch) -> None:
    open_journal = Journal.open
    patch.setattr(
        Journal, "open", lambda *args, **options: open_journal(*args, **options, segment_bytes_max=1)
    )


@pytest.mark.parametrize("operation", ["write", "sync_data"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_failed_append_is_no_part_of_the_history_nor_will_it_be(operation: str, error: int) -> None:
    """Item 3: the state is read without it, the journal goes on without it, and no power cut brings it
    back.
    """
    disk = SimulatedDisk()
    world = StoredWorld(disk)
    world.create_job("J1", "A")
    before = picture(world.state)
    disk.fail(operation, error)
    # Even the attempt to cut it off at once fails.
    disk.fail("truncate", error)
    with pytest.raises(JournalFailed):
        world.device("A", "start-next")
    assert picture(world.store.load(read_only=True)) == before
    world.store.reopen()
    assert picture(world.store.load()) == before
    for seed in range(10):
        assert picture(reopened(disk.after_power_cut(Random(seed))).load()) == before
    world.state, world.service = world.store.load(), world.service
    world.service = world._new_service()
    world.device("A", "start-next")
    assert picture(reopened(disk).load()) == picture(world.state)


def test_what_is_durable_is_read_while_the_disk_refuses_all_writing() -> None:
    """Item 3: reads go on; a damaged snapshot is passed over without renaming it."""
    disk = SimulatedDisk()
    world = StoredWorld(disk)
    for number in range(3):
        world.create_job(f"J{number}", "A")
        world.store.write_snapshot(world.state)
    before = picture(world.state)
    disk.corrupt(disk.root / "snapshot" / snapshots(disk)[-1], 60)
    for operation in ("write", "sync", "sync_data", "truncate", "rename", "sync_directory", "create"):
        disk.fail(operation, errno.EROFS, times=1000)
    with pytest.raises(JournalFailed):
        world.device("A", "start-next")
    with pytest.raises(JournalFailed):
        world.store.reopen()
    assert picture(world.store.load(read_only=True)) == before
    disk.faults.clear()
    world.store.reopen()
    assert picture(world.store.load()) == before


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "sync_directory"])
def test_a_snapshot_that_fails_harms_nothing(operation: str) -> None:
    """The journal has everything, and the older snapshot stays."""
    disk = SimulatedDisk()
    world = StoredWorld(disk)
    world.create_job("J1", "A")
    world.store.write_snapshot(world.state)
    kept = snapshots(disk)
    world.create_job("J2", "A")
    disk.fail(operation, errno.ENOSPC)
    with pytest.raises(SnapshotFailed):
        world.store.write_snapshot(world.state)
    assert kept[0] in snapshots(disk)
    assert not [name for name in snapshots(disk) if name.endswith(".tmp")]
    world.create_job("J3", "A")
    assert picture(reopened(disk).load()) == picture(world.state)


def test_room_is_what_is_free_beyond_the_reserve() -> None:
    """Item 3; it takes a quarter more than the reserve to have room again."""
    disk = SimulatedDisk()
    disk.capacity_bytes = 100_000
    store = Store(disk, disk.root, reserve_bytes=100_000)
    used = 100_000 - disk.free_bytes(disk.root)
    disk.capacity_bytes = used + 100_000
    assert store.has_room()
    assert not store.has_room(again=True)
    store.snapshot_bytes = 2_000_000
    for free_bytes, without, with_reserve in ((2_600_000, True, True), (2_500_000, False, True)):
        disk.capacity_bytes = used + free_bytes
        assert store.has_room_for_snapshot() is without
        assert store.has_room_for_snapshot(use_reserve=True) is with_reserve
    disk.capacity_bytes = used + 2_499_999
    assert not store.has_room_for_snapshot(use_reserve=True)
    disk.capacity_bytes = used + 99_999
    assert not store.has_room()
    disk.capacity_bytes = used + 125_000
    assert store.has_room(again=True)
    disk.fail("free_bytes", errno.EIO)
    assert not store.has_room()


def test_a_disk_has_room_again_only_if_it_takes_a_file() -> None:
    """Item 3: a quota knows nothing of free space, and without a reserve some is always enough."""
    disk = SimulatedDisk()
    store = Store(disk, disk.root, reserve_bytes=0)
    names = disk.list_names(disk.root)
    assert store.has_room(again=True)
    disk.fail("write", errno.EDQUOT)
    assert store.has_room()
    assert not store.has_room(again=True)
    disk.faults.clear()
    assert disk.list_names(disk.root) == names


def test_a_journal_that_contradicts_itself_is_refused() -> None:
    """One line that names the entry and the way out, no traceback."""
    disk = SimulatedDisk()
    store = Store(disk, Path("/disk"))
    store.append([pack([ExecutionDeleted("A", "J1", 1, 0, "operator")])])
    with pytest.raises(JournalContradicts, match=r"entry 1 .* run `thingjobs store repair`") as refused:
        store.load()
    assert refused.value.position == 1
