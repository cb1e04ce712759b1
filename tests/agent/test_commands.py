"""The engineer's commands with the daemon stopped: what they print, and their exit codes."""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.agent.harness import document, reboot_step, step
from thingjobs_agent.arguments import COMMANDS
from thingjobs_agent.checkpoint import Store
from thingjobs_agent.cli import main
from thingjobs_agent.control import read_cancel, read_hold
from thingjobs_agent.history import Entry, History
from thingjobs_agent.joblog import JobLog, log_path
from thingjobs_agent.work import Checkpoint, Phase
from thingjobs_protocol.status import JobExecutionStatus

PASSWORD = "hunter22"


class Device:
    """A directory with settings, handlers and state, and the commands on it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        directory.chmod(0o755)
        self.directory = directory
        self.state_dir = directory / "state"
        self.handler_dir = directory / "handlers"
        self.handler_dir.mkdir(mode=0o755)
        self.state_dir.mkdir(mode=0o700)
        self.settings = directory / "agent.toml"
        self.settings.write_text(
            f'thing = "press-7"\npassword = "{PASSWORD}"\nbroker = "mqtt://127.0.0.1:9"\n'
            f'state_dir = "{self.state_dir}"\nhandler_dir = "{self.handler_dir}"\nfacts = ["site=oslo"]\n'
            'allowed_commands = ["/bin/echo *"]\n[handlers."limited.sh"]\ncpu_seconds = 9\n'
        )
        self.settings.chmod(0o600)
        self.handler("limited.sh", "exit 0\n")
        self._capsys = capsys

    def handler(self, name: str, text: str, mode: int = 0o755) -> None:
        path = self.handler_dir / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(mode)

    def file(self, value: Any) -> str:
        path = self.directory / "job.json"
        path.write_bytes(msgspec.json.encode(value))
        return str(path)

    def run(self, *arguments: str) -> tuple[int, str]:
        """The exit code, and what was printed on either channel."""
        code = main([*arguments, "--config", str(self.settings)])
        printed = self._capsys.readouterr()
        return code, printed.out + printed.err

    def json(self, *arguments: str) -> tuple[int, Any]:
        code, printed = self.run(*arguments, "--json")
        return code, msgspec.json.decode(printed)

    def store(self, **fields: Any) -> None:
        store = Store(self.state_dir)
        store.prepare()
        store.store(Checkpoint("J1", 2, 1_700_000_000, **fields))
        store.close()


@pytest.fixture
def device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Device:
    return Device(tmp_path, capsys)


# -- documents


def test_plan_shows_all_that_would_happen(device: Device) -> None:
    """Issue 6: argv, user, environment keys, deadlines, permission verdicts; nothing runs."""
    device.handler("a.sh", f"touch {device.directory}/ran\n")
    value = document("a.sh", "limited.sh")
    value["steps"][0]["action"] |= {"timeoutSeconds": 60, "input": {"handler": "a.sh", "args": ["x y"]}}
    value["steps"].append(reboot_step())
    code, planned = device.json("plan", device.file(value))
    assert (code, planned["would_run"]) == (0, True)
    first, second, third = planned["steps"]
    assert first["argv"] == [str(device.handler_dir / "a.sh"), "", "x y"]
    assert (
        f"argv         {device.handler_dir / 'a.sh'} '' 'x y'\n" in device.run("plan", device.file(value))[1]
    )
    assert (first["timeout_seconds"], second["timeout_seconds"], third["timeout_seconds"]) == (60, 3600, 300)
    assert "THINGJOBS_JOB_ID" in first["environment"]
    assert second["limits"] == {"cpu_seconds": 9}
    assert third["argv"] == ["shutdown", "-r", "now"]
    assert not (device.directory / "ran").exists()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (document("none.sh"), "step 1/1 none: there is no handler none.sh"),
        (document("limited.sh", conditions=[{"key": "site", "value": ["rome"]}]), "it is oslo, not rome"),
        ({"version": "1.0", "steps": [step("a", type="x")]}, "must be runHandler"),
        (
            {"version": "1.0", "steps": [step("limited.sh", runAsUser="nosuch")]},
            "is not a user of this device",
        ),
    ],
)
def test_plan_says_why_a_document_would_be_rejected(device: Device, value: Any, expected: str) -> None:
    """The reason is the one of the report; exit code 1."""
    code, printed = device.run("plan", device.file(value), "--evaluate-conditions", "true")
    assert code == 1
    assert f"rejected: {expected}" in printed or expected in printed.splitlines()[-1]


def test_refused_step_whose_failure_is_ignored_does_not_reject(device: Device) -> None:
    """Control plane 8.3: its failure is ignored as well."""
    value = {"version": "1.0", "steps": [step("none.sh", ignoreStepFailure=True), step("limited.sh")]}
    code, printed = device.run("plan", device.file(value))
    assert code == 0
    assert "refused: there is no handler none.sh (its failure is ignored)" in printed


@pytest.mark.broker
def test_document_runs_without_a_service(device: Device) -> None:
    """Progress, result, output, and where all of it is; exit code 0."""
    device.handler(
        "a.sh", 'echo percent=50 >>"$THINGJOBS_PROGRESS_FILE"; sleep 0.4; echo hello $2 hunter22\n'
    )
    value = document("a.sh", finalStep=step("limited.sh"), includeStdOut=True)
    value["steps"][0]["action"]["input"]["args"] = ["world"]
    code, printed = device.run("run-document", device.file(value))
    lines = printed.splitlines()
    assert code == 0
    assert lines[0] == "step 1/2 a"
    assert "step 1/2 a, percent 50" in lines
    assert lines[-3:-1] == ["SUCCEEDED: 2 steps succeeded", "stdout: hello world [hidden]"]
    log = Path(lines[-1].removeprefix("all output: ")).read_text()
    assert "hello world [hidden]\n" in log
    assert not (device.state_dir / "checkpoint.json").exists()


@pytest.mark.broker
def test_document_that_fails_says_so(device: Device) -> None:
    """Exit code 1, and the same words as in a report."""
    device.handler("a.sh", "echo oh >&2; exit 3\n")
    code, result = device.json("run-document", device.file(document("a.sh")))
    assert (code, result["status"]) == (1, "FAILED")
    assert result["status_details"]["reason"] == "step 1/1 a exited with status 3"
    assert result["status_details"]["stderr"] == "oh"


@pytest.mark.broker
def test_handler_that_wants_a_restart_or_a_reboot(device: Device) -> None:
    """The agent of a local run begins anew; a reboot is not for it."""
    device.handler("restart.sh", 'echo restart >"$THINGJOBS_THEN_FILE"\n')
    device.handler("reboot.sh", 'echo reboot >"$THINGJOBS_THEN_FILE"\n')
    assert device.run("run-document", device.file(document("restart.sh", "limited.sh")))[0] == 0
    code, printed = device.run("run-document", device.file(document("reboot.sh")))
    assert code == 1
    assert "reboots are off" in printed


def test_document_with_a_reboot_is_not_run_locally(device: Device) -> None:
    """Nobody would go on with it; exit code 2."""
    code, printed = device.run("run-document", device.file({"version": "1.0", "steps": [reboot_step()]}))
    assert code == 2
    assert "only a job of the service can go on after a reboot" in printed


def test_dry_run_only_plans(device: Device) -> None:
    """As plan does."""
    code, printed = device.run("run-document", "--dry-run", device.file(document("limited.sh")))
    assert (code, printed.splitlines()[-1]) == (0, "would run")


def test_invalid_document_is_not_run(device: Device) -> None:
    """Exit code 1, REJECTED."""
    code, printed = device.run("run-document", device.file({"version": "1.0"}))
    assert (code, printed) == (1, "REJECTED: steps must hold at least one step\n")


# -- what was and what is


def entry(job_id: str, ending: str = "accepted by the service") -> Entry:
    details = {"reason": "step 1/1 a exited with status 3", "stderr": "oh"}
    return Entry(job_id, 1, 1, JobExecutionStatus.FAILED, details, ending, 1_700_000_000)


def test_history_shows_the_last_jobs(device: Device) -> None:
    """The newest last, with what the service made of the result."""
    assert device.run("history") == (0, "No job has ended on this device yet.\n")
    for job_id, ending in (("J1", "accepted by the service"), ("J22", "canceled by force")):
        History(device.state_dir).add(entry(job_id, ending))
    assert device.run("history")[1].splitlines() == [
        "2023-11-14 22:13:20Z  J1 #1   FAILED  step 1/1 a exited with status 3",
        "2023-11-14 22:13:20Z  J22 #1  FAILED  step 1/1 a exited with status 3 (canceled by force)",
    ]
    assert [each["job_id"] for each in device.json("history", "--count", "1")[1]] == ["J22"]


def test_show_finds_a_job_in_hand_or_in_the_history(device: Device) -> None:
    """And where its log is; exit code 6 for a job that is not known."""
    History(device.state_dir).add(entry("J2"))
    device.store(phase=Phase.RUNNING, job_document=msgspec.Raw(msgspec.json.encode(document("a.sh"))))
    JobLog(log_path(device.state_dir, "J2", 1)).close()
    assert device.json("show", "J1")[1]["step"] == "1/1 a"
    shown = device.json("show", "J2")[1]
    assert (shown["status"], Path(shown["log"]).name) == ("FAILED", "J2-1.log")
    assert re.search(
        r"^ended_at +\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$", device.run("show", "J2")[1], re.MULTILINE
    )
    assert device.run("show", "J3") == (
        6,
        "thingjobs-agent: this device knows no job J3; see thingjobs-agent history\n",
    )


def test_logs_shows_the_newest_or_the_named_job(device: Device) -> None:
    """What could take over a terminal is not printed as it is."""
    assert device.run("logs")[0] == 6
    for job_id, text in (("J1", b"one\ntwo\x1b[2J\n"), ("J1-1", b"three\n")):
        log = JobLog(log_path(device.state_dir, job_id, 1))
        log.write(text)
        log.close()
        time.sleep(0.01)
    assert device.run("logs") == (0, "three\n")
    assert device.run("logs", "J1") == (0, "one\ntwo\N{REPLACEMENT CHARACTER}[2J\n")
    assert device.run("logs", "J1-1", "--lines", "0") == (0, "")
    assert device.run("logs", "J") == (
        6,
        "thingjobs-agent: no job J has a log on this device; see thingjobs-agent history\n",
    )


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (Phase.HELD, "waiting for the end of the hold."),
        (Phase.REBOOTING, "step 1/1 a, waiting for the device to reboot."),
        (Phase.RESTARTING, "step 1/1 a, waiting for the agent to restart."),
    ],
)
def test_status_tells_what_a_job_waits_for(device: Device, phase: Phase, expected: str) -> None:
    """Architecture, promise 10: no state without a reason."""
    device.store(phase=phase, job_document=msgspec.Raw(msgspec.json.encode(document("a.sh"))))
    assert device.run("status")[1].endswith(expected + "\n")


# -- what the engineer wants


def test_hold_is_kept_shown_and_lifted(device: Device) -> None:
    """With the agent stopped: in force when it starts."""
    code, printed = device.run("hold", "--for", "2h", "--reason", "new power supply")
    held = read_hold(device.state_dir, time.time())
    assert held is not None
    assert (code, held.seconds, held.reason) == (0, 7200, "new power supply")
    assert "In force when the agent starts" in printed
    assert "new power supply" in device.run("status")[1]
    assert device.run("unhold") == (0, "The hold is lifted.\n")
    assert device.run("unhold") == (0, "There was no hold.\n")


@pytest.mark.parametrize("duration", ["", "2", "h", "0m", "31d", "2 h", "-2h", "9999999d"])
def test_time_of_a_hold_must_make_sense(device: Device, duration: str) -> None:
    """Exit code 2, one line with examples."""
    code, printed = device.run("hold", f"--for={duration}", "--reason", "x")
    assert code == 2
    assert "such as 90s, 30m, 2h or 1d" in printed


@pytest.mark.parametrize("reason", ["", " ", "a\nb", "x" * 201])
def test_reason_fits_into_status_details(device: Device, reason: str) -> None:
    """Operators see it, so it must pass the service's check."""
    assert device.run("hold", "--for", "1h", "--reason", reason)[0] == 2


