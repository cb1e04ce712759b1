"""A rollout reaches each thing of a job exactly once, and no faster than it may (control plane 3)."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.simulation.checkers.base import Checker, executions
from thingjobs_broker.core.state import Job, State

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
    """No thing fails more often than its retries allow (data plane 7): n retries are n + 1 attempts."""

    def looked(self) -> None:
        state = self.world.tap.state
        if state is None:
            return
        for job in state.jobs.values():
            criteria = (job.options.get("jobExecutionsRetryConfig") or {}).get("criteriaList", [])
            allowed = sum(int(criterion["numberOfRetries"]) for criterion in criteria)
            for one in job.executions:
                if one is not None and one.retry_attempt > allowed:
                    self.broken(f"{one.thing_name} has retry {one.retry_attempt} of {job.job_id}")

    def ended(self) -> None:
        self.looked()
