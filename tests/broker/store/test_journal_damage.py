"""What the journal does about bytes that are wrong: cut a torn tail, refuse everything else by name."""

from pathlib import Path
from zlib import crc32

import pytest
from structlog.testing import capture_logs

from thingjobs_broker.store.errors import FormatUnsupported, JournalCorrupt
from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.framing import HEADER_BYTES, decode_header, encode_frame, encode_header
from thingjobs_broker.store.journal import Journal

MARKER = b"\xaa\xbb\xcc\xdd"
BATCHES = [[b"one"], [b"two", b"three"], [b"four" * 3]]
FRAMES = [encode_frame(batch, MARKER) for batch in BATCHES]
SEGMENT = b"".join([encode_header(1, MARKER), *FRAMES])
SEAL = encode_frame([], MARKER)
# Where each frame begins, and where the last one ends.
EDGES = [HEADER_BYTES + sum(map(len, FRAMES[:count])) for count in range(len(FRAMES) + 1)]


def write_segment(directory: Path, data: bytes, first_position: int = 1) -> Path:
    """A segment file with this content."""
    (directory / "journal").mkdir(exist_ok=True)
    path = directory / "journal" / f"{first_position:020d}.log"
    path.write_bytes(data)
    return path


def open_journal(directory: Path) -> Journal:
    """A journal on the real disk."""
    return Journal.open(OsFiles(), directory / "journal")


def payloads(journal: Journal) -> list[bytes]:
    """All records."""
    return [payload for _, payload in journal.replay(journal.first_position)]


def records_of(frames: int) -> list[bytes]:
    """The records of the first so many frames."""
    return [payload for batch in BATCHES[:frames] for payload in batch]


def flipped(data: bytes, offset: int, mask: int) -> bytes:
    """The data with the bits of `mask` flipped in one byte."""
    return data[:offset] + bytes([data[offset] ^ mask]) + data[offset + 1 :]


@pytest.mark.parametrize("cut", range(len(SEGMENT) + 1))
def test_a_tail_cut_at_any_byte_leaves_whole_appends(tmp_path: Path, cut: int) -> None:
    """Promise 6: what was whole comes back, what was torn is gone, and appending goes on."""
    path = write_segment(tmp_path, SEGMENT[:cut])
    whole = sum(edge <= cut for edge in EDGES[1:])
    kept_bytes = EDGES[whole] if cut >= HEADER_BYTES else 0

    journal = open_journal(tmp_path)
    assert payloads(journal) == records_of(whole)
    if cut == kept_bytes:
        assert journal.torn_tail is None
    else:
        assert journal.torn_tail == (path, kept_bytes, cut - kept_bytes)
    assert journal.append([b"after"]) == len(records_of(whole)) + 1
    journal.close()

    again = open_journal(tmp_path)
    assert payloads(again) == [*records_of(whole), b"after"]
    assert again.torn_tail is None
    again.close()


@pytest.mark.parametrize("zeros", [1, HEADER_BYTES, 600])
def test_zeros_behind_the_last_frame_are_room(tmp_path: Path, zeros: int) -> None:
    """They were written ahead, or a power cut left the file longer than its data: nothing was torn."""
    path = write_segment(tmp_path, SEGMENT + bytes(zeros))
    journal = open_journal(tmp_path)
    assert payloads(journal) == records_of(3)
    assert journal.torn_tail is None
    assert path.stat().st_size == len(SEGMENT)
    journal.close()


@pytest.mark.parametrize("zeros", [1, 600])
def test_a_torn_frame_in_front_of_room_is_cut(tmp_path: Path, zeros: int) -> None:
    """All that is behind the last whole frame goes, and is said."""
    path = write_segment(tmp_path, SEGMENT[:-1] + bytes(zeros))
    journal = open_journal(tmp_path)
    assert payloads(journal) == records_of(2)
    assert journal.torn_tail == (path, EDGES[2], len(SEGMENT) - 1 + zeros - EDGES[2])
    journal.close()


def test_room_in_an_earlier_segment_means_nothing(tmp_path: Path) -> None:
    """A crash may have come between the next segment and cutting it off."""
    write_segment(tmp_path, SEGMENT + bytes(600))
    count = len(records_of(3))
    write_segment(tmp_path, encode_header(count + 1, MARKER) + encode_frame([b"next"], MARKER), count + 1)
    journal = open_journal(tmp_path)
    assert payloads(journal) == [*records_of(3), b"next"]
    journal.close()


def test_a_cut_is_logged_with_file_offset_and_bytes(tmp_path: Path) -> None:
    """The operator sees what was cut."""
    path = write_segment(tmp_path, SEGMENT[:-3])
    with capture_logs() as logs:
        open_journal(tmp_path).close()
    [entry] = [entry for entry in logs if entry["action"] == "journal_tail_cut"]
    assert entry["log_level"] == "warning"
    assert (entry["file"], entry["offset"]) == (str(path), EDGES[2])
    assert (entry["bytes_cut"], entry["last_position"]) == (len(FRAMES[2]) - 3, 3)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
@pytest.mark.parametrize("offset", range(len(SEGMENT)))
def test_after_a_clean_stop_a_flipped_byte_is_refused_by_name(tmp_path: Path, offset: int, mask: int) -> None:
    """The error names the file, the damaged frame's offset, and the way out; the file is left alone."""
    damaged = flipped(SEGMENT + SEAL, offset, mask)
    path = write_segment(tmp_path, damaged)
    frame = max([0, *(edge for edge in EDGES if edge <= offset)])
    with pytest.raises(JournalCorrupt, match="run `thingjobs store repair`") as caught:
        open_journal(tmp_path)
    assert (caught.value.path, caught.value.offset) == (path, frame)
    assert str(caught.value).startswith(f"{path}: offset {frame}: expected ")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("offset", range(EDGES[2]))
