"""What the state is made of: things, jobs and their executions. Data without rules.

Executions and things are lean: shared names, no back references, no empty dictionaries, so that a million of
them fit in memory without work for the garbage collector (no cycles, hence `gc=False`).
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, cast

import msgpack
import msgspec
from sortedcontainers import SortedDict

from thingjobs_protocol.status import JobExecutionStatus, JobStatus, TargetSelection


class Execution(msgspec.Struct, gc=False):
    """One job execution: one (thing, job, execution number). Times in ms since the epoch, 0 = not yet.

    `details` are the status details as msgpack, empty without any: a dictionary would be as large as all the
    rest.
    """

    thing_name: str
    job_id: str
    execution_number: int
    queue_position: int
    queued_at_ms: int
    last_updated_at_ms: int
    retry_attempt: int = 0
    status: JobExecutionStatus = JobExecutionStatus.QUEUED
    version_number: int = 1
    started_at_ms: int = 0
    details: bytes = b""
    in_progress_deadline_ms: int = 0
    step_deadline_ms: int = 0
    force_canceled: bool = False
    timeline: bytes = b""
    previous: Execution | None = None
    index_in_job: int = 0
    timer_tick: int = 0
    timeout_minutes_at_start: int = 0
    timeout_minutes: int = 0
    """The in-progress timeout that it started with, and the one in force (spec: control plane B14)."""

    @property
    def status_details(self) -> dict[str, str] | None:
        """What the device told last, None for nothing."""
        return msgpack.unpackb(self.details) if self.details else None

    @property
    def deadline_ms(self) -> int:
        """When the execution times out: the earlier of its two timers, 0 without any (spec: data plane
        6.3).
        """
        total, step = self.in_progress_deadline_ms, self.step_deadline_ms
        return min(total, step) if total and step else total or step


NO_EXECUTIONS: Final = cast("dict[str, Execution]", MappingProxyType({}))
"""Shared by all that have none, and so not to be changed in place."""

NO_ATTRIBUTES: Final[dict[str, str]] = {}
"""Shared as well; attributes are replaced as a whole."""


class Queue(msgspec.Struct, gc=False, kw_only=True):
    """The executions of a thing that are pending in one namespace, in queue order."""

    pending: dict[str, Execution] = NO_EXECUTIONS
    in_progress_count: int = 0
    pending_revision: int = 0
    """Counts changes of the membership of the pending set, for `notify` (spec: data plane 5.2). It is looked
    at within one step only, so a restart may begin anew.
    """

    def add_pending(self, execution: Execution) -> None:
        """Add an execution at the end of the queue."""
        if self.pending:
            self.pending[execution.job_id] = execution
        else:
            self.pending = {execution.job_id: execution}

    def remove_pending(self, execution: Execution) -> None:
        """Take an execution out of the queue."""
        del self.pending[execution.job_id]
        self.pending = self.pending or NO_EXECUTIONS
        self.pending_revision += 1

    def move_deadlines(self, delta_ms: int) -> None:
        """Let every timer that runs end so much later."""
        for execution in self.pending.values() if self.in_progress_count else ():
            if execution.in_progress_deadline_ms:
                execution.in_progress_deadline_ms += delta_ms
            if execution.step_deadline_ms:
                execution.step_deadline_ms += delta_ms


NO_QUEUES: Final = cast("dict[str, Queue]", MappingProxyType({}))
"""Shared by all things without pending executions in a namespace, and so not to be changed in place."""


def packed_id(thing_id: str) -> int | str:
    """Return a UUID as the number it is, which takes half the memory of its text; others stay as they are."""
    try:
        number = int.from_bytes(bytes.fromhex(thing_id.replace("-", "")))
        return number if _text_of_id(number) == thing_id else thing_id
    except (ValueError, OverflowError):
        return thing_id


def _text_of_id(number: int) -> str:
    digits = number.to_bytes(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Thing(Queue, gc=False):
    """A thing, its newest execution of each job, and what is pending: its own queue is that without a
    namespace, and there is one for each namespace (spec: control plane 1.7).
    """

    thing_name: str
    packed_id: int | str
    created_at_ms: int
    attributes: dict[str, str]
    version: int = 1
    thing_type_name: str = ""
    groups: tuple[str, ...] = ()
    """The ids of the groups that it is a direct member of, static and dynamic, in the order of joining."""
    index: int = 0
    """Its place in `State.thing_order`."""
    executions: dict[str, Execution] = NO_EXECUTIONS
    namespaces: dict[str, Queue] = NO_QUEUES
    """The queues that are not empty, by namespace."""

    @property
    def thing_id(self) -> str:
        """AWS's thingId, empty for what holds the executions of a thing that is gone."""
        return self.packed_id if isinstance(self.packed_id, str) else _text_of_id(self.packed_id)

    def add(self, execution: Execution) -> None:
        """Add an execution, the newest of its job."""
        execution.previous = self.executions.get(execution.job_id)
        if self.executions is self.pending:
            self.executions = {**self.executions, execution.job_id: execution}
        else:
            self.executions[execution.job_id] = execution

    def queue(self, namespace_id: str) -> Queue:
        """Return the queue of a namespace to look into; without one, the thing's own."""
        if not namespace_id:
            return self
        return self.namespaces.get(namespace_id) or Queue()

    def queues(self) -> list[Queue]:
        """Return all queues that are not empty."""
        return [queue for queue in (self, *self.namespaces.values()) if queue.pending]

    def enqueue(self, execution: Execution, namespace_id: str) -> Queue:
        """Add an execution at the end of the queue of its namespace, which is returned."""
        queue = self.queue(namespace_id)
        if queue is not self:
            self.namespaces = {**self.namespaces, namespace_id: queue}
        elif not self.pending and len(self.executions) == 1:
            # As for most things: one dictionary is both until they differ, which saves a fifth of the memory.
            self.pending = self.executions
            return self
        queue.add_pending(execution)
        return queue

    def dequeue(self, execution: Execution, namespace_id: str) -> None:
        """Take an execution out of the queue of its namespace."""
        queue = self.queue(namespace_id)
        if self.pending is self.executions and queue is self:
            self.pending = dict(self.pending)
        queue.remove_pending(execution)
        if queue is not self and not queue.pending:
            rest = {name: other for name, other in self.namespaces.items() if other is not queue}
            self.namespaces = rest or NO_QUEUES


