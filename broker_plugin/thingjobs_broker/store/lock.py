"""The data directory: made or refused, and held by one service at a time.

Locks are the operating system's, so this module does not go through `Files`: a simulated disk has no rivals.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Self

from thingjobs_broker.store.errors import DataDirectoryInUse, DataDirectoryUnusable
from thingjobs_broker.store.files import DIRECTORY_MODE, FILE_MODE, OsFiles

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

LOCK_NAME = "lock"
_PID_DIGITS_MAX = 20
_CHOOSE = "choose another directory"


def prepare_data_directory(directory: Path) -> None:
    """Create `directory` with mode 0700, missing parents too, or check that an existing one can be ours.

    An existing directory keeps its mode, but one that group or others may write to is refused: they could
    swap our files. Raises DataDirectoryUnusable, which names the problem and the fix.
    """
    try:
        _make_with_parents(directory)
        status = directory.stat()
    except (OSError, ValueError) as error:
        # ValueError: a null byte in the path.
        reason = getattr(error, "strerror", None) or str(error)
        raise DataDirectoryUnusable(directory, f"cannot be created: {reason}", _CHOOSE) from error
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISDIR(status.st_mode):
        raise DataDirectoryUnusable(directory, "is not a directory", _CHOOSE)
    if status.st_uid != os.geteuid():
        problem = f"belongs to user {status.st_uid}, but this process runs as user {os.geteuid()}"
        raise DataDirectoryUnusable(directory, problem, "run as its owner, or change the owner")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise DataDirectoryUnusable(
            directory,
            f"is writable by others (mode {mode:04o})",
            f"run `chmod go-w` on it, or {_CHOOSE}",
        )
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        problem = f"is not readable and writable (mode {mode:04o}, or a read-only disk)"
        raise DataDirectoryUnusable(directory, problem, f"run `chmod 700` on it, or {_CHOOSE}")


def _make_with_parents(directory: Path) -> None:
    # Path.mkdir(parents=True) would give the parents the umask's mode.
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        # A journal is of no use in a directory that a power cut takes away.
        OsFiles().sync_directory(path.parent)


class DataDirectoryLock:
    """An exclusive lock on a data directory, held until `release`, the end of a `with`, or the process's end.

    The file stays when the lock is released: removing it would let two processes lock two files of one name.
    """

    def __init__(self, directory: Path, *, to_read: bool = False) -> None:
        """Lock `directory`, which must exist; only `to_read` it, also on a disk that takes no writes.

        Raises DataDirectoryInUse, DataDirectoryUnusable.
        """
        self._descriptor, may_write = _open_lock_file(directory, to_read=to_read)
        try:
            if self._descriptor < 0:
                return
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if may_write:
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            pid = os.pread(self._descriptor, _PID_DIGITS_MAX, 0).strip()
            self.release()
            raise DataDirectoryInUse(directory, int(pid) if pid.isdigit() else None) from error
        except OSError as error:
            self.release()
            reason = f"cannot be locked: {error.strerror or error}"
            raise DataDirectoryUnusable(directory, reason, _CHOOSE) from error

    def release(self) -> None:
        """Let another take the lock. Repeating it does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _open_lock_file(directory: Path, *, to_read: bool) -> tuple[int, bool]:
    """Return the open file, -1 where there is none and none can be made, and whether it can be written."""
    path = directory / LOCK_NAME
    try:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE), True
        except OSError as error:
            if not to_read or error.errno != errno.EROFS:
                raise
        # Whoever holds it has opened it before the disk took no more writes.
        return (os.open(path, os.O_RDONLY) if path.exists() else -1), False
    except OSError as error:
        reason = f"cannot be locked: {error.strerror or error}"
        raise DataDirectoryUnusable(directory, reason, _CHOOSE) from error
