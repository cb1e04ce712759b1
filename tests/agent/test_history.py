"""The history: bounded, readable after a power cut, never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from thingjobs_agent import history
from thingjobs_agent.history import Entry, History
from thingjobs_protocol.status import JobExecutionStatus


def entry(number: int) -> Entry:
    return Entry(f"J{number}", 1, 1, JobExecutionStatus.FAILED, {"reason": "x" * 100}, "accepted", number)


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    """What was added, is read; nobody else can read it."""
    kept = History(tmp_path)
    assert kept.entries() == []
    kept.add(entry(1))
    kept.add(entry(2))
    assert History(tmp_path).entries() == [entry(1), entry(2)]
    assert kept.path.stat().st_mode & 0o777 == 0o600


def test_history_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 6: no growth over years."""
    monkeypatch.setattr(history, "FILE_BYTES_MAX", 4000)
    monkeypatch.setattr(history, "ENTRIES_KEPT", 5)
    kept = History(tmp_path)
    for number in range(200):
        kept.add(entry(number))
    assert kept.path.stat().st_size < 4500
    assert kept.entries()[-5:] == [entry(number) for number in range(195, 200)]


def test_torn_line_costs_itself_alone(tmp_path: Path) -> None:
    """A power cut in the middle of a line."""
    kept = History(tmp_path)
    kept.add(entry(1))
    with kept.path.open("ab") as file:
        file.write(b'{"job_id":"J2","exec')
    kept.add(entry(3))
    assert kept.entries() == [entry(1), entry(3)]


def test_disk_that_refuses_costs_nothing(tmp_path: Path) -> None:
    """The result is with the service; the history is for people."""
    History(tmp_path / "nowhere").add(entry(1))
