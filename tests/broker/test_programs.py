"""Programs in the background: waited for with a limit, and ended for certain."""

import os
import signal
from pathlib import Path

import pytest

from thingjobs_broker import programs
from thingjobs_broker.programs import BackgroundProgram, ProgramError

pytestmark = pytest.mark.broker


def start(folder: Path, script: str) -> BackgroundProgram:
    """A shell script in the background."""
    command = ["/bin/sh", "-c", script]
    return BackgroundProgram(
        "script", command, log=folder / "script.log", environ={"PATH": os.environ["PATH"]}, folder=folder
    )


def test_a_program_is_ready_when_it_says_so(tmp_path: Path) -> None:
    """Either output stream counts; afterwards it is ended with SIGTERM."""
    with start(tmp_path, "echo loading; echo ready >&2; exec sleep 60") as program:
        program.wait_for("ready", timeout_seconds=10)
        assert program.output == "loading\nready\n"
        assert program.exit_code is None
    assert program.exit_code == -signal.SIGTERM
    assert (tmp_path / "script.log").stat().st_mode & 0o777 == 0o600


def test_the_output_is_that_of_the_last_run(tmp_path: Path) -> None:
    """The log keeps all runs; a restart must not find the word of the run before."""
    with start(tmp_path, "echo ready; exec sleep 60") as program:
        program.wait_for("ready", timeout_seconds=10)
    with (
        start(tmp_path, "exit 3") as program,
        pytest.raises(ProgramError, match="script ended with exit code 3"),
    ):
        program.wait_for("ready", timeout_seconds=10)
    assert (tmp_path / "script.log").read_text() == "ready\n"


def test_a_program_that_says_nothing_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """The message says what it should have said."""
    with (
        start(tmp_path, "exec sleep 60") as program,
        pytest.raises(ProgramError, match="did not say 'ready'"),
    ):
        program.wait_for("ready", timeout_seconds=0.1)


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was started outlives its block."""
    monkeypatch.setattr(programs, "GRACE_SECONDS", 0.1)
    with start(tmp_path, "trap '' TERM; echo ready; while :; do sleep 0.05; done") as program:
        program.wait_for("ready", timeout_seconds=10)
    assert program.exit_code == -signal.SIGKILL
