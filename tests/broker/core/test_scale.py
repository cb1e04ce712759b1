"""Bounded work in jobs for many things: what one step, page or collection looks at, not how long it takes."""

import copy
import gc
import json
from enum import Enum
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.broker.core.groups import GroupWorld, numbered
from tests.broker.core.test_lifecycle import large_job
from tests.broker.core.test_rolling_out import fleet
from tests.broker.core.world import World, picture
from tests.broker.store.test_capture import captured, unpacked
from thingjobs_broker.core import control_executions, targets, why
from thingjobs_broker.core.lifecycle import SWEEP_SLICE
from thingjobs_broker.core.ports import Rules
from thingjobs_broker.core.records import TurnChanged
from thingjobs_broker.core.service import JOBS_RECORDS_SLICE
from thingjobs_broker.core.state import Job, State
from thingjobs_broker.core.untracked import SortedNames
from thingjobs_broker.store import rows
from thingjobs_broker.store.capture import SLICE_ROWS, Capture
from thingjobs_broker.store.exchange import export_lines, import_lines
from thingjobs_broker.store.restore import restore

RECORDS_MAX = JOBS_RECORDS_SLICE + SWEEP_SLICE + 10
"""A step ends with the slice that brought it to its limit, and what follows from it."""


def slices(world: World) -> list[int]:
    """Lets all that is due at once be done; how many records each step made."""
    made = []
    while (due_ms := world.service.next_deadline_ms()) is not None and due_ms <= world.now_ms:
        made.append(len(world.service.fire_timers(world.now_ms).records))
    return made


def test_no_step_of_a_rollout_a_cancellation_or_a_deletion_is_larger_for_a_larger_job() -> None:
    """Item 6: bounded slices, creation included, as fast as possible."""
    most = {}
    for count in (1000, 4000):
        world = fleet(count, rules=Rules(rollout_per_minute=None), checked=False)
        made = []
        for operation, members in (
            ("CreateJob", {"targets": ["G"], "document": "{}"}),
            ("CancelJob", {"force": True}),
            ("DeleteJob", {"force": True}),
        ):
            request = json.dumps({"jobId": "J1"} | members).encode()
            answer, outcome = world.service.execute(operation, request, "ada", world.now_ms)
            assert isinstance(answer, dict), answer
            made += [len(outcome.records), *slices(world)]
        assert "J1" not in world.state.jobs
        assert sum(made) > 3 * count
        most[count] = max(made)
    assert most[1000] == most[4000] <= RECORDS_MAX


def test_a_filtered_page_ends_after_so_many_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status that few have must not let one request look at a million; the token goes on behind the looks,
    and following it finds each of them once.
    """
    monkeypatch.setattr(control_executions, "LOOKS_MAX", 100)
    world = large_job(950)
    for number in (5, 444, 949):
        world.update(f"T{number}", "J1", "FAILED")
    found: list[str] = []
    request: dict[str, Any] = {"jobId": "J1", "status": "FAILED", "maxResults": 250}
    for _ in range(10):
        answer = world.control("ListJobExecutionsForJob", **request)
        found += [one["thingArn"].rpartition("/")[2] for one in answer["executionSummaries"]]
        request["nextToken"] = answer.get("nextToken")
    assert found == ["T5", "T444", "T949"]
    assert request["nextToken"] is None


def test_pages_without_a_filter_are_full_whatever_the_looks() -> None:
    """250 of those that follow the token; nothing before them is looked at."""
    world = large_job(1000)
    assert control_executions.LOOKS_MAX > 250
    token: str | None = None
    sizes: list[int] = []
    while token is not None or not sizes:
        answer = world.control("ListJobExecutionsForJob", jobId="J1", maxResults=250, nextToken=token)
        sizes.append(len(answer["executionSummaries"]))
        token = answer.get("nextToken")
    assert sizes == [250, 250, 250, 250]


def test_nothing_that_grows_with_things_or_jobs_is_for_the_garbage_collector_to_look_through() -> None:
    """A full collection would stop the service for 50 ms with a million things, and for more with timers."""
    few, many = (entries_looked_through(large_state(count).state) for count in (20, 4000))
    assert many - few < 50


def test_nothing_that_was_recovered_is_for_the_garbage_collector_to_look_through_either() -> None:
    """The state that is read again after the disk has failed is not frozen."""
    few, many = (
        entries_looked_through(restore(unpacked(captured(large_state(count).state)))) for count in (20, 4000)
    )
    assert many - few < 50


def test_with_one_more_job_in_a_long_queue_the_others_are_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each notification would take the longer the more jobs wait."""
    world = World("T")
    for number in range(100):
        world.create_job(f"J{number}")
    looked_at: list[str] = []
    original: Any = vars(Job)["has_windows"].fget

    def looking(job: Job) -> bool:
        looked_at.append(job.job_id)
        return bool(original(job))

    monkeypatch.setattr(Job, "has_windows", property(looking))
    world.create_job("last")
    assert set(looked_at) == {"last"}


