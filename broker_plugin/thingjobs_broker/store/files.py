"""The few file operations the store needs, behind one protocol.

Journal and snapshots touch the disk only through `Files`, so a test can put a disk there that tears, loses
and refuses. Policy (what is synced when, what an error means) is theirs; nothing here retries or hides an
OSError.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


class WritableFile(Protocol):
    """A file open for writing at explicit offsets. Every method raises OSError when the disk refuses."""

    def write(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset` bytes. After an OSError any part of it may have been written."""

    def sync_data(self) -> None:
        """Return when the content, and the size needed to read it, would survive a power cut (fdatasync)."""

    def sync(self) -> None:
        """As `sync_data`, with all metadata (fsync)."""

    def truncate(self, size_bytes: int) -> None:
        """Cut the file to `size_bytes`. Durable only after a sync."""

    def close(self) -> None:
        """Give the descriptor back. Does not sync. Repeating it does nothing."""


class Files(Protocol):
    """A disk. Every method raises OSError when the disk refuses."""

    def make_directory(self, directory: Path) -> None:
        """Create `directory` with mode 0700 unless it exists."""

    def list_names(self, directory: Path) -> list[str]:
        """Return the names in `directory`, sorted."""

    def create(self, path: Path) -> WritableFile:
        """Open `path` for writing with mode 0600, empty. The name is durable only after `sync_directory`."""

    def open(self, path: Path) -> WritableFile:
        """Open the existing `path` for writing, its content untouched."""

    def read(self, path: Path, offset: int = 0, bytes_max: int | None = None) -> bytes:
        """Return up to `bytes_max` bytes (None: all) from `offset`; fewer only at the end of the file."""

    def size_bytes(self, path: Path) -> int:
        """Return the size of `path`."""

    def rename(self, path: Path, target: Path) -> None:
        """Give `path` the name `target`, replacing what had it. Durable only after `sync_directory`."""

    def remove(self, path: Path) -> None:
        """Remove `path`. Durable only after `sync_directory`."""

    def sync_directory(self, directory: Path) -> None:
        """Return when creations, renames and removals in `directory` would survive a power cut."""

    def free_bytes(self, directory: Path) -> int:
        """Return the bytes an unprivileged process may still write on the disk of `directory`."""


class OsFile:
    """A `WritableFile` of the operating system."""

    def __init__(self, path: Path, flags: int) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | flags, FILE_MODE)

    def write(self, data: bytes, offset: int) -> None:
        """See `WritableFile.write`."""
        written = os.pwrite(self._descriptor, data, offset)
        # A short write is legal (a nearly full disk does it); the next call then says why.
        while written < len(data):
            written += os.pwrite(self._descriptor, data[written:], offset + written)

    def sync_data(self) -> None:
        """See `WritableFile.sync_data`."""
        os.fdatasync(self._descriptor)

    def sync(self) -> None:
        """See `WritableFile.sync`."""
        os.fsync(self._descriptor)

    def truncate(self, size_bytes: int) -> None:
        """See `WritableFile.truncate`."""
        os.ftruncate(self._descriptor, size_bytes)

    def close(self) -> None:
        """See `WritableFile.close`."""
        # Forgotten first: after a failing close the number may already belong to another file.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class OsFiles:
    """The `Files` of the operating system."""

    def make_directory(self, directory: Path) -> None:
        """See `Files.make_directory`."""
        directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)

    def list_names(self, directory: Path) -> list[str]:
        """See `Files.list_names`."""
        return sorted(path.name for path in directory.iterdir())

    def create(self, path: Path) -> OsFile:
        """See `Files.create`."""
        return OsFile(path, os.O_CREAT | os.O_TRUNC)

    def open(self, path: Path) -> OsFile:
        """See `Files.open`."""
        return OsFile(path, 0)

    def read(self, path: Path, offset: int = 0, bytes_max: int | None = None) -> bytes:
        """See `Files.read`."""
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(bytes_max)

    def size_bytes(self, path: Path) -> int:
        """See `Files.size_bytes`."""
        return path.stat().st_size

    def rename(self, path: Path, target: Path) -> None:
        """See `Files.rename`."""
        path.replace(target)

    def remove(self, path: Path) -> None:
        """See `Files.remove`."""
        path.unlink()

    def sync_directory(self, directory: Path) -> None:
        """See `Files.sync_directory`."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self, directory: Path) -> int:
        """See `Files.free_bytes`."""
        disk = os.statvfs(directory)
        return disk.f_bavail * disk.f_frsize
