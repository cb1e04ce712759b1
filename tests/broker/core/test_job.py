"""The machine of a job: every status with every input, in the table and through the service's door."""

import pytest

from tests.broker.core.world import MINUTE_MS, World, endings, only, picture
from thingjobs_broker.core.job import TRANSITIONS, JobInput, is_complete, next_status
from thingjobs_broker.core.records import JobChanged
from thingjobs_protocol.status import JobExecutionStatus, JobStatus, TargetSelection

# Control plane 1.5 (CancelJob, UpdateJob, DeleteJob) and 2.2; what is not here is refused.
ALLOWED = {
    ("SCHEDULED", "cancel"): "CANCELED",
    ("SCHEDULED", "cancel with force"): "CANCELED",
    ("IN_PROGRESS", "cancel"): "CANCELED",
    ("IN_PROGRESS", "cancel with force"): "CANCELED",
    ("IN_PROGRESS", "nothing is left to do"): "COMPLETED",
    ("SCHEDULED", "update"): "SCHEDULED",
    ("IN_PROGRESS", "update"): "IN_PROGRESS",
    ("SCHEDULED", "delete with force"): "DELETION_IN_PROGRESS",
    ("IN_PROGRESS", "delete with force"): "DELETION_IN_PROGRESS",
    ("COMPLETED", "delete"): "DELETION_IN_PROGRESS",
    ("COMPLETED", "delete with force"): "DELETION_IN_PROGRESS",
    ("CANCELED", "delete"): "DELETION_IN_PROGRESS",
    ("CANCELED", "delete with force"): "DELETION_IN_PROGRESS",
    ("SCHEDULED", "its time has come"): "IN_PROGRESS",
    ("IN_PROGRESS", "its window has closed"): "SCHEDULED",
}
CANCELLATIONS = [JobInput.CANCEL, JobInput.FORCE_CANCEL]
GRID = [(status, event, pending) for status in JobStatus for event in JobInput for pending in (0, 1)]


def grid_ids(value: object) -> str:
    return str(getattr(value, "value", value))


def world_with(status: JobStatus, pending: int) -> World:
    """A job in that status, whose only execution is running or has ended."""
    world = World("T")
    world.create_job("J1")
    world.device("T", "start-next")
    if not pending:
        world.update("T", "J1", "SUCCEEDED")
    # Not every combination is reached by requests yet; the table must hold for all.
    forced = JobChanged("J1", status, world.now_ms, "service", settled=status is not JobStatus.IN_PROGRESS)
    world.state.apply(forced)
    world.journal.append(forced)
    return world


def expected(status: JobStatus, event: JobInput, pending: int) -> str | None:
    if (status.value, event.value) == ("CANCELED", "cancel with force"):
        # Control plane 1.5: accepted while executions of a canceled job still run.
        return "CANCELED" if pending else None
    return ALLOWED.get((status.value, event.value))


@pytest.mark.parametrize(("status", "event", "pending"), GRID, ids=grid_ids)
def test_the_table_says_what_the_protocol_says(status: JobStatus, event: JobInput, pending: int) -> None:
    """All statuses, all inputs, with and without a running execution (control plane 1.5, 2.2)."""
    world = world_with(status, pending)
    assert next_status(world.job("J1"), event) == expected(status, event, pending)


def test_the_table_has_a_row_for_every_status() -> None:
    """A status without a row would be an error of ours, not a refusal."""
    assert set(TRANSITIONS) == set(JobStatus)


@pytest.mark.parametrize(
    ("status", "event", "pending"), [row for row in GRID if row[1] in CANCELLATIONS], ids=grid_ids
)
def test_the_service_cancels_what_the_table_allows(status: JobStatus, event: JobInput, pending: int) -> None:
    """Refused with InvalidRequestException and unchanged (control plane A2), or CANCELED."""
    world = world_with(status, pending)
    before = picture(world.state)
    force = event is JobInput.FORCE_CANCEL
    sent = world.call("CancelJob", {"jobId": "J1", "force": force, "comment": "why"})
    reached = expected(status, event, pending)
    if reached is None:
        assert only(sent)["code"] == "InvalidRequestException"
        assert world.records == []
        assert picture(world.state) == before
        return
    assert endings(sent)[0] == "accepted"
    job = world.job("J1")
    assert job.status == reached
    assert (job.comment, job.force_canceled, job.settled) == ("why", force, True)
    left = JobExecutionStatus.CANCELED if force else JobExecutionStatus.IN_PROGRESS
    assert world.execution("T", "J1").status is (left if pending else JobExecutionStatus.SUCCEEDED)


