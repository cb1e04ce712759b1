"""The work in hand as it is kept on disk: which execution, how far it got, what there is to report.

Plain data and its JSON form; `checkpoint` does the disk. A checkpoint is stored before each step (the intent)
and before a terminal report (the result), so that what a crash leaves behind says what may have happened.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from thingjobs_protocol.messages import JobExecution, JobExecutionSummary
from thingjobs_protocol.status import JobExecutionStatus

CHECKPOINT_VERSION: Final = 1
"""Raised when the stored form changes in a way that older code would misread."""


class Identity(NamedTuple):
    """Which execution is meant. Numbers and job ids may be used again after a deletion, so `queued_at` is
    part of it (spec: data plane 4.4).
    """

    job_id: str
    execution_number: int
    queued_at: int

    @classmethod
    def of(cls, execution: JobExecution | JobExecutionSummary) -> Identity:
        """Return the identity of an execution in a message."""
        return cls(execution.job_id, execution.execution_number, execution.queued_at)


class Phase(StrEnum):
    """How far the work in hand got."""

    HELD = "held"
    """The job was taken up and nothing has been done: somebody at the device wants it to wait."""
    RUNNING = "running"
    """A handler may have been started."""
    REBOOTING = "rebooting"
    """The device has been told to reboot; the step is done when `boot_id` has changed."""
    RESTARTING = "restarting"
    """The agent restarts; the step is done when it is back."""
    REPORTING = "reporting"
    """The result is known and not yet answered by the service."""
    DONE = "done"
    """The service has the result; kept so that the same execution is never run again."""


class Report(msgspec.Struct, frozen=True):
    """A terminal result."""

    status: JobExecutionStatus
    status_details: dict[str, str] = {}


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stored form. `step_index` counts from 0; `restarts` counts the times the job was taken up again,
    `reboots` how often the current step has asked for its reboot. The outputs are those of the steps before.
    """

    job_id: str
    execution_number: int
    queued_at: int
    phase: Phase
    step_index: int = 0
    restarts: int = 0
    job_document: msgspec.Raw = msgspec.Raw(b"null")
    report: Report | None = None
    boot_id: str = ""
    reboots: int = 0
    std_out: str = ""
    std_err: str = ""
    ignored: list[str] = []
    version: int = CHECKPOINT_VERSION

    @property
    def identity(self) -> Identity:
        """Return which execution this is."""
        return Identity(self.job_id, self.execution_number, self.queued_at)


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return the JSON bytes of a checkpoint. `version` is always written, unlike other defaults."""
    fields = msgspec.structs.asdict(checkpoint)
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def decode_checkpoint(data: bytes) -> Checkpoint:
    """Return the checkpoint in its JSON bytes.

    Raises:
        ValueError: these bytes are not a whole checkpoint of a version this agent knows.

    """
    try:
        checkpoint = msgspec.json.decode(data, type=Checkpoint)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if checkpoint.version != CHECKPOINT_VERSION:
        raise ValueError(f"version {checkpoint.version} is not {CHECKPOINT_VERSION}")
    if checkpoint.phase in (Phase.REPORTING, Phase.DONE) and checkpoint.report is None:
        raise ValueError(f"phase {checkpoint.phase} without a report")
    return checkpoint
