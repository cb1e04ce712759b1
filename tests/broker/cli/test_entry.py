"""The entry point of `thingjobs`: the command line, or one line where its libraries are not installed."""

import subprocess
import sys

PROGRAM = "from thingjobs_broker.cli.entry import run; run()"
WITHOUT_TYPER = f"import sys; sys.modules['typer'] = None; {PROGRAM}"


def started(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What came of the program."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_line_runs() -> None:
    """With its libraries it is the tree of commands."""
    result = started(PROGRAM, "--version")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("thingjobs ")


def test_the_installation_for_devices_says_what_is_missing() -> None:
    """`pip install thingjobs` makes the command, too: one line and no traceback."""
    result = started(WITHOUT_TYPER, "--version")
    assert result.returncode == 5
    assert result.stderr == (
        "thingjobs: the library typer is missing; install thingjobs[broker], not thingjobs alone\n"
    )