class ThingType(msgspec.Struct, frozen=True):
    """What things have in common; replaced as a whole. `properties` are AWS's thingTypeProperties."""

    thing_type_name: str
    type_id: str
    created_at_ms: int
    properties: dict[str, Any] = {}
    deprecated_at_ms: int = 0
    """0 while things may be given it."""
    index: int = 0
    """Grows with each new one."""


class GroupStatus(StrEnum):
    """What goes on in a thing group. All but LEAVING are AWS's, of dynamic groups."""

    ACTIVE = "ACTIVE"
    BUILDING = "BUILDING"
    """The things that were there before it are being looked at."""
    REBUILDING = "REBUILDING"
    LEAVING = "LEAVING"
    """It was deleted, its name is free, and its members leave in slices."""


class Group(msgspec.Struct, frozen=True):
    """A thing group without its members; replaced as a whole. One with a query is dynamic."""

    group_name: str
    group_id: str
    created_at_ms: int
    parent_id: str = ""
    description: str = ""
    attributes: dict[str, str] = {}
    version: int = 1
    status: GroupStatus = GroupStatus.ACTIVE
    index: int = 0
    """Grows with each new one."""
    query_string: str = ""
    position: int = 0
    """How far in `State.thing_order` the building of its membership has come."""
    snapshots: list[str] = []
    """Of one that is LEAVING: the SNAPSHOT jobs that were being rolled out when it was deleted. Its members
    belong to those still (spec: control plane 2.5).
    """


class Orders:
    """What lists need in order to begin a page anywhere at the same cost; it follows from the rest."""

    def __init__(self) -> None:
        self.groups: SortedDict[int, str] = SortedDict()
        self.types: SortedDict[int, str] = SortedDict()
        """The ids of all groups and the names of all types, by their index."""
        self.histories: dict[str, list[Execution]] = {}
        """By the name of a thing that has many, all its executions in the order of their queue positions."""


