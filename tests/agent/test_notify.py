"""What the service manager hears, and when (sd_notify)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from thingjobs_agent.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@thingjobs-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(name.replace("@", "\0"))
        made.setblocking(False)
        yield made, name


def heard(manager: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(1000).decode())
        except BlockingIOError:
            return messages


def test_manager_hears_ready_status_and_stopping(manager: tuple[socket.socket, str]) -> None:
    """Both kinds of addresses; a status that stays is said once."""
    made = Notifier({"NOTIFY_SOCKET": manager[1]})
    made.ready()
    made.turned("idle")
    made.turned("idle")
    made.stopping()
    assert heard(manager[0]) == ["READY=1", "STATUS=idle", "STOPPING=1"]
    assert made.interval_seconds is None


def test_watchdog_is_fed_by_turns_alone(
    manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third of the time allowed, and not at every turn."""
    times = iter((100.0, 100.0, 101.0, 104.9, 105.1, 105.1, 106.0))
    monkeypatch.setattr("thingjobs_agent.notify.time.monotonic", lambda: next(times))
    made = Notifier({"NOTIFY_SOCKET": manager[1], "WATCHDOG_USEC": "30000000"})
    assert made.interval_seconds == 10.0
    for _ in range(5):
        made.turned("idle")
    assert heard(manager[0]) == ["STATUS=idle\nWATCHDOG=1", "WATCHDOG=1"]


@pytest.mark.parametrize("environ", [{}, {"WATCHDOG_USEC": "1000000"}, {"NOTIFY_SOCKET": "/nowhere"}])
def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    """Started by hand, or the manager has gone."""
    made = Notifier(environ)
    made.ready()
    made.turned("idle")
    made.stopping()


def test_watchdog_of_another_process_is_not_ours(manager: tuple[socket.socket, str]) -> None:
    """Variables are inherited; WATCHDOG_PID says whose they are."""
    made = Notifier({"NOTIFY_SOCKET": manager[1], "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"})
    assert made.interval_seconds is None
