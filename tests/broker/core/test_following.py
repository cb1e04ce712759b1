"""CONTINUOUS jobs: who joins, leaves and vanishes (control plane 2.5; data plane 4.6)."""

import pytest

from tests.broker.core.groups import GroupWorld, numbered
from tests.broker.core.world import MINUTE_MS, Sent, endings, only, picture
from thingjobs_broker.core import following
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.status import JobStatus

RETRY = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]}


def continuous(*things: str, members: tuple[str, ...] = (), **config: object) -> GroupWorld:
    """J1 is CONTINUOUS on group G, which has these members."""
    world = GroupWorld(*things)
    world.group("G", *members)
    world.create_job("J1", "G", targetSelection="CONTINUOUS", **config)
    return world


def seen(world: GroupWorld, thing_name: str) -> list[tuple[int, str, int, int]]:
    """Number, status, version and retryAttempt of each execution of J1 on a thing."""
    newest = world.thing(thing_name).executions.get("J1")
    found = []
    while newest is not None:
        found.append(
            (
                newest.execution_number,
                newest.status.value,
                newest.version_number,
                newest.retry_attempt,
            )
        )
        newest = newest.previous
    return found[::-1]


def test_v9_a_thing_leaves_while_queued_and_comes_back() -> None:
    """V9: REMOVED (number 1), then QUEUED (number 2) with retryAttempt 0."""
    world = continuous("T", members=("T",))
    assert endings(world.leave("T", "G")) == ["notify", "notify-next", "removed"]
    assert seen(world, "T") == [(1, "REMOVED", 1, 0)]
    assert endings(world.join("T", "G")) == ["notify", "notify-next"]
    assert seen(world, "T") == [(1, "REMOVED", 1, 0), (2, "QUEUED", 1, 0)]
    world.restart()


def test_a_joiner_gets_an_execution_at_once_beside_any_rate() -> None:
    """Control plane 3.3, "Continuous later joiners", also during the initial rollout."""
    world = continuous("A", "B", "C", "N", members=("A", "B", "C"))
    world.create_job(
        "J2", "G", targetSelection="CONTINUOUS", jobExecutionsRolloutConfig={"maximumPerMinute": 1}
    )
    assert endings(world.join("N", "G")) == ["notify", "notify-next"]
    assert list(world.thing("N").pending) == ["J1", "J2"]
    world.advance(3 * MINUTE_MS)
    assert [one and one.thing_name for one in world.job("J2").executions] == ["A", "N", "B", "C"]


def test_who_leaves_before_the_rollout_comes_gets_nothing() -> None:
    """A CONTINUOUS job follows its members (control plane 2.5)."""
    world = GroupWorld("A", "B", "C")
    world.group("G", "A", "B", "C")
    world.create_job(
        "J1", "G", targetSelection="CONTINUOUS", jobExecutionsRolloutConfig={"maximumPerMinute": 1}
    )
    assert world.leave("B", "G") == []
    world.advance(3 * MINUTE_MS)
    assert [one and one.thing_name for one in world.job("J1").executions] == ["A", "C"]


@pytest.mark.parametrize("finishes", ["outside", "inside", "never"])
def test_c63_a_running_execution_runs_on_outside(finishes: str) -> None:
    """Data plane 4.6: nothing new while it is not terminal, nor when it then finishes inside the group."""
    world = continuous("T", members=("T",))
    world.device("T", "start-next")
    assert world.leave("T", "G") == []
    if finishes == "outside":
        assert endings(world.update("T", "J1", "SUCCEEDED"))[0] == "accepted"
        assert endings(world.join("T", "G")) == ["notify", "notify-next"]
        assert seen(world, "T") == [(1, "SUCCEEDED", 3, 0), (2, "QUEUED", 1, 0)]
        return
    assert world.join("T", "G") == []
    if finishes == "inside":
        world.update("T", "J1", "SUCCEEDED")
        assert seen(world, "T") == [(1, "SUCCEEDED", 3, 0)]


def test_a_finished_thing_that_comes_back_starts_again() -> None:
    """Also after SUCCEEDED (A10); joining a second target group does the same (data plane 4.6)."""
    world = GroupWorld("T")
    world.group("G", "T")
    world.group("H")
    world.create_job("J1", "G", "H", targetSelection="CONTINUOUS")
    world.update("T", "J1", "SUCCEEDED")
    assert endings(world.join("T", "H")) == ["notify", "notify-next"]
    world.update("T", "J1", "SUCCEEDED")
    # Leaving one of two target groups while finished: nothing.
    assert world.leave("T", "H") == []
    world.leave("T", "G")
    world.join("T", "G")
    assert [number for number, *_ in seen(world, "T")] == [1, 2, 3]


def test_leaving_one_of_two_target_groups_removes_nothing() -> None:
    """It is still a member of the targets."""
    world = GroupWorld("T")
    world.group("G", "T")
    world.group("H", "T")
    world.create_job("J1", "G", "H", targetSelection="CONTINUOUS")
    assert world.leave("T", "H") == []
    assert seen(world, "T") == [(1, "QUEUED", 1, 0)]


