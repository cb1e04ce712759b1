"""What was said survives (architecture 4.1, 4.6): nothing leaves before its record is synced, nothing that
was said is lost, and what is recovered is what was lived.
"""

from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.broker.core.world import picture
from tests.broker.store.faults import SimulatedDisk
from tests.simulation.checkers.base import Checker
from thingjobs_broker.core.records import ServiceStarted
from thingjobs_broker.core.state import Execution, State
from thingjobs_broker.store.errors import StoreError
from thingjobs_broker.store.journal import Journal
from thingjobs_broker.store.store import JOURNAL, Store
from thingjobs_protocol.status import TERMINAL

if TYPE_CHECKING:
    from tests.simulation.world import World

SAMPLED = 0.03


class _Nothing(Random):
    """Lets nothing survive a power cut that need not."""

    def choice(self, _seq: Any) -> Any:
        return 0.0


def after_the_worst(disk: SimulatedDisk) -> SimulatedDisk:
    """The disk if the power failed now and everything unsynced were lost."""
    return disk.after_power_cut(_Nothing(0))


class SyncedBeforeSaid(Checker):
    """A message leaves only when what it tells of would survive a power cut."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._random = Random(world.seed)
        self._known = 0
        """This position was found durable."""

    def restarted(self) -> None:
        self._known = 0

    def said(self, topic: str, body: Any, position: int) -> None:
        if position <= self._known:
            return
        disk = self.world.machine.disk
        is_unsynced = any(inode.unsynced for path, inode in disk._seen.items() if path.parent.name == JOURNAL)
        if not is_unsynced and self._random.random() > SAMPLED:
            return
        worst = after_the_worst(disk)
        self._known = Journal.open(worst, disk.root / JOURNAL).last_position
        if self._known < position:
            self.broken(f"{topic} tells of position {position}, but only {self._known} is durable")


class Told(NamedTuple):
    """What somebody was told about an execution."""

    version: int
    status: str


Key = tuple[str, str, int, int]
"""(thing, job, executionNumber, queuedAt)."""


class NothingToldIsLost(Checker):
    """Whatever a device was told about an execution, the service knows ever after, or something newer."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._told: dict[Key, Told] = {}
        self._jobs: set[str] = set()
        """Accepted, and nobody has asked to delete them."""
        self._deletable: set[str] = set()

    def asked(self, topic: str, body: Any) -> None:
        if topic.endswith(("/DeleteJob", "/DeleteJobExecution")) and isinstance(body, dict):
            self._deletable.add(str(body.get("jobId")))
            self._jobs.discard(str(body.get("jobId")))

    def said(self, topic: str, body: Any, position: int) -> None:
        levels = topic.split("/")
        if topic.endswith("/CreateJob/accepted"):
            if body["jobId"] not in self._deletable:
                self._jobs.add(body["jobId"])
            return
        if levels[1] != "things":
            return
        thing = levels[2]
        if "execution" in body:
            one = body["execution"]
            self._tell(thing, one, one["status"])
        for status, summaries in (body.get("jobs") or {}).items():
            for one in summaries:
                self._tell(thing, one, status)

    def _tell(self, thing: str, shown: dict[str, Any], status: str) -> None:
        key = thing, shown["jobId"], shown["executionNumber"], shown["queuedAt"]
        known = self._told.get(key)
        if known is None or known.version < shown["versionNumber"]:
            self._told[key] = Told(shown["versionNumber"], status)

    def accepted(self, key: Key, told: Told) -> None:
        """An update was accepted with that state (`UpdatesAreAsAsked` knows of which execution)."""
        known = self._told.get(key)
        if known is None or known.version < told.version:
            self._told[key] = told

    def recovered(self, state: State, position: int) -> None:
        self._compare(state)

    def ended(self) -> None:
        state = self.world.tap.state
        if state is not None:
            self._compare(state)

    def _compare(self, state: State) -> None:
        for job_id in self._jobs:
            if job_id not in state.jobs:
                self.broken(f"job {job_id} was accepted and is not there")
        for (thing, job_id, number, queued_at), told in self._told.items():
            found = _find(state, thing, job_id, number)
            if found is None or found.queued_at_ms // 1000 != queued_at:
                if job_id not in self._deletable:
                    self.broken(f"{thing} was told of {job_id} number {number}, which is not there")
            elif found.version_number < told.version:
                self.broken(f"{thing} was told {told} of {job_id}, found version {found.version_number}")
            elif told.status in TERMINAL and found.status != told.status:
                self.broken(f"{thing} was told {told} of {job_id}, found {found.status}")


def _find(state: State, thing_name: str, job_id: str, number: int) -> Execution | None:
    thing = state.things.get(thing_name) or state.departed.get(thing_name)
    one = thing.executions.get(job_id) if thing is not None else None
    while one is not None and one.execution_number != number:
        one = one.previous
    return one


class RecoveredEqualsLived(Checker):
    """What comes from the disk is what the records up to there led to, in the service that made them."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._shadow = State()
        self._position = 0

    def recovered(self, state: State, position: int) -> None:
        if position < self._position:
            self.broken(f"the journal ends at {position}, but {self._position} was durable")
            return
        entries = self.world.tap.entries
        for number in range(self._position + 1, position + 1):
            if number not in entries:
                self.broken(f"nobody made the entry {number}")
                return
            for record in entries[number]:
                self._shadow.apply(record)
        self._position = position
        _compare(self, state, self._shadow, "recovered")

    def ended(self) -> None:
        """At the quiet end the worst power cut changes nothing."""
        live = self.world.tap.state
        if live is None:
            self.broken("the service is not up, though nothing is wrong any more")
            return
        worst = after_the_worst(self.world.machine.disk)
        try:
            recovered = Store(worst, worst.root).load()
        except StoreError as error:
            self.broken(f"what is on the disk at the end cannot be recovered: {error}")
        else:
            _compare(self, recovered, live, "recovered at the end")


def _compare(checker: Checker, found: State, wanted: State, what: str) -> None:
    seen, right = picture(found), picture(wanted)
    if seen != right:
        parts = [name for name in right if seen[name] != right[name]]
        first = parts[0]
        detail = _difference(seen[first], right[first])
        checker.broken(f"{what} differs in {parts}: {detail}")
    elif found.last_start != wanted.last_start:
        checker.broken(f"{what} differs in {ServiceStarted.__name__}")


def _difference(found: Any, wanted: Any, path: str = "") -> str:
    """The first place where two plain values differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in [*wanted, *found]:
            if found.get(key) != wanted.get(key):
                return _difference(found.get(key), wanted.get(key), f"{path}/{key}")
    return f"{path}: {found!r:.200} instead of {wanted!r:.200}"
