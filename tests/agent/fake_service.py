"""A jobs service small enough to be checked by eye: one thing, in memory, data-plane rules only.

Speaks topics and bytes, so that it serves the machine in virtual time and a real agent over a real broker.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from thingjobs_protocol.codec import decode_request, encode
from thingjobs_protocol.messages import (
    DescribeJobExecutionRequest,
    JobExecution,
    JobExecutionResponse,
    JobExecutionsChanged,
    JobExecutionState,
    JobExecutionSummary,
    NextJobExecutionChanged,
    RejectedResponse,
    UpdateJobExecutionRequest,
    UpdateJobExecutionResponse,
    Wire,
)
from thingjobs_protocol.status import PENDING, JobExecutionStatus
from thingjobs_protocol.topics import NEXT_JOB_ID, Api, jobs_base, parse_request

THING = "press-7"
Published = list[tuple[str, bytes]]


@dataclasses.dataclass
class Execution:
    """One execution, with every status and every set of details it had."""

    job_id: str
    document: Any
    number: int = 1
    queued_at: int = 1_700_000_000
    status: JobExecutionStatus = JobExecutionStatus.QUEUED
    version: int = 1
    details: dict[str, str] | None = None
    seconds_left: int | None = None
    history: list[tuple[JobExecutionStatus, dict[str, str] | None]] = dataclasses.field(default_factory=list)

    def set(self, status: JobExecutionStatus, details: dict[str, str] | None = None) -> None:
        """Change the status, as any accepted change does."""
        self.status = status
        self.version += 1
        self.details = self.details if details is None else details
        self.history.append((status, details))

    def on_wire(self, *, with_document: bool = True) -> JobExecution:
        return JobExecution(
            job_id=self.job_id,
            status=self.status,
            queued_at=self.queued_at,
            last_updated_at=self.queued_at,
            version_number=self.version,
            execution_number=self.number,
            status_details=self.details,
            approximate_seconds_before_timed_out=(
                self.seconds_left if self.status is JobExecutionStatus.IN_PROGRESS else None
            ),
            job_document=msgspec.Raw(_json(self.document)) if with_document else msgspec.UNSET,
        )


class FakeService:
    """Holds the executions of one thing in the order they were queued."""

    def __init__(self, thing: str = THING) -> None:
        self.thing = thing
        self.executions: list[Execution] = []
        self.refusals: list[str] = []
        """Codes to answer the next requests with instead."""
        self.describes_terminal = False
        self.requests: list[tuple[Api, Any]] = []

    # -- the operator's side

    def queue(self, job_id: str, document: Any, **fields: Any) -> Published:
        """Add an execution; return the notifications."""
        self.executions.append(Execution(job_id, document, **fields))
        return self.notifications()

    def end(self, job_id: str, status: JobExecutionStatus = JobExecutionStatus.CANCELED) -> Published:
        """Force an execution to its end, as cancel with force and time-outs do."""
        self.of(job_id).set(status)
        return self.notifications()

    def of(self, job_id: str) -> Execution:
        return next(each for each in reversed(self.executions) if each.job_id == job_id)

    def notifications(self) -> Published:
        """Return notify and notify-next as of now; repeats are allowed (spec: data plane 1.5)."""
        jobs: dict[str, list[JobExecutionSummary]] = {}
        for each in self._pending():
            summary = JobExecutionSummary(
                each.job_id, each.queued_at, each.queued_at, each.version, each.number
            )
            jobs.setdefault(each.status.value, []).append(summary)
        front = self._front()
        message = NextJobExecutionChanged(1, front.on_wire() if front else None)
        base = jobs_base(self.thing)
        return [
            (f"{base}/notify", encode(JobExecutionsChanged(1, jobs))),
            (f"{base}/notify-next", encode(message)),
        ]

    # -- the device's side

    def receive(self, topic: str, payload: bytes) -> Published:
        """Answer a request; return everything to publish, the reply first."""
        parsed = parse_request(topic)
        assert parsed is not None
        request = decode_request(parsed.api, payload)
        self.requests.append((parsed.api, request))
        front = self._identity(self._front())
        if self.refusals:
            reply: Wire = self._rejected(self.refusals.pop(0))
        elif parsed.api is Api.START_NEXT_PENDING_JOB_EXECUTION:
            reply = self._start_next()
        elif isinstance(request, DescribeJobExecutionRequest):
            reply = self._describe(parsed.job_id, request)
        else:
            assert isinstance(request, UpdateJobExecutionRequest)
            reply = self._update(parsed.job_id, request)
        reply.client_token = request.client_token  # type: ignore[attr-defined]
        ending = "rejected" if isinstance(reply, RejectedResponse) else "accepted"
        published = [(f"{topic}/{ending}", encode(reply))]
        return published + (self.notifications() if self._identity(self._front()) != front else [])

    def _start_next(self) -> Wire:
        front = self._front()
        if front is not None and front.status is JobExecutionStatus.QUEUED:
            front.set(JobExecutionStatus.IN_PROGRESS)
        return JobExecutionResponse(1, execution=front.on_wire() if front else None)

    def _describe(self, job_id: str, request: DescribeJobExecutionRequest) -> Wire:
        if job_id == NEXT_JOB_ID:
            found = self._front()
            return JobExecutionResponse(1, execution=found.on_wire() if found else None)
        execution = self._find(job_id, request.execution_number)
        if execution is None:
            return self._rejected("ResourceNotFound")
        if execution.status not in PENDING and not self.describes_terminal:
            return self._rejected("TerminalStateReached")
        return JobExecutionResponse(
            1, execution=execution.on_wire(with_document=request.include_job_document)
        )

    def _update(self, job_id: str, request: UpdateJobExecutionRequest) -> Wire:
        execution = self._find(job_id, request.execution_number)
        if execution is None:
            return self._rejected("ResourceNotFound")
        if execution.status not in PENDING:
            state = JobExecutionState(execution.status, execution.version)
            return RejectedResponse(1, "InvalidStateTransition", "it is over", execution_state=state)
        execution.set(request.status, request.status_details)
        return UpdateJobExecutionResponse(1)

    def _rejected(self, code: str) -> RejectedResponse:
        return RejectedResponse(1, code, f"refused with {code}")

    def _pending(self) -> list[Execution]:
        pending = [each for each in self.executions if each.status in PENDING]
        return sorted(pending, key=lambda each: each.status is not JobExecutionStatus.IN_PROGRESS)

    def _front(self) -> Execution | None:
        return next(iter(self._pending()), None)

    def _find(self, job_id: str, number: int | None) -> Execution | None:
        matches = [
            each for each in self.executions if each.job_id == job_id and number in (None, each.number)
        ]
        return matches[-1] if matches else None

    def _identity(self, execution: Execution | None) -> tuple[str, int] | None:
        return None if execution is None else (execution.job_id, execution.number)


def _json(document: Any) -> bytes:
    return document if isinstance(document, bytes) else msgspec.json.encode(document)
