"""The journal on a real disk: what goes in comes out, positions count for ever, segments come and go."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.broker.store.faults import SimulatedDisk
from thingjobs_broker.store.errors import JournalCorrupt, RecordTooLarge, StoreError
from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.framing import RECORD_BYTES_MAX
from thingjobs_broker.store.journal import Journal


def open_journal(directory: Path, *, segment_bytes_max: int = 1 << 20) -> Journal:
    """A journal on the real disk."""
    return Journal.open(OsFiles(), directory / "journal", segment_bytes_max=segment_bytes_max)


def segments(directory: Path) -> list[str]:
    """The names of the segments, oldest first."""
    return sorted(path.name for path in (directory / "journal").iterdir())


def test_a_new_journal_is_empty_and_begins_at_one(tmp_path: Path) -> None:
    """Nothing to replay, and the first record gets position 1."""
    journal = open_journal(tmp_path)
    assert list(journal.replay()) == []
    assert (journal.first_position, journal.last_position) == (1, 0)
    assert journal.append([b"one"]) == 1
    journal.close()


def test_records_come_back_in_order_with_their_positions(tmp_path: Path) -> None:
    """Each record has its own position, however many were appended together."""
    journal = open_journal(tmp_path)
    assert journal.append([b"a", b"", b"c" * 5000]) == 3
    assert journal.append([b"d"]) == 4
    expected = [(1, b"a"), (2, b""), (3, b"c" * 5000), (4, b"d")]
    assert list(journal.replay()) == expected
    journal.close()
    reopened = open_journal(tmp_path)
    assert list(reopened.replay()) == expected
    assert reopened.torn_tail is None
    reopened.close()


def test_positions_go_on_after_a_restart(tmp_path: Path) -> None:
    """A position names one record for ever."""
    for life in range(5):
        journal = open_journal(tmp_path, segment_bytes_max=100)
        assert journal.last_position == life * 2
        assert journal.append([b"x" * 30, b"y" * 30]) == life * 2 + 2
        journal.close()
    journal = open_journal(tmp_path)
    assert [position for position, _ in journal.replay()] == list(range(1, 11))
    journal.close()


def test_a_journal_that_was_not_closed_is_whole(tmp_path: Path) -> None:
    """What append returned for needs no close: the process may be killed at any time."""
    open_journal(tmp_path).append([b"kept"])
    journal = open_journal(tmp_path)
    assert list(journal.replay()) == [(1, b"kept")]
    assert journal.torn_tail is None
    journal.close()


def test_appending_nothing_writes_nothing(tmp_path: Path) -> None:
    """An outcome without records costs no sync."""
    disk = SimulatedDisk()
    journal = Journal.open(disk, disk.root / "journal")
    before = len(disk.log)
    assert journal.append([]) == 0
    assert len(disk.log) == before


def test_one_append_is_one_write_and_one_sync() -> None:
    """Group commit pays once for all records that queued; now and then room is made for the next appends."""
    disk = SimulatedDisk()
    journal = Journal.open(disk, disk.root / "journal", room_bytes=1000)
    before = len(disk.log)
    journal.append([b"x"] * 100)
    assert [operation for operation, _ in disk.log[before:]] == ["write", "write", "sync_data"]
    before = len(disk.log)
    journal.append([b"x"] * 100)
    assert [operation for operation, _ in disk.log[before:]] == ["write", "sync_data"]


def test_room_is_made_ahead_and_is_gone_after_a_stop(tmp_path: Path) -> None:
    """A sync has no new size to write then; the file does not grow for several hundred updates."""
    journal = open_journal(tmp_path)
    path = tmp_path / "journal" / segments(tmp_path)[0]
    sizes = set()
    for _ in range(100):
        journal.append([b"x" * 300])
        sizes.add(path.stat().st_size)
    assert len(sizes) == 1
    assert min(sizes) > 200_000
    journal.close()
    assert path.stat().st_size < 40_000


def test_opening_and_closing_again_and_again_does_not_grow_the_journal(tmp_path: Path) -> None:
    """A journal is sealed once."""
    journal = open_journal(tmp_path)
    journal.append([b"x"])
    journal.close()
    path = tmp_path / "journal" / segments(tmp_path)[0]
    size_bytes = path.stat().st_size
    for _ in range(3):
        open_journal(tmp_path).close()
    assert path.stat().st_size == size_bytes


def test_a_full_segment_is_followed_by_the_next_one_named_by_its_first_position(tmp_path: Path) -> None:
    """Segments are bounded, and their names are an index."""
    journal = open_journal(tmp_path, segment_bytes_max=150)
    for number in range(6):
        journal.append([b"%d" % number * 60])
    journal.close()
    assert segments(tmp_path) == [f"{first:020d}.log" for first in (1, 3, 5)]
    journal = open_journal(tmp_path)
    assert [payload[:1] for _, payload in journal.replay()] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    journal.close()


@pytest.mark.parametrize("from_position", range(1, 12))
def test_replay_begins_where_it_is_told(tmp_path: Path, from_position: int) -> None:
    """Recovery reads what comes after the snapshot, also from the middle of a frame or of a segment."""
    journal = open_journal(tmp_path, segment_bytes_max=150)
    for first in (1, 4, 7):
        journal.append([b"%d" % number * 20 for number in range(first, first + 3)])
    journal.append([b"last"])
    assert [position for position, _ in journal.replay(from_position)] == list(range(from_position, 11))
    journal.close()


def test_replay_refuses_what_the_journal_does_not_hold(tmp_path: Path) -> None:
    """A snapshot newer than the journal, or older than its beginning, means that records are missing."""
    journal = open_journal(tmp_path, segment_bytes_max=50)
    for _ in range(3):
        journal.append([b"x" * 60])
    journal.remove_before(3)
    with pytest.raises(JournalCorrupt, match=r"expected record 2 .*, found records 3 to 3"):
        journal.replay(2)
    with pytest.raises(JournalCorrupt, match=r"expected record 5 .*, found records 3 to 3"):
        journal.replay(5)
    with pytest.raises(JournalCorrupt):
        journal.replay()
    assert list(journal.replay(4)) == []
    journal.close()


@pytest.mark.parametrize(("position", "kept_from"), [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5), (99, 5)])
def test_remove_before_keeps_the_record_and_the_last_segment(
    tmp_path: Path, position: int, kept_from: int
) -> None:
    """Only segments that lie wholly before the position go; positions go on where they were."""
    journal = open_journal(tmp_path, segment_bytes_max=150)
    for _ in range(6):
        journal.append([b"x" * 60])
    journal.remove_before(position)
    assert segments(tmp_path)[0] == f"{kept_from:020d}.log"
    journal.close()
    journal = open_journal(tmp_path)
    assert (journal.first_position, journal.last_position) == (kept_from, 6)
    assert [found for found, _ in journal.replay(kept_from)] == list(range(kept_from, 7))
    journal.close()


def test_a_record_over_the_limit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """The error names size and limit, and the journal goes on."""
    journal = open_journal(tmp_path)
    with pytest.raises(RecordTooLarge, match=f"{RECORD_BYTES_MAX + 1} bytes exceeds the limit"):
        journal.append([b"small", bytes(RECORD_BYTES_MAX + 1)])
    assert journal.append([b"next"]) == 1
    assert list(journal.replay()) == [(1, b"next")]
    journal.close()


def test_an_append_larger_than_a_frame_is_written_in_several(tmp_path: Path) -> None:
    """No batch is too large to commit, and the largest record fits."""
    payloads = [b"a", bytes(RECORD_BYTES_MAX), b"b", b"c" * (RECORD_BYTES_MAX // 2), b"d"]
    journal = open_journal(tmp_path)
    assert journal.append(payloads) == 5
    journal.close()
    journal = open_journal(tmp_path)
    assert [payload for _, payload in journal.replay()] == payloads
    journal.close()


def test_a_closed_journal_takes_no_records(tmp_path: Path) -> None:
    """The error says so; closing twice does nothing."""
    journal = open_journal(tmp_path)
    journal.close()
    journal.close()
    with pytest.raises(StoreError, match="the journal is closed"):
        journal.append([b"late"])


def test_files_are_private(tmp_path: Path) -> None:
    """Segments are 0600 in a directory of 0700."""
    journal = open_journal(tmp_path, segment_bytes_max=1)
    journal.append([b"x"])
    journal.append([b"x"])
    journal.close()
    directory = tmp_path / "journal"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()] == [0o600, 0o600]


@given(
    lives=st.lists(st.lists(st.lists(st.binary(max_size=40), max_size=5), max_size=4), max_size=4),
    segment_bytes_max=st.integers(min_value=1, max_value=300),
)
def test_what_goes_in_comes_out(lives: list[list[list[bytes]]], segment_bytes_max: int) -> None:
    """Any records, in any batches, over any restarts and segments, come back in order."""
    disk = SimulatedDisk()
    expected: list[bytes] = []
    for life in lives:
        journal = Journal.open(disk, disk.root / "journal", segment_bytes_max=segment_bytes_max)
        for batch in life:
            expected += batch
            assert journal.append(batch) == len(expected)
        journal.close()
    journal = Journal.open(disk, disk.root / "journal")
    assert list(journal.replay()) == list(enumerate(expected, 1))
