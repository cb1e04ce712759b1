"""Check and repair: what is found, what is cut, and that a service starts afterwards from what was kept."""

import errno
from pathlib import Path

import pytest

from tests.broker.core.world import START_MS, picture
from tests.broker.store.faults import SimulatedDisk
from tests.broker.store.test_store import StoredWorld, _small_segments, reopened, snapshots
from thingjobs_broker.core.records import ExecutionDeleted
from thingjobs_broker.store.errors import JournalContradicts, JournalCorrupt, StoreError
from thingjobs_broker.store.examine import examine, holds_store
from thingjobs_broker.store.journal import Journal
from thingjobs_broker.store.record_codec import pack
from thingjobs_broker.store.repair import CopyFailed, NothingToKeep, carry_out, plan
from thingjobs_broker.store.store import Store

ASIDE = Path("/disk/aside")


def stored(disk: SimulatedDisk, jobs: int, *snapshots_after: int) -> list[dict[str, object]]:
    """A store of so many jobs; returns the state after each entry."""
    world = StoredWorld(disk)
    pictures = [picture(world.state)]
    for number in range(jobs):
        world.create_job(f"J{number}", "A")
        pictures.append(picture(world.state))
        if number + 1 in snapshots_after:
            world.store.write_snapshot(world.state)
    world.store.close()
    return pictures


def files(disk: SimulatedDisk) -> dict[str, bytes]:
    """Every file and what it holds, but for what was copied aside."""
    return {
        str(path): disk.read(path)
        for path in disk._seen
        if path.suffix in {".log", ".snapshot"} and path.parent != ASIDE
    }


def segments(disk: SimulatedDisk) -> list[Path]:
    """The files of the journal, oldest first."""
    directory = disk.root / "journal"
    return [directory / name for name in disk.list_names(directory)]


def repaired(disk: SimulatedDisk) -> Store:
    """The store after a repair, which must have kept a copy of all that lost something."""
    before = files(disk)
    wanted = plan(disk, disk.root)
    assert files(disk) == before, "planning changed something"
    carry_out(disk, disk.root, wanted, ASIDE)
    for path, content in before.items():
        if files(disk).get(path) != content:
            assert disk.read(ASIDE / Path(path).name) == content
    assert examine(disk, disk.root).is_sound
    assert not plan(disk, disk.root).is_needed
    store = reopened(disk)
    assert store.position == wanted.position
    return store


def test_a_sound_store_is_sound_and_nothing_is_touched() -> None:
    """Also with a torn tail, which a start cuts by itself."""
    disk = SimulatedDisk()
    pictures = stored(disk, 5, 2, 4)
    last = segments(disk)[-1]
    disk.open(last).write(b"torn", len(disk.read(last)))
    before = files(disk)
    found = examine(disk, disk.root)
    assert found.is_sound
    assert found.torn_tail is not None
    assert found.torn_tail.bytes_cut == 4
    assert found.state is not None
    assert picture(found.state) == pictures[-1]
    assert (found.position, found.segments, len(found.snapshots)) == (7, 3, 2)
    assert not plan(disk, disk.root).is_needed
    assert files(disk) == before


def test_an_empty_directory_holds_no_store() -> None:
    """Nothing to check is not the same as nothing wrong."""
    disk = SimulatedDisk()
    assert not holds_store(disk, disk.root)
    assert not holds_store(disk, disk.root / "nowhere")
    stored(disk, 1)
    assert holds_store(disk, disk.root)


