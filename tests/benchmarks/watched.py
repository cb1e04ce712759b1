"""`thingjobs` that tells how long the turns of its event loop and its garbage collections were at most.

SIGUSR1 adds a line of JSON to the file named by WATCHED_FILE and begins anew. Processor time is that of
the loop's thread; wall time, in which others may have had the processor, runs from the end of its wait.
"""

import asyncio
import gc
import os
import signal
import time
from typing import Any

import msgspec

FILE_VARIABLE = "WATCHED_FILE"
# Set: garbage is collected as Python does, but for what was there at the start.
USUAL_VARIABLE = "WATCHED_USUAL"


class Longest(msgspec.Struct):
    """The longest turn of the loop, and the longest collection, which is part of a turn or holds it up."""

    turn_cpu_ms: float = 0.0
    turn_wall_ms: float = 0.0
    collection_ms: float = 0.0


class Watch:
    """Keeps the longest of all since it was last asked."""

    def __init__(self) -> None:
        self._longest = Longest()
        self._began = 0.0
        gc.callbacks.append(self._collecting)

    def take(self) -> Longest:
        """What was longest; it begins anew."""
        longest, self._longest = self._longest, Longest()
        return longest

    def turned(self, cpu_s: float, wall_s: float) -> None:
        """One turn of the loop took so long."""
        longest = self._longest
        longest.turn_cpu_ms = max(longest.turn_cpu_ms, cpu_s * 1000)
        longest.turn_wall_ms = max(longest.turn_wall_ms, wall_s * 1000)

    def _collecting(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            took_ms = (time.thread_time() - self._began) * 1000
            self._longest.collection_ms = max(self._longest.collection_ms, took_ms)


class WatchedLoop(asyncio.SelectorEventLoop):
    """Tells the watch of its turns."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch
        self._woken_at = 0.0
        selector = self._selector  # type: ignore[attr-defined]
        select = selector.select

        def watched(timeout: float | None = None) -> Any:
            events = select(timeout)
            self._woken_at = time.perf_counter()
            return events

        selector.select = watched

    def _run_once(self) -> None:
        began = time.thread_time()
        super()._run_once()  # type: ignore[misc]
        self._watch.turned(time.thread_time() - began, time.perf_counter() - self._woken_at)


def _freeze_once(phase: str, info: dict[str, int]) -> None:
    """What there is at the start is left alone with Python's way, too."""
    if phase == "stop" and info["generation"] == 2 and not gc.get_freeze_count():
        gc.freeze()


def main() -> None:
    """Runs `thingjobs` under a watch."""
    from thingjobs_broker import collector
    from thingjobs_broker.cli.main import run

    if USUAL_VARIABLE in os.environ:
        collector._OLD_AFTER = gc.get_threshold()[2]  # type: ignore[misc]
        collector._collected = _freeze_once
    watch = Watch()
    descriptor = os.open(os.environ[FILE_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    signal.signal(
        signal.SIGUSR1, lambda *_: os.write(descriptor, msgspec.json.encode(watch.take()) + b"\n") and None
    )

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return WatchedLoop(watch)

    asyncio.set_event_loop_policy(Policy())
    run()


if __name__ == "__main__":
    main()
