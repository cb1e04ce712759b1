"""AWS cron expressions: parsing, and the fire times before and after a moment (spec: control plane 6.3). UTC.

A fire time is a minute since the epoch. What a window does with it is decided in `schedule`.
"""

from __future__ import annotations

import calendar
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import date
from typing import Final, NamedTuple

import msgspec

EXPRESSION_CHARACTERS_MAX: Final = 256
"""Spec: control plane 1.3."""

YEAR_MIN: Final = 1970
YEAR_MAX: Final = 2199
"""Spec: control plane 6.3. They bound every search: at most 230 years of months are looked at."""

DAY_MINUTES: Final = 1440
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_MINUTE_END: Final = (date(YEAR_MAX + 1, 1, 1).toordinal() - _EPOCH_ORDINAL) * DAY_MINUTES
_LEAP_YEAR: Final = 2000
_SATURDAY, _SUNDAY = 7, 1


class CronError(ValueError):
    """Not an expression of AWS's grammar; the message names the field and what was expected."""


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    letters: str = ""


_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day-of-month", 1, 31, letters=" ? L W"),
    _Field("month", 1, 12, _MONTHS),
    _Field("day-of-week", 1, 7, _DAYS, letters=" ? L #"),
    _Field("year", YEAR_MIN, YEAR_MAX),
)


class _DayRule(msgspec.Struct, frozen=True):
    """Which days of a month match; one of day-of-month and day-of-week has spoken, the other is `?`."""

    of_month: frozenset[int] = frozenset()
    nearest: frozenset[int] = frozenset()
    """`15W`: the day from Monday to Friday nearest to the 15th, within the month."""
    last: bool = False
    last_working: bool = False
    of_week: frozenset[int] = frozenset()
    """1 is Sunday."""
    last_of_week: frozenset[int] = frozenset()
    """`6L`: the last Friday of the month."""
    nth_of_week: tuple[int, int] | None = None
    """`3#2`: the second Tuesday."""

    def days(self, year: int, month: int) -> list[int]:
        """Return the days of the month that match, ascending."""
        first, length = calendar.monthrange(year, month)
        # monthrange counts from Monday 0; AWS from Sunday 1.
        first = (first + 1) % 7 + 1
        found = {day for day in self.of_month if day <= length}
        found.update(_nearest(day, first, length) for day in self.nearest if day <= length)
        if self.last:
            found.add(length)
        if self.last_working:
            found.add(_nearest(length, first, length))
        for weekday in self.of_week:
            found.update(range(1 + (weekday - first) % 7, length + 1, 7))
        for weekday in self.last_of_week:
            found.add(range(1 + (weekday - first) % 7, length + 1, 7)[-1])
        if self.nth_of_week is not None:
            weekday, nth = self.nth_of_week
            found.update(range(1 + (weekday - first) % 7, length + 1, 7)[nth - 1 : nth])
        return sorted(found)


def _nearest(day: int, first: int, length: int) -> int:
    """Return the day from Monday to Friday nearest to `day`, without leaving the month."""
    weekday = (first - 1 + day - 1) % 7 + 1
    if weekday == _SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == _SUNDAY:
        return day + 1 if day < length else day - 2
    return day


class Cron(msgspec.Struct, frozen=True):
    """A parsed expression. Make it with `parse`; it can be kept and shared."""

    day_minutes: tuple[int, ...]
    """The minutes of a matching day, ascending."""
    months: tuple[int, ...]
    years: tuple[int, ...]
    rule: _DayRule

    def first_from(self, minute: int) -> int | None:
        """Return the first fire time at or after `minute` (since the epoch), None after the last."""
        if minute >= _MINUTE_END:
            return None
        minute = max(minute, 0)
        start = _EPOCH_ORDINAL + minute // DAY_MINUTES
        for ordinal in self._days_from(date.fromordinal(start)):
            index = bisect_left(self.day_minutes, minute % DAY_MINUTES) if ordinal == start else 0
            if index < len(self.day_minutes):
                return (ordinal - _EPOCH_ORDINAL) * DAY_MINUTES + self.day_minutes[index]
        return None

    def last_until(self, minute: int) -> int | None:
        """Return the last fire time at or before `minute` (since the epoch), None before the first."""
        if minute < 0:
            return None
        minute = min(minute, _MINUTE_END - 1)
        start = _EPOCH_ORDINAL + minute // DAY_MINUTES
        for ordinal in self._days_until(date.fromordinal(start)):
            minutes = self.day_minutes
            count = bisect_right(minutes, minute % DAY_MINUTES) if ordinal == start else len(minutes)
            if count:
                return (ordinal - _EPOCH_ORDINAL) * DAY_MINUTES + minutes[count - 1]
        return None

    def _days_from(self, start: date) -> Iterator[int]:
        for year in self.years[bisect_left(self.years, start.year) :]:
            for month in self.months:
                if (year, month) >= (start.year, start.month):
                    ordinals = (date(year, month, day).toordinal() for day in self.rule.days(year, month))
                    yield from (ordinal for ordinal in ordinals if ordinal >= start.toordinal())

    def _days_until(self, end: date) -> Iterator[int]:
        for year in reversed(self.years[: bisect_right(self.years, end.year)]):
            for month in reversed(self.months):
                if (year, month) <= (end.year, end.month):
                    days = reversed(self.rule.days(year, month))
                    ordinals = (date(year, month, day).toordinal() for day in days)
                    yield from (ordinal for ordinal in ordinals if ordinal <= end.toordinal())