@pytest.mark.parametrize("small", [True, False])
def test_damage_in_the_middle_is_cut_with_all_that_follows(
    small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Item 2: a start is refused before, and serves what was before the damage afterwards."""
    disk = SimulatedDisk()
    if small:
        _small_segments(monkeypatch)
    pictures = stored(disk, 6)
    # The entries of the two things come first; damage that of the fourth job.
    if small:
        disk.corrupt(segments(disk)[5], 50)
    else:
        disk.corrupt(segments(disk)[0], disk.read(segments(disk)[0]).index(b"J3"))
    with pytest.raises(JournalCorrupt, match="thingjobs store repair"):
        reopened(disk).load()
    problem = examine(disk, disk.root).problem
    assert isinstance(problem, JournalCorrupt)
    assert problem.offset is not None
    wanted = plan(disk, disk.root)
    assert "entries from 6 on are lost" in wanted.cuts[0].reason
    assert len(wanted.cuts) == (3 if small else 1)
    assert picture(repaired(disk).load()) == pictures[3]


def unparted(disk: SimulatedDisk, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """A store of before snapshots ended segments: six jobs in one, a snapshot after the fourth."""
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "end_segment_at", lambda *_: None)
        return stored(disk, 6, 4)


def test_damage_before_a_snapshot_in_the_middle_of_a_segment_costs_what_came_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Entries do not tell their positions, so where the snapshot ends is not known behind the damage."""
    disk = SimulatedDisk()
    pictures = unparted(disk, monkeypatch)
    disk.corrupt(segments(disk)[0], disk.read(segments(disk)[0]).index(b"J1"))
    with pytest.raises(JournalCorrupt):
        reopened(disk).load()
    assert plan(disk, disk.root).loss == (7, 2, True, START_MS)
    store = repaired(disk)
    assert picture(store.load()) == pictures[4]
    store.append([pack([])])
    assert reopened(disk).position == 7


def test_damage_that_only_a_fall_back_would_meet_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start would not notice; repair is not needed, a new snapshot mends it."""
    disk = SimulatedDisk()
    _small_segments(monkeypatch)
    pictures = stored(disk, 6, 2, 5)
    disk.corrupt(segments(disk)[1], 50)
    found = examine(disk, disk.root)
    assert found.problem is None
    assert isinstance(found.spare_problem, JournalCorrupt)
    assert not found.is_sound
    assert not plan(disk, disk.root).is_needed
    assert picture(reopened(disk).load()) == pictures[-1]


def test_a_segment_that_is_missing_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows it does not follow from what is before it."""
    disk = SimulatedDisk()
    _small_segments(monkeypatch)
    pictures = stored(disk, 5)
    disk.remove(segments(disk)[4])
    assert picture(repaired(disk).load()) == pictures[2]


@pytest.mark.parametrize("which", [0, 3])
def test_a_damaged_header_costs_its_segment(which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, and what follows; the very first leaves nothing."""
    disk = SimulatedDisk()
    _small_segments(monkeypatch)
    pictures = stored(disk, 5)
    disk.corrupt(segments(disk)[which], 9)
    recovered = repaired(disk).load()
    assert (picture(recovered) == pictures[1]) if which else (recovered.things == {})


def test_a_damaged_snapshot_is_set_aside() -> None:
    """A start does so too; nothing is lost."""
    disk = SimulatedDisk()
    pictures = stored(disk, 5, 2, 4)
    disk.corrupt(disk.root / "snapshot" / snapshots(disk)[1], 80)
    found = examine(disk, disk.root)
    assert found.problem is None
    assert [bool(snapshot.damage) for snapshot in found.snapshots] == [False, True]
    assert not found.is_sound
    assert picture(repaired(disk).load()) == pictures[-1]
    assert len(snapshots(disk)) == 1


def test_a_journal_that_is_gone_begins_anew_after_the_snapshot() -> None:
    """What the snapshot holds is served; the entries since are lost."""
    disk = SimulatedDisk()
    pictures = stored(disk, 5, 4)
    for path in segments(disk):
        disk.remove(path)
    with pytest.raises(StoreError):
        reopened(disk).load()
    disk.remove(segments(disk)[0])
    assert picture(repaired(disk).load()) == pictures[4]


@pytest.mark.parametrize("operation", ["create", "write", "sync", "sync_directory"])
def test_without_room_for_the_copies_nothing_is_cut(operation: str) -> None:
    """What could be copied does not stay either: the next try has all the room there is."""
    disk = SimulatedDisk()
    stored(disk, 3)
    disk.corrupt(segments(disk)[0], disk.read(segments(disk)[0]).index(b"J1"))
    before, wanted = files(disk), plan(disk, disk.root)
    disk.fail(operation, errno.ENOSPC)
    with pytest.raises(CopyFailed, match=r"aside: .*nothing was cut"):
        carry_out(disk, disk.root, wanted, ASIDE)
    assert files(disk) == before
    assert disk.list_names(ASIDE) == []
    repaired(disk)


def test_an_entry_that_contradicts_is_cut() -> None:
    """It is whole, but nothing can come of it."""
    disk = SimulatedDisk()
    pictures = stored(disk, 3)
    store = reopened(disk)
    store.append([pack([ExecutionDeleted("A", "J9", 1, 0, "operator")])])
    store.append([pack([])])
    store.close()
    assert isinstance(examine(disk, disk.root).problem, JournalContradicts)
    assert "entry 6 of the journal does not fit" in plan(disk, disk.root).cuts[0].reason
    assert picture(repaired(disk).load()) == pictures[-1]


def test_where_no_state_can_be_told_only_a_backup_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cut, and the message says so."""
    disk = SimulatedDisk()
    _small_segments(monkeypatch)
    stored(disk, 5, 2, 3, 4)
    for name in snapshots(disk):
        disk.corrupt(disk.root / "snapshot" / name, 80)
    before = files(disk)
    with pytest.raises(NothingToKeep, match="backup"):
        plan(disk, disk.root)
    assert files(disk) == before
