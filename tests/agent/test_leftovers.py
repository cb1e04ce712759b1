"""What an earlier life left running is found by its environment, and nobody else is."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from thingjobs_agent.leftovers import MARK, is_group_alive, kill, marked

pytestmark = pytest.mark.broker


def sleeper(state_dir: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["sleep", "60"], env={MARK: str(state_dir), "PATH": os.environ["PATH"]}, start_new_session=True
    )


def test_only_processes_of_this_state_directory_are_killed(tmp_path: Path) -> None:
    """Another agent's handlers, with a directory whose name begins alike, live on."""
    ours, other = sleeper(tmp_path / "state"), sleeper(tmp_path / "state-2")
    try:
        assert marked(tmp_path / "state") == [ours.pid]
        assert kill(tmp_path / "state") == 1
        assert ours.wait(5) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_group_is_alive_until_its_last_process_ended() -> None:
    """A zombie is not alive."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    assert is_group_alive(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_group_alive(process.pid)
    process.wait()


def test_system_without_proc_has_no_leftovers(tmp_path: Path) -> None:
    """Nothing is guessed."""
    assert marked(tmp_path, tmp_path / "proc") == []
    assert not is_group_alive(1, tmp_path / "proc")
