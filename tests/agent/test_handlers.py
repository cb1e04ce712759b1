"""Which handlers may run: by name, from one directory that nobody else can write, as the right user."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from thingjobs_agent import handlers
from thingjobs_agent.document import Document, Step
from thingjobs_agent.handlers import Program, Refusal, RunAs, refusals, resolve
from thingjobs_agent.local import Local, Rule, read_commands


@pytest.fixture
def handler_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "handlers"
    directory.mkdir(mode=0o755)
    script(directory, "work.sh")
    return directory


def script(directory: Path, name: str, mode: int = 0o755) -> Path:
    path = directory / name
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def reason(verdict: Program | Refusal) -> str:
    assert isinstance(verdict, Refusal)
    return verdict.reason


def test_good_handler_becomes_an_argument_vector(handler_dir: Path) -> None:
    """Control plane 8.3: handler, user, arguments."""
    verdict = resolve(Step("Work", "work.sh", ("a b", "$(x)")), Local(handler_dir))
    assert verdict == Program((str(handler_dir / "work.sh"), "", "a b", "$(x)"))


def test_flat_handler_gets_no_user_argument(handler_dir: Path) -> None:
    """Control plane 8.3: a separate set without the leading user argument."""
    assert resolve(Step("w", "work.sh", ("x",), is_flat=True), Local(handler_dir)) == Program(
        (str(handler_dir / "work.sh"), "x")
    )


@pytest.mark.parametrize("path", ["", "default"])
def test_default_path_is_the_handler_directory(handler_dir: Path, path: str) -> None:
    """Control plane 8.1: default and absent; we never search PATH."""
    assert isinstance(resolve(Step("w", "work.sh", path=path), Local(handler_dir)), Program)


def test_path_may_name_the_handler_directory_itself(handler_dir: Path) -> None:
    """Documents of other fleets spell it out."""
    assert isinstance(resolve(Step("w", "work.sh", path=f"{handler_dir}/"), Local(handler_dir)), Program)


@pytest.mark.parametrize("path", ["/bin", "..", "handlers/../../bin"])
def test_other_paths_are_refused(handler_dir: Path, path: str) -> None:
    """Issue 6: only from one directory."""
    assert "handlers are run from" in reason(resolve(Step("w", "work.sh", path=path), Local(handler_dir)))


def test_missing_handler_is_named(handler_dir: Path) -> None:
    """A clear reason."""
    assert reason(resolve(Step("w", "other.sh"), Local(handler_dir))) == "there is no handler other.sh"


def test_symbolic_link_is_refused(handler_dir: Path) -> None:
    """No way out of the directory."""
    (handler_dir / "link.sh").symlink_to("/bin/sh")
    assert "is a symbolic link" in reason(resolve(Step("w", "link.sh"), Local(handler_dir)))


def test_directory_is_no_handler(handler_dir: Path) -> None:
    """Only plain files run."""
    (handler_dir / "sub").mkdir()
    assert "is not a plain file" in reason(resolve(Step("w", "sub"), Local(handler_dir)))


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o775, "group or others"), (0o757, "group or others"), (0o644, "+x")]
)
def test_mode_of_the_handler_is_checked(handler_dir: Path, mode: int, expected: str) -> None:
    """Whoever can write a handler can run anything."""
    script(handler_dir, "loose.sh", mode)
    assert expected in reason(resolve(Step("w", "loose.sh"), Local(handler_dir)))


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_writable_directory_is_refused(handler_dir: Path, mode: int) -> None:
    """Whoever can write the directory can put a handler there."""
    handler_dir.chmod(mode)
    assert "must not be writable by group or others" in reason(
        resolve(Step("w", "work.sh"), Local(handler_dir))
    )


def test_writable_parent_is_refused_unless_sticky(tmp_path: Path, handler_dir: Path) -> None:
    """Whoever can rename the directory can replace it."""
    tmp_path.chmod(0o777)
    assert "on the way to the handler directory" in reason(resolve(Step("w", "work.sh"), Local(handler_dir)))
    tmp_path.chmod(0o1777)
    assert isinstance(resolve(Step("w", "work.sh"), Local(handler_dir)), Program)


def test_link_on_the_way_that_somebody_else_can_turn_is_refused(tmp_path: Path, handler_dir: Path) -> None:
    """The directory behind it is good today; whoever owns the link decides what it is at the next step."""
    others = tmp_path / "others"
    others.mkdir()
    (others / "link").symlink_to(handler_dir)
    (tmp_path / "first").symlink_to(others / "link")
    local = Local(tmp_path / "first")
    assert isinstance(resolve(Step("w", "work.sh"), local), Program)
    others.chmod(0o777)
    assert str(others) in reason(resolve(Step("w", "work.sh"), local))
    others.chmod(0o1777)
    assert isinstance(resolve(Step("w", "work.sh"), local), Program)
    if os.geteuid() == 0:
        os.chown(others / "link", 12345, 12345, follow_symlinks=False)
        assert "must belong to root" in reason(resolve(Step("w", "work.sh"), local))


def test_command_in_a_directory_of_others_is_refused(tmp_path: Path) -> None:
    """Issue 6: an allowed command that somebody else can replace is none."""
    directory = tmp_path / "tools"
    directory.mkdir()
    program = script(directory, "tool")
    local = Local(tmp_path, commands=read_commands([str(program)]))
    step = Step("c", type="runCommand", command=(str(program),))
    assert isinstance(resolve(step, local), Program)
    directory.chmod(0o777)
    assert f"{directory}, on the way to" in reason(resolve(step, local))


def test_foreign_owner_is_refused(handler_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers belong to root or to the agent's user."""
    if os.geteuid() == 0:
        os.chown(handler_dir / "work.sh", 12345, 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "must belong to root or to the agent's user" in reason(
        resolve(Step("w", "work.sh"), Local(handler_dir))
    )


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    """A clear reason."""
    assert "cannot be opened" in reason(resolve(Step("w", "work.sh"), Local(tmp_path / "nowhere")))


def test_all_refusals_of_a_document_come_with_their_step(handler_dir: Path) -> None:
    """Nothing runs when a later handler is missing."""
    steps = (Step("a", "work.sh"), Step("b", "missing.sh"), Step("c", "work.sh", path="/bin"))
    assert [index for index, _ in refusals(Document(steps), Local(handler_dir))] == [1, 2]


def test_own_user_needs_no_switch(handler_dir: Path) -> None:
    """Naming the agent's own user changes nothing."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    verdict = resolve(Step("w", "work.sh", run_as_user=user), Local(handler_dir))
    assert verdict == Program((str(handler_dir / "work.sh"), user))


def test_unknown_user_is_refused(handler_dir: Path) -> None:
    """Control plane 8.3: the Device Client runs as itself then; we refuse."""
    assert "is not a user of this device" in reason(
        resolve(Step("w", "work.sh", run_as_user="no-such-user"), Local(handler_dir))
    )


def test_other_user_needs_root(handler_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails closed: never as the agent's own user instead."""
    monkeypatch.setattr(os, "geteuid", lambda: 65_534)
    monkeypatch.setattr(handlers, "handler_refusal", lambda name, directory: None)
    assert "needs an agent that runs as root" in reason(
        resolve(Step("w", "work.sh", run_as_user="root"), Local(handler_dir))
    )


def test_root_becomes_the_user_with_its_groups(handler_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root gives up its own groups too."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(handlers, "handler_refusal", lambda name, directory: None)
    verdict = resolve(Step("w", "work.sh", run_as_user="nobody"), Local(handler_dir))
    assert isinstance(verdict, Program)
    assert isinstance(verdict.run_as, RunAs)
    assert verdict.run_as.uid == pwd.getpwnam("nobody").pw_uid
    assert 0 not in verdict.run_as.groups


def command(*words: str, user: str = "") -> Step:
    return Step("c", type="runCommand", command=words, run_as_user=user)


def allowing(*entries: str, **fields: Any) -> Local:
    return Local(Path("/nowhere"), commands=read_commands(list(entries)), **fields)


def test_commands_are_off_without_an_allow_list() -> None:
    """Issue 6: runCommand is off unless enabled locally."""
    assert "runCommand is off on this device" in reason(resolve(command("true"), Local(Path("/nowhere"))))


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        (("/bin/echo", "a"), ("/bin/echo", "a")),
        (("echo", "a"), ("/usr/bin/echo", "a")),
        (("/bin/echo",), None),
        (("/bin/echo", "b"), None),
        (("/bin/echo", "a", "b"), None),
        (("/bin/ls", "-l", "/"), ("/bin/ls", "-l", "/")),
        (("/bin/ls", "-l"), ("/bin/ls", "-l")),
        (("/bin/ls", "/"), None),
        (("/bin/ls", "*"), None),
        (("bin/ls", "-l"), None),
        (("no-such-program",), None),
    ],
)
def test_command_runs_only_as_an_entry_says(words: tuple[str, ...], argv: tuple[str, ...] | None) -> None:
    """Word by word; a last * stands for any further words. No shell, so no pattern means anything."""
    verdict = resolve(command(*words), allowing("/bin/echo a", "/usr/bin/echo a", "/bin/ls -l *"))
    if argv is None:
        assert "is not allowed on this device" in reason(verdict)
    else:
        assert isinstance(verdict, Program)
        assert verdict.argv == argv


