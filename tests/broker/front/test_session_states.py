"""A session's state in a word behaves as amqtt's own state machine."""

import gc
import importlib.util
import itertools
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from amqtt.session import Session
from transitions import MachineError

from thingjobs_broker.front.session_states import SessionStates, use_plain_states

TRIGGERS = ("connect", "disconnect")


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins and ends with amqtt's own sessions."""
    with monkeypatch.context() as context:
        context.setattr(Session, "_init_states", amqtt_session()._init_states)
        context.delattr(Session, "transitions", raising=False)
        yield


def amqtt_session() -> Any:
    """Amqtt's class as it is shipped, whatever another test has made of it."""
    found = importlib.util.find_spec("amqtt.session")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.Session


def told(session: Session, trigger: str) -> list[object]:
    """What a trigger answers, and all that can be seen of the session afterwards."""
    try:
        answer: object = getattr(session.transitions, trigger)()
    except MachineError:
        answer = MachineError
    states = session.transitions
    seen = [states.state, states.is_new(), states.is_connected(), states.is_disconnected()]
    return [answer, *seen, session.last_connect_time is None, session.last_disconnect_time is None]


@pytest.mark.parametrize("triggers", list(itertools.product(TRIGGERS, repeat=4)))
def test_every_order_of_triggers_is_as_with_the_machine(triggers: tuple[str, ...]) -> None:
    """State, refusals and the times that amqtt keeps."""
    machine = Session()
    use_plain_states()
    plain = Session()
    assert isinstance(plain.transitions, SessionStates)
    assert not isinstance(machine.transitions, SessionStates)
    for trigger in triggers:
        assert told(plain, trigger) == told(machine, trigger)
    assert repr(plain) == repr(machine)


def test_a_session_that_goes_leaves_nothing_to_collect() -> None:
    """Nothing of it is in a cycle."""
    use_plain_states()
    gc.collect()
    gc.disable()
    try:
        session = Session()
        session.transitions.connect()
        session.transitions.disconnect()
        del session
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_session_that_is_stored_keeps_its_state() -> None:
    """Amqtt's sessions can be pickled."""
    use_plain_states()
    session = Session()
    session.transitions.connect()
    assert pickle.loads(pickle.dumps(session)).transitions.is_connected()  # noqa: S301 - our own bytes