def test_leaving_forfeits_retries_and_coming_back_restores_them() -> None:
    """Data plane 7, CONTINUOUS: what fails outside is not retried; the counters begin anew."""
    world = continuous("T", members=("T",), jobExecutionsRetryConfig=RETRY)
    world.update("T", "J1", "FAILED")
    world.device("T", "start-next")
    world.leave("T", "G")
    world.update("T", "J1", "FAILED")
    assert [attempt for *_, attempt in seen(world, "T")] == [0, 1]
    world.join("T", "G")
    for _ in range(3):
        world.update("T", "J1", "FAILED")
    assert [attempt for *_, attempt in seen(world, "T")] == [0, 1, 0, 1, 2]


def test_leaving_forfeits_nothing_of_a_snapshot() -> None:
    """Control plane 2.5, "Member leaves": who was in the snapshot is retried, wherever it is by now."""
    world = GroupWorld("T")
    world.group("G", "T")
    retries = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    world.create_job("J1", "G", jobExecutionsRetryConfig=retries)
    assert world.leave("T", "G") == []
    world.update("T", "J1", "FAILED")
    assert world.execution("T", "J1", 2).status is Status.QUEUED


def test_groups_of_other_jobs_are_of_no_concern() -> None:
    """Nor are jobs that have ended."""
    world = continuous("T")
    world.group("H")
    assert world.join("T", "H") == []
    world.control("CancelJob", jobId="J1")
    assert world.join("T", "G") == []
    assert world.state.group_jobs == {}


def test_associated_groups_are_rolled_out_now_and_followed() -> None:
    """Control plane 1.5: the comment replaces the job's; a target that is one already adds nothing."""
    names = numbered(5)
    world = GroupWorld(*names, "N")
    world.group("G", names[0])
    world.group("H", *names)
    world.create_job(
        "J1", "G", targetSelection="CONTINUOUS", jobExecutionsRolloutConfig={"maximumPerMinute": 1}
    )
    sent = world.call("AssociateTargetsWithJob", {"jobId": "J1", "targets": ["H", "G"], "comment": "more"})
    assert sent[0].body["jobId"] == "J1"
    assert endings(sent)[1:] == ["notify", "notify-next"] * 4
    job = world.described("J1")
    assert [target.rpartition("/")[2] for target in job["targets"]] == ["G", "H"]
    assert (job["comment"], job["isConcurrent"]) == ("more", False)
    assert endings(world.join("N", "H")) == ["notify", "notify-next"]
    world.restart()


def test_associating_during_the_rollout_keeps_its_rate_for_the_first_targets() -> None:
    """The rate governs those that were targets at creation (control plane 3.3)."""
    world = GroupWorld("A", "B", "X", "Y")
    world.group("G", "A", "B")
    world.group("H", "X", "Y")
    world.create_job(
        "J1", "G", targetSelection="CONTINUOUS", jobExecutionsRolloutConfig={"maximumPerMinute": 1}
    )
    world.control("AssociateTargetsWithJob", jobId="J1", targets=["H"])
    assert world.made("J1") == 1
    world.advance(MINUTE_MS)
    assert world.made("J1") == 4


def test_associating_things_or_too_many_groups_is_refused() -> None:
    """A28: InvalidRequest for things; LimitExceeded beyond 100; ResourceNotFound for what is not there."""
    world = continuous("T")
    for number in range(100):
        world.group(f"G{number}")
    before = picture(world.state)
    many = [f"G{number}" for number in range(100)]
    for targets, code in (
        (["T"], "InvalidRequestException"),
        (many, "LimitExceededException"),
        (["nowhere"], "ResourceNotFoundException"),
    ):
        answer = only(world.call("AssociateTargetsWithJob", {"jobId": "J1", "targets": targets}))
        assert answer["code"] == code
    assert picture(world.state) == before


def delete_thing(world: GroupWorld, thing_name: str) -> list[Sent]:
    """What the registry does first when a thing is deleted."""
    step = world.service._step(world.now_ms)
    following.thing_deleted(step, world.thing(thing_name))
    return world._take(world.service._finish(step))


def test_a_deleted_thing_takes_its_executions_with_it() -> None:
    """Control plane 2.5: whatever is not terminal becomes REMOVED; nobody is notified (data plane A31)."""
    world = continuous("T", members=("T",))
    world.create_job("J2", "T")
    world.create_job("J3", "T")
    world.update("T", "J3", "SUCCEEDED")
    world.device("T", "start-next")
    assert endings(delete_thing(world, "T")) == ["removed", "removed", "completed"]
    assert [one.status for one in world.thing("T").executions.values()] == [
        Status.REMOVED,
        Status.REMOVED,
        Status.SUCCEEDED,
    ]
    assert world.job("J2").status is JobStatus.COMPLETED
    assert world.job("J1").status is JobStatus.IN_PROGRESS


