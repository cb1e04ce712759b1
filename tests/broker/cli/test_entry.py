"""The entry point of `thingjobs`: the command line, or one line where its libraries are not installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


SAID = {"version": ["--version"], "help": ["--help"], "help of a group": ["job", "--help"], "bare": []}


INTERRUPTED = f"""
import sys

class Impatient:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Impatient())
{PROGRAM}
"""


def test_ctrl_c_while_the_program_loads_is_no_traceback() -> None:
    """Exit code 130, as at any other time."""
    result = started(INTERRUPTED, "job", "list")
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("said", SAID)
def test_a_full_disk_behind_help_or_version_is_one_line(said: str, unbuffered: str) -> None:
    """Exit code 5 and no traceback, whenever the interpreter writes."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM, *SAID[said]],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            text=True,
            check=False,
            timeout=60,
        )
    assert (result.returncode, result.stderr) == (
        5,
        "thingjobs: cannot write to standard output: No space left on device\n",
    )


@pytest.mark.parametrize("said", SAID)
def test_nobody_who_reads_help_or_version_is_no_error(said: str) -> None:
    """`thingjobs --help | head -1`: silence, and exit code 141 as of every command."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM, *SAID[said]],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.parametrize("command", ["--version", "--help", "job list --broker mqtt://127.0.0.1:1"])
def test_a_closed_standard_output_is_no_fault(command: str) -> None:
    """`thingjobs ... >&-`: what goes there is lost; what is wrong besides is still told."""
    shell = f"exec {sys.executable} -c '{PROGRAM}' {command} >&-"
    result = subprocess.run(shell, shell=True, stderr=subprocess.PIPE, text=True, check=False, timeout=60)  # noqa: S602
    assert "Traceback" not in result.stderr
    assert (result.returncode == 0) == (not result.stderr) == command.startswith("--")


def test_help_does_not_load_what_only_commands_need() -> None:
    """Whoever asks for help is not kept waiting for a connection's libraries, settings and version."""
    heavy = {"aiomqtt", "asyncio", "importlib.metadata", "rich.progress", "ssl", "thingjobs_broker.config"}
    program = f"import atexit, sys; atexit.register(lambda: print({heavy} & set(sys.modules))); {PROGRAM}"
    result = started(program, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "set()"
