"""That worlds are inhabited: a promise about what never happens in any of them would be kept unseen."""

from collections import Counter

import pytest

from tests.simulation.checkers.base import Checker, of_thing
from tests.simulation.world import World
from thingjobs_broker.core.outcome import Outcome
from thingjobs_broker.core.records import (
    ExecutionChanged,
    ExecutionQueued,
    GroupCreated,
    JobCreated,
    Record,
    ThingDeleted,
    ThingGroupsChanged,
    TurnChanged,
)
from thingjobs_broker.core.state import State

SEEDS = 20
AT_LEAST = {
    "groups": 80,
    "joins": 120,
    "departures": 40,
    "departures while something waits or runs": 15,
    "given by a join": 8,
    "removed by a departure": 3,
    "things deleted": 8,
    "things deleted while something waits or runs": 3,
    "jobs": 50,
    "jobs on groups": 20,
    "CONTINUOUS jobs on groups": 10,
    "jobs with a schedule": 15,
    "things that wait for a window": 1,
    "executions": 120,
    "forced cancellations": 4,
}
"""About half of what it was when this was written; what is 0 is not simulated any more."""


class Census(Checker):
    """Counts what happens in the served state."""

    def __init__(self, world: World, counts: Counter[str]) -> None:
        super().__init__(world)
        self._counts = counts
        self._joined: set[str] = set()
        self._left: set[str] = set()

    def before(self, state: State, record: Record) -> None:
        if isinstance(record, ThingGroupsChanged) and record.left:
            self._counts["departures"] += 1
            self._counts["departures while something waits or runs"] += bool(
                of_thing(state, record.thing_name)
            )
        elif isinstance(record, ThingDeleted):
            self._counts["things deleted"] += 1

    def applied(self, state: State, record: Record) -> None:
        counts = self._counts
        match record:
            case GroupCreated():
                counts["groups"] += 1
            case ThingGroupsChanged():
                counts["joins"] += bool(record.joined)
                self._joined |= {record.thing_name} if record.joined else set()
                self._left |= {record.thing_name} if record.left else set()
            case JobCreated():
                self._job_created(state, record.job_id)
            case TurnChanged():
                counts["things that wait for a window"] += record.turn == "owed"
            case ExecutionQueued():
                counts["executions"] += 1
                counts["given by a join"] += record.thing_name in self._joined
            case ExecutionChanged(status="REMOVED"):
                is_departure = record.thing_name in self._left
                what = "removed by a departure" if is_departure else _DELETED_AT_WORK
                counts[what] += 1
            case ExecutionChanged(status="CANCELED", cause="forced"):
                counts["forced cancellations"] += 1
            case _:
                pass

    def _job_created(self, state: State, job_id: str) -> None:
        job, counts = state.jobs[job_id], self._counts
        counts["jobs"] += 1
        counts["jobs with a schedule"] += "schedulingConfig" in job.options
        if any(":thinggroup/" in target for target in job.targets):
            counts["jobs on groups"] += 1
            counts["CONTINUOUS jobs on groups"] += job.target_selection == "CONTINUOUS"

    def stepped(self, outcome: Outcome) -> None:
        self._joined.clear()
        self._left.clear()


_DELETED_AT_WORK = "things deleted while something waits or runs"


@pytest.mark.broker
@pytest.mark.timeout(120)
def test_worlds_are_inhabited() -> None:
    """Issue 4, item 4: groups, schedules and things that vanish are in the worlds, and meet living jobs."""
    counts: Counter[str] = Counter()
    for seed in range(1, SEEDS + 1):
        world = World(seed)
        world.checkers.append(Census(world, counts))
        world.run()
    missing = {what: counts[what] for what, least in AT_LEAST.items() if counts[what] < least}
    assert not missing
