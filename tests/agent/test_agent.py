"""The table: every state with every input; the listed pairs act, all others change nothing."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from tests.agent.fake_service import THING, FakeService
from tests.agent.harness import Device, document, reboot_step
from thingjobs_agent.agent import TABLE, Agent
from thingjobs_agent.events import (
    Accepted,
    CancelAsked,
    Connected,
    Disconnected,
    HandlersChecked,
    Hold,
    HoldChanged,
    NextChanged,
    PendingChanged,
    Rejected,
    ShutDown,
    StepExited,
    StepProgressed,
)
from thingjobs_agent.machine.state import State
from thingjobs_protocol.messages import (
    JobExecutionResponse,
    JobExecutionsChanged,
    JobExecutionState,
    NextJobExecutionChanged,
    RejectedResponse,
    UpdateJobExecutionResponse,
)
from thingjobs_protocol.status import JobExecutionStatus
from thingjobs_protocol.topics import Api

START, DESCRIBE, UPDATE = (
    Api.START_NEXT_PENDING_JOB_EXECUTION,
    Api.DESCRIBE_JOB_EXECUTION,
    Api.UPDATE_JOB_EXECUTION,
)


def device_in(state: State) -> Device:
    """A device in a state, online, with the link deaf so that requests stay without an answer."""
    device = Device(FakeService())
    if state is State.RECONCILING:
        device.service.queue("J1", document("a.sh", onRestart="restart"))
        device.boot().connect()
        device.is_link_deaf = True
        device.boot().connect()
        return device
    if state is State.HELD:
        device.hold = Hold(3_600_000, "not now")
    if state is State.REBOOTING:
        device.service.queue("J1", {"version": "1.0", "steps": [reboot_step()]})
        return device.boot().connect()
    if state in (State.IDLE, State.STOPPED):
        device.boot().connect()
        return device.shut_down() if state is State.STOPPED else device
    device.is_link_deaf = state is State.ASKING
    device.service.queue("J1", document("a.sh"))
    device.are_handlers_checked = state is not State.PREPARING
    device.boot().connect()
    device.is_link_deaf = True
    if state is State.REPORTING:
        device.exit(0)
    if state is State.STOPPING:
        device.wait(3600)
    return device


def answers(agent: Agent) -> dict[str, Any]:
    """An answer to each operation, with the token of a request that waits for it, if one does."""

    def token(api: Api) -> str:
        waiting = agent._machine.requests._waiting.get(api)
        return waiting.token if waiting else "somebody-else"

    over = JobExecutionState(JobExecutionStatus.CANCELED, 9)
    return {
        "start-next/accepted": Accepted(START, "", JobExecutionResponse(1, token(START))),
        "get/accepted": Accepted(DESCRIBE, "J1", JobExecutionResponse(1, token(DESCRIBE))),
        "get/rejected": Rejected(
            DESCRIBE, "J1", RejectedResponse(1, "ResourceNotFound", "", token(DESCRIBE))
        ),
        "update/accepted": Accepted(UPDATE, "J1", UpdateJobExecutionResponse(1, token(UPDATE))),
        "update/rejected": Rejected(
            UPDATE, "J1", RejectedResponse(1, "InvalidStateTransition", "", token(UPDATE), over)
        ),
    }


def plain_inputs() -> dict[str, Any]:
    service = FakeService()
    service.queue("J2", document("b.sh"))
    return {
        "Connected": Connected(),
        "Disconnected": Disconnected(),
        "NextChanged": NextChanged(NextJobExecutionChanged(1, service.of("J2").on_wire())),
        "PendingChanged": PendingChanged(JobExecutionsChanged(1, {})),
        "HandlersChecked": HandlersChecked(),
        "StepProgressed": StepProgressed({"percent": "50"}),
        "StepExited": StepExited(exit_status=0),
        "HoldChanged": HoldChanged(None),
        "CancelAsked": CancelAsked("J1", 1, "canceled at the device: it smokes"),
        "ShutDown": ShutDown(),
    }


INPUTS = [
    *plain_inputs(),
    "start-next/accepted",
    "get/accepted",
    "get/rejected",
    "update/accepted",
    "update/rejected",
]


def facts(agent: Agent) -> bytes:
    """Everything the machine knows, for comparison."""
    known = copy.copy(vars(agent._machine))
    # What each input of its kind changes, whatever the state.
    for irrelevant in ("commands", "requests", "is_connected", "is_verified", "is_shutting_down"):
        known.pop(irrelevant)
    known["hold_reason"] = known["hold_deadline_ms"] = None
    known["limits"] = None
    work = known.pop("work")
    known["work"] = None if work is None else (work.identity, work.step_index, work.report, work.restarts)
    return msgspec.json.encode({key: str(value) for key, value in known.items()})


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", INPUTS)
def test_input_acts_if_listed_and_changes_nothing_if_not(state: State, name: str) -> None:
    """Every pair of state and input: unlisted ones issue no command and change no fact."""
    device = device_in(state)
    agent = device.agent
    assert agent.state is state
    given = (plain_inputs() | answers(agent))[name]
    before = facts(agent)
    commands = agent.handle(given, device.now_ms)
    if (state, name) not in TABLE:
        assert agent.state is state
        assert commands == []
        if name != "Disconnected":
            assert facts(agent) == before


LISTED = {
    (State.IDLE, "Connected"): State.ASKING,
    (State.IDLE, "NextChanged"): State.ASKING,
    (State.IDLE, "ShutDown"): State.STOPPED,
    (State.ASKING, "Connected"): State.ASKING,
    (State.ASKING, "Disconnected"): State.IDLE,
    (State.ASKING, "NextChanged"): State.ASKING,
    (State.ASKING, "start-next/accepted"): State.IDLE,
    (State.ASKING, "ShutDown"): State.STOPPED,
    (State.HELD, "HoldChanged"): State.PREPARING,
    (State.HELD, "Connected"): State.HELD,
    (State.HELD, "NextChanged"): State.HELD,
    (State.HELD, "PendingChanged"): State.HELD,
    (State.HELD, "CancelAsked"): State.REPORTING,
    (State.HELD, "ShutDown"): State.STOPPED,
    (State.PREPARING, "CancelAsked"): State.REPORTING,
    (State.RUNNING, "CancelAsked"): State.STOPPING,
    (State.RECONCILING, "CancelAsked"): State.REPORTING,
    (State.REBOOTING, "StepExited"): State.REBOOTING,
    (State.REBOOTING, "ShutDown"): State.STOPPED,
    (State.PREPARING, "HandlersChecked"): State.RUNNING,
    (State.PREPARING, "Connected"): State.PREPARING,
    (State.PREPARING, "NextChanged"): State.PREPARING,
    (State.PREPARING, "PendingChanged"): State.PREPARING,
    (State.PREPARING, "ShutDown"): State.STOPPED,
    (State.RUNNING, "StepExited"): State.REPORTING,
    (State.RUNNING, "StepProgressed"): State.RUNNING,
    (State.RUNNING, "Connected"): State.RUNNING,
    (State.RUNNING, "NextChanged"): State.RUNNING,
    (State.RUNNING, "PendingChanged"): State.RUNNING,
    (State.RUNNING, "ShutDown"): State.STOPPING,
    (State.STOPPING, "StepExited"): State.REPORTING,
    (State.RECONCILING, "Connected"): State.RECONCILING,
    (State.RECONCILING, "get/accepted"): State.ASKING,
    (State.RECONCILING, "get/rejected"): State.ASKING,
    (State.RECONCILING, "ShutDown"): State.STOPPED,
    (State.REPORTING, "Connected"): State.REPORTING,
    (State.REPORTING, "update/accepted"): State.ASKING,
    (State.REPORTING, "update/rejected"): State.ASKING,
    (State.REPORTING, "ShutDown"): State.STOPPED,
}
AFTER_A_QUESTION = {
    # These answer a describe or an update that the state has to send first.
    (State.HELD, "get/accepted"): State.ASKING,
    (State.HELD, "get/rejected"): State.ASKING,
    (State.HELD, "update/accepted"): State.HELD,
    (State.HELD, "update/rejected"): State.ASKING,
    (State.PREPARING, "get/accepted"): State.ASKING,
    (State.PREPARING, "get/rejected"): State.ASKING,
    (State.RUNNING, "get/accepted"): State.STOPPING,
    (State.RUNNING, "get/rejected"): State.STOPPING,
    (State.RUNNING, "update/accepted"): State.RUNNING,
    (State.RUNNING, "update/rejected"): State.STOPPING,
    (State.REPORTING, "get/accepted"): State.ASKING,
    (State.REPORTING, "get/rejected"): State.ASKING,
}


@pytest.mark.parametrize("pair", LISTED, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_listed_input_leads_to_its_state(pair: tuple[State, str]) -> None:
    """What each row of the table does to the state."""
    device = device_in(pair[0])
    device.agent.handle((plain_inputs() | answers(device.agent))[pair[1]], device.now_ms)
    assert device.agent.state is LISTED[pair]


@pytest.mark.parametrize("pair", AFTER_A_QUESTION, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_answer_to_a_question_leads_to_its_state(pair: tuple[State, str]) -> None:
    """As above, for rows that need a request on its way."""
    device = device_in(pair[0])
    if pair[1].startswith("update"):
        # The heartbeat is an update whose answer stays out.
        device.wait(300)
    else:
        device.give(Connected())
    device.agent.handle(answers(device.agent)[pair[1]], device.now_ms)
    assert device.agent.state is AFTER_A_QUESTION[pair]


def test_every_row_of_the_table_is_tried() -> None:
    """A new row needs a line above; what time brings is tried with the rules."""
    overdue = {
        *((State.RUNNING, "StepOverdue"), (State.REBOOTING, "StepOverdue")),
        *((State.HELD, "HoldOver"), (State.IDLE, "AskDue")),
    }
    assert {*LISTED, *AFTER_A_QUESTION, *overdue} == set(TABLE)


def test_answers_to_others_are_ignored() -> None:
    """Several clients may speak for one thing: only our token counts (data plane 1.5)."""
    device = device_in(State.ASKING)
    device.service.queue("J1", document("a.sh"))
    other = Accepted(START, "", JobExecutionResponse(1, "other", device.service.of("J1").on_wire()))
    assert device.agent.handle(other, 0) == []
    assert device.agent.state is State.ASKING


def test_end_shown_to_somebody_else_is_verified() -> None:
    """A terminal state seen in another client's answer makes the agent look for itself."""
    device = device_in(State.RUNNING)
    over = JobExecutionState(JobExecutionStatus.CANCELED, 9)
    device.take_log()
    device.give(Accepted(UPDATE, "J1", UpdateJobExecutionResponse(1, "other", over)))
    assert device.take_log() == ["send DescribeJobExecution"]


def test_topics_of_other_things_never_reach_the_machine() -> None:
    """Data plane 1.6: the thing in the topic must be our own."""
    device = device_in(State.IDLE)
    service = FakeService("press-70")
    assert service.thing != THING
    device.hear(service.queue("J1", document("a.sh")))
    assert device.agent.state is State.IDLE
