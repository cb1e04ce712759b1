"""Timeouts beyond AWS's (control plane 9): defaults, maxima, changes while running, expiry."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from thingjobs_broker.core.timeouts import (
    EXPIRY_MINUTES_MAX,
    Changed,
    Refusal,
    Refused,
    Timeout,
    changed,
    effective,
    expires_at_ms,
    expiry_details,
    is_expired,
)
from thingjobs_protocol.codec import checked_status_details
from thingjobs_protocol.status import TERMINAL
from thingjobs_protocol.status import JobExecutionStatus as Status

MINUTE_MS = 60_000
STARTED_MS = 1_700_000_000_000


def candidates(
    job: int | None = None, template: int | None = None, group: int | None = None, service: int | None = None
) -> list[tuple[str, int | None]]:
    return [("job", job), ("template", template), ("group g", group), ("service", service)]


def change(requested: object, **given: Any) -> Changed | Refused:
    defaults: dict[str, Any] = {
        "status": Status.IN_PROGRESS,
        "started_at_ms": STARTED_MS,
        "initial_minutes": 90,
        "current_minutes": 90,
    }
    return changed(requested, **defaults | given)


def refusal(requested: object, **given: Any) -> Refusal | None:
    decided = change(requested, **given)
    return decided.refusal if isinstance(decided, Refused) else None


@pytest.mark.parametrize(
    ("given", "minutes", "source"),
    [
        ({}, None, ""),
        ({"service": 40}, 40, "service"),
        ({"group": 30, "service": 40}, 30, "group g"),
        ({"template": 20, "group": 30, "service": 40}, 20, "template"),
        ({"job": 10, "template": 20, "group": 30, "service": 40}, 10, "job"),
        ({"job": 50, "service": 40}, 50, "job"),
    ],
)
def test_b3_b4_the_first_that_is_set_wins(given: dict[str, int], minutes: int | None, source: str) -> None:
    """B3: service and template have defaults; B4: job, template, group, service."""
    assert effective(candidates(**given)) == Timeout(minutes, source)


@pytest.mark.parametrize(
    ("job", "minutes", "source"),
    [(None, 60, "maximum of service"), (61, 60, "maximum of service"), (60, 60, "job"), (10, 10, "job")],
)
def test_b5_a_missing_or_larger_timeout_is_set_to_the_maximum(
    job: int | None, minutes: int, source: str
) -> None:
    """B5."""
    assert effective(candidates(job=job), [("service", 60)]) == Timeout(minutes, source)


def test_b24_the_smallest_of_all_caps_wins() -> None:
    """B24: any number of caps; one that is not set is none."""
    caps = [("service", 600), ("group g", None), ("group h", 200), ("plan", 240)]
    assert effective(candidates(job=500), caps) == Timeout(200, "maximum of group h")
    assert effective(candidates(job=500), [("service", None)]) == Timeout(500, "job")


@pytest.mark.parametrize(("current", "requested"), [(90, 120), (90, 30), (None, 45)])
def test_b9_a_timeout_is_extended_reduced_or_set(current: int | None, requested: int) -> None:
    """B9, B10: the new value counts from the start of the execution; B18: with the previous one."""
    assert change(requested, initial_minutes=current, current_minutes=current) == Changed(
        current, requested, STARTED_MS + requested * MINUTE_MS
    )


@pytest.mark.parametrize("requested", [0, -1, -60, 1.5, 60.0, True, None, "60", 10_081, 10**30])
def test_b10_b11_only_whole_positive_minutes(requested: object) -> None:
    """B10: 0, negative and fractional are rejected; B11: -1 does not remove the timeout."""
    decided = change(requested, initial_minutes=None)
    assert isinstance(decided, Refused)
    assert decided.refusal is Refusal.NOT_MINUTES
    assert "1 to 10080" in decided.message


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.IN_PROGRESS}))
def test_b12_only_while_the_execution_runs(status: Status) -> None:
    """B12, B8: a state error when it has ended, and before it has started."""
    found = refusal(60, status=status)
    assert found is (Refusal.TERMINAL if status in TERMINAL else Refusal.NOT_STARTED)
    assert found.is_state_error
    assert not Refusal.NOT_MINUTES.is_state_error


def test_b13_above_a_maximum_is_rejected_not_clamped() -> None:
    """B13: the maxima of service, groups and plan, and 10080."""
    caps = [("service", 120), ("group g", 100)]
    assert isinstance(change(100, maxima=caps), Changed)
    decided = change(101, maxima=caps)
    assert isinstance(decided, Refused)
    assert decided.refusal is Refusal.ABOVE_MAXIMUM
    assert decided.message == "timeoutInMinutes must be at most 100, the maximum of group g, not 101"
    assert isinstance(change(10_080, initial_minutes=None), Changed)


def test_b14_at_most_sixty_minutes_above_the_initial_timeout() -> None:
    """B14: over repeated changes; what is in force now does not matter."""
    for current in (90, 150, 10):
        assert isinstance(change(150, current_minutes=current), Changed)
        assert refusal(151, current_minutes=current) is Refusal.ABOVE_EXTENSION


def test_b15_without_an_initial_timeout_there_is_no_such_limit() -> None:
    """B15: also after one was set while running."""
    assert isinstance(change(5000, initial_minutes=None, current_minutes=None), Changed)
    assert isinstance(change(5000, initial_minutes=None, current_minutes=10), Changed)


def test_b16_a_value_that_has_elapsed_is_accepted_and_due() -> None:
    """B16: the deadline lies in the past, so that the next sweep times the execution out."""
    decided = change(10)
    assert isinstance(decided, Changed)
    assert decided.deadline_ms < STARTED_MS + 11 * MINUTE_MS


def test_v19_a_sequence_of_changes() -> None:
    """V19: initial 90; 150 ok, 151 rejected, 0 rejected, 60 ok; 90 to 150 and 150 to 60."""
    current, told = 90, []
    for requested in (150, 151, 0, 60):
        decided = change(requested, current_minutes=current)
        if isinstance(decided, Changed):
            told.append((decided.previous_minutes, decided.minutes))
            current = decided.minutes
    assert told == [(90, 150), (150, 60)]


@hypothesis.given(
    st.integers(-10, 11_000),
    st.one_of(st.none(), st.integers(1, 10_080)),
    st.lists(st.tuples(st.just("cap"), st.one_of(st.none(), st.integers(1, 10_080))), max_size=3),
)
def test_a_change_is_accepted_exactly_within_all_limits(
    requested: int, initial: int | None, caps: list[tuple[str, int | None]]
) -> None:
    """B10, B13, B14, B24 together."""
    limits = [10_080, *(minutes for _, minutes in caps if minutes is not None)]
    if initial is not None:
        limits.append(initial + 60)
    accepted = isinstance(change(requested, initial_minutes=initial, maxima=caps), Changed)
    assert accepted is (1 <= requested <= min(limits))


@pytest.mark.parametrize(
    ("minutes", "queued_after", "is_own_clock", "expires_after"),
    [
        (None, 0, False, None),
        (60, 0, False, 60),
        (60, 59, False, 60),
        (60, 59, True, 119),
        (60, 60, False, 120),
        (60, 5000, False, 5060),
        (EXPIRY_MINUTES_MAX, 0, False, 30 * 24 * 60),
    ],
)
def test_b19_what_waits_expires_counted_from_the_creation_of_its_job(
    minutes: int | None, queued_after: int, is_own_clock: bool, expires_after: int | None
) -> None:
    """B19: retries and joiners have a clock of their own, and nothing is born expired; off in AWS mode."""
    expires_ms = expires_at_ms(
        minutes,
        job_created_at_ms=STARTED_MS,
        queued_at_ms=STARTED_MS + queued_after * MINUTE_MS,
        is_own_clock=is_own_clock,
    )
    assert expires_ms == (None if expires_after is None else STARTED_MS + expires_after * MINUTE_MS)


def test_b19_only_what_is_queued_expires_and_never_early() -> None:
    """B19, B20: a sweep may be late, not early."""
    due_ms = STARTED_MS + MINUTE_MS
    assert [is_expired(Status.QUEUED, due_ms, now) for now in (due_ms - 1, due_ms)] == [False, True]
    assert not any(is_expired(status, due_ms, due_ms) for status in set(Status) - {Status.QUEUED})
    assert not is_expired(Status.QUEUED, None, due_ms)
    details = expiry_details(60)
    assert (
        details
        == checked_status_details(dict(details))
        == {"reason": "Expired: not started within 60 minutes"}
    )
