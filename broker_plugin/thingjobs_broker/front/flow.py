"""The flow of bytes over one client's socket: read in turns, at the client's and our own pace, and written.

What a frame means and when a connection ends is not decided here; see `Connection`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING

from thingjobs_broker.front.bridge import BridgeReader
from thingjobs_broker.front.exchange import Exchange
from thingjobs_broker.front.frames import FrameSplitter, FrameTooLong, MalformedFrame
from thingjobs_broker.front.limits import CloseReason
from thingjobs_broker.front.pace import Pace

if TYPE_CHECKING:
    from thingjobs_broker.front.listener import Front


class State(Enum):
    """Where a connection is in its life."""

    AWAIT_CONNECT = auto()
    AWAIT_CONNACK = auto()
    OPEN = auto()
    CLOSED = auto()


class Flow(asyncio.BufferedProtocol, ABC):
    """What a connection is, below its life."""

    def __init__(self, front: "Front") -> None:
        self._front = front
        self._limits = limits = front.limits
        self._loop = front.loop
        self._transport: asyncio.Transport
        self._splitter = FrameSplitter(limits.frame_bytes_max)
        self.reader = BridgeReader(
            limits.foreign_bytes_max,
            self._wake,
            pace=Pace(limits.foreign_frames_per_second_max, limits.foreign_frames_burst_max),
            hold=self.hold,
        )
        self.state = State.AWAIT_CONNECT
        self.exchange: Exchange | None = None
        self.dirty = False
        self._out: list[bytes] = []
        self._reading_paused = False
        self._wake_scheduled = False
        self._held = False
        # Set while no further frame may be handled: held, or closed.
        self.turn_is_over = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._unwritable_since = 0.0
        self._heard = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is taken or sent."""
        return self.state is State.CLOSED

    # For the connection to fill in.

    @abstractmethod
    def _handle(self, frames: Iterable[bytes]) -> None:
        """Handle frames until they end or the turn is over."""

    @abstractmethod
    def close(self, reason: CloseReason, detail: str = "", code: int | None = None) -> None:
        """Close after what was written is sent. `code` tells an MQTT 5 client more than the reason does."""

    @abstractmethod
    def abort(self, reason: CloseReason, detail: str = "") -> None:
        """Close at once, whatever is unsent."""

    @abstractmethod
    def _fault(self, error: Exception) -> None:
        """The endpoint failed."""

    # The socket.

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio names it
        """Where the next bytes go: one buffer for all connections, emptied before anything else happens.

        Without it asyncio makes a new one of 256 KiB for each read, which costs more than all the rest.
        """
        return self._front.receive_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes from the client."""
        self._heard = True
        if self.state is not State.CLOSED:
            self._splitter.feed(bytes(self._front.receive_buffer[:nbytes]))
            if not self._reading_paused:
                self._pump()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._writable.clear()
        self._unwritable_since = self._loop.time()
        self._regulate()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable.set()
        self._wake()

    async def drained(self) -> None:
        """Hold amqtt back while the client reads too slowly."""
        await self._writable.wait()

    # Reading, in turns.

    def _pump(self) -> None:
        """Handle one turn's worth of frames, then decide whether to read on."""
        try:
            self._take_turn()
        except FrameTooLong as error:
            self.close(CloseReason.OVERSIZE, str(error))
        except MalformedFrame as error:
            self.close(CloseReason.MALFORMED, str(error), error.reason_code)
        except Exception as error:  # noqa: BLE001  # It goes to the exception handler of the loop.
            self._fault(error)
        if self._out:
            self.write_out()
        if self._splitter.ready or self._reading_paused or self._must_wait():
            self._regulate()

    def _take_turn(self) -> None:
        if self.exchange is not None:
            frames = iter(self._splitter.take(self._limits.frames_per_turn_max))
            self._handle(frames)
            if self.turn_is_over:
                self._splitter.put_back(frames)
        elif self.state is State.AWAIT_CONNECT:
            self._handle(self._splitter.take(1))

    def _must_wait(self) -> bool:
        """Whether this client must not be read further for now."""
        if self.exchange is None:
            return self._splitter.unread_bytes > self._limits.pipelined_bytes_max
        return (
            self._held
            or self.exchange.requests_in_progress >= self._limits.requests_in_progress_max
            or self.reader.full
            or not self._writable.is_set()
        )

    def _regulate(self) -> None:
        """Pause or resume reading. While whole frames are left over, nothing more is read."""
        pause = self._must_wait()
        if not pause and self._splitter.ready and self.state is State.OPEN:
            pause = True
            self._wake()
        if pause is not self._reading_paused:
            self._reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def hold(self, seconds: float) -> None:
        """Read nothing more from the client for a while, not even what has already arrived."""
        if not self._held and self.state is State.OPEN:
            self._held = self.turn_is_over = True
            self._loop.call_later(seconds, self._let_go_on)

    def _let_go_on(self) -> None:
        self._held = False
        self.turn_is_over = self.state is not State.OPEN
        self._wake()

    def settled_one(self) -> None:
        """A request is no longer in progress, so reading may go on."""
        if self._reading_paused:
            self._wake()

    def _wake(self) -> None:
        """Go on with what was left over, after the other connections had their turn."""
        if not self._wake_scheduled:
            self._wake_scheduled = True
            self._loop.call_soon(self._continue)

    def _continue(self) -> None:
        self._wake_scheduled = False
        if self.state is State.OPEN and not self._must_wait():
            self._pump()

    # Writing.

    def send(self, frame: bytes) -> None:
        """Append a frame to what the next flush writes."""
        if self.state is State.OPEN:
            self._out.append(frame)
            if not self.dirty:
                self.dirty = True
                self._front.dirty.append(self)

    def write_out(self) -> None:
        """Write everything that was appended, in one piece."""
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self.state is State.CLOSED or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > self._limits.unsent_bytes_max:
            self.abort(CloseReason.SLOW_READER)
        else:
            self._transport.write(data)
