"""One step of the core: applies records, remembers whose pending executions it touched, and at its end says
so.

Order of the messages: the reply, then for each touched thing `notify` and `notify-next`, then events (data
plane A25).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from thingjobs_broker.core import delivery, pending, turning, views
from thingjobs_broker.core.outcome import Message, Outcome
from thingjobs_broker.core.ports import DEFAULT_PORTS, Ports
from thingjobs_protocol import topics
from thingjobs_protocol.messages import NextJobExecutionChanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.core.naming import Naming
    from thingjobs_broker.core.records import Record
    from thingjobs_broker.core.state import Job, State, Thing
    from thingjobs_protocol.messages import JobExecutionsChanged


class CannotStore(Exception):
    """The step may not change anything."""


_ANOTHER_REVISION: Final = -1
_UNKNOWN: Final = ("", 0)
"""What no thing sees: it is told in any case."""


class _Before(NamedTuple):
    """What a thing saw before a step changed it; `visible` only in a namespace, and where something may be
    hidden from it.
    """

    thing: Thing
    namespace_id: str
    revision: int
    visible: list[pending.Identity] | None
    front: pending.Identity | None


class Step:
    """The transaction that every rule writes into. Its records become durable together or not at all.

    With `read_only` it takes none: the first that a rule wants to apply raises `CannotStore`, and nothing has
    changed, because all change is by records.
    """

    __slots__ = (
        "_events",
        "_messages",
        "_records",
        "_watched",
        "attended",
        "naming",
        "new_id",
        "now_ms",
        "ports",
        "read_only",
        "state",
    )

    def __init__(
        self,
        state: State,
        naming: Naming,
        new_id: Callable[[], str],
        now_ms: int,
        *,
        read_only: bool = False,
        ports: Ports = DEFAULT_PORTS,
    ) -> None:
        self.read_only = read_only
        self.ports = ports
        self.state = state
        self.naming = naming
        self.new_id = new_id
        self.now_ms = now_ms
        self._records: list[Record] = []
        self._messages: list[Message] = []
        self._events: list[Message] = []
        self.attended: dict[str, None] = {}
        """Jobs that have to be looked at before the step ends, in order."""
        self._watched: dict[str, _Before] = {}

    def apply(self, record: Record) -> None:
        """Change the state and keep the record."""
        if self.read_only:
            raise CannotStore
        self.state.apply(record)
        self._records.append(record)

    def watch(self, thing: Thing, namespace_id: str) -> None:
        """Remember the thing's pending set, in that namespace, and its front as they are before a change."""
        key = _key(thing, namespace_id)
        if key not in self._watched:
            queue, turnings = thing.queue(namespace_id), self.state.turnings
            hidden = turning.hidden(self.state, queue)
            visible = pending.visible(queue, hidden) if hidden or namespace_id or turnings else None
            front = pending.front_identity(queue, hidden)
            # The queue of a namespace goes when it is empty, and its count of changes with it.
            revision = _ANOTHER_REVISION if namespace_id else queue.pending_revision
            late = turning.late(self.state, queue) if turnings else []
            if any(its.is_doubtful for its, _ in late):
                visible, front, revision = [_UNKNOWN], _UNKNOWN, _ANOTHER_REVISION
                for its, current in late:
                    # It is told now, and once is enough.
                    its.ahead.add(current.index_in_job)
            self._watched[key] = _Before(thing, namespace_id, revision, visible, front)

    def turn(self, thing: Thing, namespace_id: str) -> None:
        """Let all that the thing was not told yet of windows that opened or closed be so, and tell it."""
        queue = thing.queue(namespace_id)
        if late := turning.late(self.state, queue):
            self.watch(thing, namespace_id)
            key = _key(thing, namespace_id)
            self._watched[key] = self._watched[key]._replace(revision=_ANOTHER_REVISION)
            for its, current in late:
                its.ahead.add(current.index_in_job)

    def reply(self, topic: str, body: Any) -> None:
        """Publish the answer to the request."""
        self._messages.append(Message(topic, body))

    def event(self, message: Message) -> None:
        """Publish an event, unless its type is turned off, after everything that goes to devices."""
        if self.state.event_configurations.get(message.body.event_type, True):
            self._events.append(message)

    def attend(self, job: Job) -> None:
        """Have a job looked at before the step ends: it was changed."""
        self.attended[job.job_id] = None

    @property
    def size(self) -> int:
        """How much the step has done by now: its records, or the things it may have to notify."""
        return max(len(self._records), len(self._watched))

    def finish(self) -> Outcome:
        """Return the outcome, with the notifications that are due.

        `notify` iff the membership of the pending set changed, `notify-next` iff the identity of the front
        changed (spec: data plane 5.2).
        """
        for before in self._watched.values():
            self._notify(before)
        return Outcome(self._records, self._messages + self._events)

    def _notify(self, before: _Before) -> None:
        name, root, namespace_id = before.thing.thing_name, self.naming.topic_root, before.namespace_id
        queue = before.thing.queue(namespace_id)
        hidden = turning.hidden(self.state, queue)
        # Where nothing is hidden, counting the changes is as good as comparing, and cheaper.
        if queue.pending_revision != before.revision and (
            before.visible is None or pending.visible(queue, hidden) != before.visible
        ):
            body = views.pending_changed(self.state, queue, self.now_ms)
            self._messages.append(Message(topics.notify_topic(name, root, namespace_id), body))
            if namespace_id:
                self._notify_of_jobs(before, body)
        front = pending.front(queue, hidden)
        if pending.identity(front) != before.front:
            next_changed = NextJobExecutionChanged(self.now_ms // 1000)
            if front:
                job = self.state.jobs[front.job_id]
                document = delivery.document(self.ports, job, front)
                next_changed.execution = views.job_execution(front, self.now_ms, document)
            self._messages.append(Message(topics.notify_next_topic(name, root, namespace_id), next_changed))

    def _notify_of_jobs(self, before: _Before, body: JobExecutionsChanged) -> None:
        """Say the same on the topics of the jobs that came or went (spec: control plane 1.7)."""
        name, root, namespace_id = before.thing.thing_name, self.naming.topic_root, before.namespace_id
        queue = before.thing.queue(namespace_id)
        visible = pending.visible(queue, turning.hidden(self.state, queue))
        changed = sorted({job_id for job_id, _ in {*visible} ^ {*(before.visible or ())}})
        self._messages += (
            Message(topics.job_notify_topic(name, job_id, namespace_id, root), body) for job_id in changed
        )


def _key(thing: Thing, namespace_id: str) -> str:
    return f"{thing.thing_name}/{namespace_id}" if namespace_id else thing.thing_name
