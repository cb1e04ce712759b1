"""Group commit: outcomes wait for their records to be durable, then their messages leave, in order.

Whatever queues while the disk syncs goes into the next sync together, off the event loop. Every reply waits
in one queue behind the writes it has seen; nothing else publishes. What a failure of the disk means is the
runner's to decide.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import structlog

from thingjobs_broker.store.record_codec import pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.core.outcome import Message, Outcome
    from thingjobs_broker.store.store import Store

log = structlog.get_logger()

Result = TypeVar("Result")


class Publisher(Protocol):
    """What an adapter does with messages whose records are durable."""

    def publish(self, message: Message) -> None:
        """Send a message to whoever is subscribed."""

    def flush(self) -> None:
        """End of a batch: let everything out that `publish` and the settled requests have gathered."""


class NotDurableError(Exception):
    """What was waited for will not become durable: the disk has failed, or the service stops."""


class Waiting(NamedTuple):
    """An outcome on its way: `settled` is called when it has left.

    `position` is that of the newest entry it has seen, its own included. `refusal` makes the answer that
    takes its place when that entry is lost; None where nobody has asked.
    """

    outcome: Outcome
    settled: Callable[[], None] | None
    position: int
    refusal: Callable[[int], Outcome] | None


class Commits:
    """The queue and the disk's thread.

    `synced` is called after each batch has left and tells whether the disk has room for more; `failed` is
    called with the error of an append and with those who waited for entries that are lost, the queue being
    empty then, or with a fault.
    """

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        synced: Callable[[bool], None],
        failed: Callable[[BaseException, list[Waiting]], None],
    ) -> None:
        self.position = store.position
        """Of the newest entry, durable or on its way: the state is what the entries up to it lead to."""
        self.entry_bytes = store.replayed_bytes
        """The size of all entries since the snapshot that was recovered."""
        self._store = store
        self._publisher = publisher
        self._synced_callback = synced
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._disk = ThreadPoolExecutor(1, "thingjobs-journal")
        self._queue: list[Waiting] = []
        self._entries: list[bytes] = []
        self._pump_scheduled = False
        self._syncing: asyncio.Future[bool] | None = None
        self._durable_position = store.position
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._closed = False
        self.observe_sync: Callable[[float], None] | None = None
        """Who counts syncs: gets the seconds that appending and syncing took."""

    def __len__(self) -> int:
        """How many outcomes wait for the disk, those that it is busy with left out."""
        return len(self._queue)

    def add(
        self,
        outcome: Outcome,
        settled: Callable[[], None] | None = None,
        refusal: Callable[[int], Outcome] | None = None,
    ) -> None:
        """Take an outcome; see `Waiting`."""
        if self._closed:
            return
        if outcome.records:
            entry = pack(outcome.records)
            self._entries.append(entry)
            self.position += 1
            self.entry_bytes += len(entry)
        self._queue.append(Waiting(outcome, settled, self.position, refusal))
        if not self._pump_scheduled and self._syncing is None:
            self._pump_scheduled = True
            self._loop.call_soon(self._pump)

    async def durable(self, position: int) -> None:
        """Return when the entries up to `position` are durable.

        Raises:
            NotDurableError: they never will be.

        """
        if position > self._durable_position:
            if self._closed or position > self.position:
                raise NotDurableError
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.append((position, waiter))
            await waiter

    async def on_disk(self, work: Callable[[], Result]) -> Result:
        """Do something with the store on the disk's thread, between two appends."""
        return await self._loop.run_in_executor(self._disk, work)

    def publish(self, batch: list[Waiting]) -> None:
        """Let messages out whose records are durable."""
        publish = self._publisher.publish
        for waiting in batch:
            for message in waiting.outcome.messages:
                publish(message)
            if waiting.settled is not None:
                waiting.settled()
        self._publisher.flush()

    async def drain(self) -> None:
        """Return when nothing is in hand."""
        while (self._queue or self._syncing) and not self._closed:
            if self._syncing:
                await asyncio.wait([self._syncing])
                await asyncio.sleep(0)
            else:
                self._pump()

    def close(self) -> None:
        """Take nothing more; what is in hand is dropped."""
        self._closed = True
        self._queue.clear()
        self._entries.clear()
        self._wake_waiters(lost=True)

    async def shut_down(self) -> None:
        """Release the disk's thread."""
        await self._loop.run_in_executor(None, self._disk.shutdown)

    def _pump(self) -> None:
        """Start the next sync with all that has queued, or publish at once where nothing needs one."""
        self._pump_scheduled = False
        if self._syncing is not None or self._closed or not self._queue:
            return
        batch, self._queue = self._queue, []
        if not self._entries:
            self._let_out(batch, has_room=True)
            return
        entries, self._entries = self._entries, []
        self._syncing = self._loop.run_in_executor(self._disk, self._store.append, entries)
        self._syncing.add_done_callback(partial(self._synced, batch, self._loop.time()))

    def _synced(self, batch: list[Waiting], began: float, done: asyncio.Future[bool]) -> None:
        self._syncing = None
        if self.observe_sync is not None:
            self.observe_sync(self._loop.time() - began)
        self._durable_position = self._store.position
        error = done.exception()
        if error is not None:
            self._lose(batch, error)
            return
        self._wake_waiters()
        self._let_out(batch, has_room=done.result())
        self._pump()

    def _let_out(self, batch: list[Waiting], *, has_room: bool) -> None:
        try:
            self.publish(batch)
            self._synced_callback(has_room)
        except Exception as error:
            # A fault of ours, which nobody else would notice: the loop only logs it.
            log.exception("Publishing failed", action="publish_failed")
            self._failed(error, [])

    def _lose(self, batch: list[Waiting], error: BaseException) -> None:
        """The state is ahead of the disk: what has seen more than the disk holds may be told to nobody."""
        waiting = [*batch, *self._queue]
        self._queue.clear()
        self._entries.clear()
        self.position = durable = self._durable_position
        self.publish([one for one in waiting if one.position <= durable])
        self._wake_waiters()
        self._wake_waiters(lost=True)
        self._failed(error, [one for one in waiting if one.position > durable])

    def _wake_waiters(self, *, lost: bool = False) -> None:
        waiters, self._waiters = self._waiters, []
        for position, waiter in waiters:
            if waiter.done():
                continue
            if lost:
                waiter.set_exception(NotDurableError())
            elif position <= self._durable_position:
                waiter.set_result(None)
            else:
                self._waiters.append((position, waiter))
