"""What a checker is: it sees what happens and says when a promise is broken. It never interferes."""

from typing import TYPE_CHECKING, Any

from thingjobs_agent.events import StartStep
from thingjobs_agent.work import Checkpoint
from thingjobs_broker.core.outcome import Outcome
from thingjobs_broker.core.records import ExecutionChanged, ExecutionDeleted, Record
from thingjobs_broker.core.state import Execution, Job, State

if TYPE_CHECKING:
    from tests.simulation.world import World

PENDING = ("QUEUED", "IN_PROGRESS")


class Checker:
    """Sees nothing unless it wants to. Bodies are decoded JSON, None for what is none."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def broken(self, what: str) -> None:
        """The promise is broken."""
        self.world.failed(type(self).__name__, what)

    @property
    def now_us(self) -> int:
        return self.world.schedule.now_us

    def restarted(self) -> None:
        """The service starts."""

    def asked(self, topic: str, body: Any) -> None:
        """A request reaches the service."""

    def settled(self, topic: str, body: Any) -> None:
        """The service is done with a request: its answer has left."""

    def before(self, state: State, record: Record) -> None:
        """The state that is served is about to change."""

    def applied(self, state: State, record: Record) -> None:
        """The state that is served has changed."""

    def stepped(self, outcome: Outcome) -> None:
        """The core has ended a step."""

    def said(self, topic: str, body: Any, position: int) -> None:
        """A message leaves the service; it tells of nothing after that journal position."""

    def reconnected(self) -> None:
        """The broker lets the service in. What was not acknowledged or confirmed is sent again."""

    def brought(self, packet_id: int) -> None:
        """A request of QoS 1 reaches the service, perhaps again."""

    def arrived(self, topic: str, body: Any) -> None:
        """A message of the service has reached the broker."""

    def acknowledged(self, packet_id: int, topic: str, body: Any, *, is_dropped: bool) -> None:
        """The service lets the broker forget a request; one that is dropped gets no answer."""

    def recovered(self, state: State, position: int) -> None:
        """A state was read from the disk."""

    def heard(self, name: str, topic: str, payload: bytes) -> None:
        """A device receives a message."""

    def step_started(self, thing_name: str, command: StartStep, checkpoint: Checkpoint) -> None:
        """An agent begins a step; the checkpoint is what its disk holds then."""

    def looked(self) -> None:
        """Some time has passed."""

    def is_settled(self) -> bool:
        """Whether nothing more is to come, once the disasters are over."""
        return True

    def ended(self) -> None:
        """The quiet end."""


def executions(state: State) -> list[Execution]:
    """Every execution there is, found by way of the things, those that are gone too."""
    found: list[Execution] = []
    for thing in (*state.things.values(), *state.departed.values()):
        for newest in thing.executions.values():
            one: Execution | None = newest
            while one is not None:
                found.append(one)
                one = one.previous
    return found


def of_thing(state: State, thing_name: str) -> list[Execution]:
    """The pending executions of a thing, in queue order: those IN_PROGRESS first (4.5)."""
    thing = state.things.get(thing_name)
    found = [
        one
        for newest in (thing.executions.values() if thing is not None else ())
        for one in attempts(newest)
        if one.status in PENDING
    ]
    found.sort(key=lambda one: (one.status != "IN_PROGRESS", one.queue_position))
    return found


def attempts(newest: Execution | None) -> list[Execution]:
    """An execution and those before it of its job on its thing, the newest first."""
    found: list[Execution] = []
    while newest is not None:
        found.append(newest)
        newest = newest.previous
    return found


def found(state: State, record: ExecutionChanged | ExecutionDeleted) -> Execution | None:
    """The execution that a record is about."""
    thing = state.things.get(record.thing_name) or state.departed.get(record.thing_name)
    newest = thing.executions.get(record.job_id) if thing is not None else None
    number = record.execution_number
    return next((one for one in attempts(newest) if one.execution_number == number), None)


def coverage(state: State, job: Job) -> dict[str, set[str]]:
    """By each target of a job, the things that belong to it now, directly or by a group below it."""
    return {target: {name for name in state.things if _is_in(state, name, target)} for target in job.targets}


def _is_in(state: State, thing_name: str, target: str) -> bool:
    kind, name = target.rpartition(":")[2].split("/")
    if kind == "thing":
        return name == thing_name
    for group_id in state.things[thing_name].groups:
        group = state.groups[group_id]
        is_alive = group.status != "LEAVING"
        while is_alive and group.group_name != name and group.parent_id:
            group = state.groups[group.parent_id]
        if is_alive and group.group_name == name:
            return True
    return False
