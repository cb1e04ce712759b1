"""Jobs follow who belongs to their targets (control plane 2.5; data plane 4.6), and a deleted thing leaves
nothing unfinished behind (A31).
"""

from typing import TYPE_CHECKING

from tests.simulation.checkers.base import PENDING, Checker, attempts, coverage, found
from thingjobs_broker.core.outcome import Outcome
from thingjobs_broker.core.records import ExecutionChanged, ExecutionQueued, Record, ThingDeleted
from thingjobs_broker.core.state import Job, State

if TYPE_CHECKING:
    from tests.simulation.world import World

Membership = tuple[str, str]
"""(job, thing)."""


class JobsFollowMembership(Checker):
    """Of CONTINUOUS jobs: who joins gets one, now or with the next window; who leaves loses what waits.

    A thing of a name that is itself a target is a new one when it was deleted meanwhile, and gets nothing.
    """

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._members: dict[str, dict[str, set[str]]] = {}
        """By job and target, who belonged to it at the end of the step before."""
        self._due: set[Membership] = set()
        self._gone: set[str] = set()
        """Things that were deleted at any time."""
        self._is_new = True

    def restarted(self) -> None:
        self._is_new = True
        self._due.clear()

    def recovered(self, state: State, position: int) -> None:
        """What the disk refused has not happened, also where the service runs on."""
        self.restarted()

    def before(self, state: State, record: Record) -> None:
        if self._is_new:
            self._is_new = False
            self._members = {job.job_id: coverage(state, job) for job in _followed(state)}

    def applied(self, state: State, record: Record) -> None:
        if isinstance(record, ExecutionQueued):
            self._due.discard((record.job_id, record.thing_name))
        elif isinstance(record, ThingDeleted):
            self._gone.add(record.thing_name)

    def stepped(self, outcome: Outcome) -> None:
        state = self.world.tap.state
        if state is None or self._is_new or not outcome.records:
            return
        followed = _followed(state)
        before, self._members = self._members, {job.job_id: coverage(state, job) for job in followed}
        for job in followed:
            now = self._members[job.job_id]
            was = before.get(job.job_id, now)
            everyone = set().union(*now.values())
            self._due = {one for one in self._due if one[0] != job.job_id or one[1] in everyone}
            for target, members in now.items():
                if ":thing/" in target:
                    continue
                for name in sorted(members - was.get(target, members)):
                    self._joined(state, job, name)
            self._check(state, job, everyone)
        jobs = {job.job_id for job in followed}
        self._due = {one for one in self._due if one[0] in jobs}

    def _joined(self, state: State, job: Job, name: str) -> None:
        newest = state.things[name].executions.get(job.job_id)
        if newest is None or newest.status not in PENDING:
            self._due.add((job.job_id, name))

    def _check(self, state: State, job: Job, everyone: set[str]) -> None:
        if job.status == "IN_PROGRESS" and not job.turns and not job.owed:
            for job_id, name in sorted(self._due):
                if job_id == job.job_id:
                    self.broken(f"{name} has joined {job_id} and has nothing of it")
        # The members of a group that is being deleted are yet to leave.
        if state.groups_at_work:
            return
        for one in job.executions:
            if one is not None and one.status == "QUEUED" and one.thing_name not in everyone:
                self.broken(f"{one.thing_name} is no target of {job.job_id} and has it QUEUED")

    def ended(self) -> None:
        state = self.world.tap.state
        for job in _followed(state) if state is not None else ():
            if job.status != "IN_PROGRESS" or job.numbers_used:
                continue
            assert state is not None
            for name in sorted(set().union(*coverage(state, job).values()) - self._gone):
                if job.job_id not in state.things[name].executions:
                    self.broken(f"{name} is a target of {job.job_id} and never had it")


class RemovalsHaveReasons(Checker):
    """What runs is REMOVED with its thing only; what waits, too when that leaves a CONTINUOUS job."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._status = ""
        self._removed: list[tuple[ExecutionChanged, str]] = []

    def recovered(self, state: State, position: int) -> None:
        self._removed = []

    def before(self, state: State, record: Record) -> None:
        if isinstance(record, ExecutionChanged):
            one = found(state, record)
            self._status = one.status if one is not None else ""

    def applied(self, state: State, record: Record) -> None:
        if isinstance(record, ExecutionChanged) and record.status == "REMOVED":
            self._removed.append((record, self._status))

    def stepped(self, outcome: Outcome) -> None:
        state, removed, self._removed = self.world.tap.state, self._removed, []
        if state is None:
            return
        gone = {record.thing_name for record in outcome.records if isinstance(record, ThingDeleted)}
        for record, status in removed:
            name, job_id = record.thing_name, record.job_id
            if name in gone:
                continue
            if status == "IN_PROGRESS":
                self.broken(f"{name} runs {job_id} and loses it, though it is still there")
            job = state.jobs.get(job_id)
            if job is not None and job.target_selection == "SNAPSHOT":
                self.broken(f"{job_id} is a SNAPSHOT and removes what {name} has of it")
            elif job is not None and any(name in members for members in coverage(state, job).values()):
                self.broken(f"{name} is a target of {job_id} and loses it")
        for name in sorted(gone):
            self._check_gone(state, name, outcome)

    def _check_gone(self, state: State, name: str, outcome: Outcome) -> None:
        if name in state.things:
            self.broken(f"{name} was deleted and is there")
        departed = state.departed.get(name)
        left = [
            one for newest in (departed.executions.values() if departed else ()) for one in attempts(newest)
        ]
        for one in left:
            if one.status in PENDING:
                self.broken(f"{name} was deleted and {one.job_id} of it is {one.status}")
        if any(f"/things/{name}/jobs/notify" in message.topic for message in outcome.messages):
            self.broken(f"{name} was deleted and is notified")

    def looked(self) -> None:
        state = self.world.tap.state
        for job in state.jobs.values() if state is not None else ():
            assert state is not None
            for one in job.executions:
                if one is not None and one.status in PENDING and one.thing_name not in state.things:
                    self.broken(f"{one.job_id} is {one.status} for {one.thing_name}, which is not there")


def _followed(state: State) -> list[Job]:
    """CONTINUOUS jobs whose targets are in use."""
    return [
        job
        for job in state.jobs.values()
        if job.target_selection == "CONTINUOUS"
        and job.status in ("IN_PROGRESS", "SCHEDULED")
        and not job.ended
        and job.rollout is None
    ]
