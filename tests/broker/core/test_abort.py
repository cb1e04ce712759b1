"""When failures abort a job (control plane 4)."""

from fractions import Fraction
from typing import Any

import hypothesis
import hypothesis.strategies as st
import msgspec
import pytest

from thingjobs_broker.core.abort import AbortConfig, decide
from thingjobs_protocol.codec import is_plain_text
from thingjobs_protocol.status import JobExecutionStatus as Status


def criterion(failure_type: str, percentage: float, minimum: int) -> dict[str, Any]:
    return {
        "failureType": failure_type,
        "action": "CANCEL",
        "thresholdPercentage": percentage,
        "minNumberOfExecutedThings": minimum,
    }


def config(*criteria: dict[str, Any]) -> AbortConfig:
    return msgspec.convert({"criteriaList": list(criteria)}, AbortConfig)


def counts(*, s: int = 0, f: int = 0, t: int = 0, r: int = 0, other: int = 0) -> dict[Status, int]:
    found = {Status.SUCCEEDED: s, Status.FAILED: f, Status.TIMED_OUT: t, Status.REJECTED: r}
    rest = (Status.QUEUED, Status.IN_PROGRESS, Status.CANCELED, Status.REMOVED)
    return found | dict.fromkeys(rest, other)


EXAMPLE = config(criterion("FAILED", 20, 100), criterion("TIMED_OUT", 50, 200))


@pytest.mark.parametrize(
    ("s", "f", "t", "r", "aborted_by"),
    [
        (79, 20, 0, 0, None),
        (80, 20, 0, 0, ("FAILED", "20.00")),
        (81, 19, 0, 0, None),
        (90, 10, 99, 0, None),
        (90, 10, 100, 0, ("TIMED_OUT", "50.00")),
    ],
)
def test_the_worked_example(s: int, f: int, t: int, r: int, aborted_by: tuple[str, str] | None) -> None:
    """Control plane 4: FAILED from 20 % after 100, TIMED_OUT from 50 % after 200."""
    abort = decide(EXAMPLE, counts(s=s, f=f, t=t, r=r))
    assert (abort and (abort.failure_type, abort.measured_percentage)) == aborted_by


def test_v4_the_second_report_reaches_half() -> None:
    """V4: FAILED 50 % min 2; S, F in that order."""
    half = config(criterion("FAILED", 50, 2))
    assert decide(half, counts(s=1)) is None
    abort = decide(half, counts(s=1, f=1))
    assert abort is not None
    assert abort.reason_code == "ABORT_CRITERIA_MET"


def test_v5_a_deleted_execution_counts_no_more() -> None:
    """V5: with the success deleted only one has been executed."""
    assert decide(config(criterion("FAILED", 50, 2)), counts(f=1)) is None


@pytest.mark.parametrize("other", [1, 1000])
def test_what_is_pending_canceled_or_removed_is_in_neither_count(other: int) -> None:
    """A3, A4: completed executions are S+F+R+T."""
    assert decide(EXAMPLE, counts(s=79, f=20, other=other)) is None
    assert decide(EXAMPLE, counts(s=80, f=20, other=other)) is not None


@pytest.mark.parametrize(
    ("failure_type", "bad"), [("FAILED", 2), ("REJECTED", 3), ("TIMED_OUT", 5), ("ALL", 10)]
)
def test_each_failure_type_counts_its_own(failure_type: str, bad: int) -> None:
    """Control plane 4, "Formula": ALL is FAILED, REJECTED and TIMED_OUT together."""
    abort = decide(config(criterion(failure_type, 0, 1)), counts(s=10, f=2, r=3, t=5))
    assert abort is not None
    assert (abort.bad, abort.executed) == (bad, 20)


def test_the_first_criterion_that_is_met_decides() -> None:
    """Control plane 4, "Order", "Two criteria of one type"."""
    twice = config(criterion("FAILED", 50, 1), criterion("FAILED", 10, 10))
    early, late = decide(twice, counts(f=1)), decide(twice, counts(s=8, f=2))
    assert early is not None
    assert late is not None
    assert (early.threshold_percentage, late.threshold_percentage) == ("50.00", "10.00")
    assert "criterion 2" in late.comment


def test_the_texts_name_what_was_measured() -> None:
    """A5: reasonCode for programs, a comment for people, both within their patterns (control plane 1.3)."""
    abort = decide(config(criterion("ALL", 33.33, 3)), counts(s=2, f=1))
    assert abort is not None
    assert abort.comment == (
        "Abort criterion 1 is met: 1 of 3 executed things failed in any way, 33.33 %"
        " (failureType ALL, threshold 33.33 %, after 3 executed things)"
    )
    assert is_plain_text(abort.comment)
    assert abort.reason_code.replace("_", "").isupper()


@hypothesis.given(
    *(st.integers(0, 10_000), st.integers(1, 10_000), st.integers(0, 10_000), st.integers(1, 10_000))
)
def test_the_comparison_is_exact(hundredths: int, executed: int, bad: int, minimum: int) -> None:
    """Promise of exact thresholds: 100*bad/executed >= percentage, both bounds inclusive."""
    hypothesis.assume(bad <= executed)
    abort = decide(config(criterion("FAILED", hundredths / 100, minimum)), counts(s=executed - bad, f=bad))
    reached = Fraction(100 * bad, executed) >= Fraction(hundredths, 100)
    assert (abort is not None) is (reached and executed >= minimum)
    if abort is not None:
        assert Fraction(abort.measured_percentage) <= Fraction(100 * bad, executed)
        assert Fraction(abort.measured_percentage) >= Fraction(abort.threshold_percentage)


def test_a_job_without_criteria_is_never_aborted() -> None:
    """No abortConfig, no decision."""
    assert decide(None, counts(f=1000)) is None


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("thresholdPercentage", 10.999),
        ("thresholdPercentage", 101),
        ("thresholdPercentage", 100.01),
        ("thresholdPercentage", -0.01),
        ("thresholdPercentage", 1e-5),
        ("minNumberOfExecutedThings", 0),
        ("minNumberOfExecutedThings", 2**31),
        ("action", "STOP"),
        ("failureType", "FAILURE"),
    ],
)
def test_a_criterion_out_of_its_range_is_refused(member: str, value: object) -> None:
    """Control plane 1.3 and V16; the message names the member."""
    with pytest.raises(msgspec.ValidationError) as refused:
        config({**criterion("FAILED", 1, 1), member: value})
    assert member in str(refused.value)


@pytest.mark.parametrize("value", [0, 0.01, 10.99, 99.99, 100])
def test_two_decimals_are_accepted_and_echoed(value: float) -> None:
    """Control plane 4, "thresholdPercentage"."""
    body = {"criteriaList": [criterion("FAILED", value, 1)]}
    assert msgspec.to_builtins(msgspec.convert(body, AbortConfig)) == body


def test_an_empty_list_is_refused() -> None:
    """Control plane 1.3: at least one criterion."""
    with pytest.raises(msgspec.ValidationError):
        config()
