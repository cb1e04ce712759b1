"""What is kept per client id, without sockets: resuming, leaving, expiring, making room."""

import pytest

from thingjobs_broker.front.limits import FrontLimits
from thingjobs_broker.front.session import FrontSession, Message, SessionStore

ALICE = ("alice", None)
MESSAGE = Message(b"\x32\x07\x00\x01a", b"xy")


class NoLink:
    def send(self, frame: bytes) -> None:
        raise AssertionError

    def deliver(self, message: Message) -> None:
        raise AssertionError


def opened(store: SessionStore, client_id: str = "t1", *, clean: bool = False) -> tuple[FrontSession, NoLink]:
    """A new session with a link."""
    session, resumed = store.open(client_id, ALICE, clean=clean, present=False)
    assert not resumed
    session.link = link = NoLink()
    return session, link


@pytest.mark.parametrize("stored_clean", [False, True])
@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize("identity", [ALICE, ("bob", None), ("alice", "CN"), (None, None)])
def test_session_is_resumed_only_if_all_agree(
    stored_clean: bool, clean: bool, present: bool, identity: tuple[str | None, str | None]
) -> None:
    """3.1.2.4; otherwise there is a new one, and nothing of the old is left in the index."""
    store = SessionStore(FrontLimits())
    stored, _ = opened(store, clean=stored_clean)
    store.subscribe(stored, "$aws/a", 1)
    session, resumed = store.open("t1", identity, clean=clean, present=present)
    assert resumed is (session is stored)
    assert resumed is (present and not clean and not stored_clean and identity == ALICE)
    assert len(store) == 1
    assert list(store.index.match("$aws/a")) == ([stored] if resumed else [])


def test_sessions_expire_in_the_order_of_leaving() -> None:
    """A client that came back in time keeps its session."""
    store = SessionStore(FrontLimits(session_expiry_seconds=10))
    sessions = {name: opened(store, name) for name in ("one", "two", "three")}
    for now, name in enumerate(("two", "one", "three")):
        store.leave(*sessions[name], now=now)
    assert store.open("one", ALICE, clean=False, present=True) == (sessions["one"][0], True)
    store.expire(now=10)
    assert len(store) == 2
    store.expire(now=11.9)
    assert len(store) == 2
    store.expire(now=1000)
    assert len(store) == 1


def test_longest_absent_session_makes_room() -> None:
    """sessions_absent_max bounds what absent clients cost."""
    store = SessionStore(FrontLimits(sessions_absent_max=2))
    for now in range(4):
        session, link = opened(store, f"t{now}")
        store.subscribe(session, "$aws/a", 1)
        store.leave(session, link, now)
    assert [session.client_id for session in store.index.match("$aws/a")] == ["t2", "t3"]
    assert len(store) == 2


def test_leaving_twice_or_late_changes_nothing() -> None:
    """The end of an old connection must not touch the session of the new one."""
    store = SessionStore(FrontLimits(session_expiry_seconds=10))
    session, old = opened(store)
    session.link = NoLink()
    store.leave(session, old, now=0)
    store.expire(now=100)
    assert len(store) == 1
    store.leave(session, session.link, now=0)
    replaced, _ = opened(store)
    store.leave(session, old, now=0)
    store.drop(session)
    assert store.open("t1", ALICE, clean=False, present=True) == (replaced, True)


def test_clean_session_ends_with_its_connection() -> None:
    """[MQTT-3.1.2-6]."""
    store = SessionStore(FrontLimits())
    session, link = opened(store, clean=True)
    store.subscribe(session, "$aws/+", 1)
    assert not store.enqueue(session, MESSAGE)
    store.leave(session, link, now=0)
    assert (len(store), len(store.index), store.index.shapes) == (0, 0, 0)


def test_queue_can_be_switched_off() -> None:
    """messages_queued_max = 0 keeps nothing."""
    store = SessionStore(FrontLimits(messages_queued_max=0))
    session, _ = opened(store)
    assert not store.enqueue(session, MESSAGE)
    assert not session.queue


def test_retransmission_has_dup_and_the_same_id() -> None:
    """[MQTT-3.3.1-1]."""
    assert MESSAGE.again(258) == b"\x3a\x07\x00\x01a\x01\x02xy"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"frame_bytes_max": 0}, "frame_bytes_max is 0; expected more than 0"),
        ({"sweep_seconds": -1}, "sweep_seconds is -1; expected more than 0"),
        ({"connections_max": -1}, "connections_max is -1; expected 0 or more"),
        (
            {"messages_unacknowledged_max": 40_000},
            "messages_unacknowledged_max is 40000; expected at most 32767",
        ),
    ],
)
def test_limits_out_of_range_are_refused_by_name(limits: dict[str, int], message: str) -> None:
    """A bad setting is told in one line."""
    with pytest.raises(ValueError, match=message):
        FrontLimits(**limits)
