"""A window opens or closes for more executions than one slice turns: no device is told what is not so, twice,
or not at all (data plane 5.2; control plane 6.3).
"""

import pytest

from tests.broker.core.groups import GroupWorld
from tests.broker.core.test_scheduling import HOUR_MS, TO_TEN_MS, at, windowed
from tests.broker.core.world import MINUTE_MS, Sent, endings, listed, rejection

NOTHING: list[str] = []
BOTH = ["notify", "notify-next"]


@pytest.fixture(autouse=True)
def _slices_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call turns one execution."""
    monkeypatch.setattr("thingjobs_broker.core.lifecycle.SWEEP_SLICE", 1)
    monkeypatch.setattr("thingjobs_broker.core.service.JOBS_RECORDS_SLICE", 1)


def opening(**config: object) -> GroupWorld:
    """J1 has just opened again for A, B and C, and A knows."""
    world = closed(**config)
    world.pass_unnoticed(23 * HOUR_MS)
    assert told(world.fire()) == {"A": BOTH}
    return world


def closed(**config: object) -> GroupWorld:
    """J1 was open once for A, B and C, and all know that it is closed."""
    world = windowed("A", "B", "C", **config)
    world.advance(TO_TEN_MS + HOUR_MS)
    assert world.device("C", "get")[0].body["queuedJobs"] == []
    return world


def closing() -> GroupWorld:
    """J1 has just closed for A, B and C, and A knows."""
    world = windowed("A", "B", "C")
    world.advance(TO_TEN_MS)
    world.pass_unnoticed(HOUR_MS)
    assert told(world.fire()) == {"A": BOTH}
    return world


def told(sent: list[Sent]) -> dict[str, list[str]]:
    """Which notifications each thing gets."""
    found: dict[str, list[str]] = {}
    for message in sent:
        if message.ending in BOTH:
            found.setdefault(message.topic.split("/")[2], []).append(message.ending)
    return found


@pytest.mark.parametrize("what", ["get", "start-next", "$next/get", "J1/get"])
def test_who_asks_before_its_slice_is_told_at_once_and_not_again(what: str) -> None:
    """5.2: what an answer shows was announced, by the same step."""
    world = opening()
    answer, notify, following = world.device("C", what)
    assert "J1" in str(answer.body)
    is_begun = what == "start-next"
    assert listed(notify) == {"IN_PROGRESS" if is_begun else "QUEUED": ["J1"]}
    shown = following.body["execution"]
    assert (shown["jobId"], shown["status"]) == ("J1", "IN_PROGRESS" if is_begun else "QUEUED")
    assert shown["versionNumber"] == world.execution("C", "J1").version_number == 1 + is_begun
    assert told(world.advance(MINUTE_MS)) == {"B": BOTH}


def test_who_ends_it_before_its_slice_hears_of_it_no_more() -> None:
    """5.2, C30: reported before its slice; it has come and gone in one step, so nothing has changed."""
    world = opening()
    answer = world.update("C", "J1", "SUCCEEDED")
    assert answer[0].ending == "accepted"
    assert told(answer) == {}
    assert told(world.advance(MINUTE_MS)) == {"B": BOTH}


def test_another_job_before_its_slice_shows_only_itself() -> None:
    """5.2: each notification tells of one change, and the second is not a repetition of the first."""
    world = opening()
    sent = world.create_job("J2", "C")
    assert told(sent) == {"C": BOTH}
    assert listed(sent[1]) == {"QUEUED": ["J2"]}
    assert sent[2].body["execution"]["jobId"] == "J2"
    rest = world.advance(MINUTE_MS)
    assert told(rest) == {"B": BOTH, "C": BOTH}
    of_c = [one for one in rest if "/C/" in one.topic]
    assert listed(of_c[0]) == {"QUEUED": ["J1", "J2"]}
    assert of_c[1].body["execution"]["jobId"] == "J1"


def test_nothing_begins_after_a_window_has_closed() -> None:
    """6.3: a device that was not told yet is told when it asks, and gets nothing."""
    world = closing()
    answer, notify, following = world.device("C", "start-next")
    assert "execution" not in answer.body
    assert listed(notify) == {}
    assert "execution" not in following.body
    assert told(world.advance(MINUTE_MS)) == {"B": BOTH}


def test_a_report_after_a_window_has_closed_is_refused() -> None:
    """6.3: it cannot be started; the refusal comes with the news."""
    world = closing()
    sent = world.update("C", "J1", "IN_PROGRESS")
    assert rejection(sent[:1])[0] == "InvalidStateTransition"
    assert told(sent) == {"C": BOTH}
    assert told(world.advance(MINUTE_MS)) == {"B": BOTH}


def test_another_job_begun_while_a_window_closes_becomes_the_front() -> None:
    """5.2: the front is another one, which was last said when the window was open."""
    world = windowed("A", "B", "C")
    world.advance(TO_TEN_MS)
    world.create_job("J2", "C")
    world.pass_unnoticed(HOUR_MS)
    world.fire()
    sent = world.device("C", "start-next")
    assert told(sent) == {"C": BOTH}
    assert sent[2].body["execution"]["jobId"] == sent[0].body["execution"]["jobId"] == "J2"
    assert told(world.advance(MINUTE_MS)) == {"B": BOTH}


def test_a_window_that_closes_before_all_know_that_it_is_open_is_news_to_those_who_know() -> None:
    """5.2: for B and C nothing has changed."""
    world = opening()
    world.pass_unnoticed(HOUR_MS)
    assert told(world.fire() + world.advance(MINUTE_MS)) == {"A": BOTH}
    world.pass_unnoticed(23 * HOUR_MS)
    assert told(world.fire() + world.advance(MINUTE_MS)) == {"A": BOTH, "B": BOTH, "C": BOTH}


@pytest.mark.parametrize("operation", ["CancelJob", "DeleteJob"])
def test_a_job_that_goes_before_all_know_that_it_is_open_is_missed_by_those_who_know(operation: str) -> None:
    """5.2: for B and C nothing has changed."""
    world = opening()
    sent = world.call(operation, {"jobId": "J1", "force": True}) + world.advance(MINUTE_MS)
    assert told(sent) == {"A": BOTH}
    assert not world.state.turnings


def test_a_job_that_goes_before_all_know_that_it_is_closed_is_missed_by_the_others() -> None:
    """5.2: B and C have yet to hear that it is not there, A has heard."""
    world = closing()
    sent = world.call("CancelJob", {"jobId": "J1"}) + world.advance(MINUTE_MS)
    assert told(sent) == {"B": BOTH, "C": BOTH}
    assert not world.state.turnings


def test_an_execution_canceled_before_its_slice_goes_unseen() -> None:
    """5.2: it never was in what its device may see."""
    world = opening()
    assert told(world.call("CancelJobExecution", {"jobId": "J1", "thingName": "C"})) == {}
    assert told(world.advance(MINUTE_MS)) == {"B": BOTH}


def test_an_end_before_all_know_that_it_is_open_still_tells_them() -> None:
    """6.2: STOP_ROLLOUT lets run what is QUEUED, so its device has to see it."""
    world = opening(schedulingConfig={"endTime": at(TO_TEN_MS + 24 * HOUR_MS + 1000)})
    world.pass_unnoticed(1000)
    assert set(told(world.fire() + world.advance(MINUTE_MS))) == {"B", "C"}
    assert world.device("C", "start-next")[0].body["execution"]["jobId"] == "J1"


@pytest.mark.parametrize("behavior", ["CANCEL", "FORCE_CANCEL"])
def test_an_end_outside_the_window_goes_unseen(behavior: str) -> None:
    """5.2, 6.2: what is canceled then was hidden before."""
    ends = {"endTime": at(TO_TEN_MS + 3 * HOUR_MS), "endBehavior": behavior}
    world = closed(schedulingConfig=ends)
    sent = world.advance(3 * HOUR_MS)
    assert endings(sent) == ["canceled", "canceled", "canceled", "completed"]


def test_an_end_that_leaves_nothing_completes_the_job_in_the_middle_of_a_pass() -> None:
    """6.2: A is canceled by force; what B and C had is over already, and needs no slice."""
    ends = {"endTime": at(HOUR_MS), "endBehavior": "FORCE_CANCEL"}
    world = GroupWorld("A", "B", "C")
    world.create_job("J1", "A", "B", "C", schedulingConfig=ends)
    for name in ("B", "C"):
        world.update(name, "J1", "SUCCEEDED")
    assert endings(world.advance(HOUR_MS)) == [*BOTH, "canceled", "completed"]
    assert not world.state.turnings
    assert not world.state.sweeps
    world.restart()
    assert world.advance(HOUR_MS) == []


@pytest.mark.parametrize("is_open", [True, False])
def test_after_a_restart_nobody_misses_anything(is_open: bool) -> None:
    """Who was told is not on record, so all are told, once; what goes before its slice is said, too."""
    world = opening() if is_open else closing()
    sent = world.restart()
    sent += world.call("DeleteJobExecution", {"jobId": "J1", "thingName": "C", "executionNumber": 1})
    sent += world.advance(MINUTE_MS)
    assert told(sent) == {"A": BOTH, "B": BOTH, "C": BOTH}
    assert told(world.restart() + world.advance(MINUTE_MS)) == {}


def test_after_a_restart_whom_a_change_tells_knows_all() -> None:
    """5.2: C hears of J1 with J2, so J3 says nothing new about the front, nor does C's slice."""
    world = opening()
    world.restart()
    sent = world.create_job("J2", "C")
    assert told(sent) == {"C": BOTH}
    assert listed(sent[1]) == {"QUEUED": ["J1", "J2"]}
    assert sent[2].body["execution"]["jobId"] == "J1"
    assert told(world.create_job("J3", "C")) == {"C": ["notify"]}
    assert told(world.advance(MINUTE_MS)) == {"B": BOTH}


