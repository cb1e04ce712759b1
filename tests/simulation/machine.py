"""The machine the service runs on: power, clocks, a disk, and one process that is started again when it ends.

What of the process's surroundings is replaced while a world runs stands in `Machine.replace`.
"""

import errno
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest
import structlog

from tests.broker.store.faults import SimulatedDisk
from tests.simulation.network import Network
from tests.simulation.process import Process
from tests.simulation.schedule import SECOND_US
from tests.simulation.service_link import ServiceConnection
from thingjobs_broker import clock as clock_module
from thingjobs_broker import host as host_module
from thingjobs_broker import sidecar as sidecar_module
from thingjobs_broker import snapshotter as snapshotter_module
from thingjobs_broker import two_ways as two_ways_module
from thingjobs_broker.config import (
    JobsSettings,
    LimitsSettings,
    QuotaSettings,
    SidecarSettings,
    SnapshotSettings,
)
from thingjobs_broker.floods import Floods
from thingjobs_broker.host import StartError
from thingjobs_broker.sidecar import Sidecar
from thingjobs_broker.snapshotter import Snapshotter
from thingjobs_broker.store import capture as capture_module
from thingjobs_broker.store.errors import StoreError
from thingjobs_broker.store.framing import MARKER_BYTES
from thingjobs_broker.store.journal import Journal

if TYPE_CHECKING:
    import asyncio

    from thingjobs_broker.runner import Runner

EPOCH_MS = 1_700_000_000_000
BOOT_OF_1970_MS = -EPOCH_MS + 60_000
"""What a machine without a battery clock is wrong by when it has just booted."""

RESTART_SECONDS = (0.2, 5.0)
OFF_SECONDS = (2.0, 90.0)
RESERVE_BYTES = 50_000
DISK = Path("/disk")