@pytest.mark.parametrize(
    ("status", "event", "pending"),
    [row for row in GRID if row[1] in (JobInput.DELETE, JobInput.FORCE_DELETE)],
    ids=grid_ids,
)
def test_the_service_deletes_what_the_table_allows(status: JobStatus, event: JobInput, pending: int) -> None:
    """Refused with InvalidStateTransitionException and unchanged (control plane 1.5, V10), or gone."""
    world = world_with(status, pending)
    before = picture(world.state)
    sent = world.call("DeleteJob", {"jobId": "J1", "force": event is JobInput.FORCE_DELETE})
    if expected(status, event, pending) is None:
        assert only(sent)["code"] == "InvalidStateTransitionException"
        assert world.records == []
        assert picture(world.state) == before
        return
    told = [message.body["status"] for message in sent if message.body.get("eventType") == "JOB"]
    assert told == ["DELETION_IN_PROGRESS", "DELETED"]
    assert world.state.jobs == {}
    assert world.thing("T").executions == {}
    world.create_job("J1")


@pytest.mark.parametrize("status", list(JobStatus), ids=grid_ids)
@pytest.mark.parametrize("pending", [0, 1])
def test_the_service_updates_what_the_table_allows(status: JobStatus, pending: int) -> None:
    """Control plane 5.3, A23: InvalidRequestException in any other status."""
    world = world_with(status, pending)
    before = picture(world.state)
    world.advance(1000)
    sent = world.call("UpdateJob", {"jobId": "J1", "description": "new"})
    if expected(status, JobInput.UPDATE, pending) is None:
        assert only(sent)["code"] == "InvalidRequestException"
        assert picture(world.state) == before
        return
    assert only(sent) == {}
    job = world.job("J1")
    assert (job.description, job.last_updated_at_ms) == ("new", world.now_ms)


@pytest.mark.parametrize("status", list(JobStatus), ids=grid_ids)
def test_only_a_continuous_job_in_progress_takes_targets(status: JobStatus) -> None:
    """Control plane 1.5, AssociateTargetsWithJob: InvalidRequestException for a wrong state or selection."""
    world = world_with(status, pending=1)
    request = {"jobId": "J1", "targets": ["T"]}
    assert only(world.call("AssociateTargetsWithJob", request))["code"] == "InvalidRequestException"
    world.job("J1").target_selection = TargetSelection.CONTINUOUS
    sent = only(world.call("AssociateTargetsWithJob", request))
    # What is a target already is none to be added.
    assert ("code" in sent) is (status is not JobStatus.IN_PROGRESS)


@pytest.mark.parametrize("status", list(JobStatus), ids=grid_ids)
@pytest.mark.parametrize("pending", [0, 1])
def test_only_a_job_in_progress_with_nothing_pending_completes(status: JobStatus, pending: int) -> None:
    """Control plane 2.2; COMPLETED and CANCELED never become anything else by themselves."""
    world = world_with(status, pending)
    assert is_complete(world.job("J1")) == (status is JobStatus.IN_PROGRESS and not pending)


def test_a_continuous_job_never_completes_by_itself() -> None:
    """Data plane 4.8."""
    world = world_with(JobStatus.IN_PROGRESS, pending=0)
    world.job("J1").target_selection = TargetSelection.CONTINUOUS
    assert not is_complete(world.job("J1"))


def test_a_job_completes_with_its_last_execution() -> None:
    """Not before, and once (data plane 4.8)."""
    world = World("A", "B", "C")
    world.create_job("J1", "A", "B", "C")
    assert "completed" not in endings(world.update("A", "J1", "SUCCEEDED"))
    assert "completed" not in endings(world.update("B", "J1", "REJECTED"))
    assert world.job("J1").status is JobStatus.IN_PROGRESS
    assert endings(world.update("C", "J1", "FAILED")).count("completed") == 1
    assert world.job("J1").status is JobStatus.COMPLETED


def test_a_job_waits_for_a_retry_that_is_owed() -> None:
    """Data plane 7, "SNAPSHOT completion"."""
    world = World("T")
    retry = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    world.create_job("J1", jobExecutionsRetryConfig=retry)
    world.update("T", "J1", "FAILED")
    assert world.job("J1").status is JobStatus.IN_PROGRESS
    world.update("T", "J1", "SUCCEEDED")
    assert world.job("J1").status is JobStatus.COMPLETED


def test_deleting_the_last_pending_execution_completes_the_job() -> None:
    """Control plane 1.5, DeleteJobExecution."""
    world = World("A", "B")
    world.create_job("J1", "A", "B")
    world.update("A", "J1", "SUCCEEDED")
    world.control("DeleteJobExecution", thingName="B", jobId="J1", executionNumber=1)
    assert world.job("J1").status is JobStatus.COMPLETED


def test_a_canceled_job_stays_canceled_when_its_last_execution_ends() -> None:
    """The counters move, the status does not (control plane 2.2)."""
    world = World("T")
    world.create_job("J1", timeoutConfig={"inProgressTimeoutInMinutes": 1})
    world.device("T", "start-next")
    world.control("CancelJob", jobId="J1")
    assert endings(world.advance(MINUTE_MS)) == ["notify", "notify-next", "timed_out"]
    assert world.job("J1").status is JobStatus.CANCELED
    assert world.job("J1").counts[JobExecutionStatus.TIMED_OUT] == 1