def parse(expression: str) -> Cron:
    """Return the parsed form of `cron(minute hour day-of-month month day-of-week year)`; the six fields may
    stand without `cron()`. Names and letters may be in either case.

    Raises:
        CronError: another number of fields, a value out of range, a letter where it has no meaning, or both
            or none of the two day fields being `?` (spec: control plane 6.3).

    """
    if len(expression) > EXPRESSION_CHARACTERS_MAX:
        message = f"A cron expression may have {EXPRESSION_CHARACTERS_MAX} characters, not {len(expression)}"
        raise CronError(message)
    text = expression.strip().upper()
    if text.startswith("CRON(") and text.endswith(")"):
        text = text[5:-1]
    fields = text.split()
    if len(fields) != len(_FIELDS):
        names = " ".join(field.name for field in _FIELDS)
        message = f"A cron expression has 6 fields ({names}), not {len(fields)}"
        raise CronError(message)
    if (fields[2] == "?") is (fields[4] == "?"):
        message = "Exactly one of day-of-month and day-of-week must be ? in a cron expression"
        raise CronError(message)
    minutes, hours, _, months, _, years = (
        () if field.letters else tuple(sorted(_values(field, text)))
        for field, text in zip(_FIELDS, fields, strict=True)
    )
    rule = _day_of_week_rule(fields[4]) if fields[2] == "?" else _day_of_month_rule(fields[2])
    if fields[4] == "?":
        # Months that never have such a day (31 April) would be searched in vain up to the last year.
        months = tuple(month for month in months if rule.days(_LEAP_YEAR, month))
    return Cron(tuple(hour * 60 + minute for hour in hours for minute in minutes), months, years, rule)


def _values(field: _Field, text: str) -> set[int]:
    values: set[int] = set()
    for item in text.split(","):
        values |= _item(field, item)
    return values


def _item(field: _Field, item: str) -> set[int]:
    """One item of a list: `*`, `a` or `a-b`, with or without `/step`; `a/step` runs from a to the end."""
    span, slash, step_text = item.partition("/")
    step = _number(field, item, step_text, 1, field.high) if slash else 1
    low_text, dash, high_text = span.partition("-")
    if span == "*":
        low, high = field.low, field.high
    elif dash:
        low, high = _value(field, item, low_text), _value(field, item, high_text)
        if low > high:
            raise _bad(field, item, "a range that ascends")
    else:
        low = _value(field, item, span)
        high = field.high if slash else low
    return set(range(low, high + 1, step))


def _value(field: _Field, item: str, text: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.low
    return _number(field, item, text, field.low, field.high)


def _number(field: _Field, item: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and low <= int(text) <= high):
        names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise _bad(field, item, f"{field.low} to {field.high}{names} and , - * /{field.letters}")
    return int(text)


def _day_of_month_rule(text: str) -> _DayRule:
    field = _FIELDS[2]
    days: set[int] = set()
    nearest: set[int] = set()
    items = text.split(",")
    for item in items:
        if item in ("L", "LW"):
            continue
        if item.endswith("W"):
            nearest.add(_number(field, item, item[:-1], field.low, field.high))
        else:
            days |= _item(field, item)
    return _DayRule(frozenset(days), frozenset(nearest), "L" in items, "LW" in items)


def _day_of_week_rule(text: str) -> _DayRule:
    field = _FIELDS[4]
    if "#" in text:
        # One # expression, and nothing beside it (spec: control plane 6.3).
        day, _, nth = text.partition("#")
        if "," in text or nth not in ("1", "2", "3", "4", "5"):
            raise _bad(field, text, "a single day#1 to day#5, alone")
        return _DayRule(nth_of_week=(_value(field, text, day), int(nth)))
    days: set[int] = set()
    last: set[int] = set()
    for item in text.split(","):
        if item == "L":
            days.add(_SATURDAY)
        elif item.endswith("L"):
            last.add(_value(field, item, item[:-1]))
        else:
            days |= _item(field, item)
    return _DayRule(of_week=frozenset(days), last_of_week=frozenset(last))


def _bad(field: _Field, item: str, expected: str) -> CronError:
    return CronError(f"{item[:40]!r} in the {field.name} of a cron expression; expected {expected}")
