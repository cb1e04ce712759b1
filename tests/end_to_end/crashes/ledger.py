"""What was asked of the service and what it has told, by whomever; compares, and knows nothing of MQTT.

Every fact (a reply, a notification, an acknowledgment, what an operator sees) speaks of one version of one
execution. Each must be the fact told before about that version, or what some request would have made of the
version before. So what was told once holds for ever, across every crash, and nothing happens by itself.
"""

from collections import defaultdict
from typing import NamedTuple

QUEUED, IN_PROGRESS = "QUEUED", "IN_PROGRESS"


class Key(NamedTuple):
    """An execution; there is one of each job on each thing."""

    thing: str
    job_id: str


class Fact(NamedTuple):
    """One version of an execution: `token` names the request that made it, empty for the service itself."""

    version: int
    status: str
    token: str


FIRST = Fact(1, QUEUED, "")


class Ledger:
    """Told facts and open questions. `differences` are sentences, empty as long as all is well.

    `redelivers` says that the broker may bring a request twice, so that one request to start the next
    execution may start two, one after the other.
    """

    def __init__(self, *, redelivers: bool) -> None:
        self.differences: list[str] = []
        self.facts = 0
        self._redelivers = redelivers
        self._told: dict[Key, dict[int, Fact]] = defaultdict(lambda: {1: FIRST})
        self._started_at: dict[Key, int] = {}
        self._possible: dict[Key, set[Fact]] = defaultdict(set)
        self._starts: dict[str, set[str]] = defaultdict(set)
        self._started_by: dict[str, Key] = {}
        self._jobs: set[str] = set()

    # What is asked, noted before it is sent

    def will_start(self, thing: str, token: str) -> None:
        """A device asks for the next execution."""
        self._starts[thing].add(token)

    def will_update(self, key: Key, fact: Fact) -> None:
        """A device asks, expecting the version before, for what `fact` says."""
        self._possible[key].add(fact)

    # What is told

    def job_accepted(self, job_id: str) -> None:
        """An operator was told that the job is there."""
        self._jobs.add(job_id)

    def told(self, key: Key, fact: Fact, source: str, started_at: int | None = None) -> None:
        """Somebody was told so."""
        self.facts += 1
        told = self._told[key]
        before = told.get(fact.version)
        if before is None:
            self._check_new(key, fact, source)
        elif before != fact:
            self._differ(key, f"{source} says {fact}, but {before} had been told")
        told[fact.version] = fact
        if started_at is not None and self._started_at.setdefault(key, started_at) != started_at:
            self._differ(key, f"{source} says it was started at {started_at}, not at {self._started_at[key]}")

    def newest(self, key: Key) -> int:
        """The highest version that was told, 1 where nothing was."""
        return max(self._told[key])

    def executions(self) -> set[Key]:
        """All of which more was told than that they wait."""
        return {key for key, told in self._told.items() if len(told) > 1}

    def jobs(self) -> set[str]:
        """All jobs that were accepted."""
        return set(self._jobs)

    # What the service knows

    def known(self, key: Key, fact: Fact | None, at_least: int, started_at: int | None = None) -> None:
        """Compare with what the service says now; `at_least` was told before it was asked."""
        if fact is None:
            self._differ(key, f"it is gone, and version {at_least} had been told")
            return
        if fact.version < at_least:
            self._differ(key, f"it is at version {fact.version}, and version {at_least} had been told")
        self.told(key, fact, "the service", started_at)

    def known_job(self, job_id: str, *, exists: bool) -> None:
        """Compare what was told of a job with what the service says now."""
        if not exists:
            self.differences.append(f"job {job_id} had been accepted and is gone")

    def _check_new(self, key: Key, fact: Fact, source: str) -> None:
        if (fact.version, fact.status) == (2, IN_PROGRESS) and fact.token in self._starts[key.thing]:
            other = self._started_by.setdefault(fact.token, key)
            if other != key and not self._redelivers:
                self._differ(key, f"{source} says {fact}, and the same request has started {other}")
        elif fact not in self._possible[key]:
            self._differ(key, f"{source} says {fact}, which nobody has asked for")

    def _differ(self, key: Key, what: str) -> None:
        self.differences.append(f"{key.job_id} on {key.thing}: {what}")
