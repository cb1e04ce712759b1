"""Which program a step means, and whether it may run: by name only, from one directory, as the right user.

A handler and its directory must belong to root or to the agent's user, and nobody else may be able to write
them; whoever can write a handler can run anything. All checks are made on opened descriptors.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

import msgspec

from thingjobs_agent.document import Document, Step


class RunAs(msgspec.Struct, frozen=True):
    """Another user to run as; only root can."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


class Program(msgspec.Struct, frozen=True):
    """What to execute. `run_as` is None where the handler runs as the agent's own user."""

    argv: tuple[str, ...]
    run_as: RunAs | None = None


class Refusal(msgspec.Struct, frozen=True):
    """Why a step may not run: one line."""

    reason: str


def resolve(step: Step, handler_dir: Path) -> Program | Refusal:
    """Return the program of a step, or why it may not run. Runs nothing (spec: control plane 8.3)."""
    refusal = _path_refusal(step.path, handler_dir) or handler_refusal(step.handler, handler_dir)
    if refusal is not None:
        return Refusal(refusal)
    run_as = _run_as(step.run_as_user)
    if isinstance(run_as, Refusal):
        return run_as
    return Program((str(handler_dir / step.handler), *step.arguments()), run_as)


def refusals(document: Document, handler_dir: Path) -> tuple[tuple[int, str], ...]:
    """Return index and reason of each step that may not run."""
    verdicts = [resolve(step, handler_dir) for step in document.steps]
    return tuple((index, each.reason) for index, each in enumerate(verdicts) if isinstance(each, Refusal))


def handler_refusal(name: str, handler_dir: Path) -> str | None:
    """Return why the handler of this name may not run, or None if it may."""
    try:
        directory = os.open(handler_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        return f"the handler directory {handler_dir} cannot be opened: {error.strerror}"
    try:
        refusal = directory_refusal(os.fstat(directory), str(handler_dir)) or _parents_refusal(handler_dir)
        return refusal if refusal is not None else _file_refusal(name, directory)
    finally:
        os.close(directory)


def directory_refusal(status: os.stat_result, path: str) -> str | None:
    """Return why this directory cannot be trusted with handlers."""
    if status.st_uid not in (0, os.geteuid()):
        return f"the handler directory {path} must belong to root or to the agent's user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"the handler directory {path} must not be writable by group or others (chmod go-w)"
    return None


def _parents_refusal(handler_dir: Path) -> str | None:
    """Return which parent lets anybody swap the directory; a sticky one, such as /tmp, does not."""
    for parent in handler_dir.resolve().parents:
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"{parent}, above the handler directory, must not be writable by others"
    return None


def _file_refusal(name: str, directory: int) -> str | None:
    try:
        opened = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return f"there is no handler {name}"
    except (OSError, ValueError) as error:
        return f"the handler {name} cannot be opened: {getattr(error, 'strerror', error)}"
    try:
        status = os.fstat(opened)
    finally:
        os.close(opened)
    if stat.S_ISLNK(status.st_mode):
        return f"the handler {name} is a symbolic link; handlers are plain files"
    if not stat.S_ISREG(status.st_mode):
        return f"the handler {name} is not a plain file"
    if status.st_uid not in (0, os.geteuid()):
        return f"the handler {name} must belong to root or to the agent's user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"the handler {name} must not be writable by group or others (chmod go-w)"
    if not status.st_mode & 0o111:
        return f"the handler {name} is not executable (chmod +x)"
    return None


def _path_refusal(path: str, handler_dir: Path) -> str | None:
    """Handlers come from one directory, whatever the document asks for."""
    if path in ("", "default") or os.path.normpath(path) == os.path.normpath(handler_dir):
        return None
    return f"path must be default; handlers are run from {handler_dir} only"


def _run_as(user: str) -> RunAs | Refusal | None:
    """Return whom to become for `runAsUser`. Never falls back to the agent's own user."""
    own_uid = os.geteuid()
    if not user:
        return None
    try:
        entry = pwd.getpwnam(user)
    except (KeyError, ValueError):
        return Refusal(f"runAsUser {user} is not a user of this device")
    if entry.pw_uid == own_uid:
        return None
    if own_uid != 0:
        return Refusal(f"runAsUser {user} needs an agent that runs as root; it runs as {user_name(own_uid)}")
    groups = {group.gr_gid for group in grp.getgrall() if user in group.gr_mem} | {entry.pw_gid}
    return RunAs(user, entry.pw_uid, entry.pw_gid, tuple(sorted(groups)), entry.pw_dir)


def user_name(uid: int) -> str:
    """Return a user's name, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
