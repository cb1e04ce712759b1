"""How many executions may be created in the minute window that begins now (spec: control plane 3), and the
configuration's rules. Exact: integers only. Whose turn it is, and when a rollout pauses, is not decided here.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final

import msgspec
from msgspec import Meta

PER_MINUTE_MAX: Final = 1000
"""Spec: control plane 3.1, 10; also the rate of a job that names none."""

WINDOW_MS: Final = 60_000

STEPS_MAX: Final = 73
"""1.1 ** 73 > PER_MINUTE_MAX: the slowest growth from the smallest base has met every cap by then."""

COUNT_MAX: Final = 2**31 - 1
"""The model's `integer`; what is larger could not be stored."""

PerMinute = Annotated[int, Meta(ge=1, le=PER_MINUTE_MAX)]
Count = Annotated[int, Meta(ge=1, le=COUNT_MAX)]


class RateIncreaseCriteria(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """Each threshold suffices alone; one at least must be there (A16)."""

    number_of_notified_things: Count | None = None
    number_of_succeeded_things: Count | None = None

    def __post_init__(self) -> None:
        """Refuse the object without a threshold, which could never raise the rate."""
        if self.number_of_notified_things is None and self.number_of_succeeded_things is None:
            message = "rateIncreaseCriteria must hold numberOfNotifiedThings or numberOfSucceededThings"
            raise ValueError(message)


class ExponentialRate(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """A rate that grows with what was reached. `maximum_per_minute` is the misplaced spelling of A17."""

    base_rate_per_minute: PerMinute
    increment_factor: Annotated[float, Meta(ge=1.1, le=5)]
    rate_increase_criteria: RateIncreaseCriteria
    maximum_per_minute: PerMinute | None = None

    def __post_init__(self) -> None:
        """Refuse a factor with more than one decimal (spec: control plane 1.3, V16)."""
        tenths = _tenths(self.increment_factor)
        if tenths != tenths.to_integral_value():
            message = f"incrementFactor may have one decimal, not {self.increment_factor}"
            raise ValueError(message)


class RolloutConfig(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """`jobExecutionsRolloutConfig`, with every rule of 1.3 and 3.1 in it.

    Use it as the member's type: a decode that succeeds needs no further check, and one that fails raises
    `msgspec.ValidationError` with the member's path. `msgspec.to_builtins` gives back what the caller sent.
    """

    maximum_per_minute: PerMinute | None = None
    exponential_rate: ExponentialRate | None = None

    def __post_init__(self) -> None:
        """Refuse a base above the cap (spec: control plane 3.1)."""
        exponential = self.exponential_rate
        if exponential is not None and exponential.base_rate_per_minute > self.cap_per_minute:
            base = exponential.base_rate_per_minute
            message = f"baseRatePerMinute must be at most maximumPerMinute {self.cap_per_minute}, not {base}"
            raise ValueError(message)

    @property
    def cap_per_minute(self) -> int:
        """The cap of an exponential rate: the sibling, else its alias (A17), else the default (A18)."""
        alias = self.exponential_rate.maximum_per_minute if self.exponential_rate else None
        return self.maximum_per_minute or alias or PER_MINUTE_MAX


def per_minute(
    config: RolloutConfig | None,
    notified: int,
    succeeded: int,
    *,
    unset_per_minute: int | None = PER_MINUTE_MAX,
) -> int | None:
    """Return how many executions the window that begins now may create; None for no limit.

    Call it once at the beginning of each window and keep the answer for that window (spec: control plane
    3.3, "Unit"). `notified` counts the executions created by the initial rollout since the job started,
    `succeeded` those that SUCCEEDED; both only grow, also over an UpdateJob. `unset_per_minute` is the
    service's rate for jobs that name none; None is "as fast as possible".
    """
    if config is None or (config.exponential_rate is None and config.maximum_per_minute is None):
        return unset_per_minute
    exponential = config.exponential_rate
    if exponential is None:
        return config.maximum_per_minute
    step = min(steps_reached(exponential.rate_increase_criteria, notified, succeeded), STEPS_MAX)
    tenths = int(_tenths(exponential.increment_factor))
    grown: int = exponential.base_rate_per_minute * tenths**step // 10**step
    return min(config.cap_per_minute, grown)


def steps_reached(criteria: RateIncreaseCriteria, notified: int, succeeded: int) -> int:
    """Return k, how often the rate was increased; thresholds are cumulative (spec: control plane 3.2)."""
    reached = 0
    if criteria.number_of_notified_things:
        reached = notified // criteria.number_of_notified_things
    if criteria.number_of_succeeded_things:
        reached = max(reached, succeeded // criteria.number_of_succeeded_things)
    return reached


def window_start_ms(rollout_started_at_ms: int, now_ms: int) -> int:
    """Return when the window that `now_ms` lies in began; the next one begins `WINDOW_MS` later.

    Windows lie on a grid from the start of the rollout. One that passed while the service was down is lost,
    not made up for: at most r executions in any window. After a pause, move the start of the rollout by the
    pause's length, so that the clock of windows has stood still (spec: control plane 3.3, "Pause").
    """
    return rollout_started_at_ms + (now_ms - rollout_started_at_ms) // WINDOW_MS * WINDOW_MS


def windows_needed(
    config: RolloutConfig | None,
    remaining: int,
    *,
    notified: int = 0,
    succeeded: int = 0,
    unset_per_minute: int | None = PER_MINUTE_MAX,
) -> int:
    """Return over how many windows `remaining` things are spread if no further success is reported.

    For previews and ETAs: the last window begins this number, less one, of minutes from now. The work is
    bounded by `STEPS_MAX`, whatever the numbers.
    """
    windows = 0
    while remaining > 0:
        rate = per_minute(config, notified, succeeded, unset_per_minute=unset_per_minute)
        if rate is None:
            return windows + 1
        stretch = -(-remaining // rate)
        threshold = _next_threshold(config, rate, notified)
        if threshold is not None:
            stretch = min(stretch, -(-(threshold - notified) // rate))
        released = min(stretch * rate, remaining)
        windows += stretch
        notified += released
        remaining -= released
    return windows


def _next_threshold(config: RolloutConfig | None, rate: int, notified: int) -> int | None:
    """Return the count of notified things at which the rate may rise next, None where it cannot."""
    exponential = config.exponential_rate if config else None
    if config is None or exponential is None or rate >= config.cap_per_minute:
        return None
    every = exponential.rate_increase_criteria.number_of_notified_things
    return (notified // every + 1) * every if every else None


def _tenths(factor: float) -> Decimal:
    """The factor times ten, from its shortest decimal form: what the caller wrote, not what binary holds."""
    return Decimal(repr(factor)) * 10
