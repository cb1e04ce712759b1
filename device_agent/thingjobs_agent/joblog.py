"""What handlers print, kept on disk for `thingjobs-agent logs`: bounded for each job and in all.

A job has one log of at most two files; when the first is full it becomes the second. Losing a log must never
cost a job: errors of the disk are passed over.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

LOGS_NAME: Final = "logs"
FILE_BYTES_MAX: Final = 256 * 1024
JOBS_MAX: Final = 20
"""In all at most 20 jobs of 512 KiB: 10 MiB."""

OLDER: Final = ".1"


def log_path(state_dir: Path, job_id: str, execution_number: int) -> Path:
    """Return where the log of an execution is; the older part has `.1` behind its name."""
    return state_dir / LOGS_NAME / f"{job_id}-{execution_number}.log"


class JobLog:
    """The log of one execution, open for appending while a step runs."""

    def __init__(self, path: Path) -> None:
        """Open it, and remove the logs of the oldest jobs."""
        self.path = path
        self._descriptor: int | None = None
        self._bytes = 0
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            self._open()
            prune(path.parent, JOBS_MAX)

    def write(self, data: bytes) -> None:
        """Append."""
        while data and self._descriptor is not None:
            room = FILE_BYTES_MAX - self._bytes
            if room <= 0:
                self._turn()
                continue
            try:
                written = os.write(self._descriptor, data[:room])
            except OSError:
                # The disk is full; what follows may fit again.
                return
            self._bytes += written
            data = data[written:]

    def close(self) -> None:
        """Close the file; later writes go nowhere."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o600)
        self._bytes = os.fstat(self._descriptor).st_size

    def _turn(self) -> None:
        """Make the full file the older one, in place of the one before, and begin a new one."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.rename(self.path.with_name(self.path.name + OLDER))
            self._open()


def prune(directory: Path, jobs_max: int) -> None:
    """Remove all but the newest logs."""
    logs = sorted(directory.glob("*.log"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in logs[jobs_max:]:
        path.unlink(missing_ok=True)
        path.with_name(path.name + OLDER).unlink(missing_ok=True)


def read_log(path: Path) -> bytes:
    """Return the whole log.

    Raises:
        FileNotFoundError: there is none.

    """
    with contextlib.suppress(FileNotFoundError):
        return path.with_name(path.name + OLDER).read_bytes() + path.read_bytes()
    return path.read_bytes()
