"""Takes snapshots while the service works: when one is due, and how little of the event loop it may have.

The state is captured on the event loop in slices of about half a millisecond, with pauses between them; bytes
go to the disk on a thread of their own. What a snapshot is and when it is durable is the store's.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import structlog

from thingjobs_broker.commits import NotDurableError
from thingjobs_broker.store.capture import Capture
from thingjobs_broker.store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.core.state import State
    from thingjobs_broker.runner import Runner
    from thingjobs_broker.store.snapshot import SnapshotWriter
    from thingjobs_broker.store.store import Store

log = structlog.get_logger()

Result = TypeVar("Result")

CHECK_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 60.0
"""How long after a snapshot that failed the next one is tried."""

PAUSE_RATIO: Final = 4.0
"""Pause between two slices, as a multiple of what the last one took: requests get four fifths of the time."""

WRITE_BYTES: Final = 1024 * 1024
"""Handed to the disk at a time."""


class Policy(NamedTuple):
    """When a snapshot is due: after so many bytes of journal, or so many seconds with any."""

    journal_bytes: int
    interval_seconds: float


class _AbandonedError(Exception):
    """The snapshot cannot be finished; the next one may."""


class Snapshotter:
    """Watches the journal grow and takes a snapshot when it is due. `start`, then `close`."""

    def __init__(
        self, runner: Runner, store: Store, policy: Policy, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._runner = runner
        self._store = store
        self._policy = policy
        self._now = now
        self._begun_bytes = 0
        """`Commits.entry_bytes` at the start of the newest snapshot."""
        self._finished_at = self._failed_at = now()
        self._has_failed = False
        self._writing = ThreadPoolExecutor(1, "thingjobs-snapshot")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def cancel(self) -> None:
        """Take no more snapshots; one under way is dropped."""
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Stop, and return when no file is in use any more."""
        self.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])
        await asyncio.get_running_loop().run_in_executor(None, self._writing.shutdown)

    def age_seconds(self) -> float:
        """Return how long ago the newest snapshot was finished, or the service started without one."""
        return self._now() - self._finished_at

    def is_due(self) -> bool:
        """Tell whether a snapshot should be taken now."""
        new_bytes = self._runner.commits.entry_bytes - self._begun_bytes
        if not new_bytes or self._runner.state is None:
            return False
        if self._has_failed and self._now() - self._failed_at < RETRY_SECONDS:
            return False
        # A large state is worth a longer journal: reading half as much again takes less time than it does.
        enough_bytes = max(self._policy.journal_bytes, self._store.snapshot_bytes // 2)
        overdue = self._now() - self._finished_at >= self._policy.interval_seconds
        return new_bytes >= enough_bytes or overdue or not self._runner.is_writable

    async def take(self) -> bool:
        """Take a snapshot now; tell whether it succeeded. A failure is logged and harms nothing."""
        started_at, begun_bytes = self._now(), self._runner.commits.entry_bytes
        position = self._runner.commits.position
        try:
            await self._take(position)
        except (StoreError, NotDurableError, _AbandonedError) as error:
            self._has_failed, self._failed_at = True, self._now()
            log.warning("A snapshot failed", action="snapshot_failed", position=position, reason=str(error))
            return False
        except Exception:
            # A fault of ours, but the journal has everything: better no snapshot than no service.
            self._has_failed, self._failed_at = True, self._now()
            log.exception("A snapshot failed", action="snapshot_failed", position=position)
            return False
        self._has_failed, self._finished_at, self._begun_bytes = False, self._now(), begun_bytes
        log.info(
            "Took a snapshot",
            action="snapshot",
            position=position,
            bytes=self._store.snapshot_bytes,
            seconds=round(self._finished_at - started_at, 1),
        )
        return True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if self.is_due():
                await self.take()

    async def _take(self, position: int) -> None:
        state = self._runner.state
        if state is None:
            raise _AbandonedError("the state is being recovered")
        if not self._store.has_room_for_snapshot(use_reserve=not self._runner.is_writable):
            raise _AbandonedError("the disk has no room for it beside the reserve")
        self._store.part_journal_at(position)
        capture = Capture(state)
        state.before_apply = capture.before
        try:
            await self._write(state, capture, position)
        finally:
            state.before_apply = None
            capture.end()
        await self._runner.commits.on_disk(self._store.tidy)

    async def _write(self, state: State, capture: Capture, position: int) -> None:
        beginning = asyncio.ensure_future(self._in_thread(partial(self._store.begin_snapshot, position)))
        try:
            writer = await asyncio.shield(beginning)
            await self._capture(state, capture, writer)
            # A snapshot of what the journal does not hold yet would be a state that never was.
            await self._runner.commits.durable(position)
            await self._in_thread(writer.commit)
            self._store.snapshot_bytes = writer.size_bytes
        finally:
            await asyncio.shield(self._abort(beginning))

    async def _abort(self, beginning: asyncio.Future[SnapshotWriter]) -> None:
        """Leave no half of a snapshot behind, nor a file open, wherever it was stopped."""
        with suppress(StoreError):
            await self._in_thread((await beginning).abort)

    async def _capture(self, state: State, capture: Capture, writer: SnapshotWriter) -> None:
        waiting: list[bytes] = []
        size_bytes = 0
        more = True
        while more:
            started_at = time.perf_counter()
            objects = capture.next_slice()
            took_seconds = time.perf_counter() - started_at
            more = objects is not None
            waiting += objects or []
            size_bytes += sum(map(len, objects or []))
            if size_bytes >= WRITE_BYTES or not more:
                await self._in_thread(partial(writer.add_packed, waiting))
                waiting, size_bytes = [], 0
            await asyncio.sleep(took_seconds * PAUSE_RATIO)
            if capture.broken or self._runner.state is not state:
                raise _AbandonedError("the state changed as a whole")

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._writing, work)
