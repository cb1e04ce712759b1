"""Random lives: crashes between any two commands, lost links, cancels. What must hold in all of them (promise
9).

The seed is in the test's name; the same seed gives the same life.
"""

from __future__ import annotations

import random

import pytest

from tests.agent.fake_service import Execution, FakeService
from tests.agent.harness import Crashed, Device, document, reboot_step
from thingjobs_agent.events import CancelAsked, Hold, HoldChanged, StepProgressed
from thingjobs_agent.machine.state import Limits, State
from thingjobs_protocol.status import PENDING, TERMINAL
from thingjobs_protocol.status import JobExecutionStatus as Status

LIVES = 60
ACTIONS_PER_LIFE = 120
ON_RESTART = ["fail", "fail", "restart", "resume"]


class World:
    """One device with its service, and the truth about every handler that ran."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.device = Device(FakeService(), limits=Limits(restarts_max=2), jitter=self.random.random)
        self.exits: dict[tuple[str, int, str], int] = {}
        self.jobs = 0
        self.device.boot()

    def act(self) -> None:
        """One random thing happens; a crash on the way, or on the way up, is followed by the next boot."""
        seldom = [self.queue, self.wait, self.crash, self.crash_soon, self.cancel, self.deaf, self.restart]
        seldom += [self.reboot, self.hold, self.cancel_here]
        often = [self.exit, self.link, self.progress, self.repeat]
        action = self.random.choice([*seldom, *often, *often])
        try:
            action()
        except Crashed:
            self.boot()

    def boot(self) -> None:
        try:
            self.device.boot()
        except Crashed:
            self.boot()

    def queue(self) -> None:
        self.jobs += 1
        handlers = [f"{name}.sh" for name in "abc"[: self.random.randint(1, 3)]]
        value = document(*handlers, onRestart=self.random.choice(ON_RESTART))
        if self.random.random() < 0.3:
            value["steps"].insert(self.random.randint(0, len(handlers)), reboot_step())
        self.device.hear(self.device.service.queue(f"J{self.jobs}", value))

    def exit(self) -> None:
        step = self.device.running
        if step is not None:
            status = self.random.choice([0, 0, 0, 3])
            if self.device.stopping is None:
                self.exits[step.identity.job_id, step.identity.execution_number, step.label] = status
            self.device.exit(status)

    def link(self) -> None:
        _ = self.device.disconnect() if self.device.is_online else self.device.connect()

    def deaf(self) -> None:
        self.device.is_link_deaf = not self.device.is_link_deaf

    def wait(self) -> None:
        self.device.wait(self.random.choice([1, 15, 100, 5000]))

    def crash(self) -> None:
        raise Crashed

    def crash_soon(self) -> None:
        self.device.commands_until_crash = self.random.randint(0, 6)

    def reboot(self) -> None:
        """The device goes down: because it was asked to, or because the power is gone."""
        self.device.boots += 1
        self.boot()

    def hold(self) -> None:
        held = None if self.device.hold else Hold(self.random.randint(1, 100_000), "not now")
        self.device.hold = held
        self.device.give(HoldChanged(held))

    def cancel_here(self) -> None:
        if self.random.random() < 0.3:
            self.device.give(CancelAsked(f"J{self.jobs}", 1, "canceled at the device"))

    def restart(self) -> None:
        self.device.shut_down()
        if self.device.running is not None:
            self.device.exit(0)
        assert self.device.has_stopped
        self.boot()

    def cancel(self) -> None:
        pending = [each for each in self.device.service.executions if each.status in PENDING]
        if pending and self.random.random() < 0.3:
            self.device.hear(self.device.service.end(self.random.choice(pending).job_id))

    def progress(self) -> None:
        if self.device.running is not None:
            self.device.give(StepProgressed({"percent": str(self.random.randint(0, 100))}))

    def repeat(self) -> None:
        self.device.hear(self.device.service.notifications())

    def settle(self) -> None:
        """The world becomes kind: everything must come to its end."""
        self.device.commands_until_crash = None
        self.device.is_link_deaf = False
        self.device.hold = None
        self.device.give(HoldChanged(None))
        if self.device.is_online:
            self.device.disconnect()
        self.device.connect()
        for _ in range(20 * self.jobs + 20):
            if self.device.agent.state is State.REBOOTING:
                self.reboot()
                self.device.connect()
            while self.device.running is not None:
                step = self.device.running
                if self.device.stopping is None:
                    self.exits[step.identity.job_id, step.identity.execution_number, step.label] = 0
                self.device.exit(0)
            self.device.wait(700)


@pytest.mark.parametrize("seed", range(LIVES))
def test_every_job_ends_once_and_with_the_true_result(seed: int) -> None:
    """No job runs twice unless its document says so, none is forgotten, and no result is invented."""
    world = World(seed)
    for _ in range(ACTIONS_PER_LIFE):
        world.act()
    world.settle()
    assert world.device.agent.state is State.IDLE
    for execution in world.device.service.executions:
        assert execution.status in TERMINAL, execution
        assert_true_result(world, execution)
        assert_not_run_too_often(world, execution)


def assert_true_result(world: World, execution: Execution) -> None:
    steps = sum(each["action"]["type"] == "runHandler" for each in execution.document["steps"])
    statuses = [status for (job_id, *_), status in world.exits.items() if job_id == execution.job_id]
    reason = (execution.details or {}).get("reason", "")
    if execution.status is Status.SUCCEEDED:
        assert statuses == [0] * steps
    elif execution.status is Status.FAILED and "exited with status 3" in reason:
        assert 3 in statuses
    elif execution.status is Status.FAILED:
        expected = (
            "interrupted by restart",
            "time limit",
            "canceled at the device",
            "a reboot, and the device",
        )
        assert any(each in reason for each in expected), reason
    else:
        assert execution.status is Status.CANCELED
    ends = [status for status, _ in execution.history if status in TERMINAL]
    assert len(ends) == 1


def assert_not_run_too_often(world: World, execution: Execution) -> None:
    labels = [label for job_id, _, label in world.device.started if job_id == execution.job_id]
    most = 1 if execution.document["onRestart"] == "fail" else 1 + world.device.limits.restarts_max
    for label in set(labels):
        assert labels.count(label) <= most, (execution.job_id, labels)


@pytest.mark.parametrize("commands", range(12))
@pytest.mark.parametrize("has_answered", [True, False])
def test_crash_after_any_command_of_a_job_leaves_a_true_result(commands: int, has_answered: bool) -> None:
    """Every point of a job's transcript is tried: the handler runs at most once and the job ends."""
    device = Device(FakeService())
    device.service.queue("J1", document("a.sh", "b.sh"))
    device.commands_until_crash = commands
    try:
        device.boot().connect()
        if not has_answered:
            device.is_link_deaf = True
        device.exit(0).exit(0)
    except Crashed:
        device.is_link_deaf = False
        device.boot().connect()
    device.is_link_deaf, device.commands_until_crash = False, None
    device.wait(60)
    while device.running is not None:
        device.exit(0)
    execution = device.service.of("J1")
    labels = [label for _, _, label in device.started]
    assert len(labels) == len(set(labels))
    assert execution.status in (Status.SUCCEEDED, Status.FAILED)
    if execution.status is Status.FAILED:
        assert (execution.details or {})["reason"].startswith("interrupted by restart during step")