def test_cancel_names_the_job_in_hand(device: Device) -> None:
    """With the agent stopped: the job does not go on when it starts."""
    assert device.run("cancel")[0] == 6
    device.store(phase=Phase.RUNNING)
    assert device.run("cancel", "J9")[0] == 6
    code, printed = device.run("cancel", "J1", "--reason", "it smokes")
    assert (code, printed) == (0, "Job J1 will not go on when the agent starts.\n")
    request = read_cancel(device.state_dir)
    assert request is not None
    assert (request.job_id, request.execution_number, request.reason) == (
        "J1",
        2,
        "canceled at the device: it smokes",
    )


# -- handlers, settings, help for helpers


def test_handlers_are_listed_with_their_verdict(device: Device) -> None:
    """List always succeeds, check fails when one may not run."""
    assert device.run("handlers", "check")[0] == 0
    device.handler("loose.sh", "", 0o777)
    code, found = device.json("handlers", "list")
    assert code == 0
    assert [(each["name"], each["may_run"], each["rule"]) for each in found] == [
        ("limited.sh", True, {"cpu_seconds": 9}),
        ("loose.sh", False, {}),
    ]
    code, printed = device.run("handlers", "check")
    assert code == 1
    assert "must not be writable by group or others (chmod go-w)" in printed


