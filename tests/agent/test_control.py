"""What somebody at the device wants: stored whole, found again, and never longer than asked for."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from thingjobs_agent.checkpoint import Store
from thingjobs_agent.control import (
    CANCEL_NAME,
    HOLD_NAME,
    CancelRequest,
    HoldRequest,
    drop,
    hold_of,
    put,
    read_cancel,
    read_hold,
    tell_agent,
)
from thingjobs_agent.events import Hold

HOLD = HoldRequest(1_000_000_600, 600, "new power supply")


@pytest.mark.parametrize(
    ("now", "remaining_ms"),
    [
        (1_000_000_000, 600_000),
        (1_000_000_599, 1000),
        (0, 600_000),
        (1_000_000_600, None),
        (2_000_000_000, None),
    ],
)
def test_hold_lasts_until_its_end_and_not_longer_than_asked_for(
    tmp_path: Path, now: float, remaining_ms: int | None
) -> None:
    """A clock that begins in 1970 must not hold a device for fifty years."""
    put(tmp_path, HOLD)
    held = hold_of(tmp_path, now)
    sentence = "held at the device until 2001-09-09T01:56:40Z: new power supply"
    assert held == (None if remaining_ms is None else Hold(remaining_ms, sentence))


def test_requests_are_whole_and_private(tmp_path: Path) -> None:
    """Written aside, synced, renamed; 0600."""
    request = CancelRequest("J1", 1, "it smokes")
    put(tmp_path, request)
    assert read_cancel(tmp_path) == request
    assert [path.name for path in tmp_path.iterdir()] == [CANCEL_NAME]
    assert (tmp_path / CANCEL_NAME).stat().st_mode & 0o777 == 0o600
    assert (drop(tmp_path, CANCEL_NAME), drop(tmp_path, CANCEL_NAME)) == (True, False)


@pytest.mark.parametrize("data", [b"", b"\0" * 50, b"[]", b"[" * 100_000, b'{"until": 1e999}'])
def test_broken_file_is_no_request(tmp_path: Path, data: bytes) -> None:
    """Nothing on disk may stop the agent."""
    (tmp_path / HOLD_NAME).write_bytes(data)
    assert read_hold(tmp_path, 0) is None


def test_running_agent_is_told_and_nobody_else(tmp_path: Path) -> None:
    """The lock says who runs; a stale number in the file is not trusted."""
    told: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: told.append(number))
    try:
        store = Store(tmp_path)
        assert not tell_agent(tmp_path)
        store.prepare()
        assert (tell_agent(tmp_path), told) == (True, [signal.SIGUSR1])
        store.close()
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
        assert (tell_agent(tmp_path), told) == (False, [signal.SIGUSR1])
    finally:
        signal.signal(signal.SIGUSR1, before)
