"""JobsService: the one door of the core. Devices, the control plane and time come in; outcomes go out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from thingjobs_broker.core import control, expiry, indexing, lifecycle, membership, retention, turning, work
from thingjobs_broker.core.agenda import Agenda
from thingjobs_broker.core.call_rates import CallRates
from thingjobs_broker.core.device import HANDLERS
from thingjobs_broker.core.errors import ControlError, ServiceUnavailableError
from thingjobs_broker.core.naming import Naming
from thingjobs_broker.core.outcome import Message, Outcome
from thingjobs_broker.core.ports import DEFAULT_PORTS, Ports
from thingjobs_broker.core.records import ClockStepped, ServiceStarted, StateCleared
from thingjobs_broker.core.step import CannotStore, Step
from thingjobs_protocol import limits, topics
from thingjobs_protocol.codec import client_token, decode_request
from thingjobs_protocol.errors import (
    InternalError,
    InvalidRequest,
    Rejected,
    RequestThrottled,
    ResourceNotFound,
)
from thingjobs_protocol.messages import RejectedResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.core.retention import Cursor
    from thingjobs_broker.core.state import Execution, State, Thing
    from thingjobs_broker.core.throttle import Throttle
    from thingjobs_protocol.messages import Wire

TIMERS_SLICE: Final = 500
"""Timers looked at in one call, so that no call holds the event loop for long (architecture, "Bounded work
per step").
"""

JOBS_SLICE: Final = 100
JOBS_RECORDS_SLICE: Final = 250
"""Jobs looked at in one call; fewer, once what they did has made so many records."""

WHOLE_SLICES_MAX: Final = 2
"""Of jobs that have more to do at once: also a slice that makes no records takes its time."""

TIME_KEPT_MS: Final = 30_000
"""For how long nothing need be on record while timers run; with the runner's looks it is under a minute."""

CANNOT_STORE: Final = "The service cannot store changes at the moment; try again later"

_is_thing_name: Final = re.compile(limits.THING_NAME_PATTERN).match
_is_job_id: Final = re.compile(limits.JOB_ID_PATTERN).match


class JobsService:
    """The jobs service without its clock, disk and network; see the package for the duties of its driver.

    Args:
        state: what was recovered, or an empty `State`.
        new_id: makes the ids of things and events (UUID strings).
        naming: region, account and topic root.
        auto_register: whether a device that speaks becomes a thing (architecture, "Things").
        throttle: how fast each thing may ask; None for as fast as it can.
        ports: the groups, the documents and the settings of the rules.

    """

    def __init__(
        self,
        state: State,
        new_id: Callable[[], str],
        naming: Naming | None = None,
        *,
        auto_register: bool = True,
        throttle: Throttle | None = None,
        ports: Ports = DEFAULT_PORTS,
    ) -> None:
        self.state = state
        self.read_only = False
        """Set while the disk takes nothing: what would change something is refused, reads are answered."""
        self.naming = naming or Naming()
        self._new_id = new_id
        self._auto_register = auto_register
        self._throttle = throttle
        self._last_seen_ms: dict[str, int] = {}
        self._ports = msgspec.structs.replace(ports, last_seen_ms=self._last_seen_ms)
        self._call_rates = CallRates(ports.rules)
        self._agenda = Agenda()
        """When each job has to be looked at."""
        turning.resume(state)
        for job in state.jobs.values():
            if work.has_work(job):
                self._agenda.put(job.job_id, 0)
        self._looked_at_ms = 0
        self._expiry_due_ms = 0 if ports.rules.expiry_minutes is not None else None
        self._expiry_cursor = expiry.Cursor()

    # Requests

    def handle(self, request: topics.RequestTopic, payload: bytes, now_ms: int) -> Outcome:
        """Answer a device: exactly one accepted or rejected reply; a refused request changes nothing."""
        wait_ms = self._take_token(request.thing_name, now_ms)
        if wait_ms:
            # Of what it asks only the client token is read (spec: data plane 3.4, step 2).
            message = f"Thing {request.thing_name} asks too fast; try again in {wait_ms} ms"
            return _refused(request.topic, RequestThrottled(message), payload, now_ms, wait_ms)
        step = self._step(now_ms)
        try:
            body: Wire = self._answer(step, request, payload, by_device=True)
            suffix = topics.ACCEPTED
        except Rejected as refusal:
            body, suffix = _rejected_body(refusal, now_ms), topics.REJECTED
        step.reply(f"{request.topic}/{suffix}", body)
        return self._finish(step)

    def ask(
        self, request: topics.RequestTopic, payload: bytes, now_ms: int
    ) -> tuple[Wire | Rejected, Outcome]:
        """Answer what somebody asks in the name of a device; return the answer or the refusal beside the
        outcome, as `execute` does.

        No thing comes to be by it: it is not the device that speaks.
        """
        wait_ms = self._take_token(request.thing_name, now_ms)
        if wait_ms:
            message = f"Thing {request.thing_name} asks too fast; try again in {wait_ms} ms"
            return RequestThrottled(message), Outcome([], [], wait_ms)
        step = self._step(now_ms)
        answer: Wire | Rejected
        try:
            answer = self._answer(step, request, payload, by_device=False)
        except Rejected as refusal:
            answer = refusal
        return answer, self._finish(step)

    def refuse(self, topic: str, refusal: Rejected, now_ms: int, payload: bytes = b"") -> Outcome:
        """Answer a request that cannot be handled at all, such as one on an unknown topic (A23).

        The client token in `payload` is echoed if it can be read (spec: data plane 3.1).
        """
        # It counts like any other, but is no request to be throttled (3.4, steps 1 and 2).
        wait_ms = self._take_token(topics.thing_of(topic, self.naming.topic_root) or "", now_ms)
        return _refused(topic, refusal, payload, now_ms, wait_ms)

    def _take_token(self, thing_name: str, now_ms: int) -> int:
        """Return 0, or how long a thing has to wait because it asks too fast."""
        return self._throttle.take(thing_name, now_ms) if self._throttle is not None else 0

    def call(self, request: topics.ControlTopic, payload: bytes, by: str, now_ms: int) -> Outcome:
        """Answer a control-plane request on its accepted or rejected topic (architecture, "Control plane over
        MQTT").
        """
        step = self._step(now_ms)
        token = control.client_token(payload)
        echoed = {"clientToken": token} if token is not None else {}
        try:
            body = self._execute(step, request.operation, payload, by)
            suffix = topics.ACCEPTED
        except ControlError as refusal:
            body = {"code": refusal.code, "message": refusal.message, **refusal.members}
            suffix = topics.REJECTED
        step.reply(f"{request.topic}/{suffix}", body | echoed)
        return self._finish(step)

    def execute(
        self, operation: str, payload: bytes, by: str, now_ms: int, naming: Naming | None = None
    ) -> tuple[dict[str, Any] | ControlError, Outcome]:
        """Carry out a control-plane operation; return its answer or its refusal beside the outcome, for other
        front ends. `naming` takes the place of the service's own.

        A refused operation changes nothing; its outcome is empty but for timers that had run out.
        """
        step = self._step(now_ms, naming)
        answer: dict[str, Any] | ControlError
        try:
            answer = self._execute(step, operation, payload, by)
        except ControlError as refusal:
            answer = refusal
        return answer, self._finish(step)

    # Time

    def fire_timers(self, now_ms: int) -> Outcome:
        """Apply a bounded number of due timers, and look at a bounded number of jobs whose time has come."""
        step = self._step(now_ms)
        for execution in self.state.timers.due(now_ms, TIMERS_SLICE):
            self._time_out(step, execution)
        self._look_at_attended(step)
        whole_slices = 0
        for _ in range(JOBS_SLICE):
            if step.size >= JOBS_RECORDS_SLICE or whole_slices == WHOLE_SLICES_MAX:
                break
            job_id = self._agenda.take(now_ms)
            if job_id is None:
                break
            whole_slices += self._look(step, job_id)
        if self.state.groups_at_work and step.size < JOBS_RECORDS_SLICE:
            membership.work(step)
            self._look_at_attended(step)
        if self._expiry_due_ms is not None and self._expiry_due_ms <= now_ms:
            self._expire(step)
        return self._finish(step)

    def next_deadline_ms(self) -> int | None:
        """Return when `fire_timers` has work: 0 for at once, None for never."""
        if self.state.groups_at_work:
            return 0
        due_ms, timer_ms = self._agenda.next_ms(), self.state.timers.next_due_ms()
        if due_ms is not None and due_ms <= self._looked_at_ms:
            return 0
        deadlines_ms = (due_ms, timer_ms, self._expiry_due_ms)
        return min((at_ms for at_ms in deadlines_ms if at_ms is not None), default=None)

    def started(self, boot_id: str, uptime_ms: int, now_ms: int, *, is_clock_lost: bool = False) -> Outcome:
        """Note that the service takes up its work; comes before the first `fire_timers`."""
        step = self._step(now_ms)
        step.apply(ServiceStarted(now_ms, boot_id, uptime_ms, is_clock_lost))
        if indexing.sees_connections(self.state):
            # Whoever was connected may be so no more.
            membership.look_at_connections(step)
        return step.finish()

    def keep_time(self, boot_id: str, uptime_ms: int, now_ms: int, *, is_clock_lost: bool = False) -> Outcome:
        """Note the time where timers run and nothing else has for a while.

        A boot that does not know the time carries on from the last record: what is not on record then is
        given to the timers once more (architecture, "Time").
        """
        step = self._step(now_ms)
        if self.state.timers.next_due_ms() is not None and now_ms - self.state.last_at_ms >= TIME_KEPT_MS:
            step.apply(ServiceStarted(now_ms, boot_id, uptime_ms, is_clock_lost))
        return step.finish()

    def connection_changed(self, thing_name: str, now_ms: int) -> Outcome:
        """Follow a thing that came or went: there may be dynamic groups of those that are connected."""
        step = self._step(now_ms)
        membership.connection_changed(step, thing_name)
        return self._finish(step)

    def step_clock(self, delta_ms: int, now_ms: int) -> Outcome:
        """Move what runs with a wall clock that was corrected by `delta_ms` > 0 (architecture, "Time").

        The next call may give a `now_ms` that is later by `delta_ms`; no execution times out early because of
        it.
        """
        step = self._step(now_ms)
        step.apply(ClockStepped(now_ms, delta_ms))
        for job in self.state.jobs.values():
            if work.has_work(job):
                self._agenda.put(job.job_id, now_ms)
        return step.finish()

    def clear(self, now_ms: int) -> Outcome:
        """Forget everything, on record; for test suites. What was derived from the state is void then."""
        step = self._step(now_ms)
        step.apply(StateCleared(now_ms))
        return step.finish()

    def forget(self, cursor: Cursor, before_ms: int, now_ms: int) -> tuple[Outcome, Cursor | None]:
        """Delete one slice of what ended before `before_ms`; return where the next slice begins, None at the
        end (spec: data plane 9).
        """
        step = self._step(now_ms)
        following = retention.forget(step, cursor, before_ms)
        return step.finish(), following

    # Helpers

    def _step(self, now_ms: int, naming: Naming | None = None) -> Step:
        return Step(
            self.state,
            naming or self.naming,
            self._new_id,
            now_ms,
            read_only=self.read_only,
            ports=self._ports,
        )

    def _answer(self, step: Step, request: topics.RequestTopic, payload: bytes, *, by_device: bool) -> Wire:
        """Decode and carry out a request; the order of the checks is that of data plane 3.4."""
        body = decode_request(request.api, payload)
        try:
            thing = self.state.things.get(request.thing_name)
            if request.job_id and (thing is None or request.job_id not in thing.executions):
                _check_job_id(request)
            if thing is None:
                thing = self._register(step, request, may=by_device and self._auto_register)
            if by_device:
                self._last_seen_ms[thing.thing_name] = step.now_ms
            if self.state.turnings:
                for namespace_id in ("", *thing.namespaces):
                    step.turn(thing, namespace_id)
            return HANDLERS[request.api](step, thing, request, body)
        except Rejected as refusal:
            refusal.client_token = body.client_token
            raise
        except CannotStore:
            raise InternalError(CANNOT_STORE, client_token=body.client_token) from None

    def _register(self, step: Step, request: topics.RequestTopic, *, may: bool) -> Thing:
        """Make a thing of a device that asks for its jobs; a request about one job is refused and so changes
        nothing.
        """
        thing_name = request.thing_name
        if not _is_thing_name(thing_name):
            message = f"thingName {thing_name[:140]!r} must be 1 to 128 characters of [a-zA-Z0-9:_-]"
            raise InvalidRequest(message)
        if not may or request.job_id not in ("", topics.NEXT_JOB_ID):
            message = f"Thing {thing_name} not found"
            raise ResourceNotFound(message)
        return membership.create_thing(step, thing_name, by="auto_register")

    def _execute(self, step: Step, operation: str, payload: bytes, by: str) -> dict[str, Any]:
        if operation in control.OPERATIONS:
            self._call_rates.check(operation, step.now_ms)
        row, request = control.decode(operation, payload, like_moto=self._ports.rules.moto_compat)
        try:
            return row.handler(step, request, by)
        except CannotStore:
            raise ServiceUnavailableError(CANNOT_STORE) from None

    def _finish(self, step: Step) -> Outcome:
        """Look at the jobs that the step has changed, one slice each, and end it."""
        self._look_at_attended(step)
        self._looked_at_ms = step.now_ms
        return step.finish()

    def _expire(self, step: Step) -> None:
        """Do one slice of the look now and then at what nobody has started (B20)."""
        minutes = self._ports.rules.expiry_minutes
        assert minutes is not None
        following = expiry.sweep(step, self._expiry_cursor, minutes)
        self._expiry_cursor = following or expiry.Cursor()
        self._expiry_due_ms = step.now_ms if following else step.now_ms + self._ports.rules.expiry_interval_ms

    def _look_at_attended(self, step: Step) -> None:
        while step.attended:
            job_id = next(iter(step.attended))
            del step.attended[job_id]
            self._look(step, job_id)

    def _look(self, step: Step, job_id: str) -> bool:
        """Look at a job; tell whether there is more to do for it at once."""
        job = self.state.jobs.get(job_id)
        due_ms = work.look(step, job) if job is not None else None
        # What is to go on at once waits behind what is due by now.
        self._agenda.put(job_id, max(due_ms, step.now_ms) if due_ms is not None else None)
        return due_ms is not None and due_ms <= step.now_ms

    def _time_out(self, step: Step, execution: Execution) -> None:
        thing = self.state.things[execution.thing_name]
        lifecycle.time_out_if_overdue(step, thing, execution)


def device_unavailable(request_topic: str, payload: bytes, now_ms: int) -> Outcome:
    """Refuse a device's request whose outcome was lost with the disk, or that nobody can look into."""
    return _refused(request_topic, InternalError(CANNOT_STORE), payload, now_ms)


def control_unavailable(request_topic: str, payload: bytes, _now_ms: int) -> Outcome:
    """Refuse a control-plane request likewise."""
    token = control.client_token(payload)
    body = {"code": ServiceUnavailableError.code, "message": CANNOT_STORE}
    echoed = {"clientToken": token} if token is not None else {}
    return Outcome([], [Message(f"{request_topic}/{topics.REJECTED}", body | echoed)])


def _refused(topic: str, refusal: Rejected, payload: bytes, now_ms: int, wait_ms: int = 0) -> Outcome:
    """Refuse a request that was not decoded; its client token is echoed if it can be read (3.1)."""
    if refusal.client_token is None:
        refusal.client_token = client_token(payload)
    message = Message(f"{topic}/{topics.REJECTED}", _rejected_body(refusal, now_ms))
    return Outcome([], [message], wait_ms)


def _check_job_id(request: topics.RequestTopic) -> None:
    """`$next` is an id for DescribeJobExecution only (A21)."""
    if request.job_id == topics.NEXT_JOB_ID and request.api is topics.Api.DESCRIBE_JOB_EXECUTION:
        return
    if not _is_job_id(request.job_id):
        message = f"jobId {request.job_id[:80]!r} must be 1 to 64 characters of [a-zA-Z0-9_-]"
        raise InvalidRequest(message)


def _rejected_body(refusal: Rejected, now_ms: int) -> RejectedResponse:
    return RejectedResponse(
        now_ms // 1000, refusal.code.value, refusal.message, refusal.client_token, refusal.execution_state
    )
