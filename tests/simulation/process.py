"""A process as an event loop on virtual time: its timers, its threads and its death.

To kill it is to drop everything it was about to do. Work for a thread happens whole, at a time of the
schedule's choice, one piece after the other for each executor; its result reaches the loop later.
"""
# mypy: disable-error-code="override"

import asyncio
import contextlib
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import partial
from typing import Any

from tests.broker.store.faults import PowerCut
from tests.simulation.schedule import SECOND_US, Schedule

THREAD_SECONDS = (0.000_05, 0.02)
STALL_SECONDS = (0.2, 3.0)
STALL_CHANCE = 0.01
HANDOVER_SECONDS = (0.000_01, 0.002)
CLOSES_MAX = 20


class Timer(asyncio.TimerHandle):
    """Stopped, its time will come and find it idle."""

    def cancel(self) -> None:
        asyncio.Handle.cancel(self)


class Process(asyncio.AbstractEventLoop):
    """`died` is called when the power is cut within it, `broke` with what the loop would only have logged."""

    def __init__(
        self, schedule: Schedule, died: Callable[[], None], broke: Callable[[dict[str, Any]], None]
    ) -> None:
        self.is_alive = True
        self._schedule = schedule
        self._died = died
        self._broke = broke
        self._ready: deque[asyncio.Handle] = deque()
        self._is_running = False
        self._busy_until_us: dict[int, int] = {}
        self._executors: list[Executor] = []
        self._tasks: list[asyncio.Task[Any]] = []

    # Life and death

    def enter(self, work: Callable[[], Any]) -> Any:
        """Do something within the process, as a packet that arrives would, and all that follows at once."""
        if not self.is_alive:
            return None
        if self._is_running:
            return work()
        self._is_running = True
        events._set_running_loop(self)
        try:
            result = work()
            while self._ready and self.is_alive:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            events._set_running_loop(None)
            self._is_running = False
        return result

    def kill(self) -> None:
        """End it between two instructions. Nothing of it happens any more."""
        self.is_alive = False
        self._ready.clear()
        outside = events._get_running_loop()
        # What cleans up on the way out finds a loop that does nothing any more.
        events._set_running_loop(self)
        while self._tasks:
            task = self._tasks.pop()
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine: Any = task.get_coro()
            for _ in range(CLOSES_MAX):
                with contextlib.suppress(BaseException):
                    coroutine.close()
                    break
        events._set_running_loop(outside)

    # What asyncio asks of a loop

    def time(self) -> float:
        return self._schedule.now_us / SECOND_US

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if self.is_alive:
            self._ready.append(handle)
            if not self._is_running:
                # From outside, such as a thread's result: run it with the rest of this moment.
                self._schedule.at(self._schedule.now_us, partial(self.enter, _nothing))
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        handle = Timer(when, callback, args, self, context)
        # Rounded up: a timer is never early.
        self._schedule.at(-int(-when * SECOND_US // 1), partial(self._ring, handle))
        return handle

    def _ring(self, handle: asyncio.TimerHandle) -> None:
        if self.is_alive and not handle.cancelled():
            self._ready.append(handle)
            self.enter(_nothing)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks = [one for one in self._tasks if not one.done()]
        self._tasks.append(task)
        return task

    def is_running(self) -> bool:
        return self._is_running

    def is_closed(self) -> bool:
        return not self.is_alive

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.is_alive:
            self._broke(context)

    # Threads

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        future = self.create_future()
        if not self.is_alive:
            return future
        schedule = self._schedule
        waits_for = getattr(func, "__self__", None)
        queue = executor if executor is not None else waits_for if isinstance(waits_for, Executor) else None
        start_us = schedule.now_us
        if queue is not None:
            start_us = max(start_us, self._busy_until_us.get(self._number(queue), 0))
        seconds = schedule.seconds(*(STALL_SECONDS if schedule.chance(STALL_CHANCE) else THREAD_SECONDS))
        when_us = start_us + round(seconds * SECOND_US)
        if queue is not None:
            self._busy_until_us[self._number(queue)] = when_us
        schedule.at(when_us, partial(self._work, future, partial(func, *args)))
        return future

    def _number(self, executor: Executor) -> int:
        for number, known in enumerate(self._executors):
            if known is executor:
                return number
        self._executors.append(executor)
        return len(self._executors) - 1

    def _work(self, future: "asyncio.Future[Any]", work: Callable[[], Any]) -> None:
        if not self.is_alive or future.cancelled():
            return
        result, failure = None, None
        try:
            result = work()
        except PowerCut:
            self._died()
            return
        except Exception as error:  # noqa: BLE001 - as an executor does
            failure = error
        deliver = partial(self._deliver, future, result, failure)
        self._schedule.after(self._schedule.seconds(*HANDOVER_SECONDS), deliver)

    def _deliver(self, future: "asyncio.Future[Any]", result: Any, failure: Exception | None) -> None:
        if not self.is_alive or future.done():
            return
        if failure is not None:
            self.enter(partial(future.set_exception, failure))
        else:
            self.enter(partial(future.set_result, result))

    def start(self, main: Coroutine[Any, Any, Any], ended: Callable[["asyncio.Task[Any]"], None]) -> None:
        """Run the program; `ended` is called when it is over by itself."""

        def begin() -> None:
            self.create_task(main).add_done_callback(ended)

        self.enter(begin)


def _nothing() -> None:
    """The callbacks are all there is to do."""