class Machine:
    """See the module. `failed` is told what must never happen; `started` is called with each new service."""

    def __init__(
        self,
        network: Network,
        failed: Callable[[str, str], None],
        started: Callable[[Sidecar], None],
    ) -> None:
        self.disk = SimulatedDisk(DISK)
        self.wall_offset_ms = 0
        self.sidecar: Sidecar | None = None
        self.is_on = True
        self.lives = 0
        self.cuts_power_next = False
        """What the next failing write means: the end of the power, or of the process alone."""
        schedule = self._schedule = network.schedule
        self._network = network
        self._failed = failed
        self._started = started
        self._process: Process | None = None
        self.boots = 1
        self._booted_us = -60 * SECOND_US
        self._settings = SidecarSettings(
            data_dir=str(DISK),
            insecure=True,
            disk_reserve_bytes=RESERVE_BYTES,
            snapshot=SnapshotSettings(
                journal_bytes=schedule.random.choice([1024, 1024, 4096, 1 << 20]),
                interval_seconds=float(schedule.random.choice([20, 120, 3600])),
            ),
            jobs=JobsSettings(
                windowed_cancel_at_limit=schedule.chance(0.5),
                expiry_minutes=schedule.random.choice([0, 0, 0, 2, 5]),
                expiry_interval_minutes=1,
            ),
            quotas=QuotaSettings(concurrent_jobs_max=schedule.random.choice([1, 2, 500, 500, 500])),
            limits=LimitsSettings(requests_per_second=schedule.random.choice([0, 5, 50]), requests_burst=20),
        )

    @property
    def runner(self) -> "Runner | None":
        """The runner that is at work."""
        return self.sidecar.host.runner if self.sidecar is not None else None

    # Clocks

    def uptime_us(self) -> int:
        return self._schedule.now_us - self._booted_us

    def wall_ms(self) -> int:
        return EPOCH_MS + self._schedule.now_us // 1000 + self.wall_offset_ms

    # Life and death

    def start(self) -> None:
        """Start the service, if it does not run."""
        if self._process is not None or not self.is_on:
            return
        self.lives += 1
        process = Process(self._schedule, self._died, self._broke)  # type: ignore[abstract]
        self._process = process
        self._schedule.note("start", self.lives)
        process.enter(self._make)
        assert self.sidecar is not None
        process.start(self.sidecar.run(), partial(self._ended, process))

    def _make(self) -> None:
        self.sidecar = Sidecar(self._settings)
        self.sidecar.host.files = self.disk
        self._started(self.sidecar)

    def stop(self) -> None:
        """Ask the service to end, as SIGTERM does."""
        if self._process is not None and self.sidecar is not None:
            self._schedule.note("stop")
            self._process.enter(self.sidecar.stop)

    def kill(self) -> None:
        """End the process; what it has written stays in the machine's memory."""
        if self._process is None:
            return
        self._schedule.note("kill")
        self._end()
        self._close_link()
        self.disk.changes_left = None
        self._schedule.after(self._schedule.seconds(*RESTART_SECONDS), self.start)

    def cut_power(self) -> None:
        """End everything; of what was not synced, any part may be left."""
        if not self.is_on:
            return
        self._schedule.note("power cut")
        self.is_on = False
        if self._process is not None:
            self._end()
            self._close_link()
        self.disk = self.disk.after_power_cut(self._schedule.random)
        self._schedule.after(self._schedule.seconds(*OFF_SECONDS), self._boot)

    def die_at_write(self, changes: int, *, cuts_power: bool) -> None:
        """Die at one of the next changes of the disk."""
        self.disk.changes_left = changes
        self.cuts_power_next = cuts_power

    def scrap(self) -> None:
        """The world is over."""
        self.is_on = False
        if self._process is not None:
            self._end()

    def _boot(self) -> None:
        self.is_on = True
        self.boots += 1
        self._booted_us = self._schedule.now_us - SECOND_US
        # A clock that somebody has set wrong is set right on the way up, or is lost.
        self.wall_offset_ms = BOOT_OF_1970_MS if self._schedule.chance(0.4) else 0
        if self.wall_offset_ms:
            self._schedule.after(self._schedule.seconds(5.0, 200.0), partial(self.set_wall, 0))
        self.start()

    def set_wall(self, offset_ms: int) -> None:
        """Step the wall clock."""
        self._schedule.note("wall clock", offset_ms)
        self.wall_offset_ms = offset_ms

    def _end(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process = None

    def _close_link(self) -> None:
        connection = self.sidecar._connection if self.sidecar is not None else None
        self.sidecar = None
        if connection is not None:
            for one in (connection._requests, connection._answers):
                cast("ServiceConnection", one).link.cut()

    def _died(self) -> None:
        if self.cuts_power_next:
            self.cut_power()
        else:
            self.kill()

    def _broke(self, context: dict[str, Any]) -> None:
        self._failed("NoCrash", f"{context.get('message')}: {context.get('exception')!r}")

    def _ended(self, process: Process, task: "asyncio.Task[None]") -> None:
        """The program is over by itself: at a stop, or with a failure it cannot mend."""
        if process is not self._process:
            return
        error = task.exception() if not task.cancelled() else None
        assert self.sidecar is not None
        failure = error or self.sidecar.host.failure
        self._schedule.note("ended", repr(failure))
        if failure is not None and not _is_excusable(failure):
            self._failed("NoCrash", f"the service ended with {failure!r}")
        self._end()
        self._close_link()
        self._schedule.after(self._schedule.seconds(*RESTART_SECONDS), self.start)

    # The surroundings of the process

    def replace(self, patch: pytest.MonkeyPatch) -> None:
        """Put the simulated machine in the place of the true one."""
        schedule, random = self._schedule, self._schedule.random
        patch.setattr(
            clock_module,
            "time",
            SimpleNamespace(
                CLOCK_BOOTTIME=7,
                clock_gettime_ns=lambda _: self.uptime_us() * 1000,
                time_ns=lambda: self.wall_ms() * 1_000_000,
            ),
        )
        patch.setattr(clock_module, "_boot_id", lambda: f"boot-{self.boots}")
        seconds = SimpleNamespace(monotonic=lambda: schedule.now_us / SECOND_US)
        patch.setattr(sidecar_module, "time", seconds)
        patch.setattr(sidecar_module, "random", SimpleNamespace(uniform=random.uniform))
        patch.setattr(sidecar_module, "Floods", partial(Floods, seconds=seconds.monotonic))
        patch.setattr(two_ways_module, "Connection", self._connect)
        # A slice of a capture takes no virtual time, but is followed by a pause for as if it had.
        measured = SimpleNamespace(perf_counter=lambda: schedule.now_us / SECOND_US + random.random() * 0.02)
        patch.setattr(snapshotter_module, "time", measured)
        # Small worlds in small pieces, so that a lot happens between two slices, and segments come and go.
        patch.setattr(capture_module, "SLICE_ROWS", random.choice([1, 3, 200]))
        defaults = Journal.open.__func__.__kwdefaults__  # type: ignore[attr-defined]
        patch.setitem(defaults, "new_marker", lambda: random.randbytes(MARKER_BYTES))
        patch.setitem(defaults, "segment_bytes_max", random.choice([500, 4000, 1 << 20]))
        patch.setattr(host_module, "Snapshotter", partial(Snapshotter, now=seconds.monotonic))
        patch.setattr(
            host_module, "uuid", SimpleNamespace(uuid4=lambda: UUID(int=random.getrandbits(128), version=4))
        )
        # Directories and locks are the operating system's; so is the collector's time.
        patch.setattr(host_module, "prepare_data_directory", lambda _: None)
        patch.setattr(host_module, "DataDirectoryLock", lambda _: SimpleNamespace(release=lambda: None))
        collector = SimpleNamespace(start=lambda *_: None, stop=lambda *_: None)
        patch.setattr(host_module, "Collector", lambda: collector)
        self._keep_log()

    def _keep_log(self) -> None:
        """Have the service's log in the trace."""

        def keep(_logger: Any, level: str, entry: Any) -> Any:
            known = {key: entry[key] for key in sorted(entry) if key not in ("exc_info", "event")}
            self._schedule.note(f"log {level}: {entry['event']}", known)
            raise structlog.DropEvent

        structlog.configure(processors=[keep])

    def _connect(self, *given: Any, **options: Any) -> ServiceConnection:
        process = self._process
        assert process is not None, "only the service connects"
        return ServiceConnection(self._network, process, *given, **options)


def _is_excusable(failure: BaseException) -> bool:
    """The disk refuses, or a storm looks like a rival; the service stops, and will be started again."""
    if isinstance(failure, StartError):
        return "another client seems to use the client id" in str(failure)
    if isinstance(failure, OSError):
        return failure.errno in (errno.EIO, errno.ENOSPC, errno.EROFS)
    return isinstance(failure, StoreError) and type(failure).__name__ in ("JournalFailed", "SnapshotFailed")
