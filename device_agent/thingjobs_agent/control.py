"""What somebody at the device wants of the agent: files in the state directory, and a signal to look at them.

Works while the agent is down as well: what is asked for then is found at its next start.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from thingjobs_agent.checkpoint import Store, write_whole
from thingjobs_agent.events import Hold

HOLD_NAME: Final = "hold.json"
CANCEL_NAME: Final = "cancel.json"
LOOK_SIGNAL: Final = signal.SIGUSR1
"""Tells a running agent to look at these files."""

Request = TypeVar("Request")


class HoldRequest(msgspec.Struct, frozen=True):
    """Begin no new job until then (seconds since the epoch); `seconds` is for how long that was."""

    until: int
    seconds: int
    reason: str

    def sentence(self) -> str:
        """Return what operators are told."""
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.until))
        return f"held at the device until {until}: {self.reason}"


class CancelRequest(msgspec.Struct, frozen=True):
    """End this execution. It names its job, so that one asked for too late ends no other."""

    job_id: str
    execution_number: int
    reason: str


def read_hold(state_dir: Path, now: float) -> HoldRequest | None:
    """Return the hold that is in force."""
    request = _read(state_dir / HOLD_NAME, HoldRequest)
    return request if request is not None and remaining_seconds(request, now) > 0 else None


def remaining_seconds(request: HoldRequest, now: float) -> float:
    """Return how long a hold still lasts; not longer than was asked for, whatever became of the clock."""
    return min(request.until - now, request.seconds)


def hold_of(state_dir: Path, now: float) -> Hold | None:
    """Return the hold in force as the machine wants it."""
    request = read_hold(state_dir, now)
    if request is None:
        return None
    return Hold(int(remaining_seconds(request, now) * 1000), request.sentence())


def read_cancel(state_dir: Path) -> CancelRequest | None:
    """Return the cancel that waits to be seen."""
    return _read(state_dir / CANCEL_NAME, CancelRequest)


def put(state_dir: Path, request: HoldRequest | CancelRequest) -> None:
    """Store a request, in place of one before.

    Raises:
        OSError: it could not be stored.

    """
    name = HOLD_NAME if isinstance(request, HoldRequest) else CANCEL_NAME
    write_whole(state_dir / name, msgspec.json.encode(request))


def drop(state_dir: Path, name: str) -> bool:
    """Take a request away; tell whether there was one."""
    try:
        (state_dir / name).unlink()
    except FileNotFoundError:
        return False
    return True


def tell_agent(state_dir: Path) -> bool:
    """Make a running agent look; tell whether one runs.

    Raises:
        PermissionError: it belongs to somebody else.

    """
    pid = Store(state_dir).holder()
    if pid is None:
        return False
    os.kill(pid, LOOK_SIGNAL)
    return True


def _read(path: Path, kind: type[Request]) -> Request | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, ValueError, RecursionError):
        # Nobody but the engineer's commands writes these files, and they write them whole.
        return None
