"""The machine of an execution: every status with every input, in the table and through the service's door."""

import pytest

from tests.broker.core.world import MINUTE_MS, START_MS, World, endings, only, picture, rejection
from thingjobs_broker.core.execution import REPORTS, TRANSITIONS, Input, changed, next_status, overdue_timer
from thingjobs_broker.core.records import ExecutionChanged
from thingjobs_broker.core.state import Execution
from thingjobs_protocol.status import DEVICE_MAY_SET
from thingjobs_protocol.status import JobExecutionStatus as Status

# Data plane 4.2, row by row; what is not here is refused.
ALLOWED = {
    ("QUEUED", "start-next"): "IN_PROGRESS",
    ("QUEUED", "report IN_PROGRESS"): "IN_PROGRESS",
    ("QUEUED", "report SUCCEEDED"): "SUCCEEDED",
    ("QUEUED", "report FAILED"): "FAILED",
    ("QUEUED", "report REJECTED"): "REJECTED",
    ("QUEUED", "cancel"): "CANCELED",
    ("QUEUED", "cancel with force"): "CANCELED",
    ("QUEUED", "thing left the targets"): "REMOVED",
    ("IN_PROGRESS", "report IN_PROGRESS"): "IN_PROGRESS",
    ("IN_PROGRESS", "report SUCCEEDED"): "SUCCEEDED",
    ("IN_PROGRESS", "report FAILED"): "FAILED",
    ("IN_PROGRESS", "report REJECTED"): "REJECTED",
    ("IN_PROGRESS", "cancel with force"): "CANCELED",
    ("IN_PROGRESS", "time out"): "TIMED_OUT",
    # Control plane 1.8, DeleteThing: its non-terminal executions become REMOVED.
    ("QUEUED", "thing left the registry"): "REMOVED",
    ("IN_PROGRESS", "thing left the registry"): "REMOVED",
}
GRID = [(status, event) for status in Status for event in Input]


def grid_ids(pair: object) -> str:
    return str(getattr(pair, "value", pair))


@pytest.mark.parametrize(("status", "event"), GRID, ids=grid_ids)
def test_the_table_says_what_the_protocol_says(status: Status, event: Input) -> None:
    """All statuses, all inputs (data plane 4.2)."""
    expected = ALLOWED.get((status.value, event.value))
    assert next_status(status, event) == expected


def test_the_table_has_a_row_for_every_status() -> None:
    """A status without a row would be an error of ours, not a refusal."""
    assert set(TRANSITIONS) == set(Status)


def test_a_device_may_report_four_statuses() -> None:
    """Data plane 2.6; all others are the service's alone."""
    assert set(REPORTS) == DEVICE_MAY_SET
    assert {status: event.value for status, event in REPORTS.items()} == {
        status: f"report {status.value}" for status in DEVICE_MAY_SET
    }


# Through the door

TIMED = {"timeoutConfig": {"inProgressTimeoutInMinutes": 1}}


def world_with(status: Status) -> World:
    """A world whose only execution has that status, some details, and a timer if it runs."""
    world = World("T")
    world.create_job("J1", "T", **TIMED)
    if status is Status.QUEUED:
        return world
    if status is Status.REMOVED:
        # Nothing leads there yet but a thing that leaves a group.
        removed = ExecutionChanged("T", "J1", 1, Status.REMOVED, 1, world.now_ms, "service")
        world.state.apply(removed)
        world.journal.append(removed)
        return world
    if status is Status.CANCELED:
        world.control("CancelJobExecution", thingName="T", jobId="J1")
        return world
    world.device("T", "start-next", {"statusDetails": {"step": "dl"}})
    if status is Status.TIMED_OUT:
        world.advance(MINUTE_MS)
    elif status is not Status.IN_PROGRESS:
        world.update("T", "J1", status.value)
    assert world.execution("T", "J1").status is status
    return world


# What comes as a request or with time; the rest follows from changes of groups and of the registry.
DOOR_INPUTS = [
    *(Input.START_NEXT, Input.REPORT_IN_PROGRESS, Input.REPORT_SUCCEEDED, Input.REPORT_FAILED),
    *(Input.REPORT_REJECTED, Input.CANCEL, Input.FORCE_CANCEL, Input.TIME_OUT),
]


