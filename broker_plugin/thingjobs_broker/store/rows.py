"""The rows of a snapshot: what is kept of things, jobs and executions, and back. Derived data is not kept.

Layout of the stream, each line one msgpack object:

    ["thingjobs", version, globals]            first, once
    [kind of a table, [row, row, ...]]         small things by name: templates, tags (see `TABLES`)
    [THINGS, [row, row, ...]]                  all of them before the first job
    [JOB, row]                                 before the executions of that job
    [EXECUTIONS, index of the job, [row, ...]]
    [TURNS, index of the job, [row, ...]]      what the job knows of things beside their executions

Version 1 had the tables among the globals, whole; version 2 had no registry but things without groups;
version 3 had no turns but all of them in the row of the job.

A row holds the fields named below by position. New fields go to the end of a row, so that older snapshots
stay readable. A thing begins with its place in `State.thing_order`; of a job's executions the row tells how
many it had, holes of deleted ones included.
"""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from thingjobs_broker.core import registry_records
from thingjobs_broker.core.entities import (
    NO_ATTRIBUTES,
    Execution,
    Group,
    GroupStatus,
    Job,
    Rollout,
    Template,
    Thing,
    ThingType,
    packed_id,
)
from thingjobs_broker.core.records import ServiceStarted
from thingjobs_broker.core.untracked import untracked
from thingjobs_protocol.status import JobExecutionStatus, JobStatus, TargetSelection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from thingjobs_broker.core.state import State

Row = list[Any] | tuple[Any, ...]

MARK: Final = "thingjobs"
VERSION: Final = 4
VERSIONS_READ: Final = (1, 2, 3, 4)

THINGS: Final = 1
JOB: Final = 2
EXECUTIONS: Final = 3
TEMPLATES: Final = 4
TAGS: Final = 5
GROUP_TIMEOUTS: Final = 6
THING_TYPES: Final = 7
GROUPS: Final = 8
TURNS: Final = 9

STATUSES: Final = (
    JobExecutionStatus.QUEUED,
    JobExecutionStatus.IN_PROGRESS,
    JobExecutionStatus.SUCCEEDED,
    JobExecutionStatus.FAILED,
    JobExecutionStatus.REJECTED,
    JobExecutionStatus.TIMED_OUT,
    JobExecutionStatus.CANCELED,
    JobExecutionStatus.REMOVED,
)
"""The position is the status's number on disk: append only, never reorder."""

_NUMBERS: Final = {status: number for number, status in enumerate(STATUSES)}


GLOBALS: Final = (
    *("queue_position", "last_at_ms", "indexing", "event_configurations", "events_configured_ms"),
)
"""Plain attributes of the state that belong to no thing, job or execution."""

THING_FIELDS: Final = (
    *("thing_name", "thing_id", "created_at_ms", "attributes", "version", "thing_type_name", "groups"),
)
JOB_FIELDS: Final = (
    *("index", "job_id", "created_at_ms", "created_by", "targets", "target_selection", "document"),
    *("description", "options", "last_updated_at_ms", "status", "completed_at_ms", "settled"),
    *("force_canceled", "reason_code", "comment", "timeline", "executions", "rollout", "owed", "barred"),
    *("numbers_used", "ended", "document_source", "authored_document", "turns"),
    *("deleted_time_outs", "hides"),
)
EXECUTION_FIELDS: Final = (
    *("index_in_job", "thing_name", "execution_number", "queue_position", "queued_at_ms"),
    *("last_updated_at_ms", "retry_attempt", "status", "version_number", "started_at_ms", "details"),
    *("in_progress_deadline_ms", "step_deadline_ms", "force_canceled", "timeline"),
    *("timeout_minutes_at_start", "timeout_minutes"),
)
"""The fields of the rows, in order; a thing's come after its place. Append only, never reorder. A field that
an older row lacks takes the default of its class.
"""

_FROM_JOB: Final[dict[str, Callable[[Any], Any]]] = {
    "target_selection": attrgetter("value"),
    "status": attrgetter("value"),
    "executions": len,
    "rollout": lambda rollout: rollout and msgspec.structs.astuple(rollout),
    # There may be one for every thing: they have rows of their own.
    "owed": lambda _: {},
    "barred": lambda _: [],
    "numbers_used": lambda _: {},
    "deleted_time_outs": lambda _: {},
}
_TO_JOB: Final[dict[str, Callable[[Any], Any]]] = {
    "target_selection": TargetSelection,
    "status": JobStatus,
    # All are holes yet.
    "executions": lambda count: untracked([None] * count),
    "rollout": lambda rollout: rollout and Rollout(*rollout),
    "barred": lambda names: untracked(set(names)),
    "targets": untracked,
    "timeline": lambda timeline: untracked([tuple(entry) for entry in timeline]),
}
"""What of a job does not go to the disk, and come back, as it is."""

