"""A byte stream cut into frames: however it arrives, and whatever is wrong with it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.broker.front import wire
from thingjobs_broker.front.frames import FrameSplitter, FrameTooLong, MalformedFrame

FRAME_BYTES_MAX = 300_000

frames = st.one_of(
    st.sampled_from([wire.PINGREQ, wire.DISCONNECT, wire.puback(1), wire.pubrel(65_535), b"\xc0\x00"]),
    st.binary(max_size=400).map(lambda body: wire.packet(0x30, body)),
    st.sampled_from([127, 128, 16_383, 16_384, 200_000]).map(lambda size: wire.packet(0x32, b"p" * size)),
)
malformed = st.sampled_from(
    [b"\x00\x00", b"\x20\x02", b"\xc0\x01", b"\x40\x03", b"\x30\xff\xff\xff\xff\x7f", b"\x36\x00"]
)


def split(splitter: FrameSplitter, pieces: list[bytes], frames_max: int) -> list[bytes]:
    """All frames of a stream that arrives in pieces."""
    found = []
    for piece in pieces:
        splitter.feed(piece)
        while True:
            taken = splitter.take(frames_max)
            assert len(taken) <= frames_max
            found += taken
            if not splitter.ready:
                break
    return found


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    """The stream in pieces, none of them empty."""
    edges = sorted({0, len(stream), *(at % (len(stream) + 1) for at in cuts)})
    return [stream[start:end] for start, end in pairwise(edges)]


@given(st.lists(frames, max_size=12), st.lists(st.integers(0, 2**32), max_size=20), st.integers(1, 5))
def test_any_split_of_a_stream_gives_the_same_frames(
    sent: list[bytes], cuts: list[int], frames_max: int
) -> None:
    """TCP has no message boundaries."""
    splitter = FrameSplitter(FRAME_BYTES_MAX)
    assert split(splitter, cut(b"".join(sent), cuts), frames_max) == sent
    assert splitter.unread_bytes == 0


@given(st.lists(frames, max_size=4))
def test_byte_by_byte_gives_the_same_frames(sent: list[bytes]) -> None:
    """The worst split, on the smaller half of the stream's frames."""
    small = [frame for frame in sent if len(frame) < 500]
    stream = b"".join(small)
    pieces = [stream[at : at + 1] for at in range(len(stream))]
    assert split(FrameSplitter(FRAME_BYTES_MAX), pieces, 64) == small


@given(
    st.lists(frames, max_size=6), malformed, st.lists(st.integers(0, 2**32), max_size=8), st.integers(1, 5)
)
def test_frames_before_a_malformed_one_come_out(
    sent: list[bytes], bad: bytes, cuts: list[int], frames_max: int
) -> None:
    """Then MalformedFrame, and it stays so."""
    splitter = FrameSplitter(FRAME_BYTES_MAX)
    found: list[bytes] = []
    with pytest.raises(MalformedFrame):
        for piece in cut(b"".join(sent) + bad, cuts):
            splitter.feed(piece)
            found += splitter.take(frames_max)
            while splitter.ready:
                found += splitter.take(frames_max)
    assert found == sent
    with pytest.raises(MalformedFrame):
        splitter.take(1)


def test_frame_over_the_limit_is_refused_before_its_body_comes() -> None:
    """One byte over is too many; exactly the limit is not."""
    splitter = FrameSplitter(1000)
    splitter.feed(wire.packet(0x30, b"p" * 997))
    assert len(splitter.take(1)) == 1
    splitter.feed(wire.packet(0x30, b"p" * 998)[:3])
    with pytest.raises(FrameTooLong, match="1001 bytes; at most 1000"):
        splitter.take(1)


def test_every_first_byte_is_decided() -> None:
    """Exactly what a client may send by 2.2 passes."""
    allowed = set()
    for first in range(256):
        splitter = FrameSplitter(1000)
        splitter.feed(bytes((first, 0 if first in {0xC0, 0xE0} else 2, 0, 0)))
        try:
            splitter.take(1)
        except MalformedFrame:
            continue
        allowed.add(first)
    publish = {0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x3A, 0x3B, 0x3C, 0x3D}
    assert allowed == publish | {0x10, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0}


def test_long_frame_in_many_pieces_is_not_copied_each_time() -> None:
    """A sender of tiny segments must not cost the square of the frame's length."""
    splitter = FrameSplitter(FRAME_BYTES_MAX)
    stream = wire.packet(0x30, b"p" * 200_000)
    for at in range(len(stream) - 1):
        splitter.feed(stream[at : at + 1])
        splitter.take(1)
        assert len(splitter._buffer) < 10
    splitter.feed(stream[-1:])
    assert splitter.take(1) == [stream]
    assert splitter._buffer == b""


@given(st.lists(frames, max_size=12), st.lists(st.integers(0, 10_000), max_size=5), st.integers(1, 5))
def test_frames_that_were_put_back_come_again(stream: list[bytes], cuts: list[int], frames_max: int) -> None:
    """However many of those taken, and whether or not more has arrived meanwhile."""
    splitter = FrameSplitter(FRAME_BYTES_MAX)
    found: list[bytes] = []
    for piece in [*cut(b"".join(stream), cuts), b""]:
        splitter.feed(piece)
        keep = False
        while True:
            taken = splitter.take(frames_max)
            if keep := not keep and bool(taken):
                splitter.put_back(taken[len(found) % 3 :])
                taken = taken[: len(found) % 3]
                assert splitter.ready or not splitter.unread_bytes or taken
            found += taken
            if not splitter.ready:
                break
    assert found == stream
