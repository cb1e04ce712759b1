"""MQTT 3.1.1 framing: which first bytes a client may send, and a byte stream cut into whole frames.

Pure. What a client may not send raises MalformedFrame, whose text is for the log; the client gets no answer.
Frames stay whole, fixed header included, since amqtt is fed with the very bytes.
"""

from collections.abc import Iterable
from typing import Final

CONNECT: Final = 1
PUBLISH: Final = 3
PUBACK: Final = 4
PUBREC: Final = 5
PUBREL: Final = 6
PUBCOMP: Final = 7
SUBSCRIBE: Final = 8
UNSUBSCRIBE: Final = 10
PINGREQ: Final = 12
DISCONNECT: Final = 14

DUP: Final = 0x08

_FORBIDDEN: Final = -2
ANY_BYTES: Final = -1


def frame_bytes_by_first_byte(*, acknowledgment_bytes: int, ends: tuple[int, ...] = ()) -> list[int]:
    """What may follow each first byte a client may send: a fixed frame length, any, or forbidden (2.2).

    `ends` are first bytes of any length that MQTT 3.1.1 knows otherwise or not at all.
    """
    table = [_FORBIDDEN] * 256
    for qos in (0, 1, 2):  # 3 is reserved [MQTT-3.3.1-4]
        for retain in (0, 1):
            table[0x30 | qos << 1 | retain] = ANY_BYTES
            if qos:  # [MQTT-3.3.1-2]
                table[0x30 | DUP | qos << 1 | retain] = ANY_BYTES
    for first in (0x40, 0x50, 0x62, 0x70):
        table[first] = acknowledgment_bytes
    for first in (0xC0, 0xE0):
        table[first] = 2
    for first in (0x10, 0x82, 0xA2, *ends):
        table[first] = ANY_BYTES
    return table


_FRAME_BYTES: Final = frame_bytes_by_first_byte(acknowledgment_bytes=4)


class MalformedFrame(Exception):
    """The client broke the protocol; its connection is to be closed. MQTT 5 has a code for how."""

    reason_code = 0x81


class FrameTooLong(MalformedFrame):
    """The client sent more than a limit allows; its connection is to be closed."""

    reason_code = 0x95


class FrameSplitter:
    """A byte stream cut into whole frames.

    Contract: `feed` what arrives, then `take`; afterwards `ready` says whether another `take` is worthwhile
    at once. Each byte is copied a bounded number of times, however the stream is cut up.
    """

    __slots__ = (
        *("_buffer", "_bytes_max", "_frame_bytes", "_later", "_needed", "_position"),
        *("ready", "unread_bytes"),
    )

    def __init__(self, frame_bytes_max: int) -> None:
        self._bytes_max = frame_bytes_max
        self._frame_bytes = _FRAME_BYTES
        self._buffer = b""
        self._position = 0
        self._later: list[bytes] = []
        # While fewer bytes are unread than the first frame needs, there is nothing to look at.
        self._needed = 2
        self.unread_bytes = 0
        self.ready = False

    def follow(self, frame_bytes: list[int]) -> None:
        """Go by another version's table of frames."""
        self._frame_bytes = frame_bytes

    def feed(self, data: bytes) -> None:
        """Append what arrived."""
        if self.unread_bytes:
            self._later.append(data)
        else:
            self._buffer = data
        self.unread_bytes += len(data)

    def take(self, frames_max: int) -> list[bytes]:
        """The next whole frames, at most `frames_max`.

        Raises:
            MalformedFrame: the stream goes on with what no client may send, or with a frame over the limit.
                The frames before it have been returned by earlier calls.
        """
        frames: list[bytes] = []
        self.ready = False
        if self.unread_bytes < self._needed:
            return frames
        if self._later:
            self._join()
        start, position = self._position, self._cut(frames, frames_max)
        self.unread_bytes -= position - start
        if self.ready:
            self._position = position
        else:
            # The rest waits for more; what was taken is let go.
            self._buffer = self._buffer[position:]
            self._position = 0
        return frames

    def put_back(self, frames: Iterable[bytes]) -> None:
        """Undo `take` for its last frames."""
        if data := b"".join(frames):
            self._buffer = data + self._buffer[self._position :]
            self._position = 0
            self._needed = 2
            self.unread_bytes += len(data)
            self.ready = True

    def _cut(self, frames: list[bytes], frames_max: int) -> int:
        """Append the next whole frames to a list; where the rest begins."""
        buffer, position = self._buffer, self._position
        end = len(buffer)
        table = self._frame_bytes
        self._needed = 2
        while end - position >= 2:
            if len(frames) == frames_max:
                self.ready = True
                break
            frame_bytes = buffer[position + 1] + 2
            if frame_bytes >= 130:
                frame_bytes = _long_frame_bytes(buffer, position)
                if frame_bytes == 0:
                    self._needed = end - position + 1
                    break
            expected = table[buffer[position]]
            if expected not in (ANY_BYTES, frame_bytes) or not 0 < frame_bytes <= self._bytes_max:
                if not frames:
                    raise self._refusal(buffer[position], frame_bytes)
                self.ready = True
                break
            if position + frame_bytes > end:
                self._needed = frame_bytes
                break
            frames.append(buffer[position : position + frame_bytes])
            position += frame_bytes
        return position

    def _join(self) -> None:
        self._buffer = b"".join((self._buffer[self._position :], *self._later))
        self._position = 0
        self._later.clear()

    def _refusal(self, first: int, frame_bytes: int) -> MalformedFrame:
        if self._frame_bytes[first] == _FORBIDDEN:
            return MalformedFrame(f"first byte 0x{first:02x} begins no packet a client may send (2.2)")
        if frame_bytes < 0:
            return MalformedFrame("remaining length of more than four bytes (2.2.3)")
        if frame_bytes > self._bytes_max:
            return FrameTooLong(f"frame of {frame_bytes} bytes; at most {self._bytes_max} are taken")
        return MalformedFrame(f"packet type {first >> 4} in a frame of {frame_bytes} bytes")


def _long_frame_bytes(buffer: bytes, position: int) -> int:
    """The length of a frame with more than 127 bytes of body; 0: cannot be seen, -1: malformed (2.2.3)."""
    body_bytes = 0
    shift = 0
    for byte in buffer[position + 1 : position + 5]:
        body_bytes |= (byte & 127) << shift
        if byte < 128:
            return 2 + shift // 7 + body_bytes
        shift += 7
    return -1 if shift == 28 else 0
