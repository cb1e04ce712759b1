"""State and apply: recovery equals live for any traffic, counters equal a recount, timelines are bounded."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from tests.broker.core.world import MINUTE_MS, START_MS, Sent, World, chain, check_consistency, picture
from thingjobs_broker.core.records import KINDS, ExecutionChanged, ExecutionQueued, JobCreated, ThingCreated
from thingjobs_broker.core.state import TIMELINE_BYTES_MAX, Execution, State, timeline_entries
from thingjobs_protocol.status import JobExecutionStatus as Status

THINGS = st.sampled_from(["A", "B"])
JOBS = st.sampled_from(["J1", "J2", "J3"])
NUMBERS = st.sampled_from([None, None, None, 1, 2])
STATUSES = st.sampled_from(
    ["IN_PROGRESS", "IN_PROGRESS", "SUCCEEDED", "FAILED", "FAILED", "REJECTED", "CANCELED"]
)
STEPS = st.sampled_from([None, None, 1, 2, -1])
DETAILS = st.sampled_from([None, {"a": "1"}, {}])
RETRIES = st.sampled_from([None, {"FAILED": 2}, {"ALL": 2}, {"FAILED": 1, "TIMED_OUT": 1}])

# Several times what devices do, once what operators do.
ACTIONS = st.one_of(
    st.tuples(st.just("create"), JOBS, st.sets(THINGS, min_size=1), RETRIES, st.booleans()),
    st.tuples(st.just("start"), THINGS, STEPS, DETAILS),
    st.tuples(st.just("start"), THINGS, STEPS, DETAILS),
    st.tuples(st.just("update"), THINGS, JOBS, STATUSES, STEPS, DETAILS, NUMBERS),
    st.tuples(st.just("update"), THINGS, JOBS, STATUSES, STEPS, DETAILS, NUMBERS),
    st.tuples(st.just("update"), THINGS, JOBS, STATUSES, STEPS, DETAILS, NUMBERS),
    st.tuples(st.just("read"), THINGS, JOBS),
    st.tuples(st.just("cancel job"), JOBS, st.booleans()),
    st.tuples(st.just("cancel"), THINGS, JOBS, st.booleans()),
    st.tuples(st.just("delete"), THINGS, JOBS, st.sampled_from([1, 2]), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([1, 500, 30_000, 61_000, 200_000])),
    st.tuples(st.just("pass"), st.sampled_from([1, 999, 60_000])),
)


def perform(world: World, action: tuple[Any, ...]) -> list[Sent]:
    """Carry out one action, whether or not it is accepted."""
    match action:
        case ("create", job_id, things, retries, timed):
            members: dict[str, Any] = {"timeoutConfig": {"inProgressTimeoutInMinutes": 1}} if timed else {}
            if retries:
                criteria = [
                    {"failureType": name, "numberOfRetries": count} for name, count in retries.items()
                ]
                members["jobExecutionsRetryConfig"] = {"criteriaList": criteria}
            request = {"jobId": job_id, "targets": sorted(things), "document": "{}"}
            return world.call("CreateJob", request | members)
        case ("start", thing_name, step, details):
            # -1 is refused here, which is part of the traffic.
            body = {"stepTimeoutInMinutes": step, "statusDetails": details}
            return world.device(thing_name, "start-next", body)
        case ("update", thing_name, job_id, status, step, details, number):
            members = {
                "stepTimeoutInMinutes": step,
                "statusDetails": details,
                "executionNumber": number,
                "includeJobExecutionState": True,
            }
            return world.update(thing_name, job_id, status, **members)
        case ("read", thing_name, job_id):
            sent = world.device(thing_name, f"{job_id}/get") + world.device(thing_name, "$next/get")
            return sent + world.device(thing_name, "get")
        case ("cancel job", job_id, force):
            return world.call("CancelJob", {"jobId": job_id, "force": force})
        case ("cancel", thing_name, job_id, force):
            return world.call(
                "CancelJobExecution", {"jobId": job_id, "thingName": thing_name, "force": force}
            )
        case ("delete", thing_name, job_id, number, force):
            members = {"jobId": job_id, "thingName": thing_name, "executionNumber": number, "force": force}
            return world.call("DeleteJobExecution", members)
        case ("wait", duration_ms):
            return world.advance(duration_ms)
        case _:
            world.pass_unnoticed(action[1])
            return []


@hypothesis.settings(max_examples=120)
@hypothesis.given(st.lists(ACTIONS, min_size=10, max_size=40))
def test_recovery_rebuilds_the_live_state(actions: list[tuple[Any, ...]]) -> None:
    """From the records alone, after any traffic (architecture, promise 6); World recounts after each step."""
    world = World("A", "B")
    for action in actions:
        perform(world, action)
    recovered = world.recovered()
    assert picture(recovered) == picture(world.state)
    check_consistency(recovered)


def comparable(sent: list[Sent]) -> list[str]:
    """What was sent, whatever the order of things and the ids of events."""
    return sorted(
        str((message.topic, {name: value for name, value in message.body.items() if name != "eventId"}))
        for message in sent
    )


def is_comparable(action: tuple[Any, ...]) -> bool:
    """Not what two services may do in another order, or see at another time.

    Executions of one thing that time out in the same second may be retried in any order; and a restart looks
    at timers that the other service has not looked at yet.
    """
    return action[0] != "pass" and not (action[0] == "create" and {"ALL", "TIMED_OUT"} & set(action[3] or ()))


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.lists(ACTIONS.filter(is_comparable), min_size=10, max_size=25))
def test_a_service_that_restarts_all_the_time_answers_like_one_that_never_does(
    actions: list[tuple[Any, ...]],
) -> None:
    """Same replies, same notifications, same time-outs at the same time (architecture, promises 5 and 6)."""
    steady, restarting = World("A", "B"), World("A", "B")
    for action in actions:
        assert comparable(perform(steady, action)) == comparable(perform(restarting, action))
        assert restarting.restart() == []


def test_every_kind_of_record_is_applied() -> None:
    """A kind without its method would stop a recovery."""
    assert set(State.APPLIERS) == set(KINDS)


def test_a_record_on_an_unknown_execution_stops_the_service() -> None:
    """A journal that contradicts itself is a programmer's error, never ignored."""
    world = World("T")
    world.create_job("J1")
    world.update("T", "J1", "SUCCEEDED")
    with pytest.raises(AssertionError):
        world.state.apply(ExecutionChanged("T", "J1", 7, Status.FAILED, 9, START_MS, "device"))