def knock(world: World, event: Input) -> str:
    """Give the input to the service; return `accepted`, or the code of the refusal, or `nothing`."""
    if event is Input.START_NEXT:
        body = world.device("T", "start-next")[0].body
        return "accepted" if world.records else "handed back" if "execution" in body else "nothing"
    if event is Input.TIME_OUT:
        return "accepted" if world.advance(MINUTE_MS) else "nothing"
    if event in (Input.CANCEL, Input.FORCE_CANCEL):
        force = event is Input.FORCE_CANCEL
        answer = world.call("CancelJobExecution", {"jobId": "J1", "thingName": "T", "force": force})[0]
    else:
        answer = world.update("T", "J1", event.value.removeprefix("report "))[0]
    return "accepted" if answer.ending == "accepted" else answer.body["code"]


def refusal_of(status: Status, event: Input) -> str:
    """How the service refuses a pair that the table does not have (data plane 2.4, 3.2, 4.2)."""
    if event is Input.TIME_OUT:
        return "nothing"
    if event is Input.START_NEXT:
        return "handed back" if status is Status.IN_PROGRESS else "nothing"
    if event in (Input.CANCEL, Input.FORCE_CANCEL):
        return "InvalidStateTransitionException"
    return "InvalidStateTransition"


@pytest.mark.parametrize(("status", "event"), [pair for pair in GRID if pair[1] in DOOR_INPUTS], ids=grid_ids)
def test_the_service_does_what_the_table_says(status: Status, event: Input) -> None:
    """Allowed: status, version, times as 4.2, 4.3 and 4.7 say; refused: nothing at all has changed."""
    world = world_with(status)
    world.pass_unnoticed(1000)
    before, written = picture(world.state), len(world.journal)
    version = world.execution("T", "J1").version_number
    reached = ALLOWED.get((status.value, event.value))
    if reached is None:
        assert knock(world, event) == refusal_of(status, event)
        assert len(world.journal) == written
        assert picture(world.state) == before
        return
    assert knock(world, event) == "accepted"
    execution = world.execution("T", "J1")
    assert execution.status == reached
    assert execution.version_number == version + 1
    assert execution.last_updated_at_ms == execution_time(world, event)
    assert execution.queued_at_ms == START_MS
    was_started = status is Status.IN_PROGRESS or reached == "IN_PROGRESS"
    assert bool(execution.started_at_ms) == was_started, "startedAt only once it ran (4.7)"
    assert bool(execution.deadline_ms) == (reached == "IN_PROGRESS"), (
        "a terminal status ends both timers (6.2)"
    )


def execution_time(world: World, event: Input) -> int:
    """When the change happened: a time-out at its deadline, all else now."""
    return START_MS + MINUTE_MS if event is Input.TIME_OUT else world.now_ms


@pytest.mark.parametrize("status", [status for status in Status if status not in DEVICE_MAY_SET])
@pytest.mark.parametrize("current", list(Status))
def test_no_device_sets_what_the_service_sets(current: Status, status: Status) -> None:
    """Refused in every status, with the present state (data plane 3.2 a, C39)."""
    world = world_with(current)
    before = picture(world.state)
    code, state = rejection(world.update("T", "J1", status.value))
    assert code == "InvalidStateTransition"
    assert state is not None
    assert state["status"] == current.value
    assert picture(world.state) == before


@pytest.mark.parametrize("status", [Status.QUEUED, Status.IN_PROGRESS], ids=grid_ids)
def test_a_pending_execution_is_described(status: Status) -> None:
    """Data plane 2.5."""
    reply = only(world_with(status).device("T", "J1/get"))
    assert reply["execution"]["status"] == status.value


@pytest.mark.parametrize(
    "status", [status for status in Status if status not in (Status.QUEUED, Status.IN_PROGRESS)], ids=grid_ids
)
def test_a_terminal_execution_is_not_described(status: Status) -> None:
    """TerminalStateReached without executionState (data plane 2.5, 3.1, A7)."""
    assert rejection(world_with(status).device("T", "J1/get")) == ("TerminalStateReached", None)


# The record of a transition