def test_a_deleted_thing_is_forgotten_by_rollouts() -> None:
    """It is neither owed an execution nor barred from one."""
    world = GroupWorld("A", "B", "C")
    world.group("G", "A", "B")
    world.create_job("J1", "G", jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    world.leave("B", "G")
    world.join("C", "G")
    assert (world.job("J1").owed, world.job("J1").barred) == ({"B": 0}, {"C"})
    delete_thing(world, "B")
    delete_thing(world, "C")
    assert (world.job("J1").owed, world.job("J1").barred) == ({}, set())


def test_who_joins_a_group_within_another_target_is_no_part_of_a_snapshot() -> None:
    """Control plane 2.5: a SNAPSHOT is of those who belonged to a target when it began."""
    world = GroupWorld("A", "B", "N")
    world.group("G", "A", "B")
    world.group("H", parent="G")
    world.create_job("J1", "G", "H", jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    world.join("N", "H")
    world.advance(5 * MINUTE_MS)
    assert [one and one.thing_name for one in world.job("J1").executions] == ["A", "B"]
    world.restart()


@pytest.mark.parametrize("targets", [("A", "Z", "H"), ("G", "H")])
def test_who_joins_another_target_too_stays_in_a_snapshot(targets: tuple[str, ...]) -> None:
    """Control plane 2.5: it belonged to a target, as itself or as a member, before its turn came."""
    world = GroupWorld("A", "B", "Z")
    world.group("G", "A", "B", "Z")
    world.group("H")
    world.create_job("J1", *targets, jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    world.join("Z", "H")
    assert world.job("J1").barred == set()
    world.advance(5 * MINUTE_MS)
    assert "Z" in [one and one.thing_name for one in world.job("J1").executions]
    world.restart()


def test_a_snapshot_that_was_rolled_out_keeps_no_account_of_its_groups() -> None:
    """Control plane 2.5, A11: who comes and goes then is of no concern, and no record says so."""
    world = GroupWorld("A", "N")
    world.group("G", "A")
    world.create_job("J1", "G")
    world.advance(MINUTE_MS)
    for change in (world.join, world.leave):
        assert change("N", "G") == []
        assert len(world.records) == 1
    assert (world.job("J1").barred, world.job("J1").owed) == (set(), {})


def test_a_deleted_execution_does_not_come_back_to_who_leaves() -> None:
    """A31, 2.5: who leaves a SNAPSHOT's group stays in it, but with what it had."""
    world = GroupWorld("A", "B", "C")
    world.group("G", "A", "B", "C")
    world.create_job("J1", "G", jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    world.control("DeleteJobExecution", jobId="J1", thingName="A", executionNumber=1)
    world.leave("A", "G")
    assert world.job("J1").owed == {}
    world.advance(5 * MINUTE_MS)
    assert [one and one.thing_name for one in world.job("J1").executions] == [None, "B", "C"]


def test_who_joined_too_late_stays_out_until_the_rollout_is_done() -> None:
    """Control plane 2.5: whoever leaves and comes again; then nothing is kept about it."""
    world = GroupWorld("A", "B", "N")
    world.group("G", "A", "B")
    world.create_job("J1", "G", jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    world.join("N", "G")
    assert world.job("J1").barred == {"N"}
    world.leave("N", "G")
    world.join("N", "G")
    # Of who has got its execution nothing is kept either.
    world.leave("A", "G")
    world.join("A", "G")
    assert (world.job("J1").barred, world.job("J1").owed) == ({"N"}, {})
    world.advance(5 * MINUTE_MS)
    assert [one and one.thing_name for one in world.job("J1").executions] == ["A", "B"]
    assert (world.job("J1").barred, world.job("J1").owed) == (set(), {})
    world.restart()


def test_who_joined_too_late_and_leaves_two_targets_at_once_stays_out() -> None:
    """Control plane 2.5: a group and the one that it lies in, for both of which the job is."""
    world = GroupWorld("A", "B", "N")
    world.group("G", "A", "B")
    world.group("H", parent="G")
    world.create_job("J1", "G", "H", jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    world.join("N", "H")
    world.leave("N", "H")
    world.advance(5 * MINUTE_MS)
    assert [one and one.thing_name for one in world.job("J1").executions] == ["A", "B"]
    world.restart()


@pytest.mark.parametrize(("old", "new"), [("G", "H"), ("H", "G")])
def test_who_moves_from_one_target_to_another_stays_in_a_snapshot(old: str, new: str) -> None:
    """Control plane 2.5: it belonged to a target at the beginning; the new one may be done."""
    world = GroupWorld("A", "B", "Z", "Y")
    world.group("G", "A", *(["Z"] if old == "G" else []))
    world.group("H", "B", *(["Z"] if old == "H" else []))
    world.create_job("J1", "G", "H", jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    world.control(
        "UpdateThingGroupsForThing", thingName="Z", thingGroupsToAdd=[new], thingGroupsToRemove=[old]
    )
    world.advance(5 * MINUTE_MS)
    assert sorted(one.thing_name for one in world.job("J1").executions if one) == ["A", "B", "Z"]
    world.restart()
