"""Real handlers: drained, bounded, stopped with grace, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.harness import let_others_pass
from thingjobs_agent import process
from thingjobs_agent.events import StepExited
from thingjobs_agent.handlers import Program
from thingjobs_agent.kin import MARK, Kin, become_subreaper, reap
from thingjobs_agent.local import Rule
from thingjobs_agent.process import Files, HandlerProcess
from thingjobs_agent.redaction import Secrets

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]

Details = list[dict[str, str]]


CHILD = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.4), open("clean", "w"), sys.exit()))
open("ready", "w")
time.sleep(60)
"""


class Handler:
    """A shell script as a handler."""

    def __init__(
        self, directory: Path, text: str, *, rule: Rule | None = None, secrets: tuple[str, ...] = ()
    ) -> None:
        path = directory / "handler.sh"
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        self.progress: Details = []
        self.output: list[bytes] = []
        self.process = HandlerProcess(
            Program((str(path), ""), None, rule or Rule()),
            environment={
                "PATH": os.environ["PATH"],
                MARK: str(directory),
                "THINGJOBS_PROGRESS_FILE": str(directory / "progress"),
                "THINGJOBS_THEN_FILE": str(directory / "then"),
            },
            files=Files(directory, directory / "progress", directory / "then"),
            kin=Kin(directory, None),
            secrets=Secrets(secrets),
            on_progress=self.progress.append,
            on_output=self.output.append,
        )

    async def run(self) -> StepExited:
        return await self.process.run()


async def ended(directory: Path, text: str) -> StepExited:
    return await Handler(directory, text).run()


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def descriptor_count() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def test_output_and_status_are_reported(tmp_path: Path) -> None:
    """Control plane 8.3: exit status 0 is success."""
    assert await ended(tmp_path, "echo out; echo err >&2") == StepExited(
        exit_status=0, std_out="out", std_err="err", std_err_line_count=1
    )


@pytest.mark.parametrize("status", [1, 127, 128, 255])
async def test_exit_status_is_decoded_rightly(tmp_path: Path, status: int) -> None:
    """Known defect of the Device Client: 127 and 128 read as signals."""
    assert (await ended(tmp_path, f"exit {status}")).exit_status == status


async def test_death_by_signal_is_seen(tmp_path: Path) -> None:
    """A37: a killed child is no success."""
    result = await ended(tmp_path, "kill -9 $$")
    assert (result.exit_status, result.signal_number) == (None, 9)


async def test_handler_that_cannot_start_says_why(tmp_path: Path) -> None:
    """Control plane 8.3: a missing interpreter or format is a failure with a reason."""
    handler = Handler(tmp_path, "")
    (tmp_path / "handler.sh").write_text("#!/no/such/interpreter\n")
    result = await handler.run()
    assert result.refusal is not None
    assert "could not be started: No such file or directory" in result.refusal


async def test_both_pipes_are_drained_together(tmp_path: Path) -> None:
    """Known defect of the Device Client: stdout first, then stderr, deadlocks beyond the pipe's size."""
    result = await ended(tmp_path, "head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero; echo done")
    assert result.exit_status == 0
    assert result.std_out.endswith("done")


async def test_output_is_bounded(tmp_path: Path) -> None:
    """The last 1024 characters, marked as cut."""
    result = await ended(tmp_path, "yes x | head -c 5000000; echo the end")
    assert len(result.std_out) == 1024
    assert result.std_out.startswith("[...] ")
    assert result.std_out.endswith("the end")


async def test_handler_reads_nothing_and_has_its_own_session(tmp_path: Path) -> None:
    """No terminal, no input, a process group of its own."""
    result = await ended(tmp_path, 'cat; [ "$(cut -d" " -f6 /proc/$$/stat)" = "$$" ] && echo leader')
    assert result.std_out == "leader"


async def test_environment_is_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the agent's own environment leaks."""
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "x")
    assert "SECRET" not in (await ended(tmp_path, "env")).std_out


async def test_stop_ends_a_handler_with_sigterm(tmp_path: Path) -> None:
    """SIGTERM first, to the whole group."""
    handler = Handler(tmp_path, "touch ready; sleep 60")
    task = asyncio.create_task(handler.run())
    await wait_until((tmp_path / "ready").exists)
    handler.process.stop(10)
    result = await asyncio.wait_for(task, 5)
    assert result.signal_number == signal.SIGTERM


async def test_children_have_the_grace_period_too(tmp_path: Path) -> None:
    """A shell dies at once of SIGTERM; the program it runs must still be able to clean up."""
    (tmp_path / "child.py").write_text(CHILD)
    handler = Handler(tmp_path, f"{sys.executable} child.py\necho never\n")
    task = asyncio.create_task(handler.run())
    await wait_until((tmp_path / "ready").exists)
    handler.process.stop(10)
    await asyncio.wait_for(task, 5)
    assert (tmp_path / "clean").exists()


