"""The jobs service behind a real broker, in this process, once for all tests, with a clock of their own.

Two brokers: `embedded`, amqtt with the plugin, and `mosquitto`, with the sidecar beside it. The service has a
thread and an event loop of its own, so tests may block or have a loop themselves. Nothing but the clock is
replaced. Tests share a service: each uses things and jobs of its own, see `new_name`.
"""

import asyncio
import itertools
import os
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from amqtt.broker import Broker

from tests.support import free_port, require_program, wait_for_port
from thingjobs_broker.config import LimitsSettings, Settings, SidecarSettings
from thingjobs_broker.plugin import JobsPlugin, broker_config
from thingjobs_broker.runner import Runner
from thingjobs_broker.sidecar import Sidecar

NO_LIMITS = LimitsSettings(requests_per_second=0)
"""Where time stands still, no device would ever be allowed another request."""

START_MS = 1_700_000_000_000
PATIENCE_SECONDS = 20.0
_Answer = TypeVar("_Answer")
_numbers = itertools.count(1)


def new_name(stem: str) -> str:
    """A thing, job or client id that no other test uses; none is the beginning of another."""
    return f"{stem}-{next(_numbers):04}x"


class MovableClock:
    """Time that passes only when a test says so."""

    boot_id = "the boot of the tests"
    is_lost = False

    def __init__(self) -> None:
        self.ms = START_MS

    def now_ms(self) -> int:
        return self.ms

    def uptime_ms(self) -> int:
        return self.ms - START_MS

    def behind_ms(self) -> int:
        return 0

    def follow(self, delta_ms: int) -> None:
        raise AssertionError("nothing was to be followed")


class LoopThread:
    """An event loop that runs in a thread until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="service", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        """Carry out work in the loop; return its result or raise its exception."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    def close(self) -> None:
        """Stop the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()


class WireService(ABC):
    """The service and its broker. Clients reach it on `port` of 127.0.0.1, all of them with every right."""

    broker: str
    outlives_restart: bool
    """Whether clients stay connected while the service restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.port = free_port()
        self.clock = MovableClock()
        self._thread = LoopThread()

    # What tests do.

    def align(self) -> int:
        """Move the clock to a whole second, and return it in seconds since the epoch."""
        self.advance(-self.clock.ms % 1000)
        return self.clock.ms // 1000

    def advance(self, duration_ms: int) -> None:
        """Let time pass as it really does: the service looks at a timer when it is due."""
        self._thread.run(self._advance(duration_ms))

    def restart(self, outage_ms: int = 0) -> None:
        """Stop the service, let time pass, and start it on the same data and the same port."""
        self._thread.run(self._stop())
        self.clock.ms += outage_ms
        self._thread.run(self._start())

    def names(self) -> tuple[set[str], set[str]]:
        """All things and all jobs that the service knows."""
        return self._thread.run(self._names())

    # The session.

    def start(self) -> None:
        """Start everything."""
        try:
            self._thread.run(self._start())
        except BaseException:
            self._thread.close()
            raise

    def stop(self) -> None:
        """Stop everything; the service must not have failed."""
        try:
            self._thread.run(self._stop())
        finally:
            self._thread.close()

    async def _advance(self, duration_ms: int) -> None:
        until_ms, runner = self.clock.ms + duration_ms, self._runner()
        service = runner._service
        assert service is not None
        while (deadline_ms := service.next_deadline_ms()) is not None and deadline_ms <= until_ms:
            self.clock.ms = max(self.clock.ms, deadline_ms)
            runner.clock_moved()
        self.clock.ms = until_ms

    async def _names(self) -> tuple[set[str], set[str]]:
        state = self._runner().state
        assert state is not None
        return set(state.things), set(state.jobs)

    @abstractmethod
    def _runner(self) -> Runner: ...

    @abstractmethod
    async def _start(self) -> None: ...

    @abstractmethod
    async def _stop(self) -> None: ...


class Embedded(WireService):
    """Amqtt with the plugin, as `thingjobs up --anonymous` runs it."""

    broker = "embedded"
    outlives_restart = False

    def _runner(self) -> Runner:
        assert self._plugin.runner is not None
        return self._plugin.runner

    async def _start(self) -> None:
        listen = [f"127.0.0.1:{self.port}"]
        settings = Settings(data_dir=str(self.data_dir), listen=listen, anonymous=True, limits=NO_LIMITS)
        self._broker = Broker(broker_config(settings))
        self._plugin: JobsPlugin = self._broker.plugins_manager.get_plugin("JobsPlugin")
        self._plugin._host.new_clock = lambda *_: self.clock
        self._plugin.on_failure = lambda _: None
        await self._broker.start()
        assert self._plugin.failure is None, self._plugin.failure

    async def _stop(self) -> None:
        await self._broker.shutdown()
        assert self._plugin.failure is None, self._plugin.failure


class BesideMosquitto(WireService):
    """A real Mosquitto, and the sidecar, as `thingjobs serve --insecure` runs it."""

    broker = "mosquitto"
    outlives_restart = True

    def _runner(self) -> Runner:
        assert self._sidecar.host.runner is not None
        return self._sidecar.host.runner

    async def _start(self) -> None:
        ready = asyncio.Event()
        broker = f"mqtt://127.0.0.1:{self.port}"
        settings = SidecarSettings(
            data_dir=str(self.data_dir), broker=broker, insecure=True, limits=NO_LIMITS
        )
        self._sidecar = Sidecar(settings, ready.set)
        self._sidecar.host.new_clock = lambda *_: self.clock
        self._running = asyncio.create_task(self._sidecar.run())
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({self._running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if self._running.done():
            waiting.cancel()
            await self._running

    async def _stop(self) -> None:
        self._sidecar.stop()
        await self._running
        assert self._sidecar.host.failure is None, self._sidecar.host.failure


@contextmanager
def running_mosquitto(folder: Path, port: int, *more: str) -> Iterator[None]:
    """A Mosquitto that lets everybody do everything, with further lines of configuration."""
    lines = [
        *(f"listener {port} 127.0.0.1", "allow_anonymous true", "set_tcp_nodelay true"),
        *("max_queued_messages 1000000", "max_inflight_messages 0", "max_packet_size 140000"),
        *("log_type error", "log_type warning", *more),
    ]
    if os.geteuid() == 0:
        # Started by root it would otherwise become a user who cannot read this folder.
        lines.append("user root")
    configuration = folder / "mosquitto.conf"
    configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
    program = require_program("mosquitto", package="mosquitto")
    with (folder / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(configuration)], stdout=log, stderr=log)
        try:
            wait_for_port(port, while_running=process)
            yield
        finally:
            process.terminate()
            process.wait(timeout=10)


@pytest.fixture(scope="session", params=["embedded", "mosquitto"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WireService]:
    """The service behind each of the brokers."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "embedded":
        running: WireService = Embedded(folder)
        running.start()
        yield running
        running.stop()
        return
    running = BesideMosquitto(folder)
    with running_mosquitto(folder, running.port):
        running.start()
        yield running
        running.stop()
