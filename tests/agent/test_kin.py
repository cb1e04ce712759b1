"""What a step started is found by descent and by its mark, and nobody else is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thingjobs_agent.kin import MARK, Kin, Process, become_subreaper, kill_leftovers, reap
from thingjobs_agent.work import Identity

pytestmark = pytest.mark.broker

J1, J2 = Identity("J1", 1, 1), Identity("J2", 1, 1)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    made: list[subprocess.Popen[bytes]] = []
    yield made
    for each in made:
        each.kill()
        each.wait()


def environment(state_dir: Path, identity: Identity) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        MARK: str(state_dir),
        "THINGJOBS_JOB_ID": identity.job_id,
        "THINGJOBS_EXECUTION_NUMBER": str(identity.execution_number),
    }


def sleeper(state_dir: Path, identity: Identity = J1) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], env=environment(state_dir, identity), start_new_session=True)


def pids(found: list[Process]) -> list[int]:
    return [process.pid for process in found]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_leftovers_are_those_of_this_directory_and_execution(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """Another agent's handlers live on, and so does what a job that is over started on purpose."""
    ours, daemon, other = (
        sleeper(tmp_path / "state"),
        sleeper(tmp_path / "state", J2),
        sleeper(tmp_path / "state-2"),
    )
    started += [ours, daemon, other]
    assert kill_leftovers(tmp_path / "state", J1) == 1
    assert ours.wait(5) == -signal.SIGKILL
    assert (daemon.poll(), other.poll()) == (None, None)
    assert kill_leftovers(tmp_path / "state", None) == 1
    assert daemon.wait(5) == -signal.SIGKILL


def test_what_ran_before_a_step_is_not_its_kin(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """A service that an earlier step of the same job started is not stopped with a later one."""
    started.append(sleeper(tmp_path))
    kin = Kin(tmp_path, J1)
    started.append(sleeper(tmp_path))
    assert pids(kin.alive()) == [started[1].pid]


def test_descendant_without_its_mark_is_found(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    """A handler may clear the environment of what it starts, and leave the group."""
    kin = Kin(tmp_path, J1)
    started.append(subprocess.Popen(["setsid", "env", "-i", "/bin/sleep", "60"]))
    assert pids(kin.alive()) == [started[0].pid]
    assert kin.signal(signal.SIGKILL) == 1
    started[0].wait(5)


def test_ended_process_is_not_alive(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    """A zombie needs no signal."""
    kin = Kin(tmp_path, J1)
    started.append(sleeper(tmp_path))
    started[0].kill()
    os.waitid(os.P_PID, started[0].pid, os.WEXITED | os.WNOWAIT)
    assert kin.alive(started[0].pid) == []


def test_orphans_become_our_children_and_are_buried(tmp_path: Path) -> None:
    """Whoever lost its parent is found by descent, and leaves no zombie."""
    assert become_subreaper()
    kin = Kin(tmp_path, J1)
    subprocess.run(["/bin/sh", "-c", "setsid env -i /bin/sleep 60 & exit 0"], check=True)
    (orphan,) = kin.alive()
    kin.signal(signal.SIGKILL)
    wait_until(lambda: kin.alive() == [])
    reap(spared=(orphan.pid,))
    assert Path(f"/proc/{orphan.pid}").exists()
    reap(spared=())
    assert not Path(f"/proc/{orphan.pid}").exists()


def test_system_without_proc_has_no_kin(tmp_path: Path) -> None:
    """Nothing is guessed."""
    assert Kin(tmp_path, J1, tmp_path / "proc").alive(1) == []
    assert kill_leftovers(tmp_path, None, tmp_path / "proc") == 0


def test_leftovers_of_another_attempt_live_on(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    """A retry is another execution of the same job."""
    started.append(sleeper(tmp_path, Identity("J1", 2, 1)))
    assert kill_leftovers(tmp_path, J1) == 0
    assert started[0].poll() is None


def test_any_name_of_a_process_is_read(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    """A handler chooses its name; parentheses in it must not hide it."""
    program = tmp_path / "a) Z 1 (b"
    shutil.copy("/bin/sleep", program)
    kin = Kin(tmp_path, J1)
    started.append(subprocess.Popen([str(program), "60"]))
    assert pids(kin.alive()) == [started[0].pid]
