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
    thing_type_name: str = ""


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
    status: str = "IN_PROGRESS"
    is_rolled_out: bool = True
    """Whether its executions follow one by one, as they did before there were rollouts."""
    document_source: str = ""
    authored_document: str = ""
    """The document before its placeholders were replaced, empty if that changed nothing."""


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
    timeout_minutes: int = 0
    """The in-progress timeout that now holds, 0 as it was: set at the start, and when it is changed."""


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
    ended: bool = False
    """Its endTime has passed: no further executions, and it completes when the present ones have ended."""
    turns: bool = False
    """A window opened or closed, or the end cancels: its executions have to follow."""


class ServiceStarted(Record, frozen=True):
    """The service took up its work. Within one boot of the machine, uptime tells how long it was away."""

    at_ms: int
    boot_id: str
    uptime_ms: int
    is_clock_lost: bool = False
    """The time was only carried on from the last record; the machine does not know it."""


class ClockStepped(Record, frozen=True):
    """The wall clock was corrected forward: what runs keeps the time it had left."""

    at_ms: int
    delta_ms: int


class JobDeleted(Record, frozen=True):
    """A job left the records, after all of its executions."""

    job_id: str
    at_ms: int
    by: str


class JobUpdated(Record, frozen=True):
    """An operator changed a job; None leaves a member as it is. `options` holds only what was given;
    `targets` are all of them, new ones at the end.
    """

    job_id: str
    at_ms: int
    by: str
    description: str | None = None
    options: dict[str, Any] | None = None
    targets: list[str] | None = None
    comment: str | None = None


class RolloutAdvanced(Record, frozen=True):
    """How far the rollout of a job has come; the fields are those of `Rollout`."""

    job_id: str
    at_ms: int
    target_index: int
    after: str
    notified: int
    started_at_ms: int
    window_at_ms: int
    left: int
    is_done: bool


class TurnChanged(Record, frozen=True):
    """A thing is `owed` an execution of a job, is `barred` from its rollout, or neither (`none`)."""

    job_id: str
    thing_name: str
    at_ms: int
    turn: str
    retry_attempt: int = 0


class JobTurned(Record, frozen=True):
    """The executions of a job have followed its window, or its end; their devices know."""

    job_id: str
    at_ms: int


class TemplateCreated(Record, frozen=True):
    """A custom job template was accepted. `options` holds the configuration members in AWS camelCase."""

    template_id: str
    at_ms: int
    by: str
    description: str
    document: str
    document_source: str
    options: dict[str, Any]


class TemplateDeleted(Record, frozen=True):
    """A custom job template was removed by an operator."""

    template_id: str
    at_ms: int
    by: str


class TagsChanged(Record, frozen=True):
    """The tags of a resource are these now, none for the last time."""

    arn: str
    at_ms: int
    tags: dict[str, str]


class GroupTimeoutsChanged(Record, frozen=True):
    """The timeouts of jobs that target a group; 0 is none."""

    group_name: str
    at_ms: int
    by: str
    default_minutes: int = 0
    maximum_minutes: int = 0


class ThingUpdated(Record, frozen=True):
    """A thing has these attributes and this type now, none where that is empty."""

    thing_name: str
    at_ms: int
    by: str
    attributes: dict[str, str]
    thing_type_name: str
    version: int


class ThingDeleted(Record, frozen=True):
    """A thing left the registry and its groups; its executions that ended stay with their jobs."""

    thing_name: str
    at_ms: int
    by: str


class ThingGroupsChanged(Record, frozen=True):
    """A thing became a direct member of groups and left others; by their ids."""

    thing_name: str
    at_ms: int
    by: str
    joined: list[str]
    left: list[str]


class ThingTypeCreated(Record, frozen=True):
    """A thing type was made."""

    thing_type_name: str
    type_id: str
    at_ms: int
    by: str
    properties: dict[str, Any]


class ThingTypeChanged(Record, frozen=True):
    """A thing type has these properties now, and is deprecated since then, 0 for not at all."""

    thing_type_name: str
    at_ms: int
    by: str
    properties: dict[str, Any]
    deprecated_at_ms: int


class ThingTypeDeleted(Record, frozen=True):
    """A thing type was removed by an operator."""

    thing_type_name: str
    at_ms: int
    by: str


class GroupCreated(Record, frozen=True):
    """A thing group was made; a dynamic one has a query and builds its membership."""

    group_name: str
    group_id: str
    at_ms: int
    by: str
    parent_id: str
    description: str
    attributes: dict[str, str]
    query_string: str = ""


class GroupChanged(Record, frozen=True):
    """A thing group is described by this now; one with another query builds its membership anew."""

    group_id: str
    at_ms: int
    by: str
    description: str
    attributes: dict[str, str]
    version: int
    query_string: str = ""


class GroupDeleted(Record, frozen=True):
    """A thing group was deleted: its name is free. Its members leave one by one."""

    group_id: str
    at_ms: int
    by: str


class GroupSwept(Record, frozen=True):
    """How far the building of a dynamic group has come, or that the last member of a deleted one has left."""

    group_id: str
    at_ms: int
    position: int
    is_done: bool


class IndexingConfigured(Record, frozen=True):
    """What is indexed; the whole of AWS's indexing configuration."""

    at_ms: int
    by: str
    configuration: dict[str, dict[str, Any]]


class EventsConfigured(Record, frozen=True):
    """Which types of events are published, of those that were ever configured."""

    at_ms: int
    by: str
    enabled: dict[str, bool]


class StateCleared(Record, frozen=True):
    """Everything was forgotten, for the next test of a suite."""

    at_ms: int


KINDS: Final[tuple[type[Record], ...]] = (
    ThingCreated,
    JobCreated,
    ExecutionQueued,
    ExecutionChanged,
    ExecutionDeleted,
    JobChanged,
    ServiceStarted,
    ClockStepped,
    JobDeleted,
    JobUpdated,
    RolloutAdvanced,
    TurnChanged,
    JobTurned,
    TemplateCreated,
    TemplateDeleted,
    TagsChanged,
    GroupTimeoutsChanged,
    ThingUpdated,
    ThingDeleted,
    ThingGroupsChanged,
    ThingTypeCreated,
    ThingTypeChanged,
    ThingTypeDeleted,
    GroupCreated,
    GroupChanged,
    GroupDeleted,
    GroupSwept,
    IndexingConfigured,
    EventsConfigured,
    StateCleared,
)
"""The position is the kind's number on disk: append only, never reorder."""
