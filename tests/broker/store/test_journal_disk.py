"""The journal on a disk that fails, fills up, tears and loses: promises 1 and 6 of the architecture."""

import errno
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from structlog.testing import capture_logs

from tests.broker.store.faults import PowerCut, SimulatedDisk
from thingjobs_broker.store.errors import JournalFailed
from thingjobs_broker.store.journal import Journal

FIRST_SEGMENT = f"{1:020d}.log"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of disasters, each logged."""
    with capture_logs():
        yield


def open_journal(disk: SimulatedDisk, *, segment_bytes_max: int = 1 << 20) -> Journal:
    """A journal on this disk, which makes no room."""
    return Journal.open(disk, disk.root / "journal", segment_bytes_max=segment_bytes_max, room_bytes=0)


def payloads(journal: Journal) -> list[bytes]:
    """All records."""
    return [payload for _, payload in journal.replay(journal.first_position)]


@pytest.mark.parametrize("operation", ["write", "sync_data"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_failed_append_poisons_the_journal(operation: str, code: int) -> None:
    """Later appends fail with the first error, and the disk is not asked again."""
    disk = SimulatedDisk()
    journal = open_journal(disk)
    journal.append([b"kept"])
    disk.fail(operation, code)
    with capture_logs() as logs, pytest.raises(JournalFailed) as caught:
        journal.append([b"refused"])
    assert caught.value.path == disk.root / "journal" / FIRST_SEGMENT
    assert caught.value.errno == code
    assert f"{FIRST_SEGMENT}: " in str(caught.value)
    assert f"({errno.errorcode[code]})" in str(caught.value)
    assert [entry["log_level"] for entry in logs if entry["action"] == "journal_failed"] == ["error"]

    asked = len(disk.log)
    with pytest.raises(JournalFailed, match=errno.errorcode[code]):
        journal.append([b"refused too"])
    assert len(disk.log) == asked
    assert payloads(journal) == [b"kept"]
    assert journal.last_position == 1
    journal.close()


def test_a_refused_change_is_not_found_after_a_restart() -> None:
    """Promise 2: its client was told that it failed."""
    disk = SimulatedDisk()
    journal = open_journal(disk)
    journal.append([b"kept"])
    disk.fail("sync_data", errno.EIO)
    with pytest.raises(JournalFailed):
        journal.append([b"refused"])
    journal.close()
    reopened = open_journal(disk)
    assert payloads(reopened) == [b"kept"]
    assert reopened.append([b"next"]) == 2


def test_a_full_disk_refuses_and_takes_records_again_when_there_is_room() -> None:
    """The way on is to reopen; what was durable is there, what was refused is not."""
    disk = SimulatedDisk()
    journal = open_journal(disk)
    journal.append([b"kept"])
    disk.capacity_bytes = 200
    with pytest.raises(JournalFailed, match="ENOSPC"):
        journal.append([b"x" * 400])
    journal.close()
    disk.capacity_bytes = 1000
    journal = open_journal(disk)
    assert payloads(journal) == [b"kept"]
    assert journal.append([b"x" * 400]) == 2


def test_a_disk_that_has_no_room_to_make_takes_what_fits() -> None:
    """Room is a convenience; only a record that does not fit is refused."""
    disk = SimulatedDisk()
    disk.capacity_bytes = 1000
    journal = Journal.open(disk, disk.root / "journal", room_bytes=5000)
    assert journal.append([b"x" * 400]) == 1
    assert journal.append([b"y" * 400]) == 2
    with pytest.raises(JournalFailed, match="ENOSPC"):
        journal.append([b"z" * 400])
    journal.close()
    assert payloads(open_journal(disk)) == [b"x" * 400, b"y" * 400]


@pytest.mark.parametrize("operation", ["create", "write", "sync", "sync_directory"])
def test_a_failed_rotation_fails_the_append_that_needed_it_alone(operation: str) -> None:
    """The append before it was durable and said so; the one after it wrote nothing."""
    disk = SimulatedDisk()
    journal = open_journal(disk, segment_bytes_max=50)
    assert journal.append([b"x" * 50]) == 1
    disk.fail(operation, errno.ENOSPC)
    with pytest.raises(JournalFailed, match=rf"{2:020d}\.log: .*ENOSPC"):
        journal.append([b"refused"])
    journal.close()
    journal = open_journal(disk, segment_bytes_max=50)
    assert payloads(journal) == [b"x" * 50]
    assert journal.append([b"next"]) == 2
    journal.close()
    assert payloads(open_journal(disk)) == [b"x" * 50, b"next"]


def test_a_sync_that_failed_in_an_earlier_life_is_made_good_before_its_records_are_used() -> None:
    """A failed sync leaves records that can be read and are not on the disk; replaying them is a promise."""
    disk = SimulatedDisk()
    journal = open_journal(disk)
    journal.append([b"kept"])
    disk.fail("sync_data", errno.EIO)
    disk.fail("truncate", errno.EIO)
    with pytest.raises(JournalFailed):
        journal.append([b"in the page cache"])
    assert payloads(journal) == [b"kept"]
    journal.close()
    seen = payloads(open_journal(disk))
    assert seen == [b"kept", b"in the page cache"]
    for seed in range(8):
        assert payloads(open_journal(disk.after_power_cut(Random(seed)))) == seen


@pytest.mark.parametrize("operation", ["list_names", "read", "open", "write", "sync", "sync_directory"])
def test_a_disk_that_fails_while_opening_is_named(operation: str) -> None:
    """One error of ours, never an OSError; the next try succeeds."""
    disk = SimulatedDisk()
    open_journal(disk).append([b"kept"])
    disk.fail(operation, errno.EIO)
    with pytest.raises(JournalFailed, match=r"journal.*Input/output error \(EIO\)"):
        open_journal(disk)
    assert payloads(open_journal(disk)) == [b"kept"]


def test_a_failed_removal_does_not_poison_and_may_be_repeated() -> None:
    """Old segments are a matter of space, not of truth."""
    disk = SimulatedDisk()
    journal = open_journal(disk, segment_bytes_max=1)
    for number in range(4):
        journal.append([b"%d" % number])
    disk.fail("remove", errno.EIO, skip=1)
    with pytest.raises(JournalFailed, match=f"{2:020d}.log"):
        journal.remove_before(4)
    disk.fail("sync_directory", errno.EIO)
    with pytest.raises(JournalFailed):
        journal.remove_before(4)
    assert journal.append([b"4"]) == 5
    journal.remove_before(4)
    assert payloads(journal) == [b"3", b"4"]


def test_closing_on_a_failing_disk_is_quiet() -> None:
    """Every append was durable when it returned; the seal is owed to nobody."""
    disk = SimulatedDisk()
    journal = open_journal(disk)
    journal.append([b"kept"])
    disk.fail("write", errno.EIO)
    journal.close()
    assert payloads(open_journal(disk)) == [b"kept"]


class Life:
    """Lives of one journal on failing disks: what was promised, what was under way, and what came back."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.disk = SimulatedDisk()
        self.promised: list[bytes] = []
        self.under_way: list[bytes] = []
        self.removed_to = 1
        self.count = 0
        self.met: Counter[str] = Counter()

    def open(self) -> Journal:
        """Open, and compare what comes back with what was promised; from now on that is promised too."""
        journal = Journal.open(
            self.disk,
            self.disk.root / "journal",
            segment_bytes_max=self.random.choice([1, 700, 5000]),
            room_bytes=self.random.choice([0, 700, 5000]),
            new_marker=lambda: self.random.randbytes(4),
        )
        found = list(journal.replay(journal.first_position))
        assert journal.first_position <= self.removed_to
        first = journal.first_position
        assert [position for position, _ in found] == list(range(first, journal.last_position + 1))
        records = self.promised[: first - 1] + [payload for _, payload in found]
        assert records in (self.promised, self.promised + self.under_way)
        if self.under_way:
            kept = len(records) > len(self.promised)
            self.met["kept though not promised" if kept else "lost as allowed"] += 1
        self.met["torn"] += journal.torn_tail is not None
        self.met["removed"] += first > 1
        self.promised, self.under_way = records, []
        return journal

    def batch(self) -> list[bytes]:
        """Records that occur once, some larger than a sector."""
        self.count += 1
        sizes = [self.random.choice([0, 5, 300, 2000]) for _ in range(self.random.randint(1, 5))]
        return [b"%d.%d:" % (self.count, index) + bytes(size) for index, size in enumerate(sizes)]

    def work(self, journal: Journal) -> None:
        """Append, and now and then remove, restart, or meet a fault."""
        for _ in range(self.random.randint(0, 12)):
            if self.random.random() < 0.1:
                operation = self.random.choice(["write", "sync_data", "create", "sync", "truncate"])
                self.disk.fail(operation, errno.EIO, skip=self.random.randint(0, 3))
            self.under_way = self.batch()
            journal.append(self.under_way)
            self.promised, self.under_way = self.promised + self.under_way, []
            if self.random.random() < 0.15:
                position = self.random.randint(1, len(self.promised) + 1)
                self.removed_to = max(self.removed_to, position)
                journal.remove_before(position)
        if self.random.random() < 0.5:
            journal.close()

    def live(self) -> None:
        """One life: until the work is done, the disk fails, or the power does."""
        if self.random.random() < 0.6:
            self.disk.changes_left = self.random.randint(0, 40)
        try:
            self.work(self.open())
        except JournalFailed:
            self.met["disk failed"] += 1
            self.disk.faults.clear()
            if self.random.random() < 0.5:
                return
        except PowerCut:
            self.met["power cut"] += 1
            self.disk = self.disk.after_power_cut(self.random)
            return
        if self.random.random() < 0.5:
            self.disk = self.disk.after_power_cut(self.random)


@pytest.mark.parametrize("hundred", range(6))
def test_no_disaster_loses_a_promised_record_or_splits_an_append(hundred: int) -> None:
    """Promises 1 and 6: after any cut, tear, lost write or failed sync, what was promised is there."""
    for seed in range(hundred * 100, hundred * 100 + 100):
        life = Life(seed)
        for number in range(8):
            try:
                life.live()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, life {number}") from error


def test_the_disasters_reach_everything() -> None:
    """The test above is worth what it meets: each kind of end at least now and then."""
    met: Counter[str] = Counter()
    for seed in range(100):
        life = Life(seed)
        for _ in range(8):
            life.live()
        met += life.met
    kinds = ("torn", "kept though not promised", "lost as allowed", "removed", "disk failed", "power cut")
    assert min(met[kind] for kind in kinds) >= 10, met
