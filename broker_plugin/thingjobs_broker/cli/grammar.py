"""The short forms that operators write in options, and what they stand for in a request.

Only the form is decided here; ranges are the service's, so that they stand in one place.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ABORT_KINDS: Final = ("FAILED", "REJECTED", "TIMED_OUT", "ALL")
RETRY_KINDS: Final = ("FAILED", "TIMED_OUT", "ALL")

_DIGITS_MAX: Final = 9
_NUMBER: Final = rf"[0-9]{{1,{_DIGITS_MAX}}}"
_RATE: Final = re.compile(rf"({_NUMBER})(?:/min)?|max", re.IGNORECASE)
_FACTOR: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,6})?")
_THRESHOLD: Final = re.compile(rf"(?:(notified|succeeded)=)?({_NUMBER})", re.IGNORECASE)
_ABORT: Final = re.compile(
    rf"([A-Z_ -]+?)\s*>=?\s*([0-9]{{1,3}}(?:\.[0-9]{{1,6}})?)\s*%\s*after\s+({_NUMBER})", re.IGNORECASE
)
_SPAN: Final = re.compile(rf"({_NUMBER})\s*(m|min|h|d)?", re.IGNORECASE)
_MINUTES: Final = {"m": 1, "min": 1, "h": 60, "d": 1440}
_LEAD: Final = re.compile(rf"\+({_NUMBER})\s*(m|min|h|d)", re.IGNORECASE)
_MINUTES_MAX: Final = 5_000_000
"""Beyond all the service takes, and within what a date can have."""


def pair(option: str, given: str, form: str = "KEY=VALUE") -> tuple[str, str]:
    """Return the two halves of `KEY=VALUE`; only the key must not be empty."""
    key, equals, value = given.partition("=")
    if not key or not equals:
        raise UsageError(f"{option} must be {form}, not {given!r}")
    return key, value


def pairs(option: str, given: Iterable[str] | None, form: str = "KEY=VALUE") -> dict[str, str]:
    """Return a dictionary of `KEY=VALUE`; the same key twice would hide one of them."""
    found: dict[str, str] = {}
    for each in given or ():
        key, value = pair(option, each, form)
        if key in found:
            raise UsageError(f"{option} gives {key!r} twice")
        found[key] = value
    return found


def tags(given: Iterable[str] | None) -> list[dict[str, str]]:
    """Return the tags of `KEY=VALUE`, as requests have them."""
    return [{"Key": key, "Value": value} for key, value in pairs("--tag", given).items()]


def rate(given: str) -> int | None:
    """Return the executions a minute of `N/min`, None for `max`."""
    found = _RATE.fullmatch(given.strip())
    if found is None:
        raise UsageError(f"--rate must be N/min, such as 50/min, or max, not {given!r}")
    return int(found[1]) if found[1] else None


def exponential(given: str) -> dict[str, Any]:
    """Return the exponentialRate of `BASE,FACTOR,N`; N counts notified things unless it says otherwise."""
    form = "--exponential must be BASE,FACTOR,N, such as 50,2,1000; N may be notified=1000 or succeeded=500"
    base, factor, *counts = [part.strip() for part in given.split(",")] if given.count(",") > 1 else ["", ""]
    criteria: dict[str, int] = {}
    for count in counts:
        found = _THRESHOLD.fullmatch(count)
        member = f"numberOf{(found[1] or 'notified').capitalize()}Things" if found else ""
        if found is None or member in criteria:
            raise UsageError(f"{form} (or both); {given!r} is not")
        criteria[member] = int(found[2])
    if not criteria or not re.fullmatch(_NUMBER, base) or not _FACTOR.fullmatch(factor):
        raise UsageError(f"{form} (or both); {given!r} is not")
    return {
        "baseRatePerMinute": int(base),
        "incrementFactor": float(factor),
        "rateIncreaseCriteria": criteria,
    }


def abort(given: str) -> dict[str, Any]:
    """Return the abort criterion of `KIND>PERCENT% after N`."""
    found = _ABORT.fullmatch(given.strip())
    kind = _kind(found[1]) if found else ""
    if found is None or kind not in ABORT_KINDS:
        kinds = ", ".join(ABORT_KINDS)
        raise UsageError(
            f'--abort must be "KIND>P% after N", such as "FAILED>20% after 100", KIND one of {kinds};'
            f" {given!r} is not"
        )
    return {
        "failureType": kind,
        "action": "CANCEL",
        "thresholdPercentage": float(found[2]),
        "minNumberOfExecutedThings": int(found[3]),
    }


def retry(given: str) -> dict[str, Any]:
    """Return the retry criterion of `KIND=N`."""
    kind, _, count = given.partition("=")
    if _kind(kind) not in RETRY_KINDS or not re.fullmatch(_NUMBER, count):
        raise UsageError(f"--retry must be FAILED=N, TIMED_OUT=N or ALL=N, not {given!r}")
    return {"failureType": _kind(kind), "numberOfRetries": int(count)}


def minutes(option: str, given: str) -> int:
    """Return the minutes of `30`, `30m`, `2h` or `7d`."""
    found = _SPAN.fullmatch(given.strip())
    if found is None:
        raise UsageError(f"{option} must be minutes, or such as 30m, 2h or 7d, not {given!r}")
    return min(int(found[1]) * _MINUTES[(found[2] or "m").lower()], _MINUTES_MAX)


def moment(option: str, given: str, now: datetime) -> str:
    """Return a time for the service: what it reads itself stays as it is, `+2h` is counted from `now`."""
    if not given.startswith("+"):
        return given
    found = _LEAD.fullmatch(given)
    if found is None:
        raise UsageError(
            f"{option} must be YYYY-MM-DD HH:MM (UTC), ISO 8601, or from now on such as +2h, not {given!r}"
        )
    ahead = timedelta(minutes=min(int(found[1]) * _MINUTES[found[2].lower()], _MINUTES_MAX))
    # Rounded up to the minute, so that the shortest lead which the service takes can be given.
    later = (now + ahead).astimezone(UTC) + timedelta(minutes=1)
    return f"{later:%Y-%m-%d %H:%M}"


def windows(expressions: Sequence[str], durations: Sequence[str]) -> list[dict[str, Any]]:
    """Return maintenance windows: one duration for all of them, or one for each."""
    if not expressions:
        if durations:
            raise UsageError('--duration goes with --window, such as --window "cron(0 2 * * ? *)"')
        return []
    if len(durations) not in (1, len(expressions)):
        raise UsageError(
            f"--window needs --duration, once or as often: {len(expressions)} windows, "
            f"{len(durations)} durations"
        )
    spans = list(durations) * (len(expressions) if len(durations) == 1 else 1)
    return [
        {"startTime": expression, "durationInMinutes": minutes("--duration", span)}
        for expression, span in zip(expressions, spans, strict=True)
    ]


def is_url(given: str) -> bool:
    """Tell whether a document is named by a URL, which the service fetches, and not by a file."""
    return re.match(r"[a-z][a-z0-9+.-]+://", given, re.IGNORECASE) is not None


def _kind(given: str) -> str:
    return re.sub(r"[ -]", "_", given.strip()).upper()
