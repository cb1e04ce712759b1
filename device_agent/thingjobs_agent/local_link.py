"""A service for one document and one run: answers the agent in the same process, for `run-document`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from thingjobs_agent.events import Accepted, Connected, Input, Send, ShutDown
from thingjobs_protocol.messages import (
    DescribeJobExecutionRequest,
    JobExecution,
    JobExecutionResponse,
    UpdateJobExecutionRequest,
    UpdateJobExecutionResponse,
    Wire,
)
from thingjobs_protocol.status import JobExecutionStatus


class LocalLink:
    """Hands the document out once, and keeps the result."""

    def __init__(self, job_document: msgspec.Raw, tell: Callable[[str], None]) -> None:
        """Take the document, and who wants to read how it goes."""
        now = int(time.time())
        self._execution = JobExecution(
            job_id=f"local-{now}",
            status=JobExecutionStatus.IN_PROGRESS,
            queued_at=now,
            last_updated_at=now,
            version_number=1,
            execution_number=1,
            job_document=job_document,
        )
        self.job_id = self._execution.job_id
        self._tell = tell
        self._said = ""
        self._deliver: Callable[[Input], None] = lambda _: None

    def bind(self, deliver: Callable[[Input], None]) -> LocalLink:
        """Answer this agent from now on."""
        self._deliver = deliver
        return self

    def result(self) -> tuple[str, dict[str, str]]:
        """Return the status and its details; IN_PROGRESS if the run was broken off."""
        return self._execution.status.value, self._execution.status_details or {}

    def send(self, command: Send) -> None:
        """Answer a request."""
        request = command.message
        if isinstance(request, UpdateJobExecutionRequest):
            self._update(request)
            answer: Wire = UpdateJobExecutionResponse(0, client_token=request.client_token)
        elif isinstance(request, DescribeJobExecutionRequest):
            answer = JobExecutionResponse(0, request.client_token, self._execution)
        elif self._is_over:
            # Asked for the next one: all is done.
            self._deliver(ShutDown())
            return
        else:
            token = getattr(request, "client_token", None)
            answer = JobExecutionResponse(0, token, self._execution)
        assert isinstance(answer, JobExecutionResponse | UpdateJobExecutionResponse)
        self._deliver(Accepted(command.api, command.job_id, answer))

    async def flush(self) -> None:
        """Nothing waits here."""

    async def run(self) -> None:
        """Be connected."""
        self._deliver(Connected())
        await asyncio.Event().wait()

    def is_turning(self) -> bool:
        """Return that there is nothing that could hang."""
        return True

    @property
    def _is_over(self) -> bool:
        return self._execution.status is not JobExecutionStatus.IN_PROGRESS

    def _update(self, request: UpdateJobExecutionRequest) -> None:
        self._execution.status = request.status
        self._execution.status_details = request.status_details
        if not self._is_over and request.status_details:
            details = {key: value for key, value in request.status_details.items() if key != "agent"}
            said = f"step {details.pop('step', '?')}"
            said += "".join(f", {key} {value}" for key, value in details.items())
            if said != self._said:
                self._said = said
                self._tell(said)
