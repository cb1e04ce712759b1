"""What can go wrong with the store. Every message is one line that names the file and the way out.

StoreError
├── DataDirectoryUnusable   not a directory, not ours, not writable
├── DataDirectoryInUse      another service holds the lock
├── FormatUnsupported       written by a newer version
├── RecordTooLarge          the caller's record exceeds the limit; nothing was written
├── JournalCorrupt          synced records are damaged or missing: refuse to start
├── JournalContradicts      a record does not fit what came before it: refuse to start
├── JournalFailed           the disk refused; reopen the journal to go on
└── SnapshotFailed          the snapshot could not be written or read; the journal is unharmed
"""

from __future__ import annotations

import errno as errno_names
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class StoreError(Exception):
    """The base of all errors of the disk side."""


class DataDirectoryUnusable(StoreError):
    """The data directory cannot hold our files. Carries `directory`, `problem` and `fix`."""

    def __init__(self, directory: Path, problem: str, fix: str) -> None:
        super().__init__(f"data directory {directory}: {problem}; {fix}")
        self.directory = directory
        self.problem = problem
        self.fix = fix


class DataDirectoryInUse(StoreError):
    """Another process serves from this directory. `pid` is None when the holder has not written it yet."""

    def __init__(self, directory: Path, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(
            f"data directory {directory} is in use by {holder}; stop it or choose another directory"
        )
        self.directory = directory
        self.pid = pid


class FormatUnsupported(StoreError):
    """The file is whole, but of a format version this release does not read."""

    def __init__(self, path: Path, found: int, supported: int) -> None:
        super().__init__(
            f"{path}: format version {found}, but this release reads version {supported};"
            " install a newer thingjobs"
        )
        self.path = path
        self.found = found
        self.supported = supported


class RecordTooLarge(StoreError):
    """One record or object is over the limit. Raised before anything is written."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"a record of {size_bytes} bytes exceeds the limit of {limit_bytes} bytes")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class JournalCorrupt(StoreError):
    """Records that had been synced are damaged or missing: what is left must not be served as the truth."""

    def __init__(self, path: Path, offset: int | None, expected: str, found: str) -> None:
        """`offset` is None when it is not a byte that is wrong, but what is there at all."""
        place = path if offset is None else f"{path}: offset {offset}"
        super().__init__(
            f"{place}: expected {expected}, found {found};"
            " run `thingjobs store repair` or restore the data directory"
        )
        self.path = path
        self.offset = offset
        self.expected = expected
        self.found = found


class JournalContradicts(StoreError):
    """The entry at `position` is whole, but no state can come of it: refuse to start."""

    def __init__(self, data_dir: Path, position: int, reason: str) -> None:
        super().__init__(
            f"data directory {data_dir}: entry {position} of the journal does not fit the entries before it"
            f" ({reason}); run `thingjobs store repair` or restore the data directory"
        )
        self.position = position


class _DiskRefused(StoreError):
    """An OSError with the file it befell, even where the system call knew only a descriptor."""

    def __init__(self, path: Path, error: OSError, advice: str = "") -> None:
        code = error.errno
        name = errno_names.errorcode.get(code, str(code)) if code is not None else type(error).__name__
        super().__init__(f"{path}: {error.strerror or error} ({name}){advice and '; '}{advice}")
        self.path = path
        self.errno = code


class JournalFailed(_DiskRefused):
    """A read, write or sync of the journal failed. Carries `path` and `errno`."""


class SnapshotFailed(_DiskRefused):
    """A snapshot could not be written or read. Carries `path` and `errno`."""
