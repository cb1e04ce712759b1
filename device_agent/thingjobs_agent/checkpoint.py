"""The state directory: the checkpoint, written so that a power cut leaves the old one or the new one, and the
lock.

Files are 0600 in a directory of 0700. What cannot be read is set aside under another name, never deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Final

import msgspec

from thingjobs_agent.errors import AlreadyRunningError, StateDirectoryError
from thingjobs_agent.work import Checkpoint, decode_checkpoint, encode_checkpoint

CHECKPOINT_NAME: Final = "checkpoint.json"
LOCK_NAME: Final = "lock"
WORK_NAME: Final = "work"
LOCK_WAITS_SECONDS: Final = (0.05, 0.1, 0.15, 0)


class Loaded(msgspec.Struct, frozen=True):
    """What was found. `fault` says why a checkpoint could not be read; `path` where it is now."""

    checkpoint: Checkpoint | None = None
    fault: str | None = None
    path: Path | None = None


class Store:
    """The state directory of one agent. `load` and `peek` change nothing for a healthy checkpoint."""

    def __init__(self, directory: Path) -> None:
        """Take the directory; `prepare` creates it."""
        self.directory = directory
        self.path = directory / CHECKPOINT_NAME
        self._lock: int | None = None

    def prepare(self) -> None:
        """Create the directory and take the lock, which holds until this process ends.

        Raises:
            StateDirectoryError: it cannot be created or written.
            AlreadyRunningError: another agent uses it.

        """
        try:
            new = [each for each in (self.directory, *self.directory.parents) if not each.exists()]
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.chmod(0o700)
            # A power cut must not take a new directory away with the checkpoint in it.
            for each in new or [self.directory]:
                _sync_directory(each.parent)
            self._lock = os.open(self.directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateDirectoryError(
                f"the state directory {self.directory} cannot be used: {error.strerror}; "
                "choose another with --state-dir, or make it writable for this user"
            ) from None
        if not self._take_lock():
            self.close()
            raise AlreadyRunningError(
                f"another agent runs with the state directory {self.directory}; "
                "stop it, or choose another with --state-dir"
            )
        # For the engineer's commands, which want to signal us.
        os.truncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _take_lock(self) -> bool:
        """Take the lock; the engineer's commands touch it for an instant, which is waited for."""
        assert self._lock is not None
        for wait_seconds in LOCK_WAITS_SECONDS:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(wait_seconds)
            else:
                return True
        return False

    def close(self) -> None:
        """Give the lock up."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load(self) -> Loaded:
        """Return the stored checkpoint; one that cannot be read is set aside.

        Raises:
            StateDirectoryError: the disk does not let us read or rename it.

        """
        try:
            loaded = self.peek()
            if loaded.fault is None:
                return loaded
            aside = self._free_name()
            self.path.rename(aside)
            _sync_directory(self.directory)
        except OSError as error:
            raise StateDirectoryError(
                f"the checkpoint {self.path} cannot be read: {error.strerror}; check the disk and its owner"
            ) from None
        return Loaded(fault=loaded.fault, path=aside)

    def peek(self) -> Loaded:
        """Return the stored checkpoint, or what is wrong with it; works beside a running agent.

        Raises:
            OSError: the file is there and cannot be read.

        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return Loaded()
        try:
            return Loaded(decode_checkpoint(data), path=self.path)
        except ValueError as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
            return Loaded(fault=str(error), path=self.path)

    def store(self, checkpoint: Checkpoint) -> None:
        """Replace the stored checkpoint; when this returns, it survives a power cut.

        Raises:
            OSError: nothing has changed on disk.

        """
        write_whole(self.path, encode_checkpoint(checkpoint))

    def holder(self) -> int | None:
        """Return the process id of the agent that holds the lock now, or None."""
        with contextlib.suppress(OSError, ValueError):
            descriptor = os.open(self.directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(os.pread(descriptor, 32, 0))
            finally:
                os.close(descriptor)
        return None

    def _free_name(self) -> Path:
        """Return a name for what is set aside; the number is bounded so that a bad disk is not filled."""
        names = [self.directory / f"{CHECKPOINT_NAME}.unreadable-{number}" for number in range(1, 10)]
        return next((name for name in names if not name.exists()), names[-1])


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file by way of another name; when this returns, it survives a power cut.

    Raises:
        OSError: nothing has changed on disk.

    """
    aside = path.with_suffix(".tmp")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    aside.rename(path)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
