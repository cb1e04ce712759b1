"""Reboots as steps and at a handler's wish: stored first, proven by boot_id, bounded."""

from __future__ import annotations

from tests.agent.fake_service import FakeService
from tests.agent.harness import Device, document, reboot_step, step
from thingjobs_agent.events import StepExited
from thingjobs_agent.machine.state import Limits, State
from thingjobs_agent.work import Phase, decode_checkpoint
from thingjobs_protocol.status import JobExecutionStatus as Status


def rebooting(*steps: dict[str, object], limits: Limits | None = None) -> Device:
    made = Device(FakeService(), limits=limits or Limits())
    made.service.queue("J1", {"version": "1.0", "includeStdOut": True, "steps": list(steps)})
    return made.boot().connect()


def reboot(made: Device) -> Device:
    """The device goes down and comes up."""
    made.boots += 1
    return made.boot()


def reason(made: Device) -> str:
    return (made.service.of("J1").details or {})["reason"]


def test_reboot_is_stored_before_it_is_asked_for() -> None:
    """Issue 6: what is to come is on disk, then the device goes down."""
    made = rebooting(step("a.sh"), reboot_step(), step("b.sh"))
    made.take_log()
    made.exit(0, std_out="before")
    assert made.take_log() == [
        "store rebooting J1 step 1",
        "send UpdateJobExecution IN_PROGRESS",
        "reboot",
    ]
    assert (made.service.of("J1").details or {}) == {"step": "2/3 Reboot", "waitsFor": "reboot"}


def test_job_goes_on_after_the_reboot_even_without_a_link() -> None:
    """The boot_id has changed: the step is done, and what was printed before is not forgotten."""
    made = rebooting(step("a.sh"), reboot_step(), step("b.sh")).exit(0, std_out="before")
    reboot(made)
    assert made.agent.state is State.RUNNING
    made.exit(0, std_out="after").connect()
    assert made.service.of("J1").status is Status.SUCCEEDED
    assert (made.service.of("J1").details or {})["stdout"] == "before after"
    assert [label for _, _, label in made.started] == ["1/3 a", "3/3 b"]


def test_reboot_as_last_step_is_success() -> None:
    """Nothing is left to do but to say so."""
    made = rebooting(reboot_step())
    reboot(made).connect()
    assert (made.service.of("J1").status, reason(made)) == (Status.SUCCEEDED, "1 step succeeded")


def test_job_that_was_ended_meanwhile_is_stopped_at_the_next_connect() -> None:
    """Going on without a link does not mean going on without the service."""
    made = rebooting(reboot_step(), step("b.sh"))
    reboot(made)
    made.service.end("J1")
    made.connect()
    assert made.agent.state is State.STOPPING


def test_agent_that_comes_back_without_a_reboot_asks_again_a_bounded_number_of_times() -> None:
    """The boot-loop breaker ends the job as FAILED with its reason."""
    made = rebooting(reboot_step(), step("b.sh"), limits=Limits(reboots_max=3))
    made.boot().boot()
    assert (made.reboots_asked, made.agent.state) == (3, State.REBOOTING)
    made.boot().connect()
    assert made.reboots_asked == 3
    assert made.service.of("J1").status is Status.FAILED
    assert reason(made) == "step 1/2 Reboot asked 3 times for a reboot, and the device did not reboot"
    assert made.started == []


def test_each_reboot_step_counts_for_itself() -> None:
    """Two reboots in one document are no loop."""
    made = rebooting(reboot_step(), reboot_step(), limits=Limits(reboots_max=1))
    reboot(made)
    reboot(made).connect()
    assert made.service.of("J1").status is Status.SUCCEEDED


def test_device_that_does_not_go_down_fails_the_step() -> None:
    """Every wait has an end: the step's own time limit, or the setting."""
    made = rebooting(reboot_step(timeoutSeconds=20)).wait(20)
    assert reason(made) == "step 1/1 Reboot waited for a reboot, and the device did not go down in time"
    made = rebooting(reboot_step(), limits=Limits(reboot_wait_ms=5000)).wait(4)
    assert made.agent.state is State.REBOOTING
    assert made.wait(1).service.of("J1").status is Status.FAILED


def test_reboot_that_cannot_begin_fails_the_step_or_is_ignored() -> None:
    """The reboot command is missing, or fails."""
    refusal = StepExited(refusal="the device could not be rebooted: no")
    made = rebooting(reboot_step()).give(refusal)
    assert reason(made) == "step 1/1 Reboot: the device could not be rebooted: no"
    made = rebooting(reboot_step(ignoreStepFailure=True), step("b.sh")).give(refusal)
    assert made.agent.state is State.RUNNING


def test_stop_of_the_agent_while_the_device_goes_down_changes_nothing() -> None:
    """The service manager ends us on the way down."""
    made = rebooting(reboot_step(), step("b.sh")).shut_down()
    assert made.has_stopped
    reboot(made)
    assert made.agent.state is State.RUNNING


def test_handler_may_ask_for_a_reboot() -> None:
    """Documents that call reboot.sh work as they are: the step is done when the device is back."""
    made = rebooting(step("reboot.sh"), step("b.sh")).exit(0, then="reboot")
    assert made.reboots_asked == 1
    reboot(made).exit(0).connect()
    assert made.service.of("J1").status is Status.SUCCEEDED
    assert [label for _, _, label in made.started] == ["1/2 reboot", "2/2 b"]


def test_failed_handler_gets_no_reboot() -> None:
    """Only a good end is followed by one."""
    made = rebooting(step("reboot.sh")).exit(1, then="reboot")
    assert made.reboots_asked == 0


def test_handler_may_ask_for_a_restart_of_the_agent() -> None:
    """A job may update the agent itself."""
    made = rebooting(step("update.sh"), step("b.sh")).exit(0, then="restart")
    assert made.has_stopped
    assert made.disk is not None
    assert decode_checkpoint(made.disk).phase is Phase.RESTARTING
    made.boot().exit(0).connect()
    assert made.service.of("J1").status is Status.SUCCEEDED
    assert [label for _, _, label in made.started] == ["1/2 update", "2/2 b"]


def test_crash_after_the_reboot_is_a_crash_like_any_other() -> None:
    """The reboot does not make the next step run twice."""
    made = rebooting(reboot_step(), step("b.sh"))
    reboot(made)
    made.boot().connect()
    assert reason(made) == "interrupted by restart during step 2/2 b"
    assert len(made.started) == 1


def test_output_of_earlier_steps_survives_a_crash() -> None:
    """The report of an interrupted job still shows what was printed."""
    made = Device(FakeService())
    made.service.queue("J1", document("a.sh", "b.sh", includeStdOut=True))
    made.boot().connect().exit(0, std_out="one").boot().connect()
    assert (made.service.of("J1").details or {})["stdout"] == "one"
