"""Runs one handler in a process group of its own: both pipes drained, output bounded and without secrets,
stopped with a grace period.

A step ends when its handler ends; what the handler left behind in its group is killed then. Stopped, nothing
of it survives, wherever it went (`kin`). The caller sets deadlines by calling `stop`. Linux only: the end of
a handler is seen through a pidfd, without threads or signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from thingjobs_agent import rlimits
from thingjobs_agent.drain import Drain, drained
from thingjobs_agent.events import StepExited, Then
from thingjobs_agent.handlers import Program
from thingjobs_agent.kin import Kin
from thingjobs_agent.output import Tail
from thingjobs_agent.progress import Progress
from thingjobs_agent.redaction import Redactor, Secrets
from thingjobs_agent.watching import forget, watch

PROGRESS_POLL_SECONDS: Final = 0.25
PROGRESS_READS_AT_END_MAX: Final = 16
READ_BYTES_MAX: Final = 65_536
KILL_WAIT_SECONDS: Final = 10.0
"""How long a killed handler may take to vanish (it may hang in the kernel) before it is given up."""
GONE_WAIT_SECONDS: Final = 1.0
"""How long what it started is killed again and again before that is given up."""
POLL_SECONDS: Final = 0.05
"""How often ends are looked for where the kernel offers no event."""

WISHES: Final[dict[bytes, Then]] = {b"reboot": "reboot", b"restart": "restart"}


class Files(msgspec.Struct, frozen=True):
    """Where a handler works, where it says how far it is, and what is to happen after it."""

    directory: Path
    progress: Path
    then: Path


class HandlerProcess:
    """One run of a handler. Call `run` once; `stop` any time after."""

    def __init__(
        self,
        program: Program,
        *,
        environment: Mapping[str, str],
        files: Files,
        kin: Kin,
        secrets: Secrets,
        on_progress: Callable[[dict[str, str]], None],
        on_output: Callable[[bytes], None],
    ) -> None:
        """Take what to run and where; `on_progress` gets all details so far whenever they change, `on_output`
        all output as it comes.
        """
        self._program = program
        self._environment = environment
        self._files = files
        self._kin = kin
        self._secrets = secrets
        self._on_progress = on_progress
        self._grace_seconds = 0.0
        self._stop_asked = asyncio.Event()
        self._tails = (Tail(), Tail())
        self._on_output = on_output
        self.pid = 0

    def stop(self, grace_seconds: float) -> None:
        """End the handler: SIGTERM to all it started now, SIGKILL after the grace period."""
        if not self._stop_asked.is_set():
            self._grace_seconds = grace_seconds
            self._stop_asked.set()

    def kill(self) -> None:
        """Kill all it started, without waiting for the end."""
        self._kin.signal(signal.SIGKILL, self.pid or None)

    async def run(self) -> StepExited:
        """Run the handler to its end. Whatever happens, the answer is how it ended, not an exception."""
        try:
            process = rlimits.start(self._program, self._environment, self._files.directory)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            return StepExited(refusal=f"{self._program.argv[0]} could not be started: {reason}")
        self.pid = process.pid
        drains = [
            Drain(pipe, Redactor(self._secrets), tail, self._on_output)
            for pipe, tail in zip((process.stdout, process.stderr), self._tails, strict=True)
            if pipe is not None
        ]
        progress = asyncio.create_task(self._watch_progress())
        try:
            await self._wait(process.pid)
            # Still a zombie, so its number is still its own: nobody else's group can be hit.
            _signal_group(process.pid, signal.SIGKILL)
            process.poll()
            await drained(drains)
        finally:
            progress.cancel()
            for drain in drains:
                drain.close()
        with contextlib.suppress(asyncio.CancelledError):
            await progress
        return self._exited(process.returncode)

    async def _wait(self, pid: int) -> None:
        """Wait for the end, stopping the handler when asked to; a killed one is not waited for forever."""
        ended = asyncio.create_task(_ended(pid))
        asked = asyncio.create_task(self._stop_asked.wait())
        try:
            await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
            if self._stop_asked.is_set():
                await self._end_all(pid, ended)
            else:
                # A fault in waiting must not pass for the end.
                ended.result()
        finally:
            asked.cancel()
            ended.cancel()

    async def _end_all(self, pid: int, ended: asyncio.Task[None]) -> None:
        self._kin.signal(signal.SIGTERM, pid)
        # Who is stopped would not see SIGTERM.
        self._kin.signal(signal.SIGCONT, pid)
        await self._until_gone(pid, self._grace_seconds, None)
        await self._until_gone(pid, GONE_WAIT_SECONDS, signal.SIGKILL)
        await asyncio.wait((ended,), timeout=KILL_WAIT_SECONDS)

    async def _until_gone(self, pid: int, seconds: float, number: signal.Signals | None) -> None:
        """Wait until all it started has ended, sending a signal to whoever is found."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._kin.signal(number, pid) if number else self._kin.alive(pid):  # noqa: ASYNC110 - no event for this
                    await asyncio.sleep(POLL_SECONDS)

    async def _watch_progress(self) -> None:
        """Follow the progress file; read it to its end once more when canceled."""
        progress, offset = Progress(self._secrets.hide_text), 0
        try:
            while True:
                await asyncio.sleep(PROGRESS_POLL_SECONDS)
                offset = self._read_progress(progress, offset)
        finally:
            for _ in range(PROGRESS_READS_AT_END_MAX):
                before, offset = offset, self._read_progress(progress, offset)
                if offset == before:
                    break

    def _read_progress(self, progress: Progress, offset: int) -> int:
        chunk = _read(self._files.progress, offset, READ_BYTES_MAX)
        if chunk and progress.feed(chunk):
            self._on_progress(dict(progress.details))
        return offset + len(chunk)

    def _exited(self, return_code: int | None) -> StepExited:
        """Return how it ended. Popen gives the negative number of the signal that killed it."""
        refusal = None if return_code is not None else "the handler could not be killed"
        is_signal = return_code is not None and return_code < 0
        std_out, std_err = self._tails
        wish = _read(self._files.then, 0, 16).strip()
        return StepExited(
            exit_status=None if is_signal else return_code,
            signal_number=-return_code if return_code is not None and is_signal else None,
            refusal=refusal,
            std_out=std_out.text(),
            std_err=std_err.text(),
            std_err_line_count=std_err.line_count,
            then=WISHES.get(wish, ""),
        )


def _read(path: Path, offset: int, bytes_max: int) -> bytes:
    """Return a piece of a handler's file. It may have put anything there: do not follow, do not block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, bytes_max, offset)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


async def _ended(pid: int) -> None:
    """Wait for the end of a child and leave it unreaped."""
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, AttributeError):
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:  # noqa: ASYNC110, ASYNC222 - no event, WNOHANG
            await asyncio.sleep(POLL_SECONDS)
        return
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        watch(loop, descriptor, readable.set)
        await readable.wait()
    finally:
        forget(loop, descriptor)
        os.close(descriptor)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
