"""A driver of the core for tests: a virtual clock, a journal in a list, and what was sent, decoded.

Every call checks what holds for all of them: exactly one reply and it comes first, N before NN before events,
a refusal without records, and a state whose counters and orders agree with a recount.
"""

import itertools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from tests.broker.core.registry_checks import check_registry
from thingjobs_broker.core.naming import Naming
from thingjobs_broker.core.outcome import Outcome
from thingjobs_broker.core.records import Record
from thingjobs_broker.core.retention import Cursor
from thingjobs_broker.core.service import JobsService
from thingjobs_broker.core.state import Execution, Job, State, Thing
from thingjobs_protocol import topics
from thingjobs_protocol.errors import InvalidTopic
from thingjobs_protocol.status import PENDING, JobExecutionStatus

START_S = 1_700_000_000
START_MS = START_S * 1000
MINUTE_MS = 60_000
OPERATOR = "operator"
DOCUMENT = '{"operation": "install"}'

Payload = dict[str, Any] | str | bytes


class Sent(NamedTuple):
    """A message that was published, its payload decoded."""

    topic: str
    body: dict[str, Any]

    @property
    def ending(self) -> str:
        """The last segment: accepted, rejected, notify, notify-next or the operation of an event."""
        return self.topic.rstrip("/").rpartition("/")[2]

    @property
    def is_event(self) -> bool:
        return self.topic.startswith("$aws/events/")


class World:
    """The core with everything around it that a driver provides. Time starts at `START_MS`."""

    def __init__(
        self, *things: str, auto_register: bool = True, naming: Naming | None = None, checked: bool = True
    ) -> None:
        self.auto_register = auto_register
        self.naming = naming
        self.checked = checked
        self.now_ms = START_MS
        self.journal: list[Record] = []
        self.records: list[Record] = []
        """Those of the last step."""
        self._ids = 0
        self.state = State()
        self.service = self._new_service()
        for thing_name in things:
            self.control("CreateThing", thingName=thing_name)

    # Requests

    def device(self, thing_name: str, what: str, payload: Payload = b"") -> list[Sent]:
        """Send a device's request; `what` is `get`, `start-next`, `{jobId}/get` or `{jobId}/update`."""
        return self.publish(f"$aws/things/{thing_name}/jobs/{what}", payload)

    def publish(self, topic: str, payload: Payload = b"") -> list[Sent]:
        """Send anything to the topics of devices; nothing comes back where the service must not answer."""
        try:
            request = topics.parse_request(topic)
        except InvalidTopic as refusal:
            outcome = self.service.refuse(topic, refusal, self.now_ms, encoded(payload))
        else:
            if request is None:
                return []
            outcome = self.service.handle(request, encoded(payload), self.now_ms)
        sent = self._take(outcome)
        self._check_reply(topic, sent)
        return sent

    def update(self, thing_name: str, job_id: str, status: str, **members: Any) -> list[Sent]:
        """Report a status."""
        return self.device(thing_name, f"{job_id}/update", {"status": status, **members})

    def call(self, operation: str, payload: Payload, by: str = OPERATOR) -> list[Sent]:
        """Send a control-plane request."""
        request = topics.ControlTopic(topics.control_topic("op", operation), "op", operation)
        sent = self._take(self.service.call(request, encoded(payload), by, self.now_ms))
        self._check_reply(request.topic, sent)
        return sent

    def control(self, operation: str, **members: Any) -> dict[str, Any]:
        """Carry out a control-plane operation that must succeed; return its answer."""
        answer, *_ = self.call(operation, members)
        assert answer.ending == "accepted", answer
        return answer.body

    def create_job(self, job_id: str, *things: str, **members: Any) -> list[Sent]:
        """Create a job for some things; return everything that was sent."""
        sent = self.call(
            "CreateJob", {"jobId": job_id, "targets": things or ["T"], "document": DOCUMENT} | members
        )
        assert sent[0].ending == "accepted", sent[0]
        return sent

    # Time

    def fire(self) -> list[Sent]:
        """Call `fire_timers` once, at the present time."""
        return self._take(self.service.fire_timers(self.now_ms))

    def advance(self, duration_ms: int) -> list[Sent]:
        """Let time pass as a driver does: timers fire when `next_deadline_ms` says so."""
        until_ms = self.now_ms + duration_ms
        sent: list[Sent] = []
        while (deadline_ms := self.service.next_deadline_ms()) is not None and deadline_ms <= until_ms:
            self.now_ms = max(self.now_ms, deadline_ms)
            sweeps = dict(self.state.sweeps)
            fired = self.fire()
            sent += fired
            same = self.service.next_deadline_ms() == deadline_ms and self.state.sweeps == sweeps
            assert not same or self.records or fired, "woken for nothing"
        self.now_ms = until_ms
        return sent

    def forget(self, before_ms: int) -> None:
        """Forget what ended before that time, as retention does."""
        cursor: Cursor | None = Cursor()
        while cursor is not None:
            outcome, cursor = self.service.forget(cursor, before_ms, self.now_ms)
            assert self._take(outcome) == []

    def pass_unnoticed(self, duration_ms: int) -> None:
        """Let time pass without a look at the timers, as between two ticks or while the service is down."""
        self.now_ms += duration_ms

    def restart(self) -> list[Sent]:
        """Recover from the journal, check that nothing was lost, and carry on with what was recovered."""
        recovered = self.recovered()
        assert picture(recovered) == picture(self.state)
        self.state = recovered
        self.service = self._new_service()
        return self.fire()

    def recovered(self) -> State:
        """A new state from the journal alone."""
        state = State()
        for record in self.journal:
            state.apply(record)
        return state

    # Looking

    def thing(self, thing_name: str) -> Thing:
        return self.state.things[thing_name]

    def job(self, job_id: str) -> Job:
        return self.state.jobs[job_id]

    def execution(self, thing_name: str, job_id: str, number: int | None = None) -> Execution:
        found = self.state.execution(self.thing(thing_name), job_id, number)
        assert found is not None
        return found

    # Helpers

    def _new_service(self) -> JobsService:
        return JobsService(self.state, self._new_id, self.naming, auto_register=self.auto_register)

    def _new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    def _take(self, outcome: Outcome) -> list[Sent]:
        self.records = outcome.records
        self.journal += outcome.records
        if outcome.records:
            # A clock that starts anew never goes behind what was recorded.
            last: Any = outcome.records[-1]
            assert self.state.last_at_ms == last.at_ms + getattr(last, "delta_ms", 0)
        sent = [Sent(message.topic, json.loads(message.payload())) for message in outcome.messages]
        _check_order(sent)
        if self.checked:
            check_consistency(self.state)
        return sent

    def _check_reply(self, topic: str, sent: list[Sent]) -> None:
        replies = [message.topic for message in sent if message.topic.startswith(f"{topic}/")]
        assert sent[0].topic in (f"{topic}/accepted", f"{topic}/rejected"), sent
        assert replies == [sent[0].topic], "not exactly one reply"
        if sent[0].ending == "rejected":
            # Nothing but a timer that had run out may have been applied (data plane 3.4, step 5).
            assert all(getattr(record, "by", "service") == "service" for record in self.records)


