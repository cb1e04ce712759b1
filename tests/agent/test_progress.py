"""Progress files: lines to details, with everything a handler may get wrong passed over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thingjobs_agent.progress import LINE_BYTES_MAX, Progress
from thingjobs_protocol.codec import checked_status_details


def details(*chunks: bytes) -> dict[str, str]:
    progress = Progress(str)
    for chunk in chunks:
        progress.feed(chunk)
    return progress.details


def test_pairs_and_objects_are_read_and_later_values_win() -> None:
    """Both forms may be mixed; numbers become their JSON text."""
    assert details(b'percent=10\n{"percent": 50, "file": "a.bin", "ok": true}\n') == {
        "percent": "50",
        "file": "a.bin",
        "ok": "true",
    }


def test_line_waits_for_its_newline() -> None:
    """A handler may be in the middle of writing."""
    assert details(b"percent=1") == {}
    assert details(b"percent=1", b"00\n") == {"percent": "100"}


def test_bad_lines_are_passed_over() -> None:
    """A handler's slip must not fail its job."""
    assert details(b'nonsense\n{"a": \n{"b": [1]}\nbad key=1\nempty=\n=x\ngood=1\n') == {"good": "1"}


def test_there_is_room_for_the_agents_own_pair() -> None:
    """Data plane 2.2: ten pairs, one of which is the step."""
    assert len(details(b"".join(b"k%d=v\n" % number for number in range(20)))) == 9


def test_line_without_end_costs_no_memory() -> None:
    """A longer line is passed over, and the next one is read."""
    progress = Progress(str)
    for _ in range(50):
        progress.feed(b"x" * 10_000)
    assert len(progress._rest) <= LINE_BYTES_MAX + 1
    progress.feed(b"\ngood=1\n")
    assert progress.details == {"good": "1"}


def test_only_changes_are_told() -> None:
    """The same value again is no progress."""
    progress = Progress(str)
    assert progress.feed(b"a=1\n")
    assert not progress.feed(b"a=1\n")


@given(st.binary(max_size=300))
def test_any_bytes_give_details_the_service_accepts(data: bytes) -> None:
    """Data plane 2.2: keys and values within their limits, whatever the handler wrote."""
    assert checked_status_details(details(data + b"\n")) is not None


def test_secrets_are_hidden_and_long_lines_passed_over() -> None:
    """Details leave the device; a line that came whole is held to the limit as well."""
    progress = Progress(lambda text: text.replace("hunter22", "[hidden]"))
    progress.feed(b"a=hunter22\nb=" + b"x" * (16 * 1024) + b"\nc=1\n")
    assert progress.details == {"a": "[hidden]", "c": "1"}
