"""Captures: what comes out is the state at the beginning, whatever happened meanwhile; and the way back."""

import copy
from collections.abc import Iterator
from typing import Any

import hypothesis
import hypothesis.strategies as st
import msgpack
import pytest

from tests.broker.core.test_state import ACTIONS, perform
from tests.broker.core.world import World, check_consistency, picture
from thingjobs_broker.core.entities import Execution, Job, Thing
from thingjobs_broker.core.records import (
    KINDS,
    ClockStepped,
    ExecutionQueued,
    GroupTimeoutsChanged,
    TagsChanged,
    TemplateCreated,
    TemplateDeleted,
    ThingCreated,
)
from thingjobs_broker.core.state import State
from thingjobs_broker.store import capture, rows
from thingjobs_broker.store.capture import Capture
from thingjobs_broker.store.restore import SnapshotUnreadable, restore
from thingjobs_protocol.status import JobExecutionStatus

DAY_MS = 24 * 3600 * 1000
HEADER = {"things": 1, "jobs": 1, "queue_position": 0, "last_at_ms": 0, "last_start": None}


def unpacked(objects: list[bytes]) -> Iterator[Any]:
    """The objects as the reader of a snapshot yields them."""
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(b"".join(objects))
    return iter(unpacker)


def captured(state: State) -> list[bytes]:
    """A whole capture of a state that stands still."""
    one, objects = Capture(state), []
    while (found := one.next_slice()) is not None:
        objects += found
    return objects


class Interleaved:
    """A world that is captured, slice by slice, while it goes on."""

    def __init__(self, world: World) -> None:
        self.before = copy.deepcopy(picture(world.state))
        self.records = len(world.journal)
        self.objects: list[bytes] = []
        self.done = False
        self._capture = Capture(world.state)
        world.state.before_apply = self._capture.before

    def slices(self, count: int) -> None:
        """Go on for so many slices."""
        for _ in range(count):
            found = self._capture.next_slice()
            self.done = self.done or found is None
            self.objects += found or []

    def check(self, world: World) -> None:
        """What came out is the state at the beginning; the journal after it leads to the state of now."""
        while not self.done:
            self.slices(1)
        world.state.before_apply = None
        restored = restore(unpacked(self.objects))
        assert picture(restored) == self.before
        check_consistency(restored)
        for record in world.journal[self.records :]:
            restored.apply(record)
        assert picture(restored) == picture(world.state)
        check_consistency(restored)


