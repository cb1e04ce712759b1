"""Drives the core for every adapter: handle, make durable, publish, re-arm (the duties listed in `core`).

When the disk runs low or refuses, changes are refused and reads go on, from what is durable, until it takes
writes again; nothing has to be restarted for that.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import structlog

from thingjobs_broker.commits import Commits, Publisher, Waiting
from thingjobs_broker.core.outcome import Outcome
from thingjobs_broker.core.records import ClockStepped
from thingjobs_broker.core.service import JobsService, control_unavailable, device_unavailable
from thingjobs_broker.pace import Pace
from thingjobs_broker.store.errors import JournalFailed, SnapshotFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from thingjobs_broker.clock import Clock
    from thingjobs_broker.core.retention import Cursor
    from thingjobs_broker.core.state import State
    from thingjobs_broker.store.store import Store
    from thingjobs_protocol.errors import Rejected
    from thingjobs_protocol.topics import ControlTopic, RequestTopic

__all__ = ["Publisher", "Runner"]

log = structlog.get_logger()

Answer = TypeVar("Answer")

RequestObserver: TypeAlias = "Callable[[str, Outcome, float], None]"
"""Gets the operation, what came of it, and the seconds until its answer has left."""

CLOCK_CHECK_SECONDS: Final = 10
"""How soon a correction of the wall clock is followed, and a disk that others have filled is noticed."""

MEND_SECONDS: Final = 1
"""How often a disk in trouble is tried again."""


class Runner:
    """The service at work.

    `failed` is called once, with a failure that cannot be mended while running: the process must stop.
    `new_service` makes the rules for a state: that of the start, and the one recovered after the disk failed.
    """

    def __init__(
        self,
        state: State,
        store: Store,
        new_service: Callable[[State], JobsService],
        clock: Clock,
        publisher: Publisher,
        *,
        failed: Callable[[BaseException], None],
    ) -> None:
        self.commits = Commits(store, publisher, self._synced, self._append_failed)
        self._store = store
        self._new_service = new_service
        self._clock = clock
        self._failed = failed
        self._pace = Pace()
        self._loop = asyncio.get_running_loop()
        self.observe: RequestObserver | None = None
        """Who counts requests; none by default, so that nobody pays for what is not looked at."""
        self._service: JobsService | None = new_service(state)
        """None while what is durable is being read again."""
        self._mending: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_deadline_ms: int | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._stopped = False
        self._lost_steps_ms = 0
        """Corrections that the clock has followed and that were lost with the disk."""

    @property
    def state(self) -> State | None:
        """What is served; None while what is durable is being read again."""
        return self._service.state if self._service is not None else None

    @property
    def is_writable(self) -> bool:
        """Whether changes are taken: the disk is not in trouble."""
        return self._service is not None and not self._service.read_only and not self._stopped

    def start(self) -> None:
        """Fire what fell due while the service was down, and arm the timer."""
        if self._store.has_room():
            self._begin_work()
        else:
            self._refuse_changes()
        self._look_around()

    async def close(self) -> State | None:
        """Commit and publish what is in hand, then release the disk thread.

        Returns the state at the end, which is durable then; None while the disk is in trouble.
        """
        await self.commits.drain()
        state = self.state
        self._stop()
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.wait([self._mending])
        await self.commits.shut_down()
        return state

    # The three things that can happen

    def handle(self, request: RequestTopic, payload: bytes, settled: Callable[[], None] | None) -> int:
        """A device asks; `settled` is called when the answer may leave. See `Outcome.wait_ms`."""
        refusal = partial(device_unavailable, request.topic, payload)
        return self._ask(
            lambda service, now_ms: service.handle(request, payload, now_ms), refusal, settled, request.api
        )

    def refuse(
        self, topic: str, refusal: Rejected, payload: bytes, settled: Callable[[], None] | None
    ) -> int:
        """A device asks on a topic that names no operation. See `Outcome.wait_ms`."""
        unavailable = partial(device_unavailable, topic, payload)
        return self._ask(
            lambda service, now_ms: service.refuse(topic, refusal, now_ms, payload), unavailable, settled
        )

    def call(
        self, request: ControlTopic, payload: bytes, by: str, settled: Callable[[], None] | None
    ) -> None:
        """An operator asks."""
        refusal = partial(control_unavailable, request.topic, payload)
        self._ask(
            lambda service, now_ms: service.call(request, payload, by, now_ms),
            refusal,
            settled,
            request.operation,
        )

    def connection_changed(self, thing_name: str) -> None:
        """A thing came or went."""
        if self._service is not None and self.is_writable:
            outcome = self._service.connection_changed(thing_name, self._clock.now_ms())
            if outcome.records:
                self.commits.add(outcome)

    def answer(
        self,
        ask: Callable[[JobsService, int], tuple[Answer, Outcome]],
        unavailable: Answer,
        answered: Callable[[Answer], None],
    ) -> None:
        """Somebody asks who wants the answer itself, not a message: `answered` gets it once it may be told.

        Where the disk has lost what the answer tells, or nobody can look into it, that is `unavailable`.
        """
        service = self._service
        if service is None or self._stopped:
            answered(unavailable)
            return
        answer, outcome = ask(service, self._clock.now_ms())
        told = [answer]

        def lost(_now_ms: int) -> Outcome:
            told[0] = unavailable
            return Outcome([], [])

        self.commits.add(outcome, lambda: answered(told[0]), lost)

    def clear(self, cleared: Callable[[], None]) -> None:
        """Forget everything, on record; for test suites. `cleared` is called when that is durable."""
        service = self._service
        if service is None or not self.is_writable:
            cleared()
            return
        outcome = service.clear(self._clock.now_ms())
        # What the rules have derived from the state is gone with them.
        self._service = self._new_service(service.state)
        self.commits.add(outcome, cleared)
        self._rearm()

    def next_deadline_ms(self) -> int | None:
        """Return when something falls due, None for never, or while nothing can be done about it."""
        return self._service.next_deadline_ms() if self._service is not None and self.is_writable else None

    def lag_ms(self) -> int:
        """Return for how long something has been due that was not done yet."""
        due_ms = self.next_deadline_ms()
        # 0 stands for at once, not for 1970.
        return max(0, self._clock.now_ms() - due_ms) if due_ms else 0

    def clock_moved(self) -> None:
        """Look at the timers now: the clock was moved by hand."""
        self._fire_timers()

    def forget(self, cursor: Cursor, before_ms: int) -> Cursor | None:
        """Delete one slice of what ended before `before_ms`; return where to go on, None at the end."""
        service = self._service
        if service is None or service.read_only:
            return cursor
        try:
            outcome, following = service.forget(cursor, before_ms, self._clock.now_ms())
        except Exception as error:
            # A fault in the rules, as in `ServiceHost.receive`.
            self._stop_for(error)
            raise
        if outcome.records:
            self.commits.add(outcome)
        return following

    def now_ms(self) -> int:
        """Return the service's time."""
        return self._clock.now_ms()

    def _ask(
        self,
        ask: Callable[[JobsService, int], Outcome],
        refusal: Callable[[int], Outcome],
        settled: Callable[[], None] | None,
        operation: str = "",
    ) -> int:
        began = time.perf_counter() if self.observe is not None else 0.0
        self._pace.is_asked = True
        service, now_ms = self._service, self._clock.now_ms()
        outcome = ask(service, now_ms) if service is not None else refusal(now_ms)
        if self.observe is not None:
            settled = partial(self._observed, self.observe, operation, outcome, began, settled)
        self.commits.add(outcome, settled, refusal)
        return outcome.wait_ms

    @staticmethod
    def _observed(
        observe: RequestObserver,
        operation: str,
        outcome: Outcome,
        began: float,
        settled: Callable[[], None] | None,
    ) -> None:
        """Let a request be counted whose answer has left."""
        observe(operation, outcome, time.perf_counter() - began)
        if settled is not None:
            settled()

    # The disk

    def _synced(self, has_room: bool) -> None:  # noqa: FBT001 - a callback
        if not has_room:
            self._refuse_changes()
        self._rearm()

    def _refuse_changes(self) -> None:
        """The disk runs low: before it is full, and a change half written."""
        if self._service is not None and self.is_writable:
            log.error("The disk is nearly full; changes are refused", action="disk_low")
            self._service.read_only = True
            self._rearm()
            self._mend(self._regain_room())

    def _append_failed(self, error: BaseException, lost: list[Waiting]) -> None:
        if not isinstance(error, JournalFailed):
            self._stop_for(error)
            return
        log.error("The disk refuses; changes are refused", action="disk_failed", error=str(error))
        # It is ahead of the disk: nothing of it may be told to anyone (architecture, durable before visible).
        self._service = None
        records = (record for one in lost for record in one.outcome.records)
        self._lost_steps_ms += sum(one.delta_ms for one in records if isinstance(one, ClockStepped))
        self._rearm()
        if self._mending is not None:
            self._mending.cancel()
        self._mend(self._regain_disk(lost))

    def _mend(self, work: Coroutine[None, None, None]) -> None:
        self._mending = self._loop.create_task(work)
        self._mending.add_done_callback(self._mended)

    def _mended(self, task: asyncio.Task[None]) -> None:
        if task is self._mending:
            self._mending = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._stop_for(error)

    async def _regain_disk(self, lost: list[Waiting]) -> None:
        """Cut off what failed, refuse who waited for it, read what is durable, write again when possible."""
        reopened = await self._reopened()
        now_ms = self._clock.now_ms()
        refused = [one._replace(outcome=one.refusal(now_ms)) for one in lost if one.refusal is not None]
        self.commits.publish(refused)
        while (state := await self._durable_state(read_only=not reopened)) is None:
            await asyncio.sleep(MEND_SECONDS)
            reopened = reopened or await self._reopened()
        self._service = self._new_service(state)
        self._service.read_only = True
        while not reopened:
            await asyncio.sleep(MEND_SECONDS)
            reopened = await self._reopened()
        await self._regain_room()

    async def _regain_room(self) -> None:
        while not await self.commits.on_disk(partial(self._store.has_room, again=True)):  # noqa: ASYNC110
            await asyncio.sleep(MEND_SECONDS)
        log.warning("The disk takes changes again", action="disk_regained")
        self._begin_work()

    async def _reopened(self) -> bool:
        try:
            await self.commits.on_disk(self._store.reopen)
        except JournalFailed:
            return False
        return True

    async def _durable_state(self, *, read_only: bool) -> State | None:
        try:
            return await self.commits.on_disk(partial(self._store.load, read_only=read_only))
        except (JournalFailed, SnapshotFailed):
            return None

    def _begin_work(self) -> None:
        """Take changes, from a state that is durable."""
        service, clock = self._service, self._clock
        assert service is not None
        service.read_only = False
        if self._lost_steps_ms:
            # The clock cannot go back, so the deadlines have to come after.
            lost_ms, self._lost_steps_ms = self._lost_steps_ms, 0
            self.commits.add(service.step_clock(lost_ms, clock.now_ms() - lost_ms))
        self._follow_clock()
        times = clock.boot_id, clock.uptime_ms(), clock.now_ms()
        self.commits.add(service.started(*times, is_clock_lost=clock.is_lost))
        self._fire_timers()

    def _stop_for(self, error: BaseException) -> None:
        log.critical("The service stops", action="service_failed", error=str(error))
        self._stop()
        self._failed(error)

    def _stop(self) -> None:
        self._stopped = True
        self.commits.close()
        for handle in (self._timer, self._watch):
            if handle is not None:
                handle.cancel()

    # Time

    def _rearm(self) -> None:
        """Arm the one timer for the core's next deadline."""
        deadline_ms = self._service.next_deadline_ms() if self._service and self.is_writable else None
        if deadline_ms == self._timer_deadline_ms and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_deadline_ms = deadline_ms
        if deadline_ms is not None:
            due_seconds = (deadline_ms - self._clock.now_ms()) / 1000
            # The loop's time stands still while the machine sleeps, the service's does not: look again soon.
            delay_seconds = max(min(due_seconds, CLOCK_CHECK_SECONDS), self._pace.delay_seconds())
            self._timer = self._loop.call_later(delay_seconds, self._fire_timers)

    def _look_around(self) -> None:
        """Look at what changes without a request: the wall clock, and the room on the disk."""
        self._follow_clock()
        service, clock = self._service, self._clock
        if service is not None and self.is_writable:
            times = clock.boot_id, clock.uptime_ms(), clock.now_ms()
            self.commits.add(service.keep_time(*times, is_clock_lost=clock.is_lost))
            room = self._loop.create_task(self.commits.on_disk(self._store.has_room))
            room.add_done_callback(lambda done: self._synced(done.cancelled() or done.result()))
        if not self._stopped:
            self._watch = self._loop.call_later(CLOCK_CHECK_SECONDS, self._look_around)

    def _follow_clock(self) -> None:
        """Follow a correction of the wall clock, deadlines first, so that nothing times out early."""
        delta_ms = self._clock.behind_ms() if self.is_writable else 0
        if delta_ms and self._service is not None:
            log.warning("The wall clock was corrected", action="clock_stepped", delta_ms=delta_ms)
            self.commits.add(self._service.step_clock(delta_ms, self._clock.now_ms()))
            self._clock.follow(delta_ms)

    def _fire_timers(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._service is None or not self.is_writable:
            return
        try:
            with self._pace.slice():
                self.commits.add(self._service.fire_timers(self._clock.now_ms()))
        except Exception as error:
            # A fault in the rules, as in `ServiceHost.receive`.
            log.exception("A timer failed", action="timer_failed")
            self._stop_for(error)
