"""JobsService: the one door of the core. Devices, the control plane and time come in; outcomes go out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.core import control, lifecycle
from thingjobs_broker.core.device import HANDLERS
from thingjobs_broker.core.errors import ControlError
from thingjobs_broker.core.naming import Naming
from thingjobs_broker.core.outcome import Message, Outcome
from thingjobs_broker.core.records import ClockStepped, ServiceStarted
from thingjobs_broker.core.step import Step
from thingjobs_protocol import limits, topics
from thingjobs_protocol.codec import client_token, decode_request
from thingjobs_protocol.errors import InvalidRequest, Rejected, ResourceNotFound
from thingjobs_protocol.messages import RejectedResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.core.state import Execution, State, Thing
    from thingjobs_protocol.messages import Wire

TIMERS_SLICE: Final = 500
"""Timers looked at in one call, so that no call holds the event loop for long (architecture, "Bounded work
per step").
"""

_is_thing_name: Final = re.compile(limits.THING_NAME_PATTERN).match
_is_job_id: Final = re.compile(limits.JOB_ID_PATTERN).match


class JobsService:
    """The jobs service without its clock, disk and network; see the package for the duties of its driver.

    Args:
        state: what was recovered, or an empty `State`.
        new_id: makes the ids of things and events (UUID strings).
        naming: region, account and topic root.
        auto_register: whether a device that speaks becomes a thing (architecture, "Things").

    """

    def __init__(
        self,
        state: State,
        new_id: Callable[[], str],
        naming: Naming | None = None,
        *,
        auto_register: bool = True,
    ) -> None:
        self.state = state
        self.naming = naming or Naming()
        self._new_id = new_id
        self._auto_register = auto_register
        self._sweeps: dict[str, int] = {
            job.job_id: 0 for job in state.jobs.values() if job.status.value == "CANCELED" and not job.settled
        }
        """Canceled jobs whose executions still have to follow, with the position reached."""

    # Requests

    def handle(self, request: topics.RequestTopic, payload: bytes, now_ms: int) -> Outcome:
        """Answer a device: exactly one accepted or rejected reply; a refused request changes nothing."""
        step = self._step(now_ms)
        try:
            body: Wire = self._answer(step, request, payload)
            suffix = topics.ACCEPTED
        except Rejected as refusal:
            body, suffix = _rejected_body(refusal, now_ms), topics.REJECTED
        step.reply(f"{request.topic}/{suffix}", body)
        return step.finish()

    def refuse(self, topic: str, refusal: Rejected, now_ms: int, payload: bytes = b"") -> Outcome:
        """Answer a request that cannot be handled at all, such as one on an unknown topic (A23).

        The client token in `payload` is echoed if it can be read (spec: data plane 3.1).
        """
        if refusal.client_token is None:
            refusal.client_token = client_token(payload)
        return Outcome([], [Message(f"{topic}/{topics.REJECTED}", _rejected_body(refusal, now_ms))])

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
        self, operation: str, payload: bytes, by: str, now_ms: int
    ) -> tuple[dict[str, Any] | ControlError, Outcome]:
        """Carry out a control-plane operation; return its answer or its refusal beside the outcome, for other
        front ends.

        A refused operation changes nothing; its outcome is empty but for timers that had run out.
        """
        step = self._step(now_ms)
        answer: dict[str, Any] | ControlError
        try:
            answer = self._execute(step, operation, payload, by)
        except ControlError as refusal:
            answer = refusal
        return answer, self._finish(step)

    # Time

    def fire_timers(self, now_ms: int) -> Outcome:
        """Apply a bounded number of due timers, and one slice of each unfinished cancellation."""
        step = self._step(now_ms)
        for execution in self.state.timers.due(now_ms, TIMERS_SLICE):
            self._time_out(step, execution)
        for job_id, start in list(self._sweeps.items()):
            self._sweep(step, job_id, start)
        return step.finish()

    def next_deadline_ms(self) -> int | None:
        """Return when `fire_timers` has work: 0 for at once, None for never."""
        return 0 if self._sweeps else self.state.timers.next_due_ms()

    def started(self, boot_id: str, uptime_ms: int, now_ms: int) -> Outcome:
        """Note that the service takes up its work; comes before the first `fire_timers`."""
        step = self._step(now_ms)
        step.apply(ServiceStarted(now_ms, boot_id, uptime_ms))
        return step.finish()

    def step_clock(self, delta_ms: int, now_ms: int) -> Outcome:
        """Move what runs with a wall clock that was corrected by `delta_ms` > 0 (architecture, "Time").

        The next call may give a `now_ms` that is later by `delta_ms`; no execution times out early because of
        it.
        """
        step = self._step(now_ms)
        step.apply(ClockStepped(now_ms, delta_ms))
        return step.finish()

    # Helpers

    def _step(self, now_ms: int) -> Step:
        return Step(self.state, self.naming, self._new_id, now_ms)

    def _answer(self, step: Step, request: topics.RequestTopic, payload: bytes) -> Wire:
        """Decode and carry out a request; the order of the checks is that of data plane 3.4."""
        body = decode_request(request.api, payload)
        try:
            thing = self.state.things.get(request.thing_name)
            if request.job_id and (thing is None or request.job_id not in thing.executions):
                _check_job_id(request)
            if thing is None:
                thing = self._register(step, request)
            return HANDLERS[request.api](step, thing, request.job_id, body)
        except Rejected as refusal:
            refusal.client_token = body.client_token
            raise

    def _register(self, step: Step, request: topics.RequestTopic) -> Thing:
        """Make a thing of a device that asks for its jobs; a request about one job is refused and so changes
        nothing.
        """
        thing_name = request.thing_name
        if not _is_thing_name(thing_name):
            message = f"thingName {thing_name[:140]!r} must be 1 to 128 characters of [a-zA-Z0-9:_-]"
            raise InvalidRequest(message)
        if not self._auto_register or request.job_id not in ("", topics.NEXT_JOB_ID):
            message = f"Thing {thing_name} not found"
            raise ResourceNotFound(message)
        return lifecycle.create_thing(step, thing_name, by="auto_register")

    def _execute(self, step: Step, operation: str, payload: bytes, by: str) -> dict[str, Any]:
        row, request = control.decode(operation, payload)
        return row.handler(step, request, by)

    def _finish(self, step: Step) -> Outcome:
        for job_id in step.sweeps:
            self._sweep(step, job_id, 0)
        return step.finish()

    def _sweep(self, step: Step, job_id: str, start: int) -> None:
        position = lifecycle.sweep_canceled(step, self.state.jobs[job_id], start)
        if position is None:
            self._sweeps.pop(job_id, None)
        else:
            self._sweeps[job_id] = position

    def _time_out(self, step: Step, execution: Execution) -> None:
        thing = self.state.things[execution.thing_name]
        lifecycle.time_out_if_overdue(step, thing, execution)


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
