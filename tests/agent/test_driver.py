"""The driver's own decisions: what happens when the disk fails. The rest runs in test_end_to_end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from thingjobs_agent import driver, kin
from thingjobs_agent.checkpoint import Store
from thingjobs_agent.config import load_config
from thingjobs_agent.driver import Driver
from thingjobs_agent.errors import StateDirectoryError
from thingjobs_agent.events import Command, Stop, StoreCheckpoint
from thingjobs_agent.local_link import LocalLink
from thingjobs_agent.logs import Log
from thingjobs_agent.notify import Notifier
from thingjobs_agent.work import Checkpoint, Identity, Phase, Report
from thingjobs_protocol.status import JobExecutionStatus

pytestmark = pytest.mark.asyncio

DONE_WELL = Report(JobExecutionStatus.SUCCEEDED, {})
COMMANDS: list[Command] = [StoreCheckpoint(Checkpoint("J1", 1, 1, Phase.RUNNING)), Stop()]


class FullDisk(Store):
    """Refuses a number of writes."""

    failures = 0

    def store(self, checkpoint: Checkpoint) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        super().store(checkpoint)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    monkeypatch.setattr(driver, "STORE_RETRY_SECONDS", 0.01)
    made = FullDisk(tmp_path / "state")
    made.prepare()
    return made


def driver_of(store: Store) -> Driver:
    config = load_config(None, {"thing": "press-7", "handler_dir": str(store.directory)}, {})
    log = Log()
    link = LocalLink(msgspec.Raw(b"null"), lambda _: None)
    return Driver(config, store, log, link.bind, Notifier({}))


async def test_nothing_happens_before_the_checkpoint_is_on_disk(store: FullDisk) -> None:
    """Promise 9: a full disk delays the job; it does not let it run unrecorded."""
    store.failures = 3
    made = driver_of(store)
    await made._carry_out(COMMANDS)
    assert store.failures == 0
    assert store.load().checkpoint is not None
    assert made._stop is not None


async def test_agent_can_be_stopped_while_the_disk_is_full(store: FullDisk) -> None:
    """The error names the file and the fix."""
    store.failures = 1_000_000
    made = driver_of(store)
    task = asyncio.create_task(made._carry_out(COMMANDS))
    await asyncio.sleep(0.05)
    assert not task.done()
    made._ask_to_stop("SIGTERM")
    with pytest.raises(StateDirectoryError, match="No space left on device; free space"):
        await asyncio.wait_for(task, 5)
    assert made._stop is None


async def test_fault_of_a_task_stops_the_agent(store: FullDisk) -> None:
    """House rule: nothing is swallowed."""
    made = driver_of(store)

    async def faulty() -> None:
        raise RuntimeError("a fault")

    task = asyncio.create_task(faulty())
    task.add_done_callback(made._task_ended)
    await asyncio.wait([task])
    await asyncio.sleep(0)
    agent = made._start_agent()
    with pytest.raises(RuntimeError, match="a fault"):
        await made._next(agent)


async def test_boot_is_named_by_the_kernel(
    store: FullDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 9: that the device went down is not guessed from the agent's own life."""
    monkeypatch.setattr(driver, "BOOT_ID_PATH", tmp_path / "boot_id")
    (tmp_path / "boot_id").write_text("boot-1\n")
    assert driver_of(store)._start_agent()._machine.boot_id == "boot-1"


@pytest.mark.parametrize(("phase", "expected"), [(Phase.RUNNING, ["J1"]), (Phase.DONE, [])])
async def test_start_clears_up_after_an_interrupted_job_alone(
    store: FullDisk, monkeypatch: pytest.MonkeyPatch, phase: Phase, expected: list[str]
) -> None:
    """What a finished job left running on purpose lives on; files of other jobs go."""
    killed: list[str] = []

    def kill(_: Path, identity: Identity) -> int:
        killed.append(identity.job_id)
        return 1

    monkeypatch.setattr(kin, "kill_leftovers", kill)
    store.store(Checkpoint("J1", 1, 1, phase, report=DONE_WELL if phase is Phase.DONE else None))
    for name in ("J1-1", "J0-1"):
        (store.directory / "work" / name).mkdir(parents=True)
    driver_of(store)._start_agent()
    assert killed == expected
    assert [path.name for path in (store.directory / "work").iterdir()] == ["J1-1"]
