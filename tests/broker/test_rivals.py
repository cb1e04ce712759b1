"""When the sidecar believes that another service uses its client id."""

from thingjobs_broker.rivals import SESSION_TAKEN_OVER, Rivals


def losses(rivals: Rivals, code: int | None, *, lasting: float, since: float = 0.0) -> int:
    """How many losses it takes, one after the other, until it is time to give up; 99 for never."""
    now = since
    for count in range(1, 99):
        if rivals.lost(code, now, now + lasting):
            return count
        now += lasting + 0.5
    return 99


def veteran() -> Rivals:
    """One that has been connected for a day."""
    rivals = Rivals()
    rivals.lost(0x8B, 0.0, 86_400.0)
    return rivals


def test_whoever_came_last_gives_up_first() -> None:
    """So that the service that was there first stays."""
    assert losses(Rivals(), SESSION_TAKEN_OVER, lasting=0.5) == 2
    assert losses(veteran(), SESSION_TAKEN_OVER, lasting=0.5, since=86_400.0) == 10
    assert losses(Rivals(), None, lasting=0.5) == 3
    assert losses(veteran(), None, lasting=0.5, since=86_400.0) == 20


def test_ordinary_losses_are_no_rival() -> None:
    """A connection now and then lost, and a broker that says that it shuts down."""
    assert losses(Rivals(), None, lasting=60.0) == 99
    assert losses(Rivals(), 0x8B, lasting=0.5) == 99


def test_a_broker_that_comes_and_goes_is_no_rival() -> None:
    """Between two losses an attempt to connect failed."""
    rivals = Rivals()
    for number in range(50):
        assert not rivals.lost(None, number, number + 0.5)
        rivals.refused()


def test_take_overs_long_ago_are_forgotten() -> None:
    """An operator who tries a second service once a day does no harm."""
    rivals = veteran()
    for day in range(2, 20):
        assert not rivals.lost(SESSION_TAKEN_OVER, day * 86_400.0, day * 86_400.0 + 1)
