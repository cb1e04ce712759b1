"""Runs programs in the background with their output in a file, and ends them for certain; for demo and tests.

Knows nothing of jobs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

POLL_SECONDS: Final = 0.02
GRACE_SECONDS: Final = 5.0


class ProgramError(Exception):
    """A program ended, or did not become ready; the message says which and how."""


class BackgroundProgram:
    """A program in a session of its own, so that Ctrl-C in the terminal reaches whoever started it alone.

    Args:
        name: How messages call it.
        command: Program and arguments; no shell takes part.
        log: File that both output streams are appended to; made with mode 0600.
        environ: The whole environment.
        folder: Working directory.

    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, environ: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.log = log
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._log_start = os.fstat(descriptor).st_size
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=environ,
                cwd=folder,
                start_new_session=True,
            )
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, unless it has ended."""
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal, None while it runs."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """Return what this run of the program has written so far."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode("utf-8", "replace")

    def wait_for(self, text: str, *, timeout_seconds: float) -> None:
        """Return once the program has written `text`.

        Raises:
            ProgramError: it ended before, or did not in time.

        """
        deadline = time.monotonic() + timeout_seconds
        while text not in self.output:
            if self.exit_code is not None:
                raise ProgramError(f"{self.name} ended with exit code {self.exit_code}")
            if time.monotonic() > deadline:
                raise ProgramError(f"{self.name} did not say {text!r} within {timeout_seconds:g} s")
            time.sleep(POLL_SECONDS)

    def stop(self) -> int:
        """Ask it to end, wait, and kill it when it does not; return its exit code."""
        if self.exit_code is None:
            self._process.terminate()
        try:
            return self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kill it at once, as a power cut would; return its exit code."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGKILL)
        return self._process.wait()