TURN_FIELDS: Final = ("thing_name", "turn", "number")
"""`turn` is one of those below; `number` is that of the retry, or of the execution, 0 for `barred`."""

OWED: Final = "owed"
BARRED: Final = "barred"
USED: Final = "used"
TIMED_OUT: Final = "timed out"

_thing_fields = attrgetter(*THING_FIELDS)


class Table(NamedTuple):
    """A dictionary of the state that goes into rows of its own.

    Its values are replaced, never changed in place: a copy of the dictionary is its state at that moment.
    `fields` are those of a row, as an export names them too; append only, as with the other rows.
    """

    attribute: str
    fields: tuple[str, ...]
    to_row: Callable[[str, Any], Row]
    add: Callable[[State, Row], None]


def _add_template(state: State, row: Row) -> None:
    template = Template(*row)
    state.templates[template.template_id] = state.template_order[template.index] = template


def _add_tags(state: State, row: Row) -> None:
    arn, tags = row
    state.tags[arn] = tags


def _add_group_timeouts(state: State, row: Row) -> None:
    group_name, default_minutes, maximum_minutes = row
    state.group_timeouts[group_name] = default_minutes, maximum_minutes


def _add_thing_type(state: State, row: Row) -> None:
    registry_records.put_thing_type(state, ThingType(*row))


def _group_row(_: str, group: Group) -> Row:
    *fields, status, index, query_string, position, snapshots = msgspec.structs.astuple(group)
    return (*fields, status.value, index, query_string, position, snapshots)


def _add_group(state: State, row: Row) -> None:
    group = Group(*row)
    registry_records.put_group(state, msgspec.structs.replace(group, status=GroupStatus(group.status)))


TABLES: Final = {
    TEMPLATES: Table(
        "templates",
        Template.__struct_fields__,
        lambda _, template: msgspec.structs.astuple(template),
        _add_template,
    ),
    TAGS: Table("tags", ("arn", "tags"), lambda arn, tags: (arn, tags), _add_tags),
    GROUP_TIMEOUTS: Table(
        "group_timeouts",
        ("group_name", "default_minutes", "maximum_minutes"),
        lambda group_name, minutes: (group_name, *minutes),
        _add_group_timeouts,
    ),
    THING_TYPES: Table(
        "thing_types",
        ThingType.__struct_fields__,
        lambda _, found: msgspec.structs.astuple(found),
        _add_thing_type,
    ),
    GROUPS: Table("groups", Group.__struct_fields__, _group_row, _add_group),
}


def header(state: State) -> Row:
    """Return the first object: what belongs to no thing, job, execution or table, by name."""
    start = state.last_start
    return (
        MARK,
        VERSION,
        {name: getattr(state, name) for name in GLOBALS}
        | {
            "things": len(state.thing_order),
            "jobs": len(state.job_order),
            "templates_end": len(state.template_order),
            "last_start": start and (start.at_ms, start.boot_id, start.uptime_ms),
            "is_clock_lost": start is not None and start.is_clock_lost,
        },
    )


def read_globals(state: State, kept: dict[str, Any]) -> None:
    """Bring what `header` kept into a new state; its lists get their lengths."""
    for name in GLOBALS:
        # Older snapshots lack some.
        if name in kept:
            setattr(state, name, kept[name])
    first_ms, last_ms = state.events_configured_ms
    state.events_configured_ms = first_ms, last_ms
    state.thing_order = untracked([None] * kept["things"])
    state.job_order = untracked([None] * kept["jobs"])
    # Older snapshots are of a time without templates and tags.
    state.template_order = [None] * kept.get("templates_end", 0)
    if kept["last_start"]:
        at_ms, boot_id, uptime_ms = kept["last_start"]
        is_clock_lost = kept.get("is_clock_lost", False)
        state.last_start = ServiceStarted(at_ms, boot_id, uptime_ms, is_clock_lost)
    _read_tables_of_version_1(state, kept)


def _read_tables_of_version_1(state: State, kept: dict[str, Any]) -> None:
    for row in kept.get("templates", ()):
        _add_template(state, row)
    for row in kept.get("tags", {}).items():
        _add_tags(state, row)
    for group_name, minutes in kept.get("group_timeouts", {}).items():
        _add_group_timeouts(state, (group_name, *minutes))