async def test_handler_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    """B7: SIGKILL to the group after the grace period; grandchildren included."""
    handler = Handler(tmp_path, "trap '' TERM\nsleep 60 & echo $! >pid; touch ready; wait; wait; sleep 60")
    task = asyncio.create_task(handler.run())
    await wait_until((tmp_path / "ready").exists)
    began = time.monotonic()
    handler.process.stop(0.3)
    result = await asyncio.wait_for(task, 5)
    assert result.signal_number == signal.SIGKILL
    assert 0.25 <= time.monotonic() - began < 3
    assert not is_alive(int((tmp_path / "pid").read_text()))


async def test_stopped_handler_is_ended_too(tmp_path: Path) -> None:
    """A group that is stopped (SIGSTOP) would not see SIGTERM."""
    handler = Handler(tmp_path, "touch ready; kill -STOP $$; sleep 60")
    task = asyncio.create_task(handler.run())
    await wait_until((tmp_path / "ready").exists)
    handler.process.stop(5)
    result = await asyncio.wait_for(task, 4)
    assert result.signal_number == signal.SIGTERM


async def test_what_a_handler_leaves_in_its_group_is_killed(tmp_path: Path) -> None:
    """A step ends when its handler ends; its pipes do not keep the job waiting."""
    began = time.monotonic()
    result = await ended(tmp_path, "sleep 60 & echo $! >pid; echo started")
    assert result.exit_status == 0
    assert time.monotonic() - began < 5
    await wait_until(lambda: not is_alive(int((tmp_path / "pid").read_text())))


async def test_service_that_left_the_group_lives_on_and_holds_nothing_up(tmp_path: Path) -> None:
    """A handler that starts a daemon (setsid) ends when it ends, even if the daemon holds its pipes."""
    began = time.monotonic()
    result = await ended(tmp_path, "setsid sleep 30 & echo $! >pid; sleep 0.2; echo started")
    pid = int((tmp_path / "pid").read_text())
    try:
        assert result.std_out == "started"
        assert time.monotonic() - began < 5
        assert is_alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


async def test_progress_is_followed_while_the_handler_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of the progress file become details; the last ones are read after the end."""
    monkeypatch.setattr(process, "PROGRESS_POLL_SECONDS", 0.02)
    text = 'echo percent=10 >>"$THINGJOBS_PROGRESS_FILE"\nwhile [ ! -e go ]; do sleep 0.02; done\n'
    handler = Handler(tmp_path, text + """echo '{"percent": 100}' >>"$THINGJOBS_PROGRESS_FILE"\n""")
    task = asyncio.create_task(handler.run())
    await wait_until(lambda: handler.progress == [{"percent": "10"}])
    (tmp_path / "go").touch()
    await asyncio.wait_for(task, 5)
    assert handler.progress == [{"percent": "10"}, {"percent": "100"}]


async def test_progress_file_that_is_something_else_does_no_harm(tmp_path: Path) -> None:
    """Links are not followed, pipes are not waited for."""
    (tmp_path / "secret").write_text("password=hunter2\n")
    handler = Handler(tmp_path, 'ln -s "$PWD/secret" "$THINGJOBS_PROGRESS_FILE"')
    assert (await handler.run()).exit_status == 0
    assert handler.progress == []
    (tmp_path / "progress").unlink()
    handler = Handler(tmp_path, 'mkfifo "$THINGJOBS_PROGRESS_FILE"')
    assert (await asyncio.wait_for(handler.run(), 5)).exit_status == 0


async def test_kernel_without_pidfds_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels before 5.3, still found in the field."""

    def missing(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing)
    assert (await ended(tmp_path, "sleep 0.1; exit 3")).exit_status == 3


@pytest.mark.parametrize("kind", ["reader", "writer", "both"])
async def test_leftovers_of_others_in_the_loop_do_no_harm(tmp_path: Path, kind: str) -> None:
    """Found in a soak with link cuts: aiomqtt leaves registrations of closed sockets behind."""
    loop = asyncio.get_running_loop()
    ends = [end for _ in range(10) for end in socket.socketpair()]
    for end in ends:
        if kind != "writer":
            loop.add_reader(end, lambda: None)
        if kind != "reader":
            loop.add_writer(end, lambda: None)
        end.close()
    before = descriptor_count()
    for _ in range(10):
        result = await ended(tmp_path, "echo out; sleep 0.01; exit 3")
        assert (result.exit_status, result.std_out) == (3, "out")
    assert descriptor_count() == before


async def test_descriptors_do_not_pile_up(tmp_path: Path) -> None:
    """Issue 6: no growth over many jobs."""
    await ended(tmp_path, "echo warm")
    before = descriptor_count()
    for _ in range(20):
        await ended(tmp_path, "echo x; echo y >&2")
    assert descriptor_count() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_other_user_is_become_entirely(tmp_path: Path) -> None:
    """Run-as gives up root's groups as well as its user id."""
    handler = Handler(tmp_path, "id -u; id -g; id -G")
    from thingjobs_agent.handlers import RunAs

    let_others_pass(tmp_path)
    handler.process._program = Program(
        handler.process._program.argv, RunAs("nobody", 65_534, 65_534, (65_534,), "/")
    )
    assert (await handler.run()).std_out == "65534 65534 65534"


