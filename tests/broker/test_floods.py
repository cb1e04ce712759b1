"""Whose requests are dropped: who has used up answers and refusals, and only until it may ask again."""

from structlog.testing import capture_logs

from thingjobs_broker.floods import REPORT_SECONDS, THINGS_MAX, Floods

FLOOD, CALM = "$aws/things/press-7/jobs/get", "$aws/things/lathe-2/jobs/get"
BURST = 3


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def floods(clock: Clock) -> Floods:
    """Ten refusals a second, three at once."""
    return Floods("$aws", 10, BURST, clock)


def flooded(clock: Clock) -> Floods:
    """After as many refusals as there are, and one more, in each of which 20 ms were to be waited."""
    found = floods(clock)
    for _ in range(BURST + 1):
        assert not found.drops(FLOOD)
        found.refused(FLOOD, 20)
    return found


def test_who_is_merely_hasty_is_refused_and_not_dropped() -> None:
    """Each of its requests has its answer (data plane 3.2)."""
    found = floods(Clock())
    for _ in range(BURST):
        found.refused(FLOOD, 20)
    assert not found.drops(FLOOD)


def test_who_uses_up_its_refusals_is_dropped_until_it_may_ask_again() -> None:
    """Another thing is heard meanwhile."""
    clock = Clock()
    found = flooded(clock)
    assert found.drops(FLOOD)
    assert not found.drops(CALM)
    clock.now += 0.019
    assert found.drops(FLOOD)
    clock.now += 0.002
    assert not found.drops(FLOOD)
    assert found.dropped == 2


def test_who_was_dropped_and_paused_gets_its_refusals_again() -> None:
    """The ration fills like that of answers."""
    clock = Clock()
    found = flooded(clock)
    clock.now += 1
    for _ in range(BURST):
        found.refused(FLOOD, 20)
    assert not found.drops(FLOOD)


def test_a_flood_is_logged_now_and_then() -> None:
    """Not for each request."""
    clock = Clock()
    found = flooded(clock)
    with capture_logs() as logs:
        assert [found.drops(FLOOD) for _ in range(100)] == [True] * 100
    assert [entry["thing_name"] for entry in logs] == ["press-7"]
    clock.now += REPORT_SECONDS
    found.refused(FLOOD, 20)
    for _ in range(BURST):
        found.refused(FLOOD, 20)
    with capture_logs() as logs:
        assert found.drops(FLOOD)
    assert [entry["dropped_so_far"] for entry in logs] == [101]


def test_what_is_remembered_is_bounded() -> None:
    """Names that nobody vouches for cannot fill the memory."""
    found = floods(Clock())
    for number in range(THINGS_MAX + 1):
        for _ in range(BURST + 1):
            found.refused(f"$aws/things/{number}/jobs/get", 20)
    assert len(found._unheard_until) == 1
