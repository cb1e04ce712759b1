"""What every adapter does alike: open the store, recover, run the service, bring it what arrives.

It knows no broker. Who may publish what is settled before `receive`; where messages go is the publisher's.
"""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from thingjobs_broker.clock import SystemClock
from thingjobs_broker.core.naming import Naming
from thingjobs_broker.core.service import JobsService
from thingjobs_broker.core.state import State
from thingjobs_broker.runner import Publisher, Runner
from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.journal import Journal
from thingjobs_broker.store.lock import DataDirectoryLock, prepare_data_directory
from thingjobs_broker.store.recover import recover
from thingjobs_protocol import topics
from thingjobs_protocol.errors import InvalidTopic

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.config import ServiceSettings

log = structlog.get_logger()


class StartError(Exception):
    """The service cannot start, or not go on; the message says why and what to do."""


class ServiceHost:
    """The jobs service with its disk: `open`, `start`, `receive` for each request, `finish`, `release`.

    `failed` is called once, with the first failure, which `failure` keeps: the process must stop.
    """

    def __init__(self, settings: ServiceSettings, failed: Callable[[BaseException], None]) -> None:
        self.failure: BaseException | None = None
        self.runner: Runner | None = None
        self._settings = settings
        self._root = settings.topic_root
        self._failed = failed
        self._state = State()
        self._journal: Journal | None = None
        self._lock: DataDirectoryLock | None = None

    async def open(self) -> None:
        """Take the data directory and recover the state.

        Raises:
            StoreError: the directory is held by another service, unusable, or damaged.
            OSError: the disk refuses.

        """
        await asyncio.to_thread(self._open_store)

    def start(self, publisher: Publisher) -> None:
        """Run the service; what fell due while it was down is published soon."""
        assert self._journal is not None, "open comes first"
        settings = self._settings
        naming = Naming(settings.region, settings.account, settings.topic_root)
        service = JobsService(
            self._state, lambda: str(uuid.uuid4()), naming, auto_register=settings.registry.auto_register
        )
        clock = SystemClock(self._state.last_at_ms, self._state.last_start)
        self.runner = Runner(service, self._journal, clock, publisher, self.fail)
        self.runner.start()

    def receive(self, topic: str, payload: bytes, by: str | None, settled: Callable[[], None]) -> None:
        """Bring a publish to the core; `settled` is called when the answer may leave, or when none is due.

        `by` is the operator's name; None takes the client id in the topic, where the broker vouches for it.
        """
        runner = self.runner
        assert runner is not None, "start comes first"
        try:
            try:
                request = topics.parse_request(topic, self._root)
            except InvalidTopic as refusal:
                runner.refuse(topic, refusal, settled)
                return
            if request is not None:
                runner.handle(request, payload, settled)
                return
            control = topics.parse_control(topic, self._root)
            if control is None:
                settled()
            else:
                runner.call(control, payload, by or control.client_id, settled)
        except Exception as error:
            # A fault in the rules: the state can no longer be trusted, the journal can (habits 18 and 19).
            log.exception("A request failed", action="request_failed", topic=topic)
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Report a failure after which the process must stop; only the first counts."""
        if self.failure is None:
            self.failure = error
            self._failed(error)

    async def finish(self) -> None:
        """Commit and publish what is in hand."""
        if self.runner is not None:
            await self.runner.close()

    async def release(self) -> None:
        """Let go of the disk."""
        if self._journal is not None:
            await asyncio.to_thread(self._journal.close)
        if self._lock is not None:
            self._lock.release()

    def _open_store(self) -> None:
        data_dir = Path(self._settings.data_dir).absolute()
        prepare_data_directory(data_dir)
        self._lock = DataDirectoryLock(data_dir)
        self._journal = Journal.open(OsFiles(), data_dir / "journal")
        self._state = recover(self._journal)
        log.info(
            "The state is recovered",
            action="recovered",
            entries=self._journal.last_position,
            things=len(self._state.things),
            jobs=len(self._state.jobs),
        )
