"""Which program a step means, and whether it may run: by name only, from one directory, as the right user.

A handler and its directory must belong to root or to the agent's user, and nobody else may be able to write
them; whoever can write a handler can run anything. Commands run only where local settings list them. All
checks of handlers are made on opened descriptors.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from thingjobs_agent.document import Document, Step
from thingjobs_agent.local import Local, Rule, matches

PATH_DEFAULT: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where the programs of commands are looked for, whatever the agent's own PATH says."""


class RunAs(msgspec.Struct, frozen=True):
    """Another user to run as; only root can."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


class Program(msgspec.Struct, frozen=True):
    """What to execute. `run_as` is None where it runs as the agent's own user."""

    argv: tuple[str, ...]
    run_as: RunAs | None = None
    rule: Rule = Rule()


class Refusal(msgspec.Struct, frozen=True):
    """Why a step may not run: one line."""

    reason: str


def resolve(step: Step, local: Local) -> Program | Refusal:
    """Return the program of a step, or why it may not run. Runs nothing (spec: control plane 8.3)."""
    match step.type:
        case "reboot":
            if not local.reboot_command:
                return Refusal("reboots are off on this device (reboot_command)")
            return Program(local.reboot_command)
        case "runCommand":
            found = _command(step.command, local)
        case _:
            found = _handler(step, local)
    if isinstance(found, Refusal):
        return found
    program, rule = found
    run_as = _run_as(step, rule)
    if isinstance(run_as, Refusal):
        return run_as
    return Program((program, *step.arguments()), run_as, rule)


def refusals(document: Document, local: Local) -> tuple[tuple[int, str], ...]:
    """Return index and reason of each step that may not run."""
    verdicts = [resolve(step, local) for step in document.steps]
    return tuple((index, each.reason) for index, each in enumerate(verdicts) if isinstance(each, Refusal))


def _handler(step: Step, local: Local) -> tuple[str, Rule] | Refusal:
    refusal = _path_refusal(step.path, local.handler_dir) or handler_refusal(step.handler, local.handler_dir)
    if refusal is not None:
        return Refusal(refusal)
    return str(local.handler_dir / step.handler), local.rule(step.handler)


def _command(words: tuple[str, ...], local: Local) -> tuple[str, Rule] | Refusal:
    """Return the program of a command that local settings allow, and that nobody else can write."""
    if not local.commands:
        return Refusal("runCommand is off on this device (allowed_commands); use runHandler")
    program = words[0] if words[0].startswith("/") else _found(words[0])
    if not any(matches((program, *words[1:]), entry) for entry in local.commands):
        return Refusal(f"the command {' '.join(words)} is not allowed on this device (allowed_commands)")
    try:
        status = os.stat(program)  # noqa: PTH116 - commands are often links, as /usr/bin/vi is
    except OSError as error:
        return Refusal(f"the program {program} cannot be used: {error.strerror}")
    refusal = _program_refusal(status, f"the program {program}") or way_refusal(Path(program), program)
    return Refusal(refusal) if refusal is not None else (program, local.rule(program))


def _found(name: str) -> str:
    """Return the path of a program, or its name, which no entry allows."""
    candidates = (f"{directory}/{name}" for directory in PATH_DEFAULT.split(":"))
    return next((path for path in candidates if os.access(path, os.X_OK)), name)


def handler_refusal(name: str, handler_dir: Path) -> str | None:
    """Return why the handler of this name may not run, or None if it may."""
    try:
        directory = os.open(handler_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        return f"the handler directory {handler_dir} cannot be opened: {error.strerror}"
    try:
        refusal = directory_refusal(os.fstat(directory), handler_dir)
        return refusal if refusal is not None else _file_refusal(name, directory)
    finally:
        os.close(directory)


def directory_refusal(status: os.stat_result, path: Path) -> str | None:
    """Return why this directory, or the way to it, cannot be trusted with handlers."""
    if status.st_uid not in (0, os.geteuid()):
        return f"the handler directory {path} must belong to root or to the agent's user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"the handler directory {path} must not be writable by group or others (chmod go-w)"
    return way_refusal(path, "the handler directory")


def way_refusal(path: Path, what: str) -> str | None:
    """Return what on the way to a trusted path lets somebody else swap it: a link or a directory above."""
    try:
        for each in _way(path):
            status = each.lstat()
            if status.st_uid not in (0, os.geteuid()):
                return f"{each}, on the way to {what}, must belong to root or to the agent's user"
            is_open = stat.S_ISDIR(status.st_mode) and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            # In a sticky directory, such as /tmp, nobody can rename what is ours.
            if is_open and not status.st_mode & stat.S_ISVTX:
                return f"{each}, on the way to {what}, must not be writable by group or others (chmod go-w)"
    except OSError as error:
        return f"the way to {what} cannot be looked at: {error.strerror}"
    return None


def _way(path: Path) -> Iterator[Path]:
    """Yield all directories above a path and all links in it, those that links lead to as well."""
    ends = (path, path.resolve())
    waiting, seen = list(ends), set()
    while waiting:
        end = waiting.pop()
        for each in (end, *end.parents):
            if each in seen:
                continue
            seen.add(each)
            if each.is_symlink():
                waiting.append(Path(os.path.normpath(each.parent / os.readlink(each))))  # noqa: PTH115 - as it is
                yield each
            elif each not in ends:
                yield each


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
    return _program_refusal(status, f"the handler {name}")


def _program_refusal(status: os.stat_result, what: str) -> str | None:
    """Return why this file may not run, whoever asks."""
    if not stat.S_ISREG(status.st_mode):
        return f"{what} is not a plain file"
    if status.st_uid not in (0, os.geteuid()):
        return f"{what} must belong to root or to the agent's user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{what} must not be writable by group or others (chmod go-w)"
    if not status.st_mode & 0o111:
        return f"{what} is not executable (chmod +x)"
    return None


def _path_refusal(path: str, handler_dir: Path) -> str | None:
    """Handlers come from one directory, whatever the document asks for."""
    if path in ("", "default") or os.path.normpath(path) == os.path.normpath(handler_dir):
        return None
    return f"path must be default; handlers are run from {handler_dir} only"


def _run_as(step: Step, rule: Rule) -> RunAs | Refusal | None:
    """Return whom to become for `runAsUser` and the local rule. Never falls back to the agent's own user."""
    if step.run_as_user and rule.user is not None and step.run_as_user != rule.user:
        return Refusal(f"runAsUser {step.run_as_user} is not allowed: this device runs it as {rule.user}")
    user = step.run_as_user or rule.user
    return None if user is None or not user else become(user)


def become(user: str) -> RunAs | Refusal | None:
    """Return how to become this user; None: we are."""
    own_uid = os.geteuid()
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
