"""What happened: the durable facts. Only these reach the journal, and only `State.apply` turns them into
state.

A record holds resulting values (absolute deadlines, new version numbers), so applying it needs no rule and no
clock. New fields go to the end with a default: records written by older versions stay readable.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from thingjobs_protocol.status import JobExecutionStatus, JobStatus


class Record(msgspec.Struct, frozen=True, gc=False):
    """Base of all records. `at_ms` is wall-clock time; `by` is who caused it."""


class ThingCreated(Record, frozen=True):
    """A thing entered the registry."""

    thing_name: str
    thing_id: str
    at_ms: int
    by: str
    attributes: dict[str, str] = {}


class JobCreated(Record, frozen=True):
    """A job was accepted. `options` holds the configuration members as given, in AWS camelCase."""

    job_id: str
    at_ms: int
    by: str
    targets: list[str]
    target_selection: str
    document: str
    description: str
    options: dict[str, Any]


class ExecutionQueued(Record, frozen=True):
    """A thing got a new execution of a job. `queue_position` orders executions across all jobs."""

    thing_name: str
    job_id: str
    execution_number: int
    queue_position: int
    at_ms: int
    retry_attempt: int = 0


class ExecutionChanged(Record, frozen=True):
    """An execution changed: every transition, and every accepted update.

    `status_details` None leaves them as they are. Deadlines are absolute, 0 = no timer. `cause` names what
    happened where the status does not tell it (`step timer`, `in-progress timer`, `forced`, ...).
    """

    thing_name: str
    job_id: str
    execution_number: int
    status: JobExecutionStatus
    version_number: int
    at_ms: int
    by: str
    status_details: dict[str, str] | None = None
    in_progress_deadline_ms: int = 0
    step_deadline_ms: int = 0
    cause: str = ""


class ExecutionDeleted(Record, frozen=True):
    """The record of an execution was removed by an operator."""

    thing_name: str
    job_id: str
    execution_number: int
    at_ms: int
    by: str


class JobChanged(Record, frozen=True):
    """A job changed its status. `settled` means that nothing of it remains to be done."""

    job_id: str
    status: JobStatus
    at_ms: int
    by: str
    settled: bool = False
    force: bool = False
    reason_code: str = ""
    comment: str = ""


class ServiceStarted(Record, frozen=True):
    """The service took up its work. Within one boot of the machine, uptime tells how long it was away."""

    at_ms: int
    boot_id: str
    uptime_ms: int


class ClockStepped(Record, frozen=True):
    """The wall clock was corrected forward: what runs keeps the time it had left."""

    at_ms: int
    delta_ms: int


KINDS: Final[tuple[type[Record], ...]] = (
    ThingCreated,
    JobCreated,
    ExecutionQueued,
    ExecutionChanged,
    ExecutionDeleted,
    JobChanged,
    ServiceStarted,
    ClockStepped,
)
"""The position is the kind's number on disk: append only, never reorder."""
