"""What a checker is: it sees what happens and says when a promise is broken. It never interferes."""

from typing import TYPE_CHECKING, Any

from thingjobs_agent.events import StartStep
from thingjobs_agent.work import Checkpoint
from thingjobs_broker.core.outcome import Outcome
from thingjobs_broker.core.records import Record
from thingjobs_broker.core.state import Execution, State

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
    """Every execution there is, found by way of the things."""
    found: list[Execution] = []
    for thing in state.things.values():
        for newest in thing.executions.values():
            one: Execution | None = newest
            while one is not None:
                found.append(one)
                one = one.previous
    return found


def of_thing(state: State, thing_name: str) -> list[Execution]:
    """The pending executions of a thing that it may see, in queue order: those IN_PROGRESS first (4.5).

    Outside its windows a job is SCHEDULED, and what is QUEUED of it is hidden (control plane 6.3).
    """
    thing = state.things.get(thing_name)
    found: list[Execution] = []
    for newest in thing.executions.values() if thing is not None else ():
        one: Execution | None = newest
        while one is not None:
            hidden = one.status == "QUEUED" and state.jobs[one.job_id].status == "SCHEDULED"
            if one.status in PENDING and not hidden:
                found.append(one)
            one = one.previous
    found.sort(key=lambda one: (one.status != "IN_PROGRESS", one.queue_position))
    return found