def test_after_a_restart_who_has_begun_it_is_told_nothing() -> None:
    """5.2, 6.3: a window hides only what is QUEUED, so about C's execution there is no doubt."""
    world = windowed("A", "B", "C")
    world.advance(TO_TEN_MS)
    world.device("C", "start-next")
    world.pass_unnoticed(HOUR_MS)
    world.fire()
    assert told(world.restart()) == {"A": BOTH}
    assert told(world.device("C", "get")) == {}
    assert told(world.create_job("J2", "C")) == {"C": ["notify"]}
    assert told(world.advance(MINUTE_MS)) == {"B": BOTH}


def test_after_a_restart_a_cancellation_is_told_to_all_who_may_know() -> None:
    """The job was canceled before all knew that its window was closed."""
    world = closing()
    world.call("CancelJob", {"jobId": "J1"})
    assert set(told(world.restart() + world.advance(MINUTE_MS))) >= {"B", "C"}


def test_who_is_given_one_while_it_opens_is_told_once() -> None:
    """2.5: a thing that joins then gets a new execution at once."""
    world = opening()
    world.control("CreateThing", thingName="D")
    assert told(world.join("D", "G")) == {"D": BOTH}
    assert told(world.advance(MINUTE_MS)) == {"B": BOTH, "C": BOTH}


def test_who_was_told_ahead_of_the_others_is_told_of_the_next_turn() -> None:
    """5.2: C has seen the window open, B has not."""
    world = opening()
    world.device("C", "get")
    world.pass_unnoticed(HOUR_MS)
    assert told(world.fire() + world.advance(MINUTE_MS)) == {"A": BOTH, "C": BOTH}


@pytest.mark.parametrize("minutes", [30, 60], ids=["open", "closing"])
def test_targets_that_are_added_do_not_show_what_a_window_hides(minutes: int) -> None:
    """6.3: also when they are added while the window closes; they get theirs in the next at the latest."""
    world = windowed("A")
    world.things("C")
    world.group("H", "C")
    world.advance(TO_TEN_MS + minutes * MINUTE_MS - 1)
    world.now_ms += 1
    world.control("AssociateTargetsWithJob", jobId="J1", targets=["H"])
    world.advance(HOUR_MS)
    world.restart()
    assert world.device("A", "get")[0].body["queuedJobs"] == []
    world.advance(22 * HOUR_MS + 30 * MINUTE_MS)
    for name in ("A", "C"):
        assert [one["jobId"] for one in world.device(name, "get")[0].body["queuedJobs"]] == ["J1"]
