"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.agent.harness import document, let_others_pass
from thingjobs_agent.arguments import COMMANDS, parsed
from thingjobs_agent.checkpoint import Store
from thingjobs_agent.cli import main
from thingjobs_agent.work import Checkpoint, Phase, Report
from thingjobs_protocol.status import JobExecutionStatus

DOCUMENT = msgspec.json.encode(document("a.sh", "b.sh"))


@pytest.fixture
def private_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, writable for nobody else."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def stored(directory: Path, **fields: Any) -> Path:
    store = Store(directory)
    store.prepare()
    store.store(Checkpoint("J1", 2, 1_700_000_000, **fields))
    store.close()
    return directory


def test_valid_document_exits_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit codes are documented in --help."""
    assert main(["validate", written(tmp_path / "job.json", DOCUMENT)]) == 0
    assert capsys.readouterr().out == "valid: 2 steps\n"


def test_invalid_document_exits_1_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason is the one the job would be rejected with."""
    name = written(tmp_path / "job.json", b'{"version":"1.0","steps":[]}')
    assert main(["validate", name, "--json"]) == 1
    assert msgspec.json.decode(capsys.readouterr().out) == {
        "is_valid": False,
        "reason": "steps must hold at least one step",
    }


def test_document_comes_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`-` is standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DOCUMENT)))
    assert main(["validate", "-"]) == 0
    assert "valid" in capsys.readouterr().out


def test_large_document_is_invalid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Data plane 9: 32,768 bytes."""
    assert main(["validate", written(tmp_path / "job.json", b" " * 40_000)]) == 1
    assert "larger than 32768 bytes" in capsys.readouterr().out


def test_missing_document_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error."""
    assert main(["validate", "nowhere.json"]) == 2
    assert (
        capsys.readouterr().err == "thingjobs-agent: nowhere.json cannot be read: No such file or directory\n"
    )


def test_status_without_state_exits_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the fix."""
    assert main(["status", "--state-dir", str(tmp_path / "none")]) == 3
    assert "check --state-dir" in capsys.readouterr().err


def test_status_of_an_idle_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Daemon stopped."""
    Store(tmp_path).prepare()
    assert main(["status", "--state-dir", str(tmp_path)]) == 0
    assert "No job in hand." in capsys.readouterr().out


def test_status_shows_the_step_of_a_running_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the checkpoint alone."""
    stored(tmp_path, phase=Phase.RUNNING, step_index=1, job_document=msgspec.Raw(DOCUMENT))
    assert main(["status", "--state-dir", str(tmp_path), "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out) == {
        "state_dir": str(tmp_path),
        "is_running": False,
        "hold": None,
        "job": {"job_id": "J1", "execution_number": 2, "phase": "running", "restarts": 0, "step": "2/2 b"},
    }


@pytest.mark.parametrize(("phase", "word"), [(Phase.REPORTING, "To report"), (Phase.DONE, "Last")])
def test_status_shows_a_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], phase: Phase, word: str
) -> None:
    """Waiting to be reported, or the last one."""
    stored(tmp_path, phase=phase, report=Report(JobExecutionStatus.FAILED, {"reason": "why"}))
    assert main(["status", "--state-dir", str(tmp_path)]) == 0
    assert f"{word}: job J1, execution 2, FAILED: why" in capsys.readouterr().out


def test_status_of_an_unreadable_checkpoint_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And leaves it where it is."""
    Store(tmp_path).prepare()
    (tmp_path / "checkpoint.json").write_bytes(b"\0\0")
    assert main(["status", "--state-dir", str(tmp_path)]) == 0
    assert "cannot be read" in capsys.readouterr().out
    assert (tmp_path / "checkpoint.json").exists()


