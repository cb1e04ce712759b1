"""`notify` if and only if the pending set changed, `notify-next` if and only if the identity of the front
changed (data plane 5.2), and both show what is so.
"""

from typing import TYPE_CHECKING, Any

from tests.simulation.checkers.base import Checker, of_thing
from thingjobs_broker.core.outcome import Outcome
from thingjobs_broker.core.records import Record
from thingjobs_broker.core.state import Execution, State

if TYPE_CHECKING:
    from tests.simulation.world import World

Identity = tuple[str, int, int]
SHOWN_MAX = 10


class NotifyIff(Checker):
    """Compares, step by step, what each thing had with what it has, by its own count of both."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._seen: dict[str, list[Identity]] = {}
        """By thing, what was pending at the end of the step before, front first."""
        self._is_new = True

    def restarted(self) -> None:
        self._is_new = True

    def recovered(self, state: State, position: int) -> None:
        self._is_new = True

    def before(self, state: State, record: Record) -> None:
        if self._is_new:
            self._is_new = False
            self._seen = {name: _identities(of_thing(state, name)) for name in state.things}

    def stepped(self, outcome: Outcome) -> None:
        state = self.world.tap.state
        if state is None or self._is_new:
            return
        told = {message.topic: message.body for message in outcome.messages if "/notify" in message.topic}
        count = sum("/notify" in message.topic for message in outcome.messages)
        if count != len(told):
            self.broken("a notification was given twice in one step")
        if not outcome.records and not told:
            return
        for name in state.things:
            self._compare(state, name, told)
        if told:
            self.broken(f"{next(iter(told))} is about nobody")

    def _compare(self, state: State, name: str, told: dict[str, Any]) -> None:
        present = of_thing(state, name)
        now, was = _identities(present), self._seen.get(name, [])
        self._seen[name] = now
        base = f"$aws/things/{name}/jobs"
        notify, following = told.pop(f"{base}/notify", None), told.pop(f"{base}/notify-next", None)
        if (set(now) != set(was)) != (notify is not None):
            self.broken(f"{name} had {was} and has {now}, {'no' if notify is None else 'a'} notify")
        if (now[:1] != was[:1]) != (following is not None):
            self.broken(f"{name} had {was} and has {now}, {'no' if following is None else 'a'} notify-next")
        if notify is not None:
            shown = [summary.job_id for summaries in notify.jobs.values() for summary in summaries]
            if shown != [one.job_id for one in present][:SHOWN_MAX]:
                self.broken(f"{name} has {now} and is shown {shown}")
        if following is not None:
            front = following.execution
            shown = [] if not front else [(front.job_id, front.execution_number)]
            if shown != [(job_id, number) for job_id, number, _ in now[:1]]:
                self.broken(f"{name} has {now} and is shown {shown} as next")


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


def _identities(present: list[Execution]) -> list[Identity]:
    return [(one.job_id, one.execution_number, one.queued_at_ms) for one in present]