def test_rule_without_its_handler_is_found(device: Device) -> None:
    """A misspelled name would leave the handler without its limits."""
    (device.handler_dir / "limited.sh").rename(device.handler_dir / "limitted.sh")
    code, printed = device.run("handlers", "check")
    assert code == 1
    assert "there is no handler limited.sh" in printed


def test_settings_are_shown_with_their_origin_and_without_secrets(device: Device) -> None:
    """Issue 6: config show --effective --origin."""
    code, printed = device.run("config", "show", "--origin", "--restarts-max", "7")
    assert code == 0
    assert PASSWORD not in printed
    lines = {line.split()[0]: line for line in printed.splitlines() if line}
    assert lines["password"].split()[2] == '"(hidden)"'
    assert lines["restarts_max"].endswith("# --restarts-max")
    assert lines["thing"].endswith(f"# {device.settings}")
    assert "keepalive_seconds" not in printed
    assert "cpu_seconds = 9" in printed
    effective = device.json("config", "show", "--effective", "--origin")[1]
    assert effective["settings"]["keepalive_seconds"] == 60
    assert effective["origins"]["keepalive_seconds"] == "default"
    assert PASSWORD not in str(effective)


def test_support_bundle_holds_what_helpers_need_and_no_secret(device: Device) -> None:
    """Issue 6: redacted, for the owner's eyes only."""
    device.store(
        phase=Phase.RUNNING,
        job_document=msgspec.Raw(msgspec.json.encode(document("a.sh", token=f"Bearer {PASSWORD}"))),
    )
    History(device.state_dir).add(entry("J2"))
    log = JobLog(log_path(device.state_dir, "J1", 2))
    log.write(b"the output\n")
    log.close()
    path = device.directory / "bundle.tar.gz"
    code, printed = device.run("support-bundle", "--offline", "--output", str(path))
    assert code == 0
    assert "9 files" in printed or "8 files" in printed
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as archive:
        contents = {name: (archive.extractfile(name) or io.BytesIO()).read() for name in archive.getnames()}
    assert {name.partition("/")[2] for name in contents} == {
        *("about.json", "config.json", "doctor.json", "handlers.json", "status.json"),
        *("checkpoint.json", "history.jsonl", "logs/J1-2.log"),
    }
    assert not any(PASSWORD.encode() in data for data in contents.values())
    assert b"[hidden]" in contents["thingjobs-agent/checkpoint.json"]
    assert b"the output" in contents["thingjobs-agent/logs/J1-2.log"]


def test_next_tells_what_the_device_knows_when_the_link_is_down(device: Device) -> None:
    """Exit code 5, and no traceback."""
    device.store(phase=Phase.HELD)
    code, printed = device.run("next")
    assert code == 5
    assert "In hand: job J1, execution 2, waiting for the end of the hold." in printed
    assert "Not known: the broker 127.0.0.1:9 cannot be reached" in printed


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_can_be_loaded(name: str) -> None:
    """The table names modules and functions by text."""
    import importlib

    module = importlib.import_module(f"thingjobs_agent.commands.{COMMANDS[name].module}")
    act: Callable[..., int] = getattr(module, COMMANDS[name].function)
    assert act.__doc__
