"""One step of the core: applies records, remembers whose pending executions it touched, and at its end says
so.

Order of the messages: the reply, then for each touched thing `notify` and `notify-next`, then events (data
plane A25).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingjobs_broker.core import pending, views
from thingjobs_broker.core.outcome import Message, Outcome
from thingjobs_protocol import topics
from thingjobs_protocol.messages import NextJobExecutionChanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.core.naming import Naming
    from thingjobs_broker.core.records import Record
    from thingjobs_broker.core.state import Job, State, Thing


class Step:
    """The transaction that every rule writes into. Its records become durable together or not at all."""

    __slots__ = (
        "_events",
        "_messages",
        "_records",
        "_watched",
        "naming",
        "new_id",
        "now_ms",
        "state",
        "sweeps",
    )

    def __init__(self, state: State, naming: Naming, new_id: Callable[[], str], now_ms: int) -> None:
        self.state = state
        self.naming = naming
        self.new_id = new_id
        self.now_ms = now_ms
        self._records: list[Record] = []
        self._messages: list[Message] = []
        self._events: list[Message] = []
        self.sweeps: list[str] = []
        """Jobs whose executions have to follow a cancellation."""
        self._watched: dict[str, tuple[Thing, int, pending.Identity | None]] = {}

    def apply(self, record: Record) -> None:
        """Change the state and keep the record."""
        self.state.apply(record)
        self._records.append(record)

    def watch(self, thing: Thing) -> None:
        """Remember the thing's pending set and front as they are before a change of it."""
        if thing.thing_name not in self._watched:
            self._watched[thing.thing_name] = (thing, thing.pending_revision, pending.front_identity(thing))

    def reply(self, topic: str, body: Any) -> None:
        """Publish the answer to the request."""
        self._messages.append(Message(topic, body))

    def event(self, message: Message) -> None:
        """Publish an event, after everything that goes to devices."""
        self._events.append(message)

    def sweep(self, job: Job) -> None:
        """Let the job's executions follow its cancellation, slice by slice."""
        self.sweeps.append(job.job_id)

    def finish(self) -> Outcome:
        """Return the outcome, with the notifications that are due.

        `notify` iff the membership of the pending set changed, `notify-next` iff the identity of the front
        changed (spec: data plane 5.2).
        """
        for thing, revision, identity in self._watched.values():
            self._notify(thing, revision, identity)
        return Outcome(self._records, self._messages + self._events)

    def _notify(self, thing: Thing, revision: int, identity: pending.Identity | None) -> None:
        root = self.naming.topic_root
        if thing.pending_revision != revision:
            body = views.pending_changed(thing, self.now_ms)
            self._messages.append(Message(topics.notify_topic(thing.thing_name, root), body))
        if pending.front_identity(thing) != identity:
            front = pending.front(thing)
            next_changed = NextJobExecutionChanged(self.now_ms // 1000)
            if front:
                job = self.state.jobs[front.job_id]
                next_changed.execution = views.job_execution(front, self.now_ms, job)
            self._messages.append(Message(topics.notify_next_topic(thing.thing_name, root), next_changed))
