"""Runs one handler in a process group of its own: both pipes drained, output bounded, stopped with a grace
period.

A step ends when its handler ends; what the handler left behind in its group is killed then. The caller sets
deadlines by calling `stop`. Linux only: the end of a handler is seen through a pidfd, without threads or
signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final

from thingjobs_agent.events import StepExited
from thingjobs_agent.handlers import Program
from thingjobs_agent.leftovers import is_group_alive
from thingjobs_agent.output import Tail
from thingjobs_agent.progress import Progress

READ_BYTES_MAX: Final = 65_536
PROGRESS_POLL_SECONDS: Final = 0.25
PROGRESS_READS_AT_END_MAX: Final = 16
DRAIN_SECONDS: Final = 1.0
"""How long pipes are read on after the handler's end, if someone else still holds them open."""
KILL_WAIT_SECONDS: Final = 10.0
"""How long a killed handler may take to vanish (it may hang in the kernel) before it is given up."""
POLL_SECONDS: Final = 0.05
"""How often the end is looked for on kernels without pidfds (before 5.3)."""


class HandlerProcess:
    """One run of a handler. Call `run` once; `stop` any time after."""

    def __init__(
        self,
        program: Program,
        *,
        environment: Mapping[str, str],
        directory: Path,
        progress_path: Path,
        on_progress: Callable[[dict[str, str]], None],
    ) -> None:
        """Take what to run and where; `on_progress` gets all details so far whenever they change."""
        self._program = program
        self._environment = environment
        self._directory = directory
        self._progress_path = progress_path
        self._on_progress = on_progress
        self._grace_seconds = 0.0
        self._stop_asked = asyncio.Event()
        self._std_out, self._std_err = Tail(), Tail()

    def stop(self, grace_seconds: float) -> None:
        """End the handler: SIGTERM to its group now, SIGKILL after the grace period."""
        if not self._stop_asked.is_set():
            self._grace_seconds = grace_seconds
            self._stop_asked.set()

    @property
    def is_stop_asked(self) -> bool:
        """Whether `stop` has been called."""
        return self._stop_asked.is_set()

    async def run(self) -> StepExited:
        """Run the handler to its end. Whatever happens, the answer is how it ended, not an exception."""
        try:
            process = self._start()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            return StepExited(refusal=f"{self._program.argv[0]} could not be started: {reason}")
        drains = [
            _Drain(pipe, tail)
            for pipe, tail in ((process.stdout, self._std_out), (process.stderr, self._std_err))
            if pipe is not None
        ]
        progress = asyncio.create_task(self._watch_progress())
        try:
            await self._wait(process)
            # Still a zombie, so its number is still its own: nobody else's group can be hit.
            _signal_group(process.pid, signal.SIGKILL)
            process.poll()
            await _drained(drains)
        finally:
            progress.cancel()
            for drain in drains:
                drain.close()
        with contextlib.suppress(asyncio.CancelledError):
            await progress
        return self._exited(process.returncode)

    def _start(self) -> subprocess.Popen[bytes]:
        run_as = self._program.run_as
        return subprocess.Popen(
            self._program.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=self._directory,
            env=dict(self._environment),
            start_new_session=True,
            user=None if run_as is None else run_as.uid,
            group=None if run_as is None else run_as.gid,
            extra_groups=None if run_as is None else run_as.groups,
            umask=0o022,
        )

    async def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end, stopping the handler when asked to; a killed one is not waited for forever."""
        ended = asyncio.create_task(_ended(process.pid))
        asked = asyncio.create_task(self._stop_asked.wait())
        try:
            await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return
            _signal_group(process.pid, signal.SIGTERM)
            # A stopped group would not see SIGTERM.
            _signal_group(process.pid, signal.SIGCONT)
            await _group_ended(process.pid, self._grace_seconds)
            _signal_group(process.pid, signal.SIGKILL)
            await asyncio.wait((ended,), timeout=KILL_WAIT_SECONDS)
            await _group_ended(process.pid, DRAIN_SECONDS)
        finally:
            asked.cancel()
            ended.cancel()

    async def _watch_progress(self) -> None:
        """Follow the progress file; read it to its end once more when canceled."""
        progress, offset = Progress(), 0
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
        try:
            # The handler owns this file and may have put anything in its place: do not follow, do not block.
            descriptor = os.open(
                self._progress_path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError:
            return offset
        try:
            chunk = os.pread(descriptor, READ_BYTES_MAX, offset)
        except OSError:
            return offset
        finally:
            os.close(descriptor)
        if chunk and progress.feed(chunk):
            self._on_progress(dict(progress.details))
        return offset + len(chunk)

    def _exited(self, return_code: int | None) -> StepExited:
        """Return how it ended. Popen gives the negative number of the signal that killed it."""
        refusal = None if return_code is not None else "the handler could not be killed"
        is_signal = return_code is not None and return_code < 0
        return StepExited(
            exit_status=None if is_signal else return_code,
            signal_number=-return_code if return_code is not None and is_signal else None,
            refusal=refusal,
            std_out=self._std_out.text(),
            std_err=self._std_err.text(),
            std_err_line_count=self._std_err.line_count,
        )


class _Drain:
    """Reads one pipe into a tail as soon as there is something to read."""

    def __init__(self, pipe: IO[bytes], tail: Tail) -> None:
        self._pipe = pipe
        self._tail = tail
        self._loop = asyncio.get_running_loop()
        self.is_at_end = asyncio.Event()
        os.set_blocking(pipe.fileno(), False)
        self._loop.add_reader(pipe.fileno(), self._read)

    def _read(self) -> None:
        try:
            chunk = os.read(self._pipe.fileno(), READ_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if chunk:
            self._tail.feed(chunk)
        else:
            self._loop.remove_reader(self._pipe.fileno())
            self.is_at_end.set()

    def close(self) -> None:
        self._loop.remove_reader(self._pipe.fileno())
        self._pipe.close()


async def _drained(drains: list[_Drain]) -> None:
    """Wait until both pipes are at their end; not for long, as a stranger may hold them open."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            for drain in drains:
                await drain.is_at_end.wait()


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
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _group_ended(group: int, seconds: float) -> None:
    """Wait until nobody in the group is alive: children of the handler have the grace period too."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while is_group_alive(group):  # noqa: ASYNC110 - the kernel offers no event for this
                await asyncio.sleep(POLL_SECONDS)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
