"""Ends what handlers of this agent left running: after a crash of the agent, or when a handler had to be
stopped.

Processes are known by a variable in their environment that names the state directory. Whoever holds that
directory's lock is the only agent that starts such processes, so a match is never somebody else's.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Final

MARK: Final = "THINGJOBS_STATE_DIR"
"""The variable; handlers and all they start inherit it."""


def marked(state_dir: Path, proc: Path = Path("/proc")) -> list[int]:
    """Return the processes that a handler of this agent started; empty where there is no /proc."""
    mark = f"{MARK}={state_dir}".encode()
    found: list[int] = []
    with contextlib.suppress(OSError):
        for entry in proc.iterdir():
            # Processes come and go, and those of other users cannot be read.
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def is_group_alive(group: int, proc: Path = Path("/proc")) -> bool:
    """Tell whether a process of this group runs; a zombie does not. False where there is no /proc."""
    with contextlib.suppress(OSError):
        for entry in proc.iterdir():
            with contextlib.suppress(OSError, ValueError):
                # The name, in parentheses, may hold anything; behind it come state, parent and group.
                state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(its_group) == group and state not in "ZX":
                    return True
    return False


def kill(state_dir: Path) -> int:
    """Kill them all; return how many there were. Call only with the lock of the directory, and no handler
    wanted.
    """
    pids = marked(state_dir)
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)
