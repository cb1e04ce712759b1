"""What is killed: the true service, started as its users start it, alone or beside a Mosquitto.

So that it can be killed often, its modules are imported once, in a process that is forked for each start:
from there on it is `thingjobs` with its arguments.
"""

import asyncio
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.broker.beside import Mosquitto
from tests.end_to_end.harness import environment
from tests.support import ROOT, free_port

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
SETTINGS = {
    "THINGJOBS_LIMITS_REQUESTS_PER_SECOND": "0",
    "THINGJOBS_JOBS_ROLLOUT_PER_MINUTE": "0",
    # As often as the snapshotter looks.
    "THINGJOBS_SNAPSHOT_JOURNAL_BYTES": "1024",
    "THINGJOBS_DISK_RESERVE_BYTES": "1000000",
}


class CrashError(Exception):
    """The service did not start, or ended by itself."""


class Program:
    """`thingjobs` with the same arguments, again and again. `module` runs it, perhaps with a fault in it."""

    def __init__(
        self,
        folder: Path,
        arguments: list[str],
        ready: str,
        *,
        module: str = "tests.end_to_end.crashes.launcher",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.starts = 0
        self._arguments = arguments
        self._ready = ready
        self._log = folder / "service.log"
        self._log_start = 0
        self._pid = 0
        with self._log.open("ab") as log:
            self._launcher = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=environment({**SETTINGS, **(environ or {})}),
                start_new_session=True,
            )

    def start(self) -> None:
        """Start it, and return at once."""
        self._log_start = self._log.stat().st_size
        self._pid = int(self._tell(shlex.join(self._arguments)))
        self.starts += 1

    async def ready(self) -> None:
        """Return once it serves."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while self._ready not in (said := self.said()):
            if "thingjobs: " in said or time.monotonic() > deadline:
                raise CrashError(f"the service did not start: {said[-2000:]}")
            await asyncio.sleep(0.01)

    def said(self) -> str:
        """What it has written since it was started last."""
        with self._log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode("utf-8", "replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; it is a child of the launcher, so its number stays its own until `ended`."""
        os.kill(self._pid, number)

    def ended(self) -> int:
        """Wait for its end; return its exit code, negative for a signal."""
        return os.waitstatus_to_exitcode(int(self._tell("")))

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        self.signal(signal.SIGKILL)
        self.ended()

    def stop(self) -> int:
        """End it as systemd does."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def close(self) -> None:
        """End the launcher, and with it whatever it has started."""
        assert self._launcher.stdin is not None
        assert self._launcher.stdout is not None
        self._launcher.stdin.close()
        self._launcher.wait(STOP_SECONDS_MAX)
        self._launcher.stdout.close()

    def _tell(self, line: str) -> str:
        assert self._launcher.stdin is not None
        assert self._launcher.stdout is not None
        self._launcher.stdin.write(line + "\n")
        self._launcher.stdin.flush()
        answer = self._launcher.stdout.readline()
        if not answer:
            raise CrashError(f"the launcher ended: {self._log.read_text(encoding='utf-8')[-2000:]}")
        return answer


class Site:
    """A service and the broker it serves on. `port` is the broker's."""

    def __init__(self, program: Program, port: int, broker: Mosquitto | None = None) -> None:
        self.program = program
        self.port = port
        self.broker = broker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.close()
        if self.broker is not None:
            self.broker.stop()


def embedded(folder: Path, data_dir: Path, **options: object) -> Site:
    """`thingjobs up`."""
    port = free_port()
    arguments = ["up", "--anonymous", "--listen", f"127.0.0.1:{port}", "--data-dir", str(data_dir)]
    return Site(Program(folder, arguments, "listening on ", **options), port)  # type: ignore[arg-type]


def beside(folder: Path, data_dir: Path, config: str, **options: object) -> Site:
    """`thingjobs serve` and a Mosquitto."""
    broker = Mosquitto(folder, free_port(), config).start()
    arguments = ["serve", "--broker", broker.url, "--insecure", "--data-dir", str(data_dir)]
    return Site(Program(folder, arguments, "serving beside ", **options), broker.port, broker)  # type: ignore[arg-type]
