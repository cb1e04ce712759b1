"""Handler output as status details: bounded, printable, marked where cut (data plane 2.2)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thingjobs_agent.output import TRUNCATED, Tail, first_part, last_part, printable
from thingjobs_protocol.codec import checked_status_details, is_plain_text


def tail_of(*chunks: bytes) -> Tail:
    tail = Tail()
    for chunk in chunks:
        tail.feed(chunk)
    return tail


def test_short_output_is_kept_whole_with_newlines_as_spaces() -> None:
    """Data plane 2.2: no control characters in values."""
    assert tail_of(b"one\ntwo\t", b"\x1b[1mthree\n").text() == "one two  [1mthree"


def test_no_output_is_empty_text() -> None:
    """Empty values are left out of a report, so they must be recognizable."""
    assert tail_of().text() == ""
    assert tail_of(b"\n\n").text() == ""


def test_long_output_keeps_its_end_and_says_so() -> None:
    """Control plane 8.3: the last 1024 characters."""
    text = tail_of(b"x" * 3000, b"y" * 3000, b"end").text()
    assert len(text) == 1024
    assert text.startswith(TRUNCATED + "y")
    assert text.endswith("yend")


def test_cut_inside_a_character_drops_its_rest() -> None:
    """The kept bytes may begin in the middle of a character."""
    text = tail_of(b"a", "é".encode() * 5000).text()
    assert set(text.removeprefix(TRUNCATED)) == {"é"}


def test_lines_are_counted_with_an_unfinished_last_one() -> None:
    """A36: allowStdErr counts lines."""
    assert tail_of(b"a\nb").line_count == 2
    assert tail_of(b"a\nb\n").line_count == 2
    assert tail_of().line_count == 0


def test_memory_stays_bounded() -> None:
    """Output without end costs no memory."""
    tail = Tail()
    for _ in range(100):
        tail.feed(b"z" * 65_536)
    assert len(tail._kept) <= 4096


def test_reason_keeps_its_beginning() -> None:
    """A reason begins with the point."""
    text = first_part("because " * 1000)
    assert text.startswith("because because")
    assert text.endswith(TRUNCATED.rstrip())
    assert len(text) == 1024


@given(st.lists(st.binary(max_size=6000), max_size=4))
def test_any_output_is_accepted_by_the_service(chunks: list[bytes]) -> None:
    """Data plane 2.2: what the agent reports must pass the service's own check."""
    text = tail_of(*chunks).text()
    assert not text or checked_status_details({"stdout": text})


@given(st.text())
def test_any_text_becomes_plain(text: str) -> None:
    """As above, for texts."""
    for clean in (printable(text), last_part(text), first_part(text)):
        assert not clean or is_plain_text(clean)


def test_cut_inside_a_character_leaves_no_broken_one() -> None:
    """The kept bytes may begin with the rest of a character."""
    tail = Tail()
    tail.feed(("é" * 3000 + " " * 4001).encode())
    assert tail.text() == "[...] " + "é" * 47
