"""How fast a thing may ask (spec: data plane 3.2, RequestThrottled; 3.4, step 2)."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.broker.core.world import START_MS, World, rejection
from thingjobs_broker.core.throttle import Throttle
from thingjobs_protocol.errors import InvalidTopic

BURST = 5


def taken(throttle: Throttle, thing_name: str, now_ms: int, tries: int) -> int:
    """How many of so many tries at once are granted."""
    return sum(not throttle.take(thing_name, now_ms) for _ in range(tries))


def test_a_burst_is_granted_and_then_the_rate() -> None:
    """Ten a second after five at once, to the millisecond; what is refused costs no token."""
    throttle = Throttle(10, BURST)
    assert taken(throttle, "T", START_MS, 20) == BURST
    assert throttle.take("T", START_MS) == 100
    assert throttle.take("T", START_MS + 99) == 1
    assert throttle.take("T", START_MS + 100) == 0
    assert throttle.take("T", START_MS + 100) == 100
    assert taken(throttle, "T", START_MS + 10_000, 20) == BURST


def test_things_do_not_pay_for_each_other() -> None:
    """A bucket belongs to one thing."""
    throttle = Throttle(1, 1)
    assert taken(throttle, "A", START_MS, 9) == 1
    assert taken(throttle, "B", START_MS, 9) == 1


def test_full_buckets_are_forgotten() -> None:
    """A thing that has been quiet costs nothing; one that has not keeps its bucket."""
    throttle = Throttle(10, BURST)
    for number in range(1000):
        throttle.take(f"T{number}", START_MS)
    assert len(throttle) == 1000
    assert taken(throttle, "busy", START_MS + 500, 9) == BURST
    assert taken(throttle, "busy", START_MS + 900, 9) == 4
    throttle.take("other", START_MS + 1001)
    assert len(throttle) == 2
    throttle.take("another", START_MS + 9000)
    assert len(throttle) == 1


@given(
    st.integers(1, 30),
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from("AB")), max_size=80),
)
def test_it_is_an_exact_token_bucket(rate: int, burst: int, asked: list[tuple[int, str]]) -> None:
    """Promise 8: against a bucket of fractions that forgets nothing; the wait is exact, too."""
    throttle, tokens = Throttle(rate, burst), dict.fromkeys("AB", Fraction(burst))
    now_ms = START_MS
    for pause_ms, name in asked:
        now_ms += pause_ms
        tokens = {
            one: min(Fraction(burst), held + Fraction(pause_ms * rate, 1000)) for one, held in tokens.items()
        }
        wait_ms = throttle.take(name, now_ms)
        assert (wait_ms == 0) == (tokens[name] >= 1)
        if wait_ms:
            assert tokens[name] + Fraction(wait_ms * rate, 1000) >= 1
            assert tokens[name] + Fraction((wait_ms - 1) * rate, 1000) < 1
        else:
            tokens[name] -= 1


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 0), (-1, 1)])
def test_a_throttle_that_lets_nothing_through_is_refused(rate: int, burst: int) -> None:
    """No limit is no throttle."""
    with pytest.raises(ValueError, match="both at least 1"):
        Throttle(rate, burst)


def throttled_world() -> World:
    """A thing with a queued job that may ask once at once, then once a second."""
    world = World("T")
    world.create_job("J1")
    world.service._throttle = Throttle(1, 1)
    return world


@pytest.mark.parametrize(
    "what", ["get", "start-next", "$next/get", "J1/get", "J1/update", "no-such-job/update"]
)
@pytest.mark.parametrize(
    ("payload", "token"),
    [(b'{"status":"SUCCEEDED","clientToken":"c"}', "c"), (b"", None), (b"{", None), (b'{"\xff":1}', None)],
)
def test_a_throttled_request_is_rejected_before_it_is_read(
    what: str, payload: bytes, token: str | None
) -> None:
    """3.4: before JSON and everything behind it; nothing changes; a readable clientToken is echoed (3.1)."""
    world = throttled_world()
    world.device("T", "get")
    (answer,) = world.device("T", what, payload)
    body = answer.body
    assert (body["code"], body.get("clientToken")) == ("RequestThrottled", token)
    assert body["message"] == "Thing T asks too fast; try again in 1000 ms"
    assert "executionState" not in body
    assert world.records == []
    world.now_ms += 1000
    (answer,) = world.device("T", "get")
    assert answer.ending == "accepted"


def test_a_topic_without_an_operation_is_no_way_around() -> None:
    """3.4, steps 1 and 2: InvalidTopic all the same, but it counts, and its sender is told to be slower."""
    world = throttled_world()
    topic, payload = "$aws/things/T/jobs/J1/frob", b'{"clientToken":"c"}'
    outcomes = [world.service.refuse(topic, InvalidTopic("no such"), START_MS, payload) for _ in range(3)]
    assert [outcome.wait_ms for outcome in outcomes] == [0, 1000, 1000]
    assert {outcome.messages[0].body.code for outcome in outcomes} == {"InvalidTopic"}
    assert rejection(world.device("T", "get")) == ("RequestThrottled", None)


def test_operators_are_not_throttled() -> None:
    """The limit is of things; the control plane has operators."""
    world = throttled_world()
    for number in range(20):
        assert world.control("CreateThing", thingName=f"U{number}")
