"""The processes that a step started, wherever they went: found by descent and by their environment.

The agent is the subreaper of its descendants (prctl), so whoever leaves its group and loses its parent
becomes our child instead of vanishing. Descent does not outlive the agent; the mark in the environment does,
and finds after a crash what a handler left running.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from thingjobs_agent.work import Identity

MARK: Final = "THINGJOBS_STATE_DIR"
"""The variable that handlers and all they start inherit. Whoever holds that directory's lock is the only
agent that starts such processes, so a match is never somebody else's.
"""

PROC: Final = Path("/proc")
PR_SET_CHILD_SUBREAPER: Final = 36


class Process(NamedTuple):
    """One process, told from a later one of the same number by its start."""

    pid: int
    start: int
    group: int


class _Stat(NamedTuple):
    parent: int
    group: int
    is_zombie: bool
    start: int


class Kin:
    """What a step starts from now on: its group, its descendants, and who carries its mark."""

    def __init__(self, state_dir: Path, identity: Identity | None, proc: Path = PROC) -> None:
        """Take what runs already as not part of it: services that earlier steps left running on purpose."""
        self._proc = proc
        self._marks = marks_of(state_dir, identity)
        self._strangers: frozenset[tuple[int, int]] = frozenset()
        self._strangers = frozenset(process[:2] for process in self._found(group=None))

    def alive(self, group: int | None = None) -> list[Process]:
        """Return who is alive; a zombie is not. `group` is the step's process group, if it has one."""
        return self._found(group)

    def signal(self, number: signal.Signals, group: int | None = None) -> int:
        """Send a signal to all of them; return how many there were.

        The group gets it in one blow: a shell whose child alone were killed would go on with its next
        command. The others get it parents first, for the same reason. The leader must not be reaped yet.
        """
        found = self._found(group)
        if group is not None and found:
            with contextlib.suppress(OSError):
                os.killpg(group, number)
        for process in sorted(found, key=lambda process: process.start):
            if process.group != group:
                with contextlib.suppress(OSError):
                    os.kill(process.pid, number)
        return len(found)

    def _found(self, group: int | None) -> list[Process]:
        stats = dict(_stats(self._proc))
        ours = _descendants(stats, self._strangers)
        ours |= {pid for pid, stat in stats.items() if group is not None and stat.group == group}
        ours |= {pid for pid in stats if pid not in ours and _is_marked(self._proc / str(pid), self._marks)}
        found = [Process(pid, stats[pid].start, stats[pid].group) for pid in ours if not stats[pid].is_zombie]
        return [
            process for process in found if process[:2] not in self._strangers and process.pid != os.getpid()
        ]


def marks_of(state_dir: Path, identity: Identity | None) -> frozenset[bytes]:
    """Return what the environment of a step's processes holds; without an identity, of any step's."""
    marks = {f"{MARK}={state_dir}".encode()}
    if identity is not None:
        marks.add(f"THINGJOBS_JOB_ID={identity.job_id}".encode())
        marks.add(f"THINGJOBS_EXECUTION_NUMBER={identity.execution_number}".encode())
    return frozenset(marks)


def kill_leftovers(state_dir: Path, identity: Identity | None, proc: Path = PROC) -> int:
    """Kill what an earlier life of the agent left running for this execution; return how many there were.

    Call only with the lock of the directory, and no handler wanted.
    """
    count = 0
    for pid in [pid for pid, _ in _stats(proc) if pid != os.getpid()]:
        if _is_marked(proc / str(pid), marks_of(state_dir, identity)):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                count += 1
    return count


def become_subreaper() -> bool:
    """Let orphaned descendants become our children; tell whether the system can do that."""
    import ctypes  # noqa: PLC0415 - once in a life

    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def reap(spared: Collection[int], proc: Path = PROC) -> None:
    """Bury adopted children that have ended; those in `spared` are waited for by somebody else."""
    own = os.getpid()
    for pid, stat in _stats(proc):
        if stat.parent == own and stat.is_zombie and pid not in spared:
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)


def _stats(proc: Path) -> Iterator[tuple[int, _Stat]]:
    """Yield all processes; none where there is no /proc."""
    try:
        names = os.listdir(proc)  # noqa: PTH208 - one object for each process less
    except OSError:
        return
    for name in names:
        if not name.isdigit():
            continue
        # Processes come and go.
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name, in parentheses, may hold anything; behind it come state, parent and group.
            fields = (proc / name / "stat").read_text(errors="replace").rpartition(")")[2].split()
            yield int(name), _Stat(int(fields[1]), int(fields[2]), fields[0] in "ZX", int(fields[19]))


def _descendants(stats: dict[int, _Stat], strangers: Collection[tuple[int, int]]) -> set[int]:
    """Return the descendants of this process, without strangers and what descends from them."""
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        if (pid, stat.start) not in strangers:
            children.setdefault(stat.parent, []).append(pid)
    found: set[int] = set()
    waiting = list(children.get(os.getpid(), ()))
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found


def _is_marked(process: Path, marks: frozenset[bytes]) -> bool:
    # Those of other users cannot be read; as root, all can.
    with contextlib.suppress(OSError):
        return marks <= set((process / "environ").read_bytes().split(b"\0"))
    return False
