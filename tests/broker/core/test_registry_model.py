"""Any traffic of the registry and of devices: what is stored both ways agrees, jobs and groups follow, and
recovery from the journal, from a snapshot and from an export makes the same state.
"""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from tests.broker.core.test_dynamic_groups import IndexedWorld
from tests.broker.core.world import MINUTE_MS, picture
from tests.broker.store.test_capture import Interleaved
from thingjobs_broker.core import groups, membership
from thingjobs_broker.core.indexing import indexed
from thingjobs_broker.store import capture
from thingjobs_broker.store.exchange import export_lines, import_lines
from thingjobs_protocol.status import PENDING, TargetSelection
from thingjobs_protocol.status import JobExecutionStatus as Status

THINGS = st.sampled_from(["A", "B", "C"])
GROUPS = st.sampled_from(["G", "H", "I"])
DYNAMIC = st.sampled_from(["D", "E"])
JOBS = st.sampled_from(["J1", "J2", "J3"])
QUERIES = st.sampled_from(["attributes.a:1", "thingGroupNames:G", "NOT attributes.a:1 AND thingName:*"])
VALUES = st.sampled_from(["1", "2", ""])

ACTIONS = st.one_of(
    st.tuples(st.just("CreateThing"), THINGS),
    st.tuples(st.just("UpdateThing"), THINGS, VALUES),
    st.tuples(st.just("UpdateThing"), THINGS, VALUES),
    st.tuples(st.just("DeleteThing"), THINGS),
    st.tuples(st.just("CreateThingGroup"), GROUPS, st.none() | GROUPS),
    st.tuples(st.just("DeleteThingGroup"), GROUPS),
    st.tuples(st.just("CreateDynamicThingGroup"), DYNAMIC, QUERIES),
    st.tuples(st.just("UpdateDynamicThingGroup"), DYNAMIC, QUERIES),
    st.tuples(st.just("DeleteDynamicThingGroup"), DYNAMIC),
    st.tuples(st.just("AddThingToThingGroup"), THINGS, GROUPS),
    st.tuples(st.just("AddThingToThingGroup"), THINGS, GROUPS),
    st.tuples(st.just("RemoveThingFromThingGroup"), THINGS, GROUPS),
    st.tuples(st.just("CreateJob"), JOBS, GROUPS | DYNAMIC, st.sampled_from(["CONTINUOUS", "SNAPSHOT"])),
    st.tuples(st.just("DeleteJob"), JOBS),
    st.tuples(st.just("start"), THINGS),
    st.tuples(st.just("succeed"), THINGS, JOBS),
    st.tuples(st.just("wait"), st.sampled_from([1, MINUTE_MS])),
)


def perform(world: IndexedWorld, action: tuple[Any, ...]) -> None:  # noqa: C901 - a case for each action
    """Carry out one action, whether or not it is accepted."""
    what, name, *rest = action
    named = {"thingName": name} if what.endswith("Thing") else {"thingGroupName": name}
    match what:
        case "wait":
            world.advance(name)
        case "start":
            if name in world.state.things:
                world.device(name, "start-next")
        case "succeed":
            world.update(name, rest[0], "SUCCEEDED")
        case "CreateJob":
            request = {"jobId": name, "targets": rest[:1], "targetSelection": rest[1], "document": "{}"}
            world.call(what, request | {"jobExecutionsRolloutConfig": {"maximumPerMinute": 1}})
        case "DeleteJob":
            world.call(what, {"jobId": name, "force": True})
        case "UpdateThing":
            world.call(what, named | {"attributePayload": {"attributes": {"a": rest[0]}}})
        case "CreateThingGroup":
            world.call(what, named | ({"parentGroupName": rest[0]} if rest[0] else {}))
        case "CreateDynamicThingGroup" | "UpdateDynamicThingGroup":
            world.call(what, named | {"queryString": rest[0], "thingGroupProperties": {}})
        case "AddThingToThingGroup" | "RemoveThingFromThingGroup":
            world.call(what, {"thingName": name, "thingGroupName": rest[0]})
        case _:
            world.call(what, named)


def check_what_follows(world: IndexedWorld) -> None:
    """Once nothing is at work: dynamic groups hold who meets their queries, CONTINUOUS jobs their members."""
    world.advance(1)
    state = world.state
    assert not state.groups_at_work
    step = world.service._step(world.now_ms)
    for thing in state.things.values():
        for group_id, its in state.queries.items():
            assert its.matches(indexed(step, thing)) == (group_id in thing.groups), its.text
    for job in state.jobs.values():
        if job.target_selection is TargetSelection.CONTINUOUS and job.rollout is None:
            (target,) = job.targets
            group_name = target.rpartition("/")[2]
            for thing in state.things.values():
                newest = thing.executions.get(job.job_id)
                if groups.contains(state, group_name, thing.thing_name):
                    deleted = thing.thing_name in job.numbers_used
                    assert deleted or (newest is not None and newest.status is not Status.REMOVED)
                else:
                    assert newest is None or newest.status is not Status.QUEUED
    for gone in state.departed.values():
        assert all(newest.status not in PENDING for newest in gone.executions.values())


@hypothesis.given(actions=st.lists(ACTIONS, min_size=5, max_size=30), slices=st.integers(1, 4))
@hypothesis.settings(max_examples=150, deadline=None)
def test_whatever_happens_everything_follows_and_is_recovered(actions: list[Any], slices: int) -> None:
    """Promises 4 and 6; control plane 1.8, 1.9, 2.5. Counts and places are checked at each step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(membership, "LOOKS_SLICE", slices)
        patch.setattr(membership, "CHANGES_SLICE", slices)
        world = IndexedWorld("A", "B")
        for action in actions:
            perform(world, action)
        world.restart()
        check_what_follows(world)
        world.restart()
        lines = list(export_lines(world.state))
        imported = import_lines(lines)
        assert picture(imported) == picture(world.state)
        assert list(export_lines(imported)) == lines


@hypothesis.given(
    earlier=st.lists(ACTIONS, min_size=5, max_size=20),
    meanwhile=st.lists(st.tuples(ACTIONS, st.integers(0, 3)), min_size=1, max_size=20),
    rows_of_a_slice=st.integers(1, 3),
)
@hypothesis.settings(max_examples=150, deadline=None)
def test_a_snapshot_is_of_one_moment_whatever_happens_to_the_registry(
    earlier: list[Any], meanwhile: list[tuple[Any, int]], rows_of_a_slice: int
) -> None:
    """Things that change, go or move between groups while they are being written down."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture, "SLICE_ROWS", rows_of_a_slice)
        patch.setattr(membership, "CHANGES_SLICE", 2)
        world = IndexedWorld("A", "B")
        for action in earlier:
            perform(world, action)
        one = Interleaved(world)
        for action, slices in meanwhile:
            one.slices(slices)
            perform(world, action)
        one.check(world)