def thing_row(index: int, thing: Thing) -> Row:
    """Return what is kept of a thing."""
    return (index, *_thing_fields(thing))


def read_thing(row: Row) -> tuple[int, Thing]:
    """Return a thing without its executions, and its place in `State.thing_order`."""
    index, thing_name, thing_id, *rest = row
    if len(row) > 1 + len(THING_FIELDS):
        raise ValueError("a thing has more fields than this version knows")
    thing = Thing(thing_name, packed_id(thing_id), *rest)
    thing.attributes = thing.attributes or NO_ATTRIBUTES
    thing.index, thing.groups = index, tuple(thing.groups)
    return index, thing


def job_row(job: Job) -> Row:
    """Return what is kept of a job: all but its counters, and of its executions how many there were."""
    return [
        _FROM_JOB[name](getattr(job, name)) if name in _FROM_JOB else getattr(job, name)
        for name in JOB_FIELDS
    ]


def read_job(row: Row) -> Job:
    """Return a job whose executions are all holes yet."""
    if len(row) > len(JOB_FIELDS):
        raise ValueError("a job has more fields than this version knows")
    fields = dict(zip(JOB_FIELDS, row, strict=False))
    return Job(**{name: _TO_JOB[name](value) if name in _TO_JOB else value for name, value in fields.items()})


def turn_rows(job: Job) -> Iterator[Row]:
    """Return what a job knows now of things beside their executions; rows are made when they are asked for.

    Copied, not watched: it takes 10 ns an entry.
    """
    owed, barred, used = job.owed.copy(), job.barred.copy(), job.numbers_used.copy()
    timed_out = [
        (name, TIMED_OUT, number) for name, all_of in job.deleted_time_outs.items() for number in all_of
    ]
    return chain(
        ((name, OWED, number) for name, number in owed.items()),
        ((name, BARRED, 0) for name in barred),
        ((name, USED, number) for name, number in used.items()),
        timed_out,
    )


def add_turn(job: Job, row: Row) -> None:
    """Bring such a row back."""
    thing_name, turn, number = row
    if turn == OWED:
        job.owed[thing_name] = number
    elif turn == BARRED:
        job.barred.add(thing_name)
    elif turn == USED:
        job.numbers_used[thing_name] = number
    elif turn == TIMED_OUT:
        job.deleted_time_outs.setdefault(thing_name, []).append(number)
    else:
        message = f"unknown turn {turn!r}"
        raise ValueError(message)


def execution_row(execution: Execution) -> Row:
    """Return what is kept of an execution; its job is named beside the row."""
    return (
        execution.index_in_job,
        execution.thing_name,
        execution.execution_number,
        execution.queue_position,
        execution.queued_at_ms,
        execution.last_updated_at_ms,
        execution.retry_attempt,
        _NUMBERS[execution.status],
        execution.version_number,
        execution.started_at_ms,
        execution.details,
        execution.in_progress_deadline_ms,
        execution.step_deadline_ms,
        execution.force_canceled,
        execution.timeline,
        execution.timeout_minutes_at_start,
        execution.timeout_minutes,
    )


def read_execution(row: Row, job_id: str, thing_name: str, last: Execution | None) -> Execution:
    """Return an execution without its earlier ones; the names are the state's own, to be shared.

    `last` is the one read before it: a rollout queues many at once.
    """
    index, _, number, queue_position, queued_at_ms, last_updated_at_ms, retry_attempt, *rest = row
    status, version, started_at_ms, details, total_ms, step_ms, force_canceled, timeline, *rest = rest
    timeout_minutes_at_start, timeout_minutes = rest or (0, 0)
    # Equal times are one number, as in a state that came from records: a number takes 32 bytes.
    if last is not None and last.queued_at_ms == queued_at_ms:
        queued_at_ms = last.queued_at_ms
    if last_updated_at_ms == queued_at_ms:
        last_updated_at_ms = queued_at_ms
    elif last_updated_at_ms == started_at_ms:
        last_updated_at_ms = started_at_ms
    return Execution(
        thing_name,
        job_id,
        number,
        queue_position,
        queued_at_ms,
        last_updated_at_ms,
        retry_attempt,
        STATUSES[status],
        version,
        started_at_ms,
        details,
        total_ms,
        step_ms,
        force_canceled,
        timeline,
        index_in_job=index,
        timeout_minutes_at_start=timeout_minutes_at_start,
        timeout_minutes=timeout_minutes,
    )
