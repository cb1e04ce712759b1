"""A cancellation of more executions than one slice holds: bounded steps, restarts, devices in between."""

from tests.broker.core.world import World, endings
from thingjobs_broker.core.lifecycle import SWEEP_SLICE
from thingjobs_broker.core.records import ExecutionQueued, JobChanged
from thingjobs_protocol.status import JobExecutionStatus as Status


def large_job(count: int) -> World:
    """A job of so many executions; targets are limited, executions are not."""
    world = World(checked=False)
    world.control("CreateThing", thingName="T0")
    world.create_job("J1", "T0")
    the_job = world.job("J1")
    for number in range(1, count):
        world.control("CreateThing", thingName=f"T{number}")
        queued = ExecutionQueued(f"T{number}", "J1", 1, number + 1, world.now_ms)
        world.state.apply(queued)
        world.journal.append(queued)
    assert len(the_job.executions) == count
    return world


def test_a_large_cancellation_proceeds_in_slices() -> None:
    """The first slice with the request, the others with the timers; `canceled` comes at the end and once."""
    world = large_job(2 * SWEEP_SLICE + 10)
    sent = world.call("CancelJob", {"jobId": "J1"})
    seen = [endings(sent)]
    assert world.job("J1").status.value == "CANCELED"
    assert world.control("DescribeJob", jobId="J1")["job"]["isConcurrent"] is True
    assert world.service.next_deadline_ms() == 0
    while world.service.next_deadline_ms() == 0:
        seen.append(endings(world.fire()))
    # The last slice holds one event more, that of the job.
    assert [slice_.count("canceled") for slice_ in seen] == [SWEEP_SLICE, SWEEP_SLICE, 10 + 1]
    assert [slice_.count("notify") for slice_ in seen] == [SWEEP_SLICE, SWEEP_SLICE, 10]
    described = world.control("DescribeJob", jobId="J1")["job"]
    assert described["isConcurrent"] is False
    assert described["jobProcessDetails"]["numberOfCanceledThings"] == 2 * SWEEP_SLICE + 10
    assert world.fire() == []


def test_a_cancellation_that_a_restart_interrupts_is_finished() -> None:
    """Nothing is canceled twice, the end is told once."""
    world = large_job(SWEEP_SLICE + 5)
    world.call("CancelJob", {"jobId": "J1", "force": True})
    sent = world.restart()
    while world.service.next_deadline_ms() == 0:
        sent += world.fire()
    assert endings(sent).count("canceled") == 5 + 1
    settled = [record for record in world.journal if isinstance(record, JobChanged) and record.settled]
    assert len(settled) == 1
    assert {execution.version_number for execution in world.job("J1").executions if execution} == {2}
    assert all(execution.force_canceled for execution in world.job("J1").executions if execution)


def test_a_device_may_finish_what_the_sweep_has_not_reached() -> None:
    """Its execution is then skipped (control plane 1.5: terminal never)."""
    world = large_job(SWEEP_SLICE + 2)
    world.call("CancelJob", {"jobId": "J1"})
    last, running = f"T{SWEEP_SLICE}", f"T{SWEEP_SLICE + 1}"
    assert endings(world.update(last, "J1", "SUCCEEDED"))[0] == "accepted"
    world.device(running, "start-next")
    while world.service.next_deadline_ms() == 0:
        world.fire()
    assert world.execution(last, "J1").status is Status.SUCCEEDED
    assert world.execution(running, "J1").status is Status.IN_PROGRESS
    assert world.job("J1").settled


def test_force_during_a_sweep_begins_it_anew_with_force() -> None:
    """What the first pass left running is canceled by the second (control plane 1.5, CancelJob)."""
    world = large_job(SWEEP_SLICE + 2)
    world.device("T0", "start-next")
    world.call("CancelJob", {"jobId": "J1"})
    assert world.execution("T0", "J1").status is Status.IN_PROGRESS
    world.call("CancelJob", {"jobId": "J1", "force": True})
    assert world.execution("T0", "J1").status is Status.CANCELED
    while world.service.next_deadline_ms() == 0:
        world.fire()
    assert world.job("J1").counts[Status.CANCELED] == SWEEP_SLICE + 2
