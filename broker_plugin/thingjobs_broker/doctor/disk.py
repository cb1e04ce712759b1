"""Checks of the service's data directory, where it is on this machine. Reads only; takes no lock."""

from __future__ import annotations

import asyncio
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thingjobs_broker.doctor.findings import NotChecked, Problem
from thingjobs_broker.store.lock import LOCK_NAME

if TYPE_CHECKING:
    from thingjobs_broker.doctor.case import Case

FREE_BYTES_MIN: Final = 256 * 1024 * 1024
"""Below it little is left until `disk_reserve_bytes`, where the service refuses every change."""

LOCKS: Final = Path("/proc/locks")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MIB: Final = 1024 * 1024


async def directory(case: Case) -> str:
    """It is one."""
    if case.data_dir is None:
        raise NotChecked("needs --data-dir DIR, on the machine of the service")
    return await asyncio.to_thread(_directory, case.data_dir)


async def modes(case: Case) -> str:
    """Nobody but the owner gets at the files, and all of them are the owner's."""
    assert case.data_dir is not None
    return await asyncio.to_thread(_modes, case.data_dir.absolute())


async def lock(case: Case) -> str:
    """A service holds the directory."""
    assert case.data_dir is not None
    return await asyncio.to_thread(_lock, case.data_dir, LOCKS)


async def space(case: Case) -> str:
    """There is room for the journal to grow."""
    assert case.data_dir is not None
    free_bytes = await asyncio.to_thread(free_bytes_of, case.data_dir)
    if free_bytes < FREE_BYTES_MIN:
        raise Problem(
            f"{free_bytes // _MIB} MiB are free; at disk_reserve_bytes the service refuses every change",
            "make room on the disk, or move the data directory to another one",
        )
    return f"{free_bytes // _MIB:,} MiB are free"


def free_bytes_of(path: Path) -> int:
    """Return what is free on the disk for those who are not root."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _directory(root: Path) -> str:
    root = root.absolute()
    try:
        if not stat.S_ISDIR(root.stat().st_mode):
            raise Problem(f"{root} is not a directory", "name the service's data directory with --data-dir")
        names = {path.name for path in root.iterdir()}
    except OSError as error:
        fix = "name the service's data directory with --data-dir, and run doctor as its owner"
        raise Problem(f"cannot look into {root}: {error.strerror}", fix) from None
    if LOCK_NAME not in names:
        fix = "name the service's data directory with --data-dir"
        raise Problem(f"{root} is no data directory: no service has ever run on it", fix)
    return f"{root} is a data directory"


def _modes(root: Path) -> str:
    found = [(root, root.lstat())]
    for path in root.rglob("*"):
        # The service removes what it no longer needs meanwhile.
        with suppress(FileNotFoundError):
            found.append((path, path.lstat()))
    owner = found[0][1].st_uid
    for path, status in found:
        if status.st_uid != owner:
            raise Problem(
                f"{path} belongs to {_user(status.st_uid)}, but the directory to {_user(owner)}",
                f"chown -R {_user(owner)} {root}, after stopping what runs as {_user(status.st_uid)}",
            )
        if status.st_mode & _OTHERS and not stat.S_ISLNK(status.st_mode):
            mode = stat.S_IMODE(status.st_mode)
            raise Problem(f"{path} has mode {mode:04o}: others get at the jobs", f"chmod -R go= {root}")
    return f"all is {_user(owner)}'s, and nobody else gets at it"


def _lock(root: Path, locks: Path) -> str:
    """Look into the system's table of locks: to try the lock could stop a service that is starting."""
    number = (root / LOCK_NAME).stat().st_ino
    try:
        rows = [line.split() for line in locks.read_text(encoding="ascii").splitlines()]
    except OSError:
        raise NotChecked(f"this system has no {locks}") from None
    for row in rows:
        if len(row) > 5 and row[1] == "FLOCK" and row[5].rpartition(":")[2] == str(number):
            return f"process {row[4]} holds it"
    raise Problem(
        "no service holds the directory",
        "start thingjobs up or serve on it, or name the directory that the service uses",
    )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
