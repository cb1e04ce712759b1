"""`notify` if and only if the pending set changed, `notify-next` if and only if the identity of the front
changed (data plane 5.2), and both show what is so.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.simulation.checkers.base import Checker, of_thing
from thingjobs_broker.core.outcome import Outcome
from thingjobs_broker.core.records import Record
from thingjobs_broker.core.state import Execution, State

if TYPE_CHECKING:
    from tests.simulation.world import World

Identity = tuple[str, int]
SHOWN_MAX = 10


class Told(NamedTuple):
    """What a thing was told last: all that is pending, and what is at the front."""

    pending: set[Identity]
    front: Identity | None


class NotifyIff(Checker):
    """Keeps, step by step, what each thing was told, and compares it with what is so by its own count.

    Outside its windows a job is SCHEDULED, and what is QUEUED of it is hidden (control plane 6.3). While it
    turns, a thing may not know yet of its own execution; but nothing is said or answered that differs from
    what it knows.
    """

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._told: dict[str, Told] = {}
        self._doubtful: set[str] = set()
        """Things that may or may not have been told of a window before the service ended."""
        self._is_new = True

    def restarted(self) -> None:
        self._is_new = True

    def recovered(self, state: State, position: int) -> None:
        self._is_new = True

    def before(self, state: State, record: Record) -> None:
        if self._is_new:
            self._is_new = False
            self._told = {name: _told(_seen(state, name)) for name in state.things}
            self._doubtful = {name for name in state.things if any(_turning(state, name))}

    def stepped(self, outcome: Outcome) -> None:
        state = self.world.tap.state
        if state is None or self._is_new:
            return
        said = {message.topic: message.body for message in outcome.messages if "/notify" in message.topic}
        count = sum("/notify" in message.topic for message in outcome.messages)
        if count != len(said):
            self.broken("a notification was given twice in one step")
        for name in [*self._told]:
            if name not in state.things:
                # Nobody is there to be told (A31), and nobody knows anything when it comes back.
                del self._told[name]
                self._doubtful.discard(name)
        answered = _answered(outcome)
        if not outcome.records and not said and answered is None:
            return
        concerned = state.things if outcome.records or said else [answered or ""]
        for name in concerned:
            self._compare(state, name, said, was_answered=name == answered)
        if said:
            self.broken(f"{next(iter(said))} is about nobody")

    def _compare(self, state: State, name: str, said: dict[str, Any], *, was_answered: bool) -> None:
        was = self._told.get(name, Told(set(), None))
        base = f"$aws/things/{name}/jobs"
        notify, following = said.pop(f"{base}/notify", None), said.pop(f"{base}/notify-next", None)
        if name in self._doubtful and notify is None:
            if not any(_turning(state, name)):
                self.broken(f"{name} may not have been told of a window and never was")
            return
        is_doubtful = name in self._doubtful
        self._doubtful.discard(name)
        present, seen = of_thing(state, name), _seen(state, name)
        known = was.pending if notify is None else self._shown(name, notify, present, seen)
        known_now = [one for one in present if _identity(one) in known]
        front = _identity(known_now[0]) if known_now else None
        self._told[name] = now = Told(known, front)
        for one in known ^ {_identity(each) for each in seen}:
            if was_answered or one not in _turning(state, name):
                self.broken(f"{name} knows {sorted(known)} and may see {[*map(_identity, seen)]}")
        if notify is not None and known == was.pending and not is_doubtful:
            self.broken(f"{name} is told again of {sorted(known)}")
        if (now.front != was.front) != (following is not None) and not is_doubtful:
            what = "no" if following is None else "a"
            self.broken(f"{name} had {was.front} at the front and has {now.front}, {what} notify-next")
        if following is not None:
            shown = following.execution
            if ((shown.job_id, shown.execution_number) if shown else None) != front:
                self.broken(f"{name} has {front} at the front and is shown {shown}")

    def _shown(
        self, name: str, notify: Any, present: list[Execution], seen: list[Execution]
    ) -> set[Identity]:
        """What a `notify` tells of; of a long list, all that may be seen."""
        shown = [(one.job_id, one.execution_number) for listed in notify.jobs.values() for one in listed]
        if len(seen) > SHOWN_MAX or len(shown) >= SHOWN_MAX:
            return {_identity(one) for one in seen}
        if shown != [identity for one in present if (identity := _identity(one)) in shown]:
            self.broken(f"{name} has {[*map(_identity, present)]} and is shown {shown}")
        return set(shown)


class EverythingIsSaid(Checker):
    """What the core wants said is said, in order; only a crash or a failing disk may swallow it."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._waiting: list[str] = []

    def restarted(self) -> None:
        self._waiting = []

    def recovered(self, state: State, position: int) -> None:
        self._waiting = []

    def stepped(self, outcome: Outcome) -> None:
        if self.world.tap.state is not None:
            self._waiting += [message.topic for message in outcome.messages]

    def said(self, topic: str, body: Any, position: int) -> None:
        runner = self.world.machine.runner
        if runner is None or runner.state is None:
            # Refusals take the place of what was lost with the disk.
            return
        if not self._waiting or self._waiting[0] != topic:
            self.broken(f"{topic} is said before {self._waiting[:1]}")
            return
        del self._waiting[0]


def _identity(one: Execution) -> Identity:
    return one.job_id, one.execution_number


def _told(seen: list[Execution]) -> Told:
    return Told({_identity(one) for one in seen}, _identity(seen[0]) if seen else None)


def _seen(state: State, name: str) -> list[Execution]:
    """What a thing may see once all is said; a job that went in a closed window hides to its end."""
    closed = {job.job_id for job in state.jobs.values() if job.status == "SCHEDULED" or job.hides}
    return [one for one in of_thing(state, name) if one.status != "QUEUED" or one.job_id not in closed]


def _turning(state: State, name: str) -> set[Identity]:
    """What is QUEUED of jobs whose windows have just opened or closed."""
    found = of_thing(state, name)
    return {_identity(one) for one in found if one.status == "QUEUED" and state.jobs[one.job_id].turns}


def _answered(outcome: Outcome) -> str | None:
    """The device whose request was accepted by a step."""
    for message in outcome.messages[:1]:
        levels = message.topic.split("/")
        if levels[1] == "things" and levels[-1] == "accepted":
            return levels[2]
    return None
