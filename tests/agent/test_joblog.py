"""Logs of jobs on disk: bounded for each job and in all, and no fault of the disk is a fault of a job."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from thingjobs_agent import joblog
from thingjobs_agent.joblog import JobLog, log_path, prune, read_log


def test_log_goes_on_where_it_was(tmp_path: Path) -> None:
    """The steps of a job, and lives of the agent, share one log."""
    path = log_path(tmp_path, "J1", 2)
    for text in (b"one\n", b"two\n"):
        log = JobLog(path)
        log.write(text)
        log.close()
    assert path == tmp_path / "logs" / "J1-2.log"
    assert read_log(path) == b"one\ntwo\n"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_log_keeps_its_end_within_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 6: bounded disk use, whatever a handler prints."""
    monkeypatch.setattr(joblog, "FILE_BYTES_MAX", 100)
    log = JobLog(log_path(tmp_path, "J1", 1))
    for number in range(1000):
        log.write(f"{number:09}\n".encode())
    log.write(b"x" * 250)
    log.close()
    assert sum(path.stat().st_size for path in log.path.parent.iterdir()) <= 200
    assert read_log(log.path).endswith(b"x" * 150)


def test_oldest_logs_are_removed(tmp_path: Path) -> None:
    """Both parts of them."""
    for number in range(5):
        path = log_path(tmp_path, f"J{number}", 1)
        log = JobLog(path)
        log.close()
        path.with_name(path.name + ".1").touch()
        os.utime(path, (number, number))
    prune(tmp_path / "logs", 2)
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
        "J3-1.log",
        "J3-1.log.1",
        "J4-1.log",
        "J4-1.log.1",
    ]


def test_full_disk_costs_the_log_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler runs on when nothing more can be written down."""
    log = JobLog(log_path(tmp_path, "J1", 1))

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    log.write(b"lost")
    log.close()
    log.write(b"lost too")
    assert read_log(log.path) == b""


def test_log_that_cannot_be_opened_costs_nothing(tmp_path: Path) -> None:
    """As above; links are not followed."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "J1-1.log").symlink_to(tmp_path / "elsewhere")
    log = JobLog(log_path(tmp_path, "J1", 1))
    log.write(b"lost")
    assert not (tmp_path / "elsewhere").exists()


def test_new_log_makes_room_among_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to ask for it: the disk of a device is small."""
    monkeypatch.setattr(joblog, "JOBS_MAX", 2)
    for number in range(4):
        JobLog(log_path(tmp_path, f"J{number}", 1)).close()
    assert len(list((tmp_path / "logs").iterdir())) == 2
