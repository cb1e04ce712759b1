"""A rollout reaches each thing of a job exactly once, and no faster than it may (control plane 3)."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.simulation.checkers.base import Checker, coverage, executions
from tests.simulation.schedules import end_s
from thingjobs_broker.core.outcome import Outcome
from thingjobs_broker.core.records import ExecutionChanged, Record, RolloutAdvanced, ThingDeleted
from thingjobs_broker.core.state import Execution, Job, State

if TYPE_CHECKING:
    from tests.simulation.world import World

MINUTE_MS = 60_000


class EachThingOnce(Checker):
    """Counts first attempts; retries are the retry rule's. A SNAPSHOT is of those who belong to its targets
    when it begins, and of who bears a name that is itself a target.
    """

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._meddled: set[str] = set()
        """Jobs of which executions may have been deleted."""
        self._begun: dict[str, tuple[int, set[str]]] = {}
        """By job, when it was created and who belonged to its targets at its beginning."""
        self._gone: set[str] = set()
        """Things that were deleted at any time."""

    def asked(self, topic: str, body: Any) -> None:
        if topic.endswith("/DeleteJobExecution") and isinstance(body, dict):
            self._meddled.add(str(body.get("jobId")))

    def recovered(self, state: State, position: int) -> None:
        """What was lost has not begun."""
        for job_id in [*self._begun]:
            job = state.jobs.get(job_id)
            if job is None or (job.rollout is not None and not job.rollout.started_at_ms):
                del self._begun[job_id]

    def stepped(self, outcome: Outcome) -> None:
        state = self.world.tap.state
        for record in outcome.records if state is not None else ():
            assert state is not None
            if isinstance(record, ThingDeleted):
                self._gone.add(record.thing_name)
            elif isinstance(record, RolloutAdvanced) and (job := state.jobs.get(record.job_id)) is not None:
                begun = self._begun.get(job.job_id)
                if begun is None or begun[0] != job.created_at_ms:
                    everyone = set().union(*coverage(state, job).values())
                    self._begun[job.job_id] = job.created_at_ms, everyone

    def looked(self) -> None:
        state = self.world.tap.state
        if state is not None:
            self._count(state, is_over=False)

    def ended(self) -> None:
        state = self.world.tap.state
        if state is not None:
            self._count(state, is_over=True)

    def _count(self, state: State, *, is_over: bool) -> None:
        found = executions(state)
        firsts = Counter((one.job_id, one.thing_name) for one in found if not one.retry_attempt)
        for job in state.jobs.values():
            if job.target_selection == "CONTINUOUS":
                continue
            mine = {thing: count for (job_id, thing), count in firsts.items() if job_id == job.job_id}
            for thing, count in mine.items():
                if count > 1:
                    self.broken(f"the rollout of {job.job_id} gave {thing} {count} executions")
            starts = [one.queued_at_ms for one in found if one.job_id == job.job_id and not one.retry_attempt]
            self._check_rate(job, sorted(starts))
            created_at_ms, everyone = self._begun.get(job.job_id, (0, set()))
            if created_at_ms != job.created_at_ms:
                continue
            named = {target.rpartition("/")[2] for target in job.targets if ":thing/" in target}
            if strangers := mine.keys() - everyone - named:
                self.broken(f"{job.job_id} reached {sorted(strangers)}, who came after it had begun")
            if job.ended or job.job_id in self._meddled:
                continue
            is_whole = job.status == "COMPLETED" or (is_over and job.status == "IN_PROGRESS")
            if is_whole and (missed := everyone - mine.keys() - self._gone):
                self.broken(f"{job.job_id} reached {len(mine)} things, and not {sorted(missed)}")

    def _check_rate(self, job: Job, starts: list[int]) -> None:
        """A sliding minute touches two windows of the rollout."""
        rate = (job.options.get("jobExecutionsRolloutConfig") or {}).get("maximumPerMinute")
        if rate is None:
            return
        for first, after in zip(starts, starts[2 * rate :], strict=False):
            if after - first < MINUTE_MS:
                self.broken(f"{job.job_id} gave more than {2 * rate} executions in a minute")


class RetriesAreCounted(Checker):
    """Each failure that has retries left is followed by another attempt, and no other (data plane 7).

    The budget of a failure type is per thing; ALL is one budget of both.
    """

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._meddled: set[str] = set()
        self._ended: list[tuple[str, str, int]] = []

    def asked(self, topic: str, body: Any) -> None:
        if topic.endswith("/DeleteJobExecution") and isinstance(body, dict):
            self._meddled.add(str(body.get("jobId")))

    def restarted(self) -> None:
        self._ended = []

    def applied(self, state: State, record: Record) -> None:
        if isinstance(record, ExecutionChanged) and record.status in ("FAILED", "TIMED_OUT"):
            end = end_s(state.jobs[record.job_id].options)
            if end is not None and record.at_ms / 1000 >= end:
                # None after endTime (control plane 6.2), as `SchedulesAreKept` checks.
                return
            self._ended.append((record.thing_name, record.job_id, record.execution_number))

    def stepped(self, outcome: Outcome) -> None:
        state, ended, self._ended = self.world.tap.state, self._ended, []
        for thing_name, job_id, number in ended if state is not None else ():
            assert state is not None
            job, thing = state.jobs.get(job_id), state.things.get(thing_name)
            if job is None or thing is None or job_id in self._meddled or job.ended:
                continue
            chain = [thing.executions[job_id]]
            while (before := chain[-1].previous) is not None:
                chain.append(before)
            is_followed = chain[0].execution_number > number
            is_member = job.target_selection == "SNAPSHOT" or any(
                thing_name in members for members in coverage(state, job).values()
            )
            is_owed = job.status == "IN_PROGRESS" and is_member and self._is_owed(job, chain, number)
            # An abort, a closed window, and a retry of a CONTINUOUS job's next membership are other rules'.
            if is_owed != is_followed and job.status in ("IN_PROGRESS", "COMPLETED"):
                self.broken(f"{thing_name}/{job_id}/{number} is followed: {is_followed}, owed: {is_owed}")

    @staticmethod
    def _is_owed(job: Job, chain: list[Execution], number: int) -> bool:
        ended = next(one for one in chain if one.execution_number == number)
        first = ended.execution_number - ended.retry_attempt
        mine = [one.status for one in chain if first <= one.execution_number <= number]
        for criterion in (job.options.get("jobExecutionsRetryConfig") or {}).get("criteriaList", []):
            kind = criterion["failureType"]
            if kind in ("ALL", ended.status):
                failed = [one for one in mine if one in ("FAILED", "TIMED_OUT") and kind in ("ALL", one)]
                return len(failed) <= int(criterion["numberOfRetries"])
        return False
