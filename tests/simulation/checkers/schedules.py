"""What jobs do at the times of their schedules (control plane 6), and what is canceled with force.

By the service's clock, which never goes back and so may be ahead of the true time for ever ("Time").
"""

from typing import TYPE_CHECKING, Any

from tests.simulation.checkers.base import Checker, found
from tests.simulation.schedule import SECOND_US
from tests.simulation.schedules import EPOCH_S, end_s, windows_of
from thingjobs_broker.core.records import ClockStepped, ExecutionChanged, ExecutionQueued, Record
from thingjobs_broker.core.state import Execution, Job, State

if TYPE_CHECKING:
    from tests.simulation.world import World

BEGINS = ("QUEUED", "IN_PROGRESS")

LATE_S = 5.0
"""A change of the schedule is noticed in time, but for a disk that stalls or a clock that was corrected."""

CALM_S = 240.0
"""After so long without any trouble everything has followed: clocks, slices, retries."""


class SchedulesAreKept(Checker):
    """Nothing begins outside the windows or is created after the end, and what has to end then ends."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._status = ""
        self._stepped_us = 0
        """When the clock last made a leap, by a correction or a restart: the service has to catch up then."""
        self._calm_us = 0
        self._lives = 0

    def restarted(self) -> None:
        self._stepped_us = self.now_us

    def before(self, state: State, record: Record) -> None:
        if isinstance(record, ExecutionChanged):
            one = found(state, record)
            self._status = one.status if one is not None else ""

    def applied(self, state: State, record: Record) -> None:
        if isinstance(record, ClockStepped):
            self._stepped_us = self.now_us
        elif isinstance(record, ExecutionQueued):
            self._began(state.jobs[record.job_id], record.at_ms, f"{record.thing_name} is given")
            end = end_s(state.jobs[record.job_id].options)
            if end is not None and record.at_ms / 1000 >= end + LATE_S:
                self.broken(f"{record.thing_name} is given {record.job_id} after its end")
        elif isinstance(record, ExecutionChanged) and (self._status, record.status) == BEGINS:
            self._began(state.jobs[record.job_id], record.at_ms, f"{record.thing_name} begins")

    def _began(self, job: Job, at_ms: int, what: str) -> None:
        windows, end = windows_of(job.options), end_s(job.options)
        at_s = at_ms / 1000
        if not windows or (end is not None and at_s >= end):
            return
        if self.now_us - self._stepped_us < LATE_S * SECOND_US:
            return
        if not any(window.is_open(at_s) or window.is_open(at_s - LATE_S) for window in windows):
            self.broken(f"{what} {job.job_id} at {at_s} s, outside its windows")

    def looked(self) -> None:
        world, runner = self.world, self.world.machine.runner
        is_fine = world.is_calm and runner is not None and runner.is_writable
        if not is_fine or world.machine.lives != self._lives:
            self._calm_us, self._lives = self.now_us, world.machine.lives
        if runner is None or runner.state is None or self.now_us - self._calm_us < CALM_S * SECOND_US:
            return
        now_s = runner.now_ms() / 1000
        for job in runner.state.jobs.values():
            if job.status in ("IN_PROGRESS", "SCHEDULED"):
                self._look(job, now_s)

    def _look(self, job: Job, now_s: float) -> None:
        end = end_s(job.options)
        waiting, running = job.counts["QUEUED"], job.counts["IN_PROGRESS"]
        if end is not None and now_s > end + CALM_S:
            behavior = job.options["schedulingConfig"].get("endBehavior", "STOP_ROLLOUT")
            if job.status == "SCHEDULED" or not waiting + running:
                self.broken(f"{job.job_id} should be COMPLETED since its end, and is {job.status}")
            if (waiting and behavior != "STOP_ROLLOUT") or (running and behavior == "FORCE_CANCEL"):
                self.broken(f"{job.job_id} has {waiting} QUEUED and {running} at work after {behavior}")
            return
        windows = windows_of(job.options)
        if not windows or (end is not None and now_s >= end - LATE_S):
            return
        for status, wanted in (("IN_PROGRESS", True), ("SCHEDULED", False)):
            moments = (now_s, now_s - LATE_S, now_s - 2 * LATE_S)
            opens = [any(window.is_open(at_s) for window in windows) for at_s in moments]
            if (
                all(is_open is wanted for is_open in opens)
                and job.status != status
                and not self._is_held(job)
            ):
                self.broken(f"{job.job_id} is {job.status} at {now_s} s, which is wrong for its windows")

    def _is_held(self, job: Job) -> bool:
        """Others are at work, as many as may be (control plane 2.4)."""
        return job.status == "SCHEDULED" and self.world.machine._settings.quotas.concurrent_jobs_max < 10

    def is_settled(self) -> bool:
        state = self.world.tap.state
        jobs = state.jobs.values() if state is not None else ()
        now_s = self.now_us / SECOND_US + EPOCH_S
        ends = [
            end for job in jobs if job.status in ("IN_PROGRESS", "SCHEDULED") and (end := end_s(job.options))
        ]
        return state is not None and all(now_s > end + CALM_S + 60 for end in ends)


class ForceIsNeeded(Checker):
    """What runs is canceled with force only: an operator's, or that of its job's end."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._forced: set[str] = set()
        """Jobs that somebody has asked to cancel with force."""
        self._status = ""

    def asked(self, topic: str, body: Any) -> None:
        if topic.endswith("/CancelJob") and isinstance(body, dict) and body.get("force"):
            self._forced.add(str(body.get("jobId")))

    def before(self, state: State, record: Record) -> None:
        if isinstance(record, ExecutionChanged):
            one = found(state, record)
            self._status = one.status if one is not None else ""

    def applied(self, state: State, record: Record) -> None:
        if not isinstance(record, ExecutionChanged) or record.status != "CANCELED":
            return
        one, job = found(state, record), state.jobs[record.job_id]
        if one is None or self._status != "IN_PROGRESS":
            return
        behavior = job.options.get("schedulingConfig", {}).get("endBehavior")
        by_end = job.ended and behavior == "FORCE_CANCEL"
        by_job = job.status == "CANCELED" and job.job_id in self._forced
        if not by_end and not by_job and not self._is_asked(one):
            self.broken(f"{one.thing_name} runs {one.job_id}, which is canceled without force")
        if not one.force_canceled:
            self.broken(f"{one.thing_name} ran {one.job_id}, which was canceled, but not with force")

    def _is_asked(self, one: Execution) -> bool:
        topic, body = self.world.tap.request or ("", None)
        return isinstance(body, dict) and (
            topic.endswith("/CancelJobExecution")
            and body.get("force") is True
            and (body.get("jobId"), body.get("thingName")) == (one.job_id, one.thing_name)
        )

    def is_settled(self) -> bool:
        return not self._unfinished()

    def ended(self) -> None:
        for what in self._unfinished():
            self.broken(what)

    def _unfinished(self) -> list[str]:
        """What the cancellations have not come to yet: they go in slices."""
        state, found = self.world.tap.state, []
        for job in state.jobs.values() if state is not None else ():
            waiting, running = job.counts["QUEUED"], job.counts["IN_PROGRESS"]
            if job.status == "CANCELED" and (waiting or (running and job.force_canceled)):
                found.append(f"{job.job_id} is canceled and has {waiting} QUEUED and {running} at work")
        return found
