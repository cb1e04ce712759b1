"""When a rollout will have come to whom: for previews, for a rollout under way, and for who waits in it.

It is followed as if nobody reported a success. How many a minute there are is decided in `rollout`.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from thingjobs_broker.core import rolling_out, rollout, schedule, scheduling

if TYPE_CHECKING:
    from thingjobs_broker.core.entities import Job, Rollout
    from thingjobs_broker.core.step import Step

OPENINGS_MAX: Final = 200
"""Maintenance windows that a rollout is followed through, in some milliseconds ("Bounded work per step"); one
that takes longer has no end in sight.
"""


class Pace(NamedTuple):
    """How a rollout goes: times in ms, None where there is none in sight; `reached` things get their turn."""

    starts_at_ms: int | None
    ends_at_ms: int | None
    reached: int


def of_rest(step: Step, job: Job, its: Rollout, things: int) -> Pace:
    """Follow a rollout from where it is until so many more things have had their turn."""
    now = at_once(its, things)
    first_in_ms = 0
    if things > now:
        # While a maintenance window is closed, the clock of minute windows stands still (control plane 3.3).
        passed_ms = (its.paused_at_ms or step.now_ms) - its.window_at_ms
        first_in_ms = max(rollout.WINDOW_MS - passed_ms, 0)
    return followed(
        scheduling.schedule_of(job),
        rolling_out.config_of(job),
        things - now,
        step.now_ms,
        unset_per_minute=step.ports.rules.rollout_per_minute,
        notified=its.notified + now,
        succeeded=its.succeeded,
        first_in_ms=first_in_ms,
    )


def at_once(its: Rollout, things: int) -> int:
    """Return how many of so many things the minute window under way still allows."""
    return things if its.left == rolling_out.UNLIMITED else min(its.left, things)


def followed(
    its: schedule.Schedule,
    config: rollout.RolloutConfig | None,
    things: int,
    now_ms: int,
    *,
    unset_per_minute: int | None,
    notified: int = 0,
    succeeded: int = 0,
    first_in_ms: int = 0,
) -> Pace:
    """Follow a rollout through its schedule: it pauses while a window is closed, and endTime ends it.

    The first minute window begins when the schedule has been open for `first_in_ms`.
    """
    starts_at_ms = now_ms if schedule.phase(its, now_ms) is schedule.Phase.OPEN else None
    if starts_at_ms is None:
        starts_at_ms = schedule.next_opening_ms(its, now_ms)
    if starts_at_ms is None:
        return Pace(None, None, 0)
    windows = rollout.windows_needed(
        config, things, notified=notified, succeeded=succeeded, unset_per_minute=unset_per_minute
    )
    left_ms, at_ms = first_in_ms + max(windows - 1, 0) * rollout.WINDOW_MS, starts_at_ms
    needed_ms = left_ms
    for _ in range(OPENINGS_MAX):
        until_ms = schedule.next_look_ms(its, at_ms)
        if until_ms is None or left_ms < until_ms - at_ms:
            return Pace(starts_at_ms, at_ms + left_ms, things)
        left_ms -= until_ms - at_ms
        at_ms = until_ms
        if schedule.phase(its, at_ms) is not schedule.Phase.OPEN:
            opening_ms = schedule.next_opening_ms(its, at_ms)
            if opening_ms is None:
                open_windows = -(-(needed_ms - left_ms) // rollout.WINDOW_MS)
                return Pace(starts_at_ms, None, _released(config, open_windows, things, unset_per_minute))
            at_ms = opening_ms
    return Pace(starts_at_ms, None, things)


def _released(
    config: rollout.RolloutConfig | None, windows: int, things: int, unset_per_minute: int | None
) -> int:
    """Return how many things have had their turn after so many minute windows."""

    def needed(count: int) -> int:
        return rollout.windows_needed(config, count, unset_per_minute=unset_per_minute)

    return bisect_right(range(things + 1), windows, key=needed) - 1
