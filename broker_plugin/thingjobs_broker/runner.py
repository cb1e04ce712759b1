"""Drives the core for every adapter: handle, make durable, publish, re-arm (the duties listed in `core`).

Group commit: whatever was handled while the disk synced goes into the next sync together, off the event loop.
Every reply waits in one queue behind the writes it has seen; nothing else publishes.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from thingjobs_broker.store.record_codec import pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.clock import Clock
    from thingjobs_broker.core.outcome import Message, Outcome
    from thingjobs_broker.core.service import JobsService
    from thingjobs_broker.store.journal import Journal
    from thingjobs_protocol.errors import Rejected
    from thingjobs_protocol.topics import ControlTopic, RequestTopic

log = structlog.get_logger()

CLOCK_CHECK_SECONDS: Final = 10
"""How soon a correction of the wall clock is followed."""


class Publisher(Protocol):
    """What an adapter does with messages whose records are durable."""

    def publish(self, message: Message) -> None:
        """Send a message to whoever is subscribed."""

    def flush(self) -> None:
        """End of a batch: let everything out that `publish` and the settled requests have gathered."""


class Runner:
    """The commit loop. `failed` is called once, when the disk fails: the process must stop and recover."""

    def __init__(
        self,
        service: JobsService,
        journal: Journal,
        clock: Clock,
        publisher: Publisher,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._service = service
        self._journal = journal
        self._clock = clock
        self._publisher = publisher
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._disk = ThreadPoolExecutor(1, "thingjobs-journal")
        self._queue: list[tuple[Outcome, Callable[[], None] | None]] = []
        self._entries: list[bytes] = []
        self._pump_scheduled = False
        self._syncing: asyncio.Future[int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_deadline_ms: int | None = None
        self._clock_check: asyncio.TimerHandle | None = None
        self._stopped = False

    def start(self) -> None:
        """Fire what fell due while the service was down, and arm the timer."""
        clock = self._clock
        self._follow_clock()
        self._commit(self._service.started(clock.boot_id, clock.uptime_ms(), clock.now_ms()), None)
        self._fire_timers()

    async def close(self) -> None:
        """Commit and publish what is in hand, then release the disk thread."""
        while (self._queue or self._syncing) and not self._stopped:
            if self._syncing:
                await asyncio.wait([self._syncing])
                await asyncio.sleep(0)
            else:
                self._pump()
        self._stopped = True
        for handle in (self._timer, self._clock_check):
            if handle is not None:
                handle.cancel()
        await self._loop.run_in_executor(None, self._disk.shutdown)

    # The three things that can happen

    def handle(self, request: RequestTopic, payload: bytes, settled: Callable[[], None] | None) -> None:
        """A device asks; `settled` is called when the answer may leave."""
        self._commit(self._service.handle(request, payload, self._clock.now_ms()), settled)

    def refuse(self, topic: str, refusal: Rejected, settled: Callable[[], None] | None) -> None:
        """A device asks on a topic that names no operation."""
        self._commit(self._service.refuse(topic, refusal, self._clock.now_ms()), settled)

    def call(
        self, request: ControlTopic, payload: bytes, by: str, settled: Callable[[], None] | None
    ) -> None:
        """An operator asks."""
        self._commit(self._service.call(request, payload, by, self._clock.now_ms()), settled)

    def clock_moved(self) -> None:
        """Look at the timers now: the clock was moved by hand."""
        self._fire_timers()

    # The commit loop

    def _commit(self, outcome: Outcome, settled: Callable[[], None] | None) -> None:
        if self._stopped:
            return
        self._queue.append((outcome, settled))
        if outcome.records:
            self._entries.append(pack(outcome.records))
        if not self._pump_scheduled and self._syncing is None:
            self._pump_scheduled = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Start the next sync with all that has queued, or publish at once where nothing needs one."""
        self._pump_scheduled = False
        if self._syncing is not None or self._stopped or not self._queue:
            return
        batch, self._queue = self._queue, []
        if not self._entries:
            self._publish(batch)
            return
        entries, self._entries = self._entries, []
        self._syncing = self._loop.run_in_executor(self._disk, self._journal.append, entries)
        self._syncing.add_done_callback(partial(self._synced, batch))

    def _synced(
        self, batch: list[tuple[Outcome, Callable[[], None] | None]], done: asyncio.Future[int]
    ) -> None:
        self._syncing = None
        error = done.exception()
        if error is not None:
            # The state is ahead of the disk now: nothing of it may be told to anyone (architecture, durable
            # before visible).
            self._stopped = True
            log.critical("The journal failed; the service stops", action="journal_failed", error=str(error))
            self._failed(error)
            return
        self._publish(batch)
        self._pump()

    def _publish(self, batch: list[tuple[Outcome, Callable[[], None] | None]]) -> None:
        publish = self._publisher.publish
        for outcome, settled in batch:
            for message in outcome.messages:
                publish(message)
            if settled is not None:
                settled()
        self._publisher.flush()
        self._rearm()

    # Time

    def _rearm(self) -> None:
        """Arm the one timer for the core's next deadline."""
        deadline_ms = self._service.next_deadline_ms()
        if deadline_ms == self._timer_deadline_ms and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_deadline_ms = deadline_ms
        if deadline_ms is not None and not self._stopped:
            delay_seconds = max(0.0, (deadline_ms - self._clock.now_ms()) / 1000)
            self._timer = self._loop.call_later(delay_seconds, self._fire_timers)

    def _follow_clock(self) -> None:
        """Follow a correction of the wall clock, running deadlines first, so that nothing times out early."""
        if self._clock_check is not None:
            self._clock_check.cancel()
        delta_ms = self._clock.behind_ms()
        if delta_ms:
            log.warning("The wall clock was corrected", action="clock_stepped", delta_ms=delta_ms)
            self._commit(self._service.step_clock(delta_ms, self._clock.now_ms()), None)
            self._clock.follow(delta_ms)
        if not self._stopped:
            self._clock_check = self._loop.call_later(CLOCK_CHECK_SECONDS, self._follow_clock)

    def _fire_timers(self) -> None:
        self._timer = None
        self._commit(self._service.fire_timers(self._clock.now_ms()), None)
