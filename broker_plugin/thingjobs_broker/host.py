"""What every adapter does alike: open the store, recover, run the service, bring it what arrives.

It knows no broker. Who may publish what is settled before `receive`; where messages go is the publisher's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import platform
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from thingjobs_broker.artifacts import ArtifactDirectory, signing_key
from thingjobs_broker.clock import StandingClock, SystemClock
from thingjobs_broker.collector import Collector
from thingjobs_broker.core.control import decode
from thingjobs_broker.core.errors import ControlError
from thingjobs_broker.core.moto_compat import ACCOUNT
from thingjobs_broker.core.naming import Naming
from thingjobs_broker.core.ports import NoPresences, Ports, Presences, Rules
from thingjobs_broker.core.service import JobsService
from thingjobs_broker.core.state import State
from thingjobs_broker.core.throttle import Throttle
from thingjobs_broker.notices import LoggedNotices
from thingjobs_broker.retention import Retention
from thingjobs_broker.runner import Publisher, Runner
from thingjobs_broker.snapshotter import Policy, Snapshotter
from thingjobs_broker.store.errors import StoreError
from thingjobs_broker.store.files import Files, OsFiles
from thingjobs_broker.store.lock import DataDirectoryLock, prepare_data_directory
from thingjobs_broker.store.store import Store
from thingjobs_protocol import topics
from thingjobs_protocol.errors import InvalidTopic

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from thingjobs_broker.clock import Clock
    from thingjobs_broker.config import ServiceSettings
    from thingjobs_broker.core.outcome import Outcome
    from thingjobs_broker.core.records import ServiceStarted

log = structlog.get_logger()

Answer = TypeVar("Answer")

ADVANCE_CLOCK: Final = "AdvanceClock"

ARTIFACT_KEY: Final = "artifacts.key"
"""In the data directory: what signs the URLs of artifacts."""

REQUEST_TOPIC_CHARACTERS_MAX: Final = 16_000
"""A longer topic is not answered: that of its answer might not fit into the 65,535 bytes of MQTT."""


class StartError(Exception):
    """The service cannot start, or not go on; the message says why and what to do."""


class ServiceHost:
    """The jobs service with its disk: `open`, `start`, `receive` for each request, `finish`, `release`.

    `failed` is called once, with the first failure, which `failure` keeps: the process must stop.
    """

    def __init__(self, settings: ServiceSettings, failed: Callable[[BaseException], None]) -> None:
        self.failure: BaseException | None = None
        self.runner: Runner | None = None
        self.asked = 0
        """Requests over MQTT so far; who works beside them makes way."""
        self.new_clock: Callable[[int, ServiceStarted | None], Clock] = SystemClock
        """Makes the clock from the time of the last record and the last start; a test puts its own."""
        self.files: Files = OsFiles()
        """The disk; a test puts its own."""
        self.presences: Presences = NoPresences()
        self.notices = LoggedNotices()
        self.endpoints: dict[str, str] = {}
        """What DescribeEndpoint tells, by endpointType."""
        """Which things are connected, where the broker tells; to be put before `start`."""
        self._settings = settings
        self._root = settings.topic_root
        self._failed = failed
        self._state = State()
        self._store: Store | None = None
        self._lock: DataDirectoryLock | None = None
        self._state_at_end: State | None = None
        self._snapshotter: Snapshotter | None = None
        self._retention: Retention | None = None
        self._artifacts: ArtifactDirectory | None = None
        self._standing_clock: StandingClock | None = None
        self._collector = Collector()
        self._moves: set[asyncio.Task[None]] = set()
        self._moving = asyncio.Lock()

    async def open(self) -> None:
        """Take the data directory and recover the state.

        Raises:
            StartError: a setting cannot work.
            StoreError: the directory is held by another service, unusable, or damaged.
            OSError: the disk refuses.

        """
        _check(self._settings)
        await asyncio.to_thread(self._open_store)
        self._collector.start(asyncio.get_running_loop())

    def start(self, publisher: Publisher) -> None:
        """Run the service; what fell due while it was down is published soon."""
        store, state = self._store, self._state
        assert store is not None, "open comes first"
        if self._settings.test_clock:
            log.warning("The clock stands still but for AdvanceClock", action="test_clock")
            self._standing_clock = StandingClock(state.last_at_ms)
        clock = self._standing_clock or self.new_clock(state.last_at_ms, state.last_start)
        self.runner = Runner(state, store, self._new_service, clock, publisher, failed=self.fail)
        # From here on it is the runner's, which may recover another one.
        self._state = State()
        self.runner.start()
        settings = self._settings
        policy = Policy(settings.snapshot.journal_bytes, settings.snapshot.interval_seconds)
        self._snapshotter = Snapshotter(self.runner, store, policy)
        self._snapshotter.start()
        self._retention = Retention(self.runner, settings.retention.days)
        self._retention.start()

    def receive(self, topic: str, payload: bytes, by: str | None, settled: Callable[[], None]) -> int:
        """Bring a publish to the core; `settled` is called when the answer may leave, or when none is due.

        `by` is the operator's name; None takes the client id in the topic, where the broker vouches for it.
        Returns for how many milliseconds its sender, who asks too fast, had better not be listened to.
        """
        runner = self.runner
        assert runner is not None, "start comes first"
        self.asked += 1
        if self.failure is not None:
            # It stays unacknowledged; its sender asks again after the restart.
            return 0
        if len(topic) > REQUEST_TOPIC_CHARACTERS_MAX:
            settled()
            return 0
        try:
            try:
                request = topics.parse_request(topic, self._root)
            except InvalidTopic as refusal:
                return runner.refuse(topic, refusal, payload, settled)
            if request is not None:
                return runner.handle(request, payload, settled)
            control = topics.parse_control(topic, self._root)
            if control is None:
                settled()
            elif control.operation == ADVANCE_CLOCK:
                self.advance_clock(
                    payload, lambda: runner.call(control, payload, by or control.client_id, settled)
                )
            else:
                runner.call(control, payload, by or control.client_id, settled)
        except Exception as error:
            # A fault in the rules: the state can no longer be trusted, the journal can (habits 18 and 19).
            log.exception("A request failed", action="request_failed", topic=topic)
            self.fail(error)
        return 0

    def answer(
        self,
        ask: Callable[[JobsService, int], tuple[Answer, Outcome]],
        unavailable: Answer,
        answered: Callable[[Answer], None],
    ) -> None:
        """Bring a request of another front end to the core; see `Runner.answer`."""
        if self.failure is not None or self.runner is None:
            answered(unavailable)
            return
        try:
            self.runner.answer(ask, unavailable, answered)
        except Exception as error:
            # A fault in the rules, as in `receive`.
            log.exception("A request failed", action="request_failed")
            self.fail(error)
            answered(unavailable)

    def advance_clock(self, payload: bytes, then: Callable[[], None]) -> None:
        """Let time pass as AdvanceClock asks, if the clock stands still; then go on."""
        if self.runner is None or self._standing_clock is None:
            then()
        else:
            self._after(self._move(self.runner, self._standing_clock, payload), then)

    async def _move(self, runner: Runner, clock: StandingClock, payload: bytes) -> None:
        """Let time pass as it would by itself: from one thing that falls due to the next."""
        try:
            _, request = decode(ADVANCE_CLOCK, payload)
        except ControlError:
            # It will be refused for the same reason.
            return
        async with self._moving:
            until_ms = clock.now_ms() + request.duration_in_seconds * 1000
            while (due_ms := runner.next_deadline_ms()) is not None and due_ms <= until_ms:
                clock.move_to(due_ms)
                runner.clock_moved()
                await asyncio.sleep(0)
            clock.move_to(until_ms)
            if self._retention is not None and runner.is_writable:
                # What goes by real hours otherwise.
                await self._retention.forget(pause_seconds=0)

    def _after(self, move: Coroutine[None, None, None], then: Callable[[], None]) -> None:
        """Go on once time has passed."""

        def moved(task: asyncio.Task[None]) -> None:
            self._moves.discard(task)
            if task.cancelled() or self.failure is not None:
                return
            if (error := task.exception()) is not None:
                self.fail(error)
            else:
                then()

        task = asyncio.get_running_loop().create_task(move)
        self._moves.add(task)
        task.add_done_callback(moved)

    def fail(self, error: BaseException) -> None:
        """Report a failure after which the process must stop; only the first counts."""
        if self.failure is None:
            self.failure = error
            if self._snapshotter is not None:
                # A state that cannot be trusted must not be kept.
                self._snapshotter.cancel()
            self._failed(error)

    def snapshot_age_seconds(self) -> float:
        """Return how long ago the newest snapshot was finished."""
        return self._snapshotter.age_seconds() if self._snapshotter is not None else 0.0

    async def finish(self) -> None:
        """Commit and publish what is in hand."""
        for move in self._moves:
            move.cancel()
        for task in (self._retention, self._snapshotter):
            if task is not None:
                await task.close()
        if self.runner is not None:
            self._state_at_end = await self.runner.close()

    async def release(self) -> None:
        """Take a last snapshot, so that the next start is quick, and let go of the disk."""
        self._collector.stop()
        if self._store is not None:
            await asyncio.to_thread(self._close_store, self._store)
        if self._lock is not None:
            self._lock.release()

    def _close_store(self, store: Store) -> None:
        state = self._state_at_end
        if state is not None and self.failure is None and store.has_room_for_snapshot(use_reserve=True):
            try:
                store.write_snapshot(state)
            except StoreError as error:
                log.warning("The last snapshot failed", action="snapshot_failed", reason=str(error))
        store.close()

    def _new_service(self, state: State) -> JobsService:
        settings = self._settings
        account = ACCOUNT if settings.http.moto_compat else settings.account
        naming = Naming(settings.region, account, settings.topic_root)
        rate, burst = settings.limits.requests_per_second, settings.limits.requests_burst
        return JobsService(
            state,
            lambda: str(uuid.uuid4()),
            naming,
            auto_register=settings.registry.auto_register,
            throttle=Throttle(rate, burst) if rate else None,
            ports=self._ports(),
        )

    def _ports(self) -> Ports:
        artifacts = self._artifacts
        # Without an address for devices, documents can be fetched but no URL can be signed.
        return Ports(
            rules=rules_of(self._settings),
            documents=artifacts,
            signer=artifacts if self._settings.jobs.artifact_url else None,
            presences=self.presences,
            endpoints=self.endpoints,
            notices=self.notices,
            is_test_clock=self._settings.test_clock,
        )

    def _open_artifacts(self, data_dir: Path) -> None:
        jobs = self._settings.jobs
        if jobs.artifact_dir:
            key = signing_key(data_dir / ARTIFACT_KEY)
            directory = Path(jobs.artifact_dir).absolute()
            self._artifacts = ArtifactDirectory(directory, jobs.artifact_url, key, self.now_ms)

    def now_ms(self) -> int:
        """Return the service's time."""
        assert self.runner is not None, "the service has no time before it runs"
        return self.runner.now_ms()

    def connection_changed(self, name: str) -> None:
        """A client of that name came or went, as `presences` tells."""
        if self.runner is not None and self.failure is None:
            self.runner.connection_changed(name)

    def serves_at(self, host: str) -> None:
        """Let DescribeEndpoint tell where devices find the broker: any address is the machine's name."""
        bound = platform.node() if host in {"0.0.0.0", "::"} else host  # noqa: S104
        self.endpoints["iot:Data"] = self._settings.public_host or bound

    def is_thing(self, name: str) -> bool:
        """Tell whether a name is that of a thing."""
        state = self.runner.state if self.runner is not None else None
        return state is not None and name in state.things

    def _open_store(self) -> None:
        data_dir = Path(self._settings.data_dir).absolute()
        prepare_data_directory(data_dir)
        self._lock = DataDirectoryLock(data_dir)
        self._open_artifacts(data_dir)
        store = Store(self.files, data_dir, reserve_bytes=self._settings.disk_reserve_bytes)
        self._store = store
        self._state = store.load()
        log.info(
            "The state is recovered",
            action="recovered",
            entries=store.position,
            things=len(self._state.things),
            jobs=len(self._state.jobs),
        )


def rules_of(settings: ServiceSettings) -> Rules:
    """Return what the settings say of the core's rules."""
    jobs = settings.jobs
    return Rules(
        **dataclasses.asdict(settings.quotas),
        rollout_per_minute=jobs.rollout_per_minute or None,
        windowed_jobs_cancel_at_limit=jobs.windowed_cancel_at_limit,
        timeout_minutes_default=jobs.timeout_default_minutes or None,
        timeout_minutes_maxima=(("the service", jobs.timeout_maximum_minutes or None),),
        moto_compat=settings.http.moto_compat,
        expiry_minutes=jobs.expiry_minutes or None,
        expiry_interval_ms=jobs.expiry_interval_minutes * 60_000,
    )


def _check(settings: ServiceSettings) -> None:
    if not settings.data_dir:
        # The working directory, which it would mean, is hardly ever meant.
        message = "data_dir is empty; name a directory, such as /var/lib/thingjobs"
        raise StartError(message)
    if not settings.topic_root or not {"/", "+", "#", "\0"}.isdisjoint(settings.topic_root):
        message = f"topic_root {settings.topic_root!r} is not one level of a topic, such as $aws"
        raise StartError(message)