def encoded(payload: Payload) -> bytes:
    """The bytes of a payload: an object is JSON, a text is itself."""
    if isinstance(payload, bytes):
        return payload
    return payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()


def only(sent: list[Sent]) -> dict[str, Any]:
    """The body of the one message that was sent."""
    assert len(sent) == 1, sent
    return sent[0].body


def rejection(sent: list[Sent]) -> tuple[str, dict[str, Any] | None]:
    """Code and executionState of a refusal that sent nothing else."""
    body = only(sent)
    assert sent[0].ending == "rejected", sent
    return body["code"], body.get("executionState")


def endings(sent: list[Sent]) -> list[str]:
    """The last segments of what was sent, in order."""
    return [message.ending for message in sent]


def listed(message: Sent) -> dict[str, list[str]]:
    """The job ids in a `notify`, by status."""
    assert message.ending == "notify"
    return {
        status: [summary["jobId"] for summary in summaries]
        for status, summaries in message.body["jobs"].items()
    }


def _check_order(sent: list[Sent]) -> None:
    """Reply, then N and NN of each thing, then events (data plane A25)."""
    ranks = [3 if message.is_event else 2 if message.ending.startswith("notify") else 1 for message in sent]
    assert ranks == sorted(ranks), sent
    notified = [message.topic for message in sent if message.ending.startswith("notify")]
    assert len(set(notified)) == len(notified), "a notification was repeated"
    for first, second in itertools.pairwise(notified):
        assert second != first.replace("/notify-next", "/notify"), "N after NN"


# What a state holds, and what must hold in it


