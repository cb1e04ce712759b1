"""A file system of its own whose power can be cut: what was not synced is gone, as the kernel sees it.

An ext4 in a file, mounted over a loop device. The cut is the kernel's own (FS_IOC_SHUTDOWN without flushing
the log, made for tests of file systems): the page cache is dropped, and mounting again replays the log.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SHUTDOWN = 0x8004587D
WITHOUT_FLUSHING = struct.pack("I", 2)
IMAGE_BYTES = 256 * 1024 * 1024


class Ext4:
    """The file system, mounted on `directory`."""

    def __init__(self, image: Path, directory: Path) -> None:
        self.directory = directory
        self._image = image

    def mount(self) -> None:
        """Mount it, which recovers it after a cut."""
        subprocess.run(["mount", "-o", "loop", self._image, self.directory], check=True, capture_output=True)

    def unmount(self) -> None:
        """Unmount it; nobody may use it any more."""
        subprocess.run(["umount", self.directory], check=True, capture_output=True)

    def cut(self) -> None:
        """Cut the power: from here on nothing reaches the disk."""
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, WITHOUT_FLUSHING)
        finally:
            os.close(descriptor)


@contextmanager
def ext4(folder: Path) -> Iterator[Ext4]:
    """A new one; the test is skipped where the machine does not let us mount."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("needs root and mkfs.ext4; tests with a disk that forgets run everywhere")
    image, directory = folder / "disk.img", folder / "disk"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    directory.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    disk = Ext4(image, directory)
    try:
        disk.mount()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the machine does not let us mount: {error.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        disk.unmount()