def large_state(count: int) -> GroupWorld:
    """Things in a group, each with an execution whose timer runs; some jobs for one of them."""
    world = fleet(count, rules=Rules(rollout_per_minute=None), checked=False)
    world.create_job("J1", "G", timeoutConfig={"inProgressTimeoutInMinutes": 5})
    slices(world)
    for number in range(count):
        name = f"T{number:05d}"
        world.device(name, "start-next")
        world.put(TurnChanged("J1", name, world.now_ms, "barred"))
    for number in range(count // 10):
        world.create_job(f"K{number}", "T00001")
    return world


def entries_looked_through(state: State) -> int:
    """How many entries a full collection looks at for the state, functions and classes left out."""
    gc.collect()
    seen: set[int] = set()
    waiting: list[Any] = [vars(state)]
    entries = 0
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, (type, FunctionType, MethodType, partial, Enum)):
            continue
        seen.add(id(found))
        inside = gc.get_referents(found)
        if gc.is_tracked(found):
            entries += len(inside)
        waiting += inside
    return entries


@given(st.lists(st.tuples(st.booleans(), st.text(max_size=2)), max_size=300))
def test_sorted_names_stay_in_order_and_are_split_into_parts_that_are_not_tracked(
    steps: list[tuple[bool, str]],
) -> None:
    """Whatever comes and goes: as a sorted list that was made of them; only the first part may be tracked."""
    names = SortedNames()
    expected: list[str] = []
    names._reset(4)
    for is_added, name in steps:
        if is_added:
            names.add(name)
            expected.append(name)
        elif name in expected:
            names.remove(name)
            expected.remove(name)
    assert list(names) == sorted(expected)
    parts = names._lists
    assert sum(map(gc.is_tracked, parts)) <= 1
    assert not any(map(gc.is_tracked, SortedNames(map(str, range(5000)))._lists))


def test_a_job_that_is_being_deleted_keeps_no_numbers_of_its_executions() -> None:
    """Nobody gets another; a million of them would be freed in one step."""
    world = large_job(SWEEP_SLICE + 5)
    world.control("DeleteJobExecution", jobId="J1", thingName="T3", executionNumber=1)
    assert world.job("J1").numbers_used == {"T3": 1}
    world.control("DeleteJob", jobId="J1", force=True)
    assert world.job("J1").numbers_used == {"T3": 1}


def with_turns(count: int) -> GroupWorld:
    """A job that owes so many things an execution, and passes over as many."""
    world = GroupWorld("T", checked=False)
    names = numbered(2 * count)
    world.things(*names)
    world.create_job("J1", "T")
    for number, name in enumerate(names):
        turn = "owed" if number < count else "barred"
        world.put(TurnChanged("J1", name, world.now_ms, turn, number % 3 if number < count else 0))
    world.job("J1").numbers_used["T"] = 7
    world.job("J1").deleted_time_outs["T"] = [3, 5]
    return world


def test_what_a_job_knows_of_many_things_is_kept_in_rows_of_their_own() -> None:
    """The row of the job stays small, objects hold no more rows than a slice, and all of it comes back."""
    world = with_turns(2 * SLICE_ROWS + 7)
    objects = list(unpacked(captured(world.state)))
    (job,) = (row for kind, row in ((one[0], one[1]) for one in objects) if kind == rows.JOB)
    assert len(repr(job)) < 2000
    turns = [one[2] for one in objects if one[0] == rows.TURNS]
    assert max(map(len, turns)) <= SLICE_ROWS
    assert sum(map(len, turns)) == 2 * (2 * SLICE_ROWS + 7) + 3
    restored = restore(iter(objects))
    assert picture(restored) == picture(world.state)
    assert list(restored.jobs["J1"].owed) == list(world.job("J1").owed)


def test_turns_that_change_while_they_are_captured_are_those_of_the_beginning() -> None:
    """They are copied with the job; what is put and taken meanwhile is in the journal."""
    world = with_turns(2 * SLICE_ROWS)
    before = copy.deepcopy(picture(world.state))
    capture, objects = Capture(world.state), []
    world.state.before_apply = capture.before
    objects += capture.next_slice() or []
    for turn, name in (("none", "T00001"), ("owed", "T00900"), ("none", "T00799")):
        world.put(TurnChanged("J1", name, world.now_ms, turn))
    while (found := capture.next_slice()) is not None:
        objects += found
        if name != "T00350":
            name = "T00350"
            world.put(TurnChanged("J1", name, world.now_ms, "barred"))
    assert picture(restore(unpacked(objects))) == before != picture(world.state)


def test_turns_are_exported_line_by_line() -> None:
    """And imported again."""
    world = with_turns(3)
    lines = list(export_lines(world.state))
    assert sum(b'{"turn":' in line for line in lines) == 9
    assert picture(import_lines(lines)) == picture(world.state)


def test_who_comes_first_in_a_rollout_is_counted_without_looking_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`why` looks at so many things of a large group, and counts the others by their place."""
    monkeypatch.setattr(why, "LOOKS_MAX", 10)
    world = fleet(300, checked=False)
    world.create_job("J1", "G", jobExecutionsRolloutConfig={"maximumPerMinute": 20})
    looked: list[str] = []
    names = targets._names

    def counted(*arguments: Any) -> Any:
        for name in names(*arguments):
            looked.append(name)
            yield name

    monkeypatch.setattr(targets, "_names", counted)
    answer = world.control("ExplainExecution", thingName="T00250", jobId="J1")
    assert len(looked) <= 12
    assert "230 things come first" in json.dumps(answer)