class Template(msgspec.Struct, gc=False):
    """A custom job template; it never changes."""

    template_id: str
    created_at_ms: int
    description: str
    document: str
    document_source: str
    options: dict[str, Any]
    index: int = 0
    """Its place in `State.template_order`."""


class Rollout(msgspec.Struct, gc=False):
    """How far the initial rollout of a job has come (spec: control plane 3). A job has it until it is done.

    The next thing is the first after `after` in the target at `target_index`. `notified` and `succeeded` only
    grow. `left` is what the minute window that began at `window_at_ms` still allows, -1 without a limit.
    """

    target_index: int = 0
    after: str = ""
    notified: int = 0
    succeeded: int = 0
    started_at_ms: int = 0
    """0: not yet. A pause moves it, so that windows lie on a grid from here."""
    window_at_ms: int = 0
    left: int = 0
    paused_at_ms: int = 0
    free_index: int = -1
    """The targets from here on joined later and know no rate (spec: control plane 3.3); -1 for none."""


class Job(msgspec.Struct, gc=False):
    """A job and its executions in the order of their creation; a deleted one leaves None."""

    job_id: str
    created_at_ms: int
    created_by: str
    targets: list[str]
    target_selection: TargetSelection
    document: str
    description: str
    options: dict[str, Any]
    last_updated_at_ms: int
    status: JobStatus = JobStatus.IN_PROGRESS
    completed_at_ms: int = 0
    settled: bool = False
    force_canceled: bool = False
    reason_code: str = ""
    comment: str = ""
    counts: dict[str, int] = {}
    """How many executions have which status, by its value: once something is put under an enum itself, the
    garbage collector looks through the dictionary.
    """
    executions: list[Execution | None] = []
    timeline: list[tuple[int, str, str, str]] = []
    index: int = 0
    """Its place in `State.job_order`."""
    rollout: Rollout | None = None
    owed: dict[str, int] = {}
    """Things that get an execution as soon as the job gives any, in this order, with the number of their
    retry.
    """
    barred: set[str] = set()
    """Things that the rollout under way passes over: who joined a SNAPSHOT later, or left."""
    numbers_used: dict[str, int] = {}
    """By thing, the number of its newest execution when that was deleted; none is used again (A32). While the
    job itself is being deleted none is added, here and below.
    """
    deleted_time_outs: dict[str, list[int]] = {}
    """By thing, the numbers of its TIMED_OUT executions whose records were deleted: retries count them."""
    ended: bool = False
    """Its endTime has passed."""
    turns: bool = False
    """Its executions have yet to follow the opening or closing of its window, or its end."""
    document_source: str = ""
    authored_document: str = ""
    """The document before its placeholders were replaced, empty if that changed nothing."""
    hides: bool = False
    """It was canceled or deleted outside its windows: what waits stays unseen until it has followed."""

    @property
    def namespace_id(self) -> str:
        """The namespace that its executions are offered in, empty for none (spec: control plane 1.7)."""
        found: str = self.options.get("namespaceId", "")
        return found

    @property
    def has_windows(self) -> bool:
        """Whether it runs in maintenance windows only (spec: control plane 6.3)."""
        return bool(self.options.get("schedulingConfig", {}).get("maintenanceWindows"))

    @property
    def has_begun(self) -> bool:
        """Whether its targets have been looked up."""
        return self.rollout is None or self.rollout.started_at_ms > 0

    @property
    def is_taking_snapshot(self) -> bool:
        """Whether who belongs to its targets is settled, and not all of them have had their turn."""
        is_rolling_out = self.rollout is not None and self.rollout.started_at_ms > 0
        return is_rolling_out and self.target_selection is TargetSelection.SNAPSHOT

    @property
    def is_concurrent(self) -> bool:
        """Whether it is being rolled out, or its cancellation carried out (spec: control plane 2.4)."""
        if self.status is JobStatus.IN_PROGRESS:
            return self.rollout is not None
        return self.status is JobStatus.CANCELED and not self.settled

    @property
    def pending_count(self) -> int:
        """Executions that are not terminal."""
        return self.counts[JobExecutionStatus.QUEUED] + self.counts[JobExecutionStatus.IN_PROGRESS]