def test_program_of_a_command_is_checked(tmp_path: Path) -> None:
    """Whoever can write the program can run anything."""
    path = script(tmp_path, "tool", 0o777)
    assert "group or others" in reason(resolve(command(str(path)), allowing(str(path))))
    assert "No such file" in reason(resolve(command("/no/such"), allowing("/no/such")))


def test_command_becomes_the_user_or_is_refused() -> None:
    """Known defect of the Device Client: without sudo it ran as the agent."""
    verdict = resolve(command("/bin/echo", user="no-such-user"), allowing("/bin/echo"))
    assert "is not a user of this device" in reason(verdict)


def test_reboot_is_the_local_command_or_off() -> None:
    """What a reboot is, the device says."""
    reboot = Step("r", type="reboot")
    assert resolve(reboot, Local(Path("/"), reboot_command=("reboot",))) == Program(("reboot",))
    assert "reboots are off" in reason(resolve(reboot, Local(Path("/"))))


def test_local_rule_decides_the_user(handler_dir: Path) -> None:
    """A document can neither widen nor escape it."""
    local = Local(handler_dir, rules={"work.sh": Rule(user="daemon")})
    expected = "this device runs it as daemon"
    assert expected in reason(resolve(Step("w", "work.sh", run_as_user="root"), local))
    if os.geteuid() == 0:
        for user in ("", "daemon"):
            verdict = resolve(Step("w", "work.sh", run_as_user=user), local)
            assert isinstance(verdict, Program)
            assert verdict.run_as is not None
            assert verdict.run_as.name == "daemon"
            # What the document says stays the first argument.
            assert verdict.argv[1] == user


def test_rule_of_a_handler_stands_over_the_default() -> None:
    """What a rule does not say, the default says."""
    local = Local(Path("/"), default=Rule(user="a", cpu_seconds=1), rules={"x": Rule(cpu_seconds=9)})
    assert local.rule("x") == Rule(user="a", cpu_seconds=9)
    assert local.rule("y") == Rule(user="a", cpu_seconds=1)