async def test_output_is_passed_on_as_it_comes_without_secrets(tmp_path: Path) -> None:
    """Issue 6: secrets are hidden in reports, logs and progress."""
    text = "printf 'x hunt'; sleep 0.1; echo er22; printf hunter22 | base64\n"
    text += "echo a=hunter22 >>$THINGJOBS_PROGRESS_FILE"
    handler = Handler(tmp_path, text, secrets=("hunter22",))
    result = await handler.run()
    assert result.std_out.startswith("x [hidden] [hidden]")
    assert b"hunter22" not in b"".join(handler.output)
    assert b"".join(handler.output).startswith(b"x [hidden]\n[hidden]")
    assert handler.progress == [{"a": "[hidden]"}]


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        (Rule(cpu_seconds=1), f"while kill -0 {os.getpid()}; do :; done", {"signal_number": signal.SIGXCPU}),
        (Rule(file_mib=1), "exec head -c 2000000 /dev/zero >big", {"signal_number": signal.SIGXFSZ}),
        (Rule(memory_mib=64), f"exec {sys.executable} -c 'b = bytes(99_000_000)'", {"exit_status": 1}),
    ],
    # The process number in the text must not get into the names of the tests.
    ids=["processor time", "file size", "memory"],
)
async def test_handler_is_held_to_its_limits(
    tmp_path: Path, rule: Rule, text: str, expected: dict[str, int]
) -> None:
    """Issue 6: processor time, file size, memory."""
    result = await Handler(tmp_path, text, rule=rule).run()
    assert {name: getattr(result, name) for name in expected} == expected, result


async def test_limits_hold_for_all_a_handler_starts(tmp_path: Path) -> None:
    """They are set before the first instruction; nothing else about the handler is different."""
    rule = Rule(cpu_seconds=7, memory_mib=900, processes=500, file_mib=3)
    handler = Handler(tmp_path, "cat /proc/self/limits; cat; echo [$1] [$2]", rule=rule)
    handler.process._program = Program((*handler.process._program.argv, "two words"), None, rule)
    result = await handler.run()
    limits = b"".join(handler.output).decode()
    for line in (
        "Max cpu time              7                    8 ",
        "Max file size             3145728              3145728 ",
        "Max processes             500                  500 ",
        "Max address space         943718400            943718400 ",
    ):
        assert line in limits
    assert result.std_out.endswith("[] [two words]")


def sleeping(name: str) -> list[int]:
    """Who sleeps for so long; zombies have no command line any more."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if name.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


async def test_nothing_survives_a_stop(tmp_path: Path) -> None:
    """Issue 6: grandchildren in other sessions, without the mark, deaf to SIGTERM, and still growing."""
    assert become_subreaper()
    # Known by how long they sleep, whatever became of their parents and their environment.
    name = f"20.{os.getpid()}"
    text = f"""
trap '' TERM
setsid env -i /bin/sh -c 'trap "" TERM
while kill -0 {os.getpid()}; do setsid /bin/sleep {name} & /bin/sleep 0.02; done' &
(setsid /bin/sleep {name} &)
/bin/sleep {name} & touch ready; while :; do sleep 1; done
"""
    handler = Handler(tmp_path, text)
    task = asyncio.create_task(handler.run())
    await wait_until((tmp_path / "ready").exists)
    await wait_until(lambda: len(sleeping(name)) > 8)
    began = time.monotonic()
    handler.process.stop(0.2)
    await asyncio.wait_for(task, 5)
    assert time.monotonic() - began < 2.2
    assert sleeping(name) == []
    reap(spared=())


async def test_who_left_the_group_has_the_grace_period_too(tmp_path: Path) -> None:
    """A program in a session of its own can clean up like any other."""
    (tmp_path / "child.py").write_text(CHILD)
    handler = Handler(tmp_path, f"setsid {sys.executable} child.py & wait; wait\n")
    task = asyncio.create_task(handler.run())
    await wait_until((tmp_path / "ready").exists)
    handler.process.stop(10)
    await asyncio.wait_for(task, 5)
    assert (tmp_path / "clean").exists()
    reap(spared=())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("echo reboot", "reboot"), ("printf restart", "restart"), ("echo other", ""), ("ln -s /etc/passwd", "")],
)
async def test_wish_of_a_handler_is_read_at_its_end(tmp_path: Path, text: str, expected: str) -> None:
    """What is to happen before the next step; nothing but the two words means anything."""
    redirect = '"$THINGJOBS_THEN_FILE"' if text.startswith("ln") else '>"$THINGJOBS_THEN_FILE"'
    assert (await ended(tmp_path, f"{text} {redirect}")).then == expected


async def test_first_grace_period_counts(tmp_path: Path) -> None:
    """A second stop does not prolong the first."""
    handler = Handler(tmp_path, "trap '' TERM; echo up; while :; do sleep 0.05; done")
    task = asyncio.create_task(handler.run())
    await wait_until(lambda: bool(handler.output))
    handler.process.stop(0.1)
    handler.process.stop(60)
    async with asyncio.timeout(20):
        assert (await task).signal_number == signal.SIGKILL