def test_after_a_crash_a_flipped_byte_before_the_last_append_is_refused(tmp_path: Path, offset: int) -> None:
    """A whole frame follows, so the damaged one had been synced: promise 1 forbids to cut it."""
    write_segment(tmp_path, flipped(SEGMENT, offset, 0x10))
    with pytest.raises(JournalCorrupt):
        open_journal(tmp_path)


@pytest.mark.parametrize("offset", range(EDGES[2], EDGES[3]))
def test_after_a_crash_the_last_append_alone_is_in_doubt(tmp_path: Path, offset: int) -> None:
    """Torn or damaged cannot be told apart there: it is cut, and no other record with it."""
    write_segment(tmp_path, flipped(SEGMENT, offset, 0x10))
    journal = open_journal(tmp_path)
    assert payloads(journal) == records_of(2)
    journal.close()


@pytest.mark.parametrize("offset", range(len(SEAL)))
def test_damage_to_the_seal_costs_no_record(tmp_path: Path, offset: int) -> None:
    """The seal itself may be cut; the next close writes it again only after new records."""
    write_segment(tmp_path, flipped(SEGMENT + SEAL, len(SEGMENT) + offset, 0x10))
    journal = open_journal(tmp_path)
    assert payloads(journal) == records_of(3)
    journal.close()


@pytest.mark.parametrize("offset", range(len(SEGMENT)))
def test_a_flipped_byte_in_an_earlier_segment_is_refused_by_replay(tmp_path: Path, offset: int) -> None:
    """Only the last segment can be torn."""
    path = write_segment(tmp_path, flipped(SEGMENT, offset, 0x10))
    write_segment(tmp_path, encode_header(5, MARKER), 5)
    journal = open_journal(tmp_path)
    with pytest.raises(JournalCorrupt) as caught:
        payloads(journal)
    frame = max([0, *(edge for edge in EDGES if edge <= offset)])
    assert (caught.value.path, caught.value.offset) == (path, frame)
    journal.close()


@pytest.mark.parametrize("cut", range(len(SEGMENT)))
def test_an_earlier_segment_that_is_short_is_refused_by_replay(tmp_path: Path, cut: int) -> None:
    """Also where the cut falls between two frames and every byte left is whole."""
    path = write_segment(tmp_path, SEGMENT[:cut])
    write_segment(tmp_path, encode_header(5, MARKER) + encode_frame([b"five"], MARKER), 5)
    journal = open_journal(tmp_path)
    with pytest.raises(JournalCorrupt) as caught:
        payloads(journal)
    assert caught.value.path == path
    journal.close()


def test_a_missing_segment_is_refused_by_replay(tmp_path: Path) -> None:
    """The gap shows at the segment before it."""
    write_segment(tmp_path, SEGMENT)
    write_segment(tmp_path, encode_header(9, MARKER), 9)
    journal = open_journal(tmp_path)
    with pytest.raises(JournalCorrupt, match="expected 8 records, found 4"):
        payloads(journal)
    journal.close()


def test_a_segment_under_another_name_is_refused(tmp_path: Path) -> None:
    """The header holds the first position, so a renamed file shifts nothing."""
    write_segment(tmp_path, SEGMENT, 7)
    with pytest.raises(JournalCorrupt, match="expected first position 7, found 1"):
        open_journal(tmp_path)


def test_a_segment_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """It is not damage, and the message says what helps."""
    newer = bytearray(encode_header(1, MARKER))
    newer[8] = 2
    newer[-4:] = crc32(newer[:-4]).to_bytes(4, "little")
    path = write_segment(tmp_path, bytes(newer))
    with pytest.raises(FormatUnsupported, match="format version 2, but this release reads version 1"):
        open_journal(tmp_path)
    assert path.read_bytes() == bytes(newer)


def test_a_client_cannot_forge_a_frame_inside_a_record(tmp_path: Path) -> None:
    """A torn record that contains the image of a journal is still only torn."""
    journal = Journal.open(OsFiles(), tmp_path / "journal", room_bytes=0)
    journal.append([b"kept"])
    journal.append([SEGMENT * 3 + b"tail"])
    journal._writer.close()  # type: ignore[union-attr]  # killed
    path = tmp_path / "journal" / f"{1:020d}.log"
    data = path.read_bytes()
    header = decode_header(data)
    assert header is not None
    assert header.marker != MARKER
    path.write_bytes(data[:-1])
    journal = open_journal(tmp_path)
    assert payloads(journal) == [b"kept"]
    journal.close()


def test_the_rest_of_a_large_append_is_found_behind_any_damage(tmp_path: Path) -> None:
    """The search for a whole frame does not trust the damaged length."""
    big = encode_frame([b"x" * 100_000] * 20, MARKER)
    data = encode_header(1, MARKER) + big + encode_frame([b"end"], MARKER)
    write_segment(tmp_path, flipped(data, HEADER_BYTES + 8, 0xFF))
    with pytest.raises(JournalCorrupt, match=f"a whole frame follows at offset {HEADER_BYTES + len(big)}"):
        open_journal(tmp_path)


def test_files_that_are_no_segments_are_ignored(tmp_path: Path) -> None:
    """An editor's backup does not stop the service."""
    write_segment(tmp_path, SEGMENT)
    (tmp_path / "journal" / "notes.txt").write_text("mine")
    (tmp_path / "journal" / "1.log").write_text("not twenty digits")
    journal = open_journal(tmp_path)
    assert payloads(journal) == records_of(3)
    journal.close()