def execution(
    status: Status = Status.QUEUED, *, in_progress_deadline_ms: int = 0, step_deadline_ms: int = 0
) -> Execution:
    """An execution in some status, with version 5."""
    return Execution(
        "T",
        "J1",
        1,
        1,
        START_MS,
        START_MS,
        status=status,
        version_number=5,
        in_progress_deadline_ms=in_progress_deadline_ms,
        step_deadline_ms=step_deadline_ms,
    )


def test_entering_in_progress_starts_the_job_s_timer() -> None:
    """Deadline = start + minutes (data plane 6.1)."""
    record = changed(
        execution(), Status.IN_PROGRESS, START_MS, by="device", in_progress_timeout_in_minutes=20
    )
    assert record.in_progress_deadline_ms == START_MS + 20 * MINUTE_MS
    assert record.step_deadline_ms == 0
    assert record.version_number == 6


def test_a_running_execution_keeps_its_in_progress_timer() -> None:
    """Whatever the job says by now (data plane 6.1)."""
    running = execution(Status.IN_PROGRESS, in_progress_deadline_ms=START_MS + 5)
    for minutes in (None, 1, 20):
        record = changed(
            running, Status.IN_PROGRESS, START_MS + 1, by="device", in_progress_timeout_in_minutes=minutes
        )
        assert record.in_progress_deadline_ms == START_MS + 5


@pytest.mark.parametrize(
    ("minutes", "deadline_ms"),
    [
        (None, START_MS + 5),
        (-1, 0),
        (1, START_MS + 1 + MINUTE_MS),
        (10_080, START_MS + 1 + 10_080 * MINUTE_MS),
    ],
)
def test_a_step_timer_is_kept_canceled_or_replaced(minutes: int | None, deadline_ms: int) -> None:
    """Counting from now (data plane 6.2)."""
    running = execution(
        Status.IN_PROGRESS, step_deadline_ms=START_MS + 5, in_progress_deadline_ms=START_MS + 9
    )
    record = changed(running, Status.IN_PROGRESS, START_MS + 1, by="device", step_timeout_in_minutes=minutes)
    assert record.step_deadline_ms == deadline_ms
    assert record.in_progress_deadline_ms == START_MS + 9


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.TIMED_OUT])
def test_a_terminal_status_ends_both_timers(status: Status) -> None:
    """Also with a step timer in the same update (data plane 6.2, A11)."""
    running = execution(
        Status.IN_PROGRESS, step_deadline_ms=START_MS + 5, in_progress_deadline_ms=START_MS + 9
    )
    record = changed(running, status, START_MS + 1, by="device", step_timeout_in_minutes=5)
    assert (record.step_deadline_ms, record.in_progress_deadline_ms) == (0, 0)


def test_a_removal_keeps_version_and_last_update() -> None:
    """Data plane 4.3, 4.7, C62."""
    assert changed(execution(), Status.REMOVED, START_MS + 1, by="service").version_number == 5
    removed = world_with(Status.REMOVED).execution("T", "J1")
    assert (removed.version_number, removed.last_updated_at_ms) == (1, START_MS)


@pytest.mark.parametrize(
    ("in_progress_ms", "step_ms", "now_ms", "expected"),
    [
        (0, 0, 99, ""),
        (10, 0, 9, ""),
        (10, 0, 10, "in-progress timer"),
        (0, 10, 10, "step timer"),
        (20, 10, 10, "step timer"),
        (10, 20, 15, "in-progress timer"),
        (10, 20, 9, ""),
    ],
)
def test_the_earlier_timer_is_the_one_that_runs_out(
    in_progress_ms: int, step_ms: int, now_ms: int, expected: str
) -> None:
    """Deadline = min of both (data plane 6.3); at the deadline, not a millisecond before."""
    running = execution(Status.IN_PROGRESS, in_progress_deadline_ms=in_progress_ms, step_deadline_ms=step_ms)
    assert overdue_timer(running, now_ms) == expected


def test_a_terminal_update_checks_its_step_timer_and_forgets_it() -> None:
    """A11: validated, otherwise irrelevant."""
    world = world_with(Status.IN_PROGRESS)
    assert rejection(world.update("T", "J1", "SUCCEEDED", stepTimeoutInMinutes=0))[0] == "InvalidRequest"
    assert endings(world.update("T", "J1", "SUCCEEDED", stepTimeoutInMinutes=5))[0] == "accepted"
    assert world.advance(10 * MINUTE_MS) == []
