"""How a handler is started; that its limits hold is tried in test_process."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from thingjobs_agent import rlimits
from thingjobs_agent.handlers import Program
from thingjobs_agent.local import Rule

pytestmark = pytest.mark.broker


def test_files_of_a_handler_are_closed_to_writing_by_others(tmp_path: Path) -> None:
    """Whatever umask the agent was started with."""
    before = os.umask(0o077)
    try:
        process = rlimits.start(Program(("/bin/sh", "-c", "umask")), {}, tmp_path)
    finally:
        os.umask(before)
    assert process.communicate(timeout=10) == (b"0022\n", b"")


def test_handler_whose_limits_cannot_be_set_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell that waited for its limits is gone, and what it would have run has not begun."""
    waiting: list[int] = []

    def refuse(pid: int, *_: object) -> None:
        waiting.append(pid)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "prlimit", refuse)
    with pytest.raises(PermissionError):
        rlimits.start(Program(("/bin/touch", "ran"), rule=Rule(file_mib=1)), {}, tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(waiting[0], 0)
    assert not (tmp_path / "ran").exists()
