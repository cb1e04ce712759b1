"""How many executions a minute window may create (control plane 3), and what its configuration may say."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import hypothesis
import hypothesis.strategies as st
import msgspec
import pytest

from thingjobs_broker.core.rollout import (
    STEPS_MAX,
    WINDOW_MS,
    RolloutConfig,
    per_minute,
    window_start_ms,
    windows_needed,
)


def config(body: dict[str, Any]) -> RolloutConfig:
    return msgspec.convert(body, RolloutConfig)


def exponential(
    base: int, factor: float, *, notified: int | None = None, succeeded: int | None = None, **beside: int
) -> dict[str, Any]:
    criteria = {"numberOfNotifiedThings": notified, "numberOfSucceededThings": succeeded}
    given = {name: count for name, count in criteria.items() if count is not None}
    rate = {"baseRatePerMinute": base, "incrementFactor": factor, "rateIncreaseCriteria": given}
    return {"exponentialRate": rate, **beside}


SEED = exponential(50, 2, notified=1000, succeeded=1000, maximumPerMinute=1000)


def windows(rollout: RolloutConfig | None, things: int) -> Iterator[int]:
    """What each window creates if no success is ever reported."""
    notified = 0
    while notified < things:
        rate = per_minute(rollout, notified, 0)
        assert rate is not None
        created = min(rate, things - notified)
        notified += created
        yield created


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 50), (1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (6, 1000)]
)
def test_the_table_of_the_seed(step: int, rate: int) -> None:
    """Control plane 3.2: base 50, factor 2, thresholds 1000; each step lasts until the next thousand."""
    for reached in (step * 1000, step * 1000 + 999):
        assert per_minute(config(SEED), reached, 0) == rate
        assert per_minute(config(SEED), 0, reached) == rate
        assert per_minute(config(SEED), reached, reached) == rate


def test_the_table_of_the_seed_in_whole_windows() -> None:
    """Control plane 3.2, 3.3: the rate is looked up at the beginning of each window."""
    created = list(windows(config(SEED), 7000))
    assert created[:20] == [50] * 20
    assert created[20:30] == [100] * 10
    assert created[30:35] == [200] * 5
    # 3000 to 4200: the third window begins below 4000.
    assert created[35:38] == [400] * 3
    assert created[38:] == [800, 1000, 1000]


def test_v1_a_constant_rate_of_10_for_25_things() -> None:
    """V1: 10 at once, 20 after a minute, 25 after two."""
    assert list(windows(config({"maximumPerMinute": 10}), 25)) == [10, 10, 5]


def test_v2_doubling_every_two_things_up_to_three() -> None:
    """V2: B=1, f=2, Nn=2, M=3, 20 things, no reports."""
    rollout = config(exponential(1, 2, notified=2, maximumPerMinute=3))
    assert list(windows(rollout, 20)) == [1, 1, 2, 3, 3, 3, 3, 3, 1]


def test_v3_five_successes_raise_five_to_seven() -> None:
    """V3: B=5, f=1.5, Ns=5: floor(7.5); notified things count for nothing here."""
    rollout = config(exponential(5, 1.5, succeeded=5))
    assert [per_minute(rollout, 5, succeeded) for succeeded in (0, 4, 5, 9, 10)] == [5, 5, 7, 7, 11]


@pytest.mark.parametrize(("step", "rate"), [(7, 1), (8, 2), (24, 9), (72, 955), (73, 1000), (10**9, 1000)])
def test_small_bases_move_slowly_and_large_steps_cost_nothing(step: int, rate: int) -> None:
    """Control plane 3.3, "Arithmetic": B=1, f=1.1 first changes at k=8; the cap ends the growth."""
    assert per_minute(config(exponential(1, 1.1, notified=1)), step, 0) == rate


@hypothesis.example(100, 23, 1, 1000)
@hypothesis.given(st.integers(1, 1000), st.integers(11, 50), st.integers(0, 90), st.integers(1, 1000))
def test_the_rate_is_exact(base: int, tenths: int, step: int, cap: int) -> None:
    """Promise of exact rates: floor(B * f^k), capped at M (control plane 3.2); 100 * 2.3 is 230, not 229."""
    hypothesis.assume(base <= cap)
    rollout = config(exponential(base, tenths / 10, notified=1, maximumPerMinute=cap))
    exact = base * Fraction(tenths, 10) ** step
    assert per_minute(rollout, step, 0) == min(cap, exact.numerator // exact.denominator)
    assert Fraction(11, 10) ** STEPS_MAX > 1000


def test_either_criterion_alone_suffices() -> None:
    """Control plane 3.2, A16: k is the larger of the two."""
    rollout = config(exponential(10, 2, notified=100, succeeded=10))
    assert [per_minute(rollout, *counts) for counts in ((99, 9), (100, 9), (99, 10), (100, 30))] == [
        *(10, 20, 20, 80)
    ]


@pytest.mark.parametrize("body", [None, {}])
def test_a_job_that_names_no_rate_gets_the_services(body: dict[str, Any] | None) -> None:
    """Control plane 3.1: 1000 a minute; a service may be set to as fast as possible, or slower."""
    rollout = None if body is None else config(body)
    assert per_minute(rollout, 0, 0) == 1000
    assert per_minute(rollout, 0, 0, unset_per_minute=None) is None
    assert per_minute(rollout, 0, 0, unset_per_minute=60) == 60


def test_a_named_rate_is_kept_when_the_service_is_unlimited() -> None:
    """The setting is for jobs that name no rate; an exponential one is capped at 1000 (A18)."""
    assert per_minute(config({"maximumPerMinute": 7}), 0, 0, unset_per_minute=None) == 7
    fast = config(exponential(1000, 5, notified=1))
    assert per_minute(fast, 10, 0, unset_per_minute=None) == 1000


def test_the_maximum_inside_the_exponential_rate_is_an_alias() -> None:
    """A17: it counts when the sibling is absent, and is echoed where it was."""
    body = exponential(50, 2, notified=10)
    body["exponentialRate"]["maximumPerMinute"] = 60
    assert per_minute(config(body), 10, 0) == 60
    assert msgspec.to_builtins(config(body)) == body
    assert per_minute(config({**body, "maximumPerMinute": 70}), 10, 0) == 70


@pytest.mark.parametrize("body", [{"maximumPerMinute": 10}, SEED, {}, exponential(1, 1.5, succeeded=2)])
def test_a_configuration_is_echoed_without_invented_members(body: dict[str, Any]) -> None:
    """Control plane 2.1: the caller reads back what was sent."""
    assert msgspec.to_builtins(config(body)) == body


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"maximumPerMinute": 0}, "maximumPerMinute"),
        ({"maximumPerMinute": 1001}, "maximumPerMinute"),
        ({"maximumPerMinute": 1.5}, "maximumPerMinute"),
        (exponential(0, 2, notified=1), "baseRatePerMinute"),
        (exponential(1001, 2, notified=1), "baseRatePerMinute"),
        (exponential(1, 1.0, notified=1), "incrementFactor"),
        (exponential(1, 5.1, notified=1), "incrementFactor"),
        (exponential(1, 1.55, notified=1), "incrementFactor may have one decimal, not 1.55"),
        (exponential(1, float("nan"), notified=1), "incrementFactor"),
        (exponential(1, 2, notified=0), "numberOfNotifiedThings"),
        (exponential(1, 2, succeeded=2**40), "numberOfSucceededThings"),
        (exponential(1, 2), "must hold numberOfNotifiedThings or numberOfSucceededThings"),
        (
            exponential(11, 2, notified=1, maximumPerMinute=10),
            "baseRatePerMinute must be at most maximumPerMinute 10, not 11",
        ),
        ({"exponentialRate": {"baseRatePerMinute": 1}}, "incrementFactor"),
    ],
)
def test_a_configuration_out_of_its_range_is_refused(body: dict[str, Any], fault: str) -> None:
    """Control plane 1.3, 3.1 and V16; the message names the member."""
    with pytest.raises(msgspec.ValidationError) as refused:
        config(body)
    assert fault in str(refused.value)


@pytest.mark.parametrize("tenths", range(11, 51))
def test_every_factor_of_one_decimal_is_accepted(tenths: int) -> None:
    """Control plane 3.1: 1.1 to 5.0, whatever their binary form looks like."""
    config(exponential(1, tenths / 10, notified=1))


def test_windows_lie_on_a_grid_from_the_start() -> None:
    """Control plane 3.3, "Unit": one allowance for each minute, none made up for after a standstill."""
    start_ms = 1_700_000_000_123
    for late_ms, window in ((0, 0), (WINDOW_MS - 1, 0), (WINDOW_MS, 1), (10 * WINDOW_MS + 5, 10)):
        assert window_start_ms(start_ms, start_ms + late_ms) == start_ms + window * WINDOW_MS


configs = st.one_of(
    st.builds(lambda rate: config({"maximumPerMinute": rate}), st.integers(1, 1000)),
    st.builds(
        lambda base, tenths, notified: config(exponential(base, tenths / 10, notified=notified)),
        *(st.integers(1, 60), st.integers(11, 50), st.one_of(st.integers(1, 200), st.just(10**6))),
    ),
    st.builds(lambda base: config(exponential(base, 2, succeeded=3)), st.integers(1, 60)),
)


@hypothesis.given(configs, st.integers(0, 3000))
def test_the_forecast_counts_the_windows_that_a_rollout_takes(rollout: RolloutConfig, things: int) -> None:
    """`job preview`: the closed form agrees with going through every window."""
    assert windows_needed(rollout, things) == len(list(windows(rollout, things)))


def test_a_forecast_of_a_million_things_looks_at_few_windows() -> None:
    """Bounded work: 1,000,000 things at 1 a minute are not counted one by one."""
    assert windows_needed(config({"maximumPerMinute": 1}), 10**12) == 10**12
    assert windows_needed(None, 10**6, unset_per_minute=None) == 1
    assert windows_needed(config(exponential(1, 1.1, notified=10**9)), 10**12) > 10**9
    assert windows_needed(config(SEED), 100_000, notified=50_000) == 100
