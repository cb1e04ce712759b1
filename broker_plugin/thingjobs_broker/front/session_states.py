"""Whether amqtt's session of a client is connected, in one word instead of a state machine of its own.

amqtt makes a machine of some 180 objects, all in cycles, for each session, and two sessions for each
connection: with many clients the garbage collector stops everyone for tens of milliseconds.
"""

from typing import Any, Final

from amqtt.session import Session
from transitions import MachineError

_STATE: Final = "_thingjobs_state"


def use_plain_states() -> None:
    """Have the sessions that amqtt makes from now on keep their state in a word; those it has stay as they
    are.
    """
    Session._init_states = _begin  # noqa: SLF001
    Session.transitions = _States()


class SessionStates:
    """What amqtt asks of a session's machine: its state, and the two triggers with what follows."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def state(self) -> str:
        """One of `Session.states`."""
        state: str = vars(self._session)[_STATE]
        return state

    def is_new(self) -> bool:
        """Whether it was never connected nor disconnected."""
        return self.state == "new"

    def is_connected(self) -> bool:
        """Whether its client is there."""
        return self.state == "connected"

    def is_disconnected(self) -> bool:
        """Whether its client was there."""
        return self.state == "disconnected"

    def connect(self) -> bool:
        """Its client is there.

        Raises:
            MachineError: it was already; amqtt takes that for a take-over.

        """
        if self.is_connected():
            raise MachineError("a session that is connected cannot connect")
        vars(self._session)[_STATE] = "connected"
        self._session._on_enter_connected()  # noqa: SLF001
        return True

    def disconnect(self) -> bool:
        """Its client is gone, or was before."""
        vars(self._session)[_STATE] = "disconnected"
        self._session._on_enter_disconnected()  # noqa: SLF001
        return True


class _States:
    """Made when it is asked for, so that nothing refers back to the session. A session's own machine, of one
    made earlier, comes first.
    """

    def __get__(self, session: Session | None, _: Any) -> Any:
        return self if session is None else SessionStates(session)


def _begin(session: Session) -> None:
    vars(session)[_STATE] = "new"