@pytest.mark.parametrize("rows_of_a_slice", [2, 3, 7])
@hypothesis.given(
    earlier=st.lists(ACTIONS, min_size=5, max_size=25),
    meanwhile=st.lists(st.tuples(ACTIONS, st.integers(0, 3)), min_size=1, max_size=25),
    forgetting=st.booleans(),
)
@hypothesis.settings(max_examples=150)
def test_a_capture_is_the_state_at_its_beginning_whatever_happens_meanwhile(
    rows_of_a_slice: int, earlier: list[Any], meanwhile: list[tuple[Any, int]], forgetting: bool
) -> None:
    """Item 1: no change of the meantime shows, and none is lost to the journal's replay."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "SLICE_ROWS", rows_of_a_slice)
        world = World("A", "B", checked=False)
        for action in earlier:
            perform(world, action)
        one = Interleaved(world)
        for number, (action, slices) in enumerate(meanwhile):
            one.slices(slices)
            perform(world, action)
            if forgetting and number % 5 == 2:
                world.forget(world.now_ms)
        one.check(world)


@hypothesis.given(st.lists(ACTIONS, min_size=5, max_size=40))
@hypothesis.settings(max_examples=150)
def test_the_timers_of_a_restored_state_are_those_of_its_executions(actions: list[Any]) -> None:
    """Promise 5: none early, none lost."""
    world = World("A", "B")
    for action in actions:
        perform(world, action)
    restored = restore(unpacked(captured(world.state)))
    deadlines = [
        execution.deadline_ms
        for job in restored.jobs.values()
        for execution in job.executions
        if execution is not None and execution.deadline_ms
    ]
    due_ms = restored.timers.next_due_ms()
    assert due_ms == (-(-min(deadlines) // 1000) * 1000 if deadlines else None)


def test_a_thing_created_meanwhile_is_not_part_of_it() -> None:
    """The lists of things and jobs end where they ended."""
    world = World("A")
    one = Interleaved(world)
    world.control("CreateThing", thingName="B")
    world.create_job("J1", "A", "B")
    one.check(world)


def test_a_job_deleted_meanwhile_is_part_of_it() -> None:
    """Its row and its executions were captured before they went."""
    world = World("A")
    world.create_job("J1", "A")
    world.update("A", "J1", "SUCCEEDED")
    one = Interleaved(world)
    world.pass_unnoticed(DAY_MS)
    world.forget(world.now_ms)
    assert world.state.jobs == {}
    one.check(world)


def test_an_execution_queued_meanwhile_is_not_part_of_it() -> None:
    """Of a job that was there before, too: it ends where it ended."""
    world = World("A", "B")
    world.create_job("J1", "A")
    one = Interleaved(world)
    world.state.apply(record := ExecutionQueued("B", "J1", 1, 2, world.now_ms))
    world.journal.append(record)
    one.check(world)


def test_pending_executions_come_back_in_queue_order() -> None:
    """Not in that of their jobs: a retry of an old one goes to the end (A14)."""
    world = World("A")
    retry = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    world.create_job("J1", "A", jobExecutionsRetryConfig=retry)
    world.create_job("J2", "A")
    world.update("A", "J1", "FAILED")
    restored = restore(unpacked(captured(world.state)))
    assert list(restored.things["A"].pending) == list(world.thing("A").pending) == ["J2", "J1"]


def test_restored_executions_share_the_time_they_were_queued_at() -> None:
    """A rollout queues many at once, and a number takes 32 bytes."""
    things = [f"T{number}" for number in range(3)]
    world = World(*things)
    world.create_job("J1", *things[:2])
    world.pass_unnoticed(1)
    world.create_job("J2", things[2])
    executions = restore(unpacked(captured(world.state))).jobs["J1"].executions
    times = [execution.queued_at_ms for execution in executions if execution]
    assert len(times) == 2
    assert times[0] is times[1] == world.execution(things[1], "J1").queued_at_ms


def test_a_step_of_the_clock_breaks_it() -> None:
    """It changes all that runs at once; the snapshot is begun anew."""
    world = World("A")
    one = Capture(world.state)
    one.before(ClockStepped(1, 1000))
    assert one.broken


def test_slices_are_bounded() -> None:
    """No slice holds more rows than it may, whatever they are spread over."""
    world = World(*(f"T{number}" for number in range(450)), checked=False)
    for number in range(5):
        start = number * 90
        world.create_job(f"J{number}", *(f"T{thing}" for thing in range(start, start + 90)))
    one, most = Capture(world.state), 0
    while (objects := one.next_slice()) is not None:
        found = [entry for entry in unpacked(objects) if entry[0] != rows.MARK]
        most = max(most, sum(len(entry[-1]) if entry[0] != rows.JOB else 1 for entry in found))
    assert most == capture.SLICE_ROWS


def test_large_rows_make_small_slices() -> None:
    """Two hundred things with all the attributes they may have would be more than an object may hold."""
    state = State()
    attributes = {f"{number:02}" * 20: "\N{HOT SPRINGS}" * 800 for number in range(50)}
    for number in range(300):
        state.apply(ThingCreated(f"T{number}", f"id-{number}", 1, "ada", attributes))
    objects = captured(state)
    assert max(map(len, objects)) < 2 * capture.SLICE_BYTES
    assert picture(restore(unpacked(objects))) == picture(state)


def test_tags_and_templates_leave_in_slices_too() -> None:
    """Many of them would stop everybody if they were one object; what changes meanwhile is not among them."""
    state = State()
    for number in range(1000):
        state.apply(TagsChanged(f"arn:{number}", 1, {"key": str(number)}))
        state.apply(GroupTimeoutsChanged(f"group-{number}", 1, "ada", number + 1, 0))
    for number in range(20):
        state.apply(TemplateCreated(f"t{number}", 1, "ada", "", "d" * 32_768, "", {}))
    before = copy.deepcopy(picture(state))
    one = Capture(state)
    objects = one.next_slice() or []
    for number in range(0, 1000, 3):
        state.apply(TagsChanged(f"arn:{number}", 2, {}))
        state.apply(GroupTimeoutsChanged(f"group-{number}", 2, "ada", 7, 7))
    state.apply(TemplateDeleted("t7", 2, "ada"))
    while (found := one.next_slice()) is not None:
        assert sum(map(len, found)) < capture.SLICE_BYTES + 40_000
        assert all(len(entry[-1]) <= capture.SLICE_ROWS for entry in unpacked(found))
        objects += found
    assert picture(restore(unpacked(objects))) == before


def test_every_kind_of_record_says_what_it_changes() -> None:
    """A kind that is missing would spoil a snapshot in silence."""
    assert set(capture._TOUCHED) == set(KINDS)


def test_rows_keep_every_field_that_is_not_derived() -> None:
    """A field that is missing would be forgotten by the first restart after a snapshot."""
    # Its place stands before the fields.
    derived = {"executions", "pending", "in_progress_count", "pending_revision", "index", "namespaces"}
    packed = ("packed_id" if field == "thing_id" else field for field in rows.THING_FIELDS)
    assert set(packed) == set(Thing.__struct_fields__) - derived
    assert set(rows.JOB_FIELDS) == set(Job.__struct_fields__) - {"counts"}
    derived = {"job_id", "previous", "timer_tick"}
    assert set(rows.EXECUTION_FIELDS) == set(Execution.__struct_fields__) - derived
    execution = Execution("T", "J1", 1, 1, 0, 0)
    assert len(rows.execution_row(execution)) == len(rows.EXECUTION_FIELDS)


def test_every_status_has_its_number_on_disk() -> None:
    """And none changes it: what is stored is read for ever."""
    names = "QUEUED IN_PROGRESS SUCCEEDED FAILED REJECTED TIMED_OUT CANCELED REMOVED"
    assert rows.STATUSES[:8] == tuple(map(JobExecutionStatus, names.split()))
    assert set(rows.STATUSES) == set(JobExecutionStatus)


@pytest.mark.parametrize(
    "objects",
    [
        [],
        [["thingjobs", 3, {}]],
        [["thingjobs", 2, HEADER], [5, [["arn", {}, "more"]]]],
        [["something", 1, HEADER]],
        [["thingjobs", 1, {}]],
        [["thingjobs", 1, HEADER], [9, []]],
        [["thingjobs", 1, HEADER], [1, [[0, "T", "id", 1, {}, 1, "more"]]]],
        [["thingjobs", 1, HEADER], [1, [[5, "T", "id", 1, {}, 1]]]],
        [["thingjobs", 1, HEADER], [2, [0] * 100]],
        [["thingjobs", 1, HEADER], [3, 0, [[0, "T"]]]],
    ],
)
def test_rows_of_another_version_are_refused(objects: list[Any]) -> None:
    """A newer version wrote them, and a state that lacks something is worse than none."""
    with pytest.raises(SnapshotUnreadable, match="run the version that wrote it"):
        restore(iter(objects))
