"""The short forms of options: what they stand for, and errors that name what was expected."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from thingjobs_broker.cli import grammar
from thingjobs_broker.cli.errors import UsageError

NOW = datetime(2026, 11, 22, 18, 30, 0, 500, tzinfo=UTC)


def exponential(base: int, factor: float, **criteria: int) -> dict[str, Any]:
    """An exponentialRate; criteria by name, such as Notified=2."""
    numbers = {f"numberOf{name}Things": count for name, count in criteria.items()}
    return {"baseRatePerMinute": base, "incrementFactor": factor, "rateIncreaseCriteria": numbers}


def abort(kind: str, percentage: float, count: int) -> dict[str, Any]:
    """A criterion of an abortConfig."""
    return {
        "failureType": kind,
        "action": "CANCEL",
        "thresholdPercentage": percentage,
        "minNumberOfExecutedThings": count,
    }


@pytest.mark.parametrize(
    ("parse", "given", "meant"),
    [
        (grammar.rate, "50/min", 50),
        (grammar.rate, "50", 50),
        (grammar.rate, "MAX", None),
        (grammar.exponential, "50,2,1000", exponential(50, 2, Notified=1000)),
        (grammar.exponential, "5, 1.5, succeeded=5", exponential(5, 1.5, Succeeded=5)),
        (
            grammar.exponential,
            "1,1.1,notified=2,succeeded=3",
            exponential(1, 1.1, Notified=2, Succeeded=3),
        ),
        (grammar.abort, "FAILED>20% after 100", abort("FAILED", 20, 100)),
        (grammar.abort, "timed-out >= 12.25 %  after 1", abort("TIMED_OUT", 12.25, 1)),
        (grammar.abort, "timed out>0% after 2", abort("TIMED_OUT", 0, 2)),
        (grammar.retry, "failed=2", {"failureType": "FAILED", "numberOfRetries": 2}),
        (grammar.retry, "timed-out=0", {"failureType": "TIMED_OUT", "numberOfRetries": 0}),
    ],
)
def test_a_form_stands_for_a_part_of_a_request(parse: Callable[[str], Any], given: str, meant: Any) -> None:
    """In AWS's names (control plane 1.3, 3.1, 4, 5.2); the thresholds are inclusive however written."""
    assert parse(given) == meant


@pytest.mark.parametrize(
    ("parse", "wrong", "expected"),
    [
        (
            grammar.rate,
            ["", "fast", "50/h", "-1", "1.5/min", "\u0662/min", "9" * 40],
            "must be N/min, such as",
        ),
        (
            grammar.exponential,
            ["", "50", "50,2", "50,2,", "50,2,failed=1", "50,2,1,2", "a,2,1", "50,x,1", "50,2,1,2,3"],
            "must be BASE,FACTOR,N, such as 50,2,1000",
        ),
        (
            grammar.abort,
            ["", "FAILED", "FAILED>20%", "FAILED>20 after 3", "FAILED<20% after 3", "BAD>2% after 3"],
            'must be "KIND>P% after N", such as',
        ),
        (grammar.retry, ["", "FAILED", "FAILED=", "BROKEN=1", "FAILED=\u00b2"], "must be FAILED=N"),
    ],
)
def test_what_has_another_form_is_refused_with_the_form(
    parse: Callable[[str], Any], wrong: list[str], expected: str
) -> None:
    """What was written is in the message too."""
    for given in wrong:
        with pytest.raises(UsageError) as caught:
            parse(given)
        assert expected in str(caught.value)
        assert repr(given) in str(caught.value)


@pytest.mark.parametrize(
    ("given", "minutes"), [("30", 30), ("30m", 30), ("30 min", 30), ("2h", 120), ("7d", 10_080), ("0", 0)]
)
def test_spans_are_minutes(given: str, minutes: int) -> None:
    """The range is the service's to check."""
    assert grammar.minutes("--timeout", given) == minutes
    for wrong in ("", "h", "2w", "1.5h", "-3"):
        with pytest.raises(UsageError, match="--timeout must be minutes, or such as 30m"):
            grammar.minutes("--timeout", wrong)


def test_times_are_absolute_or_from_now_on() -> None:
    """What the service reads is left to it; a lead is rounded up, since 30 minutes are the least (V12)."""
    assert grammar.moment("--start", "2026-12-01 06:00", NOW) == "2026-12-01 06:00"
    assert grammar.moment("--start", "+30m", NOW) == "2026-11-22 19:01"
    assert grammar.moment("--end", "+2d", NOW) == "2026-11-24 18:31"
    with pytest.raises(UsageError, match="--start must be YYYY-MM-DD HH:MM"):
        grammar.moment("--start", "+soon", NOW)
    assert grammar.moment("--start", "+999999999d", NOW) > "2030"


def test_windows_have_one_duration_or_one_each() -> None:
    """Neither can be left out."""
    daily, weekly = "cron(0 2 * * ? *)", "cron(0 4 ? * SUN *)"
    assert grammar.windows([daily, weekly], ["2h"]) == [
        {"startTime": daily, "durationInMinutes": 120},
        {"startTime": weekly, "durationInMinutes": 120},
    ]
    assert [each["durationInMinutes"] for each in grammar.windows([daily, weekly], ["90", "1h"])] == [90, 60]
    assert grammar.windows([], []) == []
    for expressions, durations in [([daily], []), ([], ["2h"]), ([daily] * 3, ["1h", "2h"])]:
        with pytest.raises(UsageError, match="--window"):
            grammar.windows(expressions, durations)


def test_pairs_have_a_key_and_are_not_given_twice() -> None:
    """The later one would win in silence."""
    assert grammar.pairs("--param", ["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    assert grammar.tags(["team=edge"]) == [{"Key": "team", "Value": "edge"}]
    assert grammar.pairs("--param", None) == {}
    for wrong in (["a"], ["=b"], ["a=1", "a=2"]):
        with pytest.raises(UsageError, match="--param"):
            grammar.pairs("--param", wrong)


@pytest.mark.parametrize(
    ("given", "is_url"),
    [("s3://b/k", True), ("https://x/y.json", True), ("job.json", False), ("./a:b//c", False), ("-", False)],
)
def test_a_document_is_a_url_or_a_file(given: str, is_url: bool) -> None:
    """A Windows drive is no scheme."""
    assert grammar.is_url(given) is is_url
