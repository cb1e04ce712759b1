"""A rollout reaches each thing of a job exactly once, and no faster than it may (control plane 3)."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.simulation.checkers.base import Checker, executions
from thingjobs_broker.core.outcome import Outcome
from thingjobs_broker.core.records import ExecutionChanged, Record
from thingjobs_broker.core.state import Execution, Job, State

if TYPE_CHECKING:
    from tests.simulation.world import World

MINUTE_MS = 60_000


class EachThingOnce(Checker):
    """Counts first attempts; retries are the retry rule's."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._meddled: set[str] = set()
        """Jobs of which executions may have been deleted."""

    def asked(self, topic: str, body: Any) -> None:
        if topic.endswith("/DeleteJobExecution") and isinstance(body, dict):
            self._meddled.add(str(body.get("jobId")))

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
        for (job_id, thing), count in firsts.items():
            if count > 1:
                self.broken(f"the rollout of {job_id} gave {thing} {count} executions")
        for job in state.jobs.values():
            starts = [one.queued_at_ms for one in found if one.job_id == job.job_id and not one.retry_attempt]
            self._check_rate(job, sorted(starts))
            if job.job_id in self._meddled:
                continue
            given = sum(count for (job_id, _), count in firsts.items() if job_id == job.job_id)
            is_whole = job.status == "COMPLETED" or (is_over and job.status == "IN_PROGRESS")
            if is_whole and given != len(set(job.targets)):
                self.broken(f"{job.job_id} reached {given} of {len(set(job.targets))} things")

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
            is_owed = job.status == "IN_PROGRESS" and self._is_owed(job, chain, number)
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