def test_status_sees_a_running_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its lock."""
    store = Store(tmp_path)
    store.prepare()
    assert main(["status", "--state-dir", str(tmp_path)]) == 0
    assert "The agent is running" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "--thng", "x"], "unknown option --thng; did you mean --thing?"),
        (["status", "--jso"], "did you mean --json?"),
        (["frob"], "unknown command 'frob'; see"),
        (["runn", "--thing", "x"], "unknown command 'runn'; did you mean run?"),
        ([], "COMMAND"),
    ],
)
def test_wrong_usage_exits_2_with_a_hint(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the nearest option."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--thing", ""], 2, "thing is missing"),
        (["--thing", "x", "--broker", "nonsense"], 2, "broker must look like"),
        (["--thing", "x", "--handler-dir", "nowhere"], 2, "is not a directory; create it"),
        (["--thing", "x", "--restarts-max", "many"], 2, "restarts_max must be"),
        (["--thing", "x", "--handler-dir", ".", "--state-dir", "/proc/nowhere"], 3, "cannot be used"),
    ],
)
def test_wrong_setting_ends_run_with_one_line(
    arguments: list[str],
    code: int,
    expected: str,
    private_directory: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is half started."""
    assert main(["run", *arguments]) == code
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_second_agent_exits_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lock of the state directory."""
    tmp_path.chmod(0o755)
    store = Store(tmp_path / "state")
    store.prepare()
    arguments = ["run", "--thing", "x", "--handler-dir", str(tmp_path), "--state-dir", str(store.directory)]
    assert main(arguments) == 4
    assert "another agent runs" in capsys.readouterr().err


def test_help_shows_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """What a person needs first."""
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert "thingjobs-agent run --thing press-7" in shown
    assert "another agent runs with this state directory" in shown


# Imported first: the interpreter may be where only its owner can read.
AS_NOBODY = """
import bz2, hashlib, inspect, ipaddress, locale, lzma, tokenize, urllib.request, uuid
import os, sys
from thingjobs_agent import arguments, doctor, findings, inquiry, support_bundle
from thingjobs_agent.cli import main
from thingjobs_agent.commands import checking, documents, looking, running
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.broker
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("status",), 3),
        (("history",), 3),
        (("show", "J1"), 3),
        (("logs",), 3),
        (("logs", "J1"), 3),
        (("hold", "--for", "1h", "--reason", "x"), 3),
        (("unhold",), 3),
        (("cancel",), 3),
        (("next",), 3),
        (("run-document", "-"), 3),
        (("doctor", "--offline"), 1),
    ],
)
def test_command_of_another_user_ends_with_one_line(
    tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    """Issue 6: whoever forgot sudo is told so; never a traceback."""
    let_others_pass(tmp_path)
    store = Store(tmp_path / "state")
    store.prepare()
    store.store(Checkpoint("J1", 1, 1, Phase.RUNNING, job_document=msgspec.Raw(DOCUMENT)))
    (tmp_path / "state" / "logs").mkdir(mode=0o700)
    where = ("--state-dir", str(tmp_path / "state"), "--handler-dir", str(tmp_path), "--thing", "t")
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *words, *where],
        input=DOCUMENT.decode(),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "run this as the agent's user" in done.stderr or "run doctor as the agent's user" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_an_example_that_is_right(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue 6: what the example says is what the command takes."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"example: thingjobs-agent {COMMANDS[name].example}; exit codes" in shown
    words = shlex.split(COMMANDS[name].example)
    assert words[0] == name
    assert vars(parsed(words))["command"] == name


@pytest.mark.broker
def test_small_commands_load_no_mqtt_library() -> None:
    """Validate and status are quick, and the agent's memory is not spent on them."""
    code = "import sys, thingjobs_agent.cli; print({'aiomqtt', 'structlog', 'rich'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "set()\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--version", "--help", "run --help", "config show --effective"])
def test_a_full_disk_behind_the_output_is_one_line(command: str, unbuffered: str) -> None:
    """Exit code 74 and no traceback, whenever the interpreter writes."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        result = subprocess.run(
            [sys.executable, "-m", "thingjobs_agent", *command.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            text=True,
            check=False,
            timeout=60,
        )
    assert (result.returncode, result.stderr) == (
        74,
        "thingjobs-agent: cannot write to standard output: No space left on device\n",
    )


@pytest.mark.parametrize("command", ["--version", "--help", "config show --effective"])
def test_nobody_who_reads_the_output_is_no_error(command: str) -> None:
    """`thingjobs-agent --help | head -1`: silence."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "thingjobs_agent", *command.split()],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (0, b"")


def test_another_fault_of_the_system_is_not_taken_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours shows as one."""

    def fail(_: object) -> int:
        raise OSError("no number")

    monkeypatch.setattr("thingjobs_agent.commands.looking.config", fail)
    with pytest.raises(OSError, match="no number"):
        main(["config", "show"])
