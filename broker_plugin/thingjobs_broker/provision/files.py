"""Writes secrets and settings below one directory: files 0600, directories 0700, nothing ever half-written.

Remembers what became of each file, for the admin. What goes into a file is decided elsewhere.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal

from thingjobs_broker.provision.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700

Fate = Literal["made", "kept", "changed", "removed"]


class Files:
    """The files that were asked for, and what became of them, in order."""

    def __init__(self) -> None:
        self.fates: dict[Path, Fate] = {}

    def directory(self, path: Path) -> None:
        """Make a directory, and those above it, where there is none."""
        for missing in reversed([path, *path.parents]):
            with suppress(FileExistsError):
                missing.mkdir(DIRECTORY_MODE)
        if not path.is_dir():
            raise ProvisionError(f"{path} is no directory; choose another, or move it away")

    def make(self, path: Path, text: str) -> None:
        """Write a file that is not there yet; one that is there is kept as it is."""
        if path.exists():
            self.keep(path)
            return
        self._write(path, text)
        self.fates[path] = "made"

    def replace(self, path: Path, text: str) -> None:
        """Write a file in place of the one there, whose owner it keeps; the same text is no change."""
        if path.exists():
            if read(path) == text:
                self.keep(path)
                return
            self.fates[path] = "made" if self.fates.get(path) == "made" else "changed"
        else:
            self.fates[path] = "made"
        self._write(path, text)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        if path.exists():
            path.unlink()
            self.fates[path] = "removed"

    def keep(self, path: Path) -> None:
        """Note that a file stays as it is, unless something has become of it."""
        self.fates.setdefault(path, "kept")

    def _write(self, path: Path, text: str) -> None:
        """Write beside, sync, and rename: a power cut leaves the old file or the new one."""
        self.directory(path.parent)
        beside = path.with_name(f".{path.name}.new")
        with suppress(FileNotFoundError):
            beside.unlink()
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, for the mode
            # The broker may run as another user, who was given the file, or the directory it is made in.
            owner = (path if path.exists() else path.parent).stat()
            if os.geteuid() == 0:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        beside.replace(path)


def read(path: Path) -> str:
    """Return the text of a file.

    Raises:
        ProvisionError: it is no text.

    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ProvisionError(f"{path} is not UTF-8; put the right file back") from None


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep a second command out of the directory meanwhile.

    Raises:
        ProvisionError: another one is at work there.

    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ProvisionError(
                f"another thingjobs init is at work in {directory}; try again when it is done"
            ) from None
        yield
    finally:
        os.close(descriptor)