def test_a_state_is_rebuilt_by_hand() -> None:
    """The meaning of the first three records, field by field."""
    state = State()
    state.apply(ThingCreated("T", "id-1", 10, "operator", {"site": "a"}))
    state.apply(JobCreated("J1", 20, "operator", ["arn"], "SNAPSHOT", "{}", "text", {}))
    state.apply(ExecutionQueued("T", "J1", 1, 7, 30, retry_attempt=2))
    thing, job = state.things["T"], state.jobs["J1"]
    execution = thing.executions["J1"]
    assert (thing.thing_id, thing.created_at_ms, thing.attributes, thing.version) == (
        "id-1",
        10,
        {"site": "a"},
        1,
    )
    assert (job.created_at_ms, job.last_updated_at_ms, job.completed_at_ms, job.description) == (
        20,
        20,
        0,
        "text",
    )
    assert execution == Execution("T", "J1", 1, 7, 30, 30, 2)
    assert (state.queue_position, state.last_at_ms) == (7, 30)
    assert list(thing.pending.values()) == job.executions == [execution]


def test_an_execution_is_found_by_its_number_among_deleted_ones() -> None:
    """The chain of earlier executions loses a link and stays a chain."""
    world = World("T")
    retry = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 3}]}
    world.create_job("J1", jobExecutionsRetryConfig=retry)
    for _ in range(3):
        world.update("T", "J1", "FAILED")
    for deleted, left in ((2, [4, 3, 1]), (4, [3, 1]), (1, [3]), (3, [])):
        world.control("DeleteJobExecution", thingName="T", jobId="J1", executionNumber=deleted)
        newest = world.state.execution(world.thing("T"), "J1")
        assert [one.execution_number for one in chain(newest)] == left
        assert world.state.execution(world.thing("T"), "J1", deleted) is None
        assert picture(world.recovered()) == picture(world.state)
    assert world.thing("T").executions == {}


def test_the_timeline_of_an_execution_is_bounded_and_keeps_the_newest() -> None:
    """A device that sets a step timer each second for an hour costs no more than `TIMELINE_BYTES_MAX`."""
    world = World("T", checked=False)
    world.create_job("J1")
    world.device("T", "start-next")
    longest = 0
    for second in range(600):
        world.update("T", "J1", "IN_PROGRESS", stepTimeoutInMinutes=1 + second % 2)
        world.pass_unnoticed(1000)
        longest = max(longest, len(world.execution("T", "J1").timeline))
    assert TIMELINE_BYTES_MAX / 2 < longest <= TIMELINE_BYTES_MAX
    entries = timeline_entries(world.execution("T", "J1").timeline)
    assert entries[-1][0] == START_MS + 599_000
    assert [at_ms for at_ms, *_ in entries] == sorted(at_ms for at_ms, *_ in entries)
    assert world.execution("T", "J1").deadline_ms == START_MS + 599_000 + 2 * MINUTE_MS
    assert picture(world.recovered()) == picture(world.state)


@pytest.mark.parametrize(
    ("total", "step", "deadline"), [(0, 0, 0), (5, 0, 5), (0, 5, 5), (5, 9, 5), (9, 5, 5)]
)
def test_the_deadline_is_the_earlier_of_two_timers(total: int, step: int, deadline: int) -> None:
    """Data plane 6.3; 0 is no timer."""
    execution = Execution("T", "J1", 1, 1, 0, 0, in_progress_deadline_ms=total, step_deadline_ms=step)
    assert execution.deadline_ms == deadline
