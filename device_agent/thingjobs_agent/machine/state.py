"""What the agent knows: its state, the job in hand, and the few things every rule does with them."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

from thingjobs_agent.document import Document, Step
from thingjobs_agent.events import Accepted, Command, Hold, Note
from thingjobs_agent.report import Outputs, step_label
from thingjobs_agent.requests import Message, Requests
from thingjobs_agent.work import Checkpoint, Identity, Phase, Report
from thingjobs_protocol.messages import JobExecution, JobExecutionResponse
from thingjobs_protocol.topics import Api


class State(StrEnum):
    """What the agent is doing."""

    IDLE = "idle"
    ASKING = "asking"
    HELD = "held"
    PREPARING = "preparing"
    RUNNING = "running"
    STOPPING = "stopping"
    REBOOTING = "rebooting"
    RECONCILING = "reconciling"
    REPORTING = "reporting"
    STOPPED = "stopped"


BEATING: Final = frozenset({State.HELD, State.RUNNING})
"""Where the service hears from us now and then, so that its view of the job stays true."""


class StopReason(StrEnum):
    """Why a handler is stopped before its end."""

    OVERDUE = "overdue"
    GONE = "gone"
    CANCELED_HERE = "canceled here"
    SHUTDOWN = "shutdown"


class Limits(msgspec.Struct, frozen=True):
    """The settings that bear on decisions. `facts` is None where conditions are not evaluated (A38)."""

    step_timeout_ms: int = 3_600_000
    grace_ms: int = 10_000
    restarts_max: int = 3
    reboot_wait_ms: int = 300_000
    reboots_max: int = 3
    heartbeat_ms: int = 300_000
    ask_ms: int = 3_600_000
    is_std_err_strict: bool = False
    facts: dict[str, str] | None = None


class Work(msgspec.Struct):
    """The job in hand. `report` is there from the moment the result is known."""

    identity: Identity
    job_document: msgspec.Raw
    parsed: Document | None = None
    step_index: int = 0
    restarts: int = 0
    reboots: int = 0
    report: Report | None = None
    is_report_bare: bool = False
    is_held: bool = False
    is_step_done: bool = False
    """The current step was its reboot, and that is over."""
    ignored: list[str] = []
    outputs: Outputs = msgspec.field(default_factory=Outputs)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Work:
        """Return the work that a checkpoint describes."""
        return cls(
            checkpoint.identity,
            checkpoint.job_document,
            step_index=checkpoint.step_index,
            restarts=checkpoint.restarts,
            reboots=checkpoint.reboots,
            report=checkpoint.report,
            ignored=list(checkpoint.ignored),
            outputs=Outputs(checkpoint.std_out, checkpoint.std_err),
        )

    @property
    def document(self) -> Document:
        """The parsed document; only where there is one, which is from PREPARING to STOPPING."""
        assert self.parsed is not None
        return self.parsed

    @property
    def result(self) -> Report:
        """The report; only where there is one, which is in REPORTING."""
        assert self.report is not None
        return self.report

    @property
    def label(self) -> str:
        """How the current step is called."""
        return step_label(self.document, self.step_index)

    @property
    def step(self) -> Step:
        """The current step."""
        return self.document.steps[self.step_index]

    def checkpoint(self, phase: Phase, *, boot_id: str = "") -> Checkpoint:
        """Return what to store. Once the result is known, the document and the outputs are not needed."""
        if phase in (Phase.REPORTING, Phase.DONE):
            return Checkpoint(
                *self.identity,
                phase=phase,
                step_index=self.step_index,
                restarts=self.restarts,
                report=self.report,
            )
        return Checkpoint(
            *self.identity,
            phase=phase,
            step_index=self.step_index,
            restarts=self.restarts,
            job_document=self.job_document,
            boot_id=boot_id,
            reboots=self.reboots,
            std_out=self.outputs.std_out,
            std_err=self.outputs.std_err,
            ignored=self.ignored,
        )


class Machine:
    """All that changes. Rules write its attributes; nothing else does."""

    def __init__(
        self, limits: Limits, token_prefix: str, jitter: Callable[[], float], boot_id: str = ""
    ) -> None:
        """Start idle, without work and without a connection."""
        self.limits = limits
        self.jitter = jitter
        self.boot_id = boot_id
        self.state = State.IDLE
        self.commands: list[Command] = []
        self.requests = Requests(token_prefix, jitter)
        self.is_connected = False
        self.is_shutting_down = False
        self.is_verified = False
        """On this connection the service has said that the job in hand is still wanted."""
        self.is_checkpoint_lost = False
        self.must_ask_again = False
        self.work: Work | None = None
        self.done: Checkpoint | None = None
        """The last job that was over; it must not run again if it is handed out again."""
        self.repeats = 0
        self.stop_reason = StopReason.GONE
        self.stop_sentence = ""
        self.step_deadline_ms: int | None = None
        self.execution_deadline_ms: int | None = None
        self.progress: dict[str, str] | None = None
        self.is_progress_waiting = False
        self.heartbeat_due_ms: int | None = None
        self.ask_due_ms: int | None = None
        """While idle: when to ask although nobody has announced a job."""
        self.hold_reason = ""
        self.hold_deadline_ms: int | None = None
        """While a hold lasts, no new job is begun."""

    def become(self, state: State) -> None:
        """Change the state; a step's deadline holds only while it runs."""
        self.state = state
        if state not in (State.RUNNING, State.REBOOTING):
            self.step_deadline_ms = None
        if state not in BEATING:
            self.heartbeat_due_ms = None
        if state is not State.IDLE:
            self.ask_due_ms = None

    def in_hand(self) -> Work:
        """Return the job in hand, where the state says there is one."""
        assert self.work is not None, f"no job in hand in state {self.state}"
        return self.work

    def ask(
        self,
        api: Api,
        job_id: str,
        message: Message,
        now_ms: int,
        *,
        is_repeated: bool = True,
        failures: int = 0,
    ) -> None:
        """Send a request, or after some failures send it later."""
        self.commands += self.requests.put(
            api, job_id, message, now_ms, is_repeated=is_repeated, failures=failures
        )

    def note(
        self, level: Literal["debug", "info", "warning", "error"], action: str, sentence: str, **fields: Any
    ) -> None:
        """Add a fact for the log, with the job it is about."""
        if self.work is not None:
            job_id, execution_number, _ = self.work.identity
            fields = {"job_id": job_id, "execution_number": execution_number, **fields}
        self.commands.append(Note(level, action, sentence, fields))

    def set_hold(self, hold: Hold | None, now_ms: int) -> None:
        """Begin no new job for a while, or begin again."""
        self.hold_reason = "" if hold is None else hold.reason
        self.hold_deadline_ms = None if hold is None else now_ms + hold.remaining_ms

    def set_execution_deadline(self, execution: JobExecution, now_ms: int) -> None:
        """Take the service's view of when the job times out; a running step ends then at the latest."""
        seconds = execution.approximate_seconds_before_timed_out
        self.execution_deadline_ms = None if seconds is None else now_ms + seconds * 1000
        if self.execution_deadline_ms is not None and self.step_deadline_ms is not None:
            self.step_deadline_ms = min(self.step_deadline_ms, self.execution_deadline_ms)


def execution_in(answer: Accepted) -> JobExecution | None:
    """Return the execution of a start-next or describe reply, if it has one."""
    return answer.response.execution if isinstance(answer.response, JobExecutionResponse) else None


def document_in(execution: JobExecution) -> msgspec.Raw:
    """Return the document's JSON text; null, which is no valid document, if the service sent none."""
    raw = execution.job_document
    # A copy, because the raw text is a view that would keep the whole message alive.
    return raw.copy() if isinstance(raw, msgspec.Raw) else msgspec.Raw(b"null")