def picture(state: State) -> dict[str, Any]:
    """Everything in a state as plain values, but for where the timers look, which a recovery may change."""
    return {
        "things": {name: _thing_picture(thing) for name, thing in state.things.items()},
        "thing_order": [thing and thing.thing_name for thing in state.thing_order],
        "departed": {name: _thing_picture(thing) for name, thing in state.departed.items()},
        "thing_types": list(state.thing_types.values()),
        "type_counts": dict(state.type_counts),
        "groups": list(state.groups.values()),
        "group_ids": dict(state.group_ids),
        "group_members": {group_id: list(names) for group_id, names in state.group_members.items() if names},
        "group_children": {group_id: list(below) for group_id, below in state.group_children.items()},
        "groups_at_work": set(state.groups_at_work),
        "indexing": state.indexing,
        "events": (dict(state.event_configurations), state.events_configured_ms),
        "queries": {group_id: query.text for group_id, query in state.queries.items()},
        "jobs": {job_id: _job_picture(job) for job_id, job in state.jobs.items()},
        "job_order": [job and job.job_id for job in state.job_order],
        "templates": dict(state.templates),
        "template_order": [template and template.template_id for template in state.template_order],
        "tags": dict(state.tags),
        "group_timeouts": dict(state.group_timeouts),
        "queue_position": state.queue_position,
        "last_at_ms": state.last_at_ms,
    }


def _plain(struct: msgspec.Struct, replaced: dict[str, Callable[[Any], Any]]) -> dict[str, Any]:
    fields = msgspec.structs.asdict(struct)
    return {name: replaced[name](value) if name in replaced else value for name, value in fields.items()}


def _identity(execution: Execution) -> tuple[str, str, int]:
    return execution.thing_name, execution.job_id, execution.execution_number


def _execution_picture(execution: Execution | None) -> dict[str, Any] | None:
    if execution is None:
        return None
    return _plain(execution, {"previous": _execution_picture, "timer_tick": lambda _: None})


def _thing_picture(thing: Thing) -> dict[str, Any]:
    return _plain(
        thing,
        {
            "executions": lambda found: {
                job_id: _execution_picture(execution) for job_id, execution in found.items()
            },
            "pending": lambda found: [_identity(execution) for execution in found.values()],
            "pending_revision": lambda _: None,
            "namespaces": lambda found: {
                name: (list(map(_identity, queue.pending.values())), queue.in_progress_count)
                for name, queue in found.items()
            },
        },
    )


def _job_picture(job: Job) -> dict[str, Any]:
    return _plain(
        job,
        {
            "executions": lambda found: [execution and _identity(execution) for execution in found],
            "counts": dict,
            "timeline": list,
        },
    )


def chain(execution: Execution | None) -> list[Execution]:
    """An execution and the earlier ones of its job on its thing, newest first."""
    found: list[Execution] = []
    while execution is not None:
        found.append(execution)
        execution = execution.previous
    return found


def check_consistency(state: State) -> None:
    """Recount what the state keeps counted, and check every order it promises."""
    stored = [
        execution
        for thing in (*state.things.values(), *state.departed.values())
        for newest in thing.executions.values()
        for execution in chain(newest)
    ]
    assert all(thing.executions and not thing.queues() for thing in state.departed.values())
    check_registry(state)
    for thing in state.things.values():
        pending = [
            execution
            for newest in thing.executions.values()
            for execution in chain(newest)
            if execution.status in PENDING
        ]
        pending.sort(key=lambda execution: execution.queue_position)
        assert all(queue.pending for queue in thing.namespaces.values())
        for namespace_id in {
            "",
            *thing.namespaces,
            *(state.jobs[one.job_id].namespace_id for one in pending),
        }:
            its = [one for one in pending if state.jobs[one.job_id].namespace_id == namespace_id]
            queue = thing.queue(namespace_id)
            assert list(queue.pending.values()) == its, (
                "the pending set is not what is pending, in queue order"
            )
            assert all(queue.pending[execution.job_id] is execution for execution in its)
            running = [execution for execution in its if execution.status is JobExecutionStatus.IN_PROGRESS]
            assert queue.in_progress_count == len(running)
    for job in state.jobs.values():
        mine = [execution for execution in stored if execution.job_id == job.job_id]
        for status in JobExecutionStatus:
            assert job.counts[status] == sum(execution.status is status for execution in mine), status
        listed_in_job = [execution for execution in job.executions if execution is not None]
        assert sorted(map(_identity, listed_in_job)) == sorted(map(_identity, mine))
        for index, execution in enumerate(job.executions):
            assert execution is None or execution.index_in_job == index
    for execution in stored:
        _check_execution(execution)


def _check_execution(execution: Execution) -> None:
    numbers = [one.execution_number for one in chain(execution)]
    assert numbers == sorted(set(numbers), reverse=True)
    if execution.status is not JobExecutionStatus.IN_PROGRESS:
        assert execution.deadline_ms == 0, "a timer runs outside IN_PROGRESS"
    elif execution.deadline_ms:
        assert 0 < execution.timer_tick <= -(-execution.deadline_ms // 1000), "nobody will look at this timer"
