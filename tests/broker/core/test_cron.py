"""AWS cron expressions (control plane 6.3), against a matcher that looks at one minute after the other."""

import calendar
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import hypothesis
import hypothesis.strategies as st
import pytest

from thingjobs_broker.core.cron import CronError, parse

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def minute_of(moment: datetime) -> int:
    return (moment - EPOCH) // MINUTE


def at(minute: int | None) -> str | None:
    return None if minute is None else f"{EPOCH + minute * MINUTE:%Y-%m-%d %H:%M %a}"


def first(expression: str, after: str, count: int = 3) -> list[str | None]:
    """The first fire times from a moment on."""
    cron = parse(expression)
    minute = minute_of(datetime.fromisoformat(after).replace(tzinfo=UTC))
    found: list[str | None] = []
    while len(found) < count:
        fired = cron.first_from(minute)
        found.append(at(fired))
        if fired is None:
            break
        minute = fired + 1
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("cron(0 10 * * ? *)", ["2026-01-01 10:00 Thu", "2026-01-02 10:00 Fri"]),
        ("0 10 * * ? *", ["2026-01-01 10:00 Thu", "2026-01-02 10:00 Fri"]),
        ("0/15 8 ? * MON-FRI *", ["2026-01-01 08:00 Thu", "2026-01-01 08:15 Thu"]),
        ("15 12 ? * 1 *", ["2026-01-04 12:15 Sun", "2026-01-11 12:15 Sun"]),
        ("0 18 ? * 7 *", ["2026-01-03 18:00 Sat"]),
        ("0 18 ? * L *", ["2026-01-03 18:00 Sat", "2026-01-10 18:00 Sat"]),
        ("0 18 ? * 6L *", ["2026-01-30 18:00 Fri", "2026-02-27 18:00 Fri"]),
        ("0 18 ? * fril *", ["2026-01-30 18:00 Fri", "2026-02-27 18:00 Fri"]),
        ("0 9 ? * 3#2 *", ["2026-01-13 09:00 Tue", "2026-02-10 09:00 Tue"]),
        ("0 9 ? * TUE#5 *", ["2026-03-31 09:00 Tue", "2026-06-30 09:00 Tue"]),
        ("0 0 L * ? *", ["2026-01-31 00:00 Sat", "2026-02-28 00:00 Sat"]),
        ("0 0 L 2 ? 2028", ["2028-02-29 00:00 Tue", None]),
        ("0 0 LW * ? *", ["2026-01-30 00:00 Fri", "2026-02-27 00:00 Fri"]),
        ("0 0 1W * ? *", ["2026-01-01 00:00 Thu", "2026-02-02 00:00 Mon"]),
        ("0 0 1W 8 ? 2026", ["2026-08-03 00:00 Mon", None]),
        ("0 0 3W 1,5 ? *", ["2026-01-02 00:00 Fri", "2026-05-04 00:00 Mon"]),
        ("0 0 31W * ? *", ["2026-01-30 00:00 Fri", "2026-03-31 00:00 Tue", "2026-05-29 00:00 Fri"]),
        ("0 0 29 FEB ? *", ["2028-02-29 00:00 Tue", "2032-02-29 00:00 Sun"]),
        ("5-10/2,30 0 1 JAN ? 2026-2030/2", ["2026-01-01 00:05 Thu", "2026-01-01 00:07 Thu"]),
        ("59 23 31 12 ? 2199", ["2199-12-31 23:59 Tue", None]),
        ("0 0 1 1 ? 2020", [None]),
        ("0 0 31 4,6,9,11 ? *", [None]),
    ],
)
def test_an_expression_fires_when_it_says(expression: str, expected: list[str | None]) -> None:
    """Control plane 6.3: names, ranges, steps, L, W, #, 1 = Sunday, years; nothing after the last."""
    assert first(expression, "2026-01-01 00:00", len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("", "6 fields"),
        ("0 10 * * ?", "6 fields"),
        ("cron(0 10 * * ? * *)", "6 fields"),
        ("rate(5 minutes)", "6 fields"),
        ("cron(0 10 * * ? *", "minute"),
        ("0 10 * * * *", "Exactly one"),
        ("0 10 ? * ? *", "Exactly one"),
        ("60 10 * * ? *", "minute"),
        ("0 24 * * ? *", "hour"),
        ("0 10 0 * ? *", "day-of-month"),
        ("0 10 32 * ? *", "day-of-month"),
        ("0 10 * 13 ? *", "month"),
        ("0 10 * 0 ? *", "month"),
        ("0 10 ? * 0 *", "day-of-week"),
        ("0 10 ? * 8 *", "day-of-week"),
        ("0 10 * * ? 1969", "year"),
        ("0 10 * * ? 2200", "year"),
        ("0 10 ? * 3#6 *", "day-of-week"),
        ("0 10 ? * 3#0 *", "day-of-week"),
        ("0 10 ? * 3#1,6#3 *", "alone"),
        ("0 10 ? * 3#1,6 *", "alone"),
        ("0 10 ? * 3W *", "day-of-week"),
        ("0 10 3L * ? *", "day-of-month"),
        ("0 10 L-3 * ? *", "day-of-month"),
        ("0 10 1#2 * ? *", "day-of-month"),
        ("0 10 32W * ? *", "day-of-month"),
        ("0 10 ?,3 * ? *", "Exactly one|day-of-month"),
        ("? 10 * * ? *", "minute"),
        ("L 10 * * ? *", "minute"),
        ("*/0 10 * * ? *", "minute"),
        ("5-1 10 * * ? *", "ascends"),
        ("1-2-3 10 * * ? *", "minute"),
        ("1,,2 10 * * ? *", "minute"),
        ("1.5 10 * * ? *", "minute"),
        ("\u0661 10 * * ? *", "minute"),
        ("0 10 * JANUARY ? *", "month"),
        ("0 10 * MON ? *", "month"),
        ("-1 10 * * ? *", "minute"),
        ("0" * 300, "256 characters"),
    ],
)
def test_what_is_outside_the_grammar_is_refused(expression: str, fault: str) -> None:
    """Control plane 6.3; the message names the field."""
    with pytest.raises(CronError) as refused:
        parse(expression)
    assert any(word in str(refused.value) for word in fault.split("|"))


MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


def naive_item(item: str, value: int, low: int, high: int, names: list[str]) -> bool:
    """Whether one item of a list holds a value, by walking from the item's start in its steps."""
    span, _, step = item.partition("/")
    start, end = (low, high) if span == "*" else (span, span)
    if span != "*":
        start, _, end = span.partition("-")
        end = end or (str(high) if step else start)
    bounds = [names.index(bound) + low if bound in names else int(bound) for bound in (start, end)]
    return value in range(bounds[0], bounds[1] + 1, int(step or 1))


def naive_day_of_month(text: str, moment: datetime) -> bool:
    length = calendar.monthrange(moment.year, moment.month)[1]

    def holds(item: str) -> bool:
        if item == "L":
            return moment.day == length
        if not item.endswith("W"):
            return naive_item(item, moment.day, 1, 31, [])
        wanted = length if item == "LW" else int(item[:-1])
        if wanted > length:
            return False
        working = [day for day in range(1, length + 1) if moment.replace(day=day).weekday() < 5]
        # Of two at the same distance there is none: a weekend has a Friday and a Monday side.
        return moment.day == min(working, key=lambda day: abs(day - wanted))

    return any(holds(item) for item in text.split(","))


def naive_day_of_week(text: str, moment: datetime) -> bool:
    weekday = moment.isoweekday() % 7 + 1
    length = calendar.monthrange(moment.year, moment.month)[1]

    def number(name: str) -> int:
        return DAYS.index(name) + 1 if name in DAYS else int(name)

    def holds(item: str) -> bool:
        if "#" in item:
            day, nth = item.split("#")
            return weekday == number(day) and (moment.day - 1) // 7 + 1 == int(nth)
        if item == "L":
            return weekday == 7
        if item.endswith("L"):
            return weekday == number(item[:-1]) and moment.day + 7 > length
        return naive_item(item, weekday, 1, 7, DAYS)

    return any(holds(item) for item in text.split(","))


def naive_day(expression: str, moment: datetime) -> bool:
    _, _, of_month, month, of_week, year = expression.split()
    return (
        any(naive_item(item, moment.month, 1, 12, MONTHS) for item in month.split(","))
        and any(naive_item(item, moment.year, 1970, 2199, []) for item in year.split(","))
        and (of_month == "?" or naive_day_of_month(of_month, moment))
        and (of_week == "?" or naive_day_of_week(of_week, moment))
    )


def naive(expression: str, moment: datetime) -> bool:
    """Whether an expression fires in a minute."""
    minute, hour, *_ = expression.split()
    return (
        any(naive_item(item, moment.minute, 0, 59, []) for item in minute.split(","))
        and any(naive_item(item, moment.hour, 0, 23, []) for item in hour.split(","))
        and naive_day(expression, moment)
    )


def spans(low: int, high: int, names: list[str] | None = None) -> st.SearchStrategy[str]:
    value = st.integers(low, high)

    def shown(number: int) -> str:
        return names[number - low] if names and number % 2 else str(number)

    single = value.map(shown)
    ranges = st.tuples(value, value).map(lambda pair: f"{shown(min(pair))}-{shown(max(pair))}")
    step = st.integers(1, min(high, 20)).map(lambda number: f"/{number}")
    stepped = st.tuples(st.one_of(st.just("*"), single, ranges), step).map("".join)
    return st.one_of(single, ranges, stepped)


def lists(item: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(item, min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), several)


of_month = lists(
    st.one_of(spans(1, 31), st.sampled_from(["L", "LW"]), st.integers(1, 31).map(lambda day: f"{day}W"))
)
day_names = st.sampled_from([*DAYS, *"1234567"])
of_week = st.one_of(
    lists(st.one_of(spans(1, 7, DAYS), st.just("L"), day_names.map(lambda day: f"{day}L"))),
    st.tuples(day_names, st.integers(1, 5)).map(lambda pair: f"{pair[0]}#{pair[1]}"),
)
days = st.one_of(of_month.map(lambda text: (text, "?")), of_week.map(lambda text: ("?", text)))
expressions = st.builds(
    lambda minute, hour, day, month, year: f"{minute} {hour} {day[0]} {month} {day[1]} {year}",
    lists(spans(0, 59)),
    lists(spans(0, 23)),
    days,
    lists(spans(1, 12, MONTHS)),
    st.one_of(st.just("*"), lists(spans(2024, 2032))),
)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2031, 12, 31)).map(  # noqa: DTZ001
    lambda moment: moment.replace(second=0, microsecond=0, tzinfo=UTC)
)


def silent(expression: str, start: datetime, end: datetime) -> bool:
    """Whether nothing fires from `start` to before `end`; days that cannot match are passed over at once."""
    moment = start
    while moment < end:
        if moment.hour == moment.minute == 0 and not naive_day(expression, moment):
            moment += timedelta(days=1)
            continue
        if naive(expression, moment):
            return False
        moment += MINUTE
    return True


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(expressions, moments)
def test_the_next_fire_time_is_the_first_one(expression: str, moment: datetime) -> None:
    """Against the minute-by-minute matcher: it matches there, and nowhere before."""
    found = parse(expression).first_from(minute_of(moment))
    end = EPOCH + found * MINUTE if found is not None else moment + timedelta(days=800)
    if found is not None:
        assert naive(expression, end)
    assert silent(expression, moment, min(end, moment + timedelta(days=800)))


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(expressions, moments)
def test_the_previous_fire_time_is_the_last_one(expression: str, moment: datetime) -> None:
    """Against the minute-by-minute matcher: it matches there, and nowhere after."""
    found = parse(expression).last_until(minute_of(moment))
    start = moment - timedelta(days=800)
    if found is not None:
        fired = EPOCH + found * MINUTE
        assert naive(expression, fired)
        start = max(start, fired + MINUTE)
    assert silent(expression, start, moment + MINUTE)


@hypothesis.given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Bad input gets an error of its own, never another exception."""
    with suppress(CronError):
        parse(text)


def test_a_search_that_finds_nothing_ends_soon() -> None:
    """Bounded work: at most the years to 2199, also where no day ever matches."""
    odd_years = parse("* * 29 2 ? 1971-2199/2")
    fifth_monday = parse("0 0 ? 2 2#5 2017-2043")
    started = time.process_time()
    for never in (parse("* * 31 2,4,6,9,11 ? *"), odd_years, fifth_monday):
        assert never.first_from(0) is None
        assert never.last_until(10**9) is None
    assert time.process_time() - started < 0.2


@pytest.mark.parametrize("minute", [-(10**12), -1, 0, 10**9, 10**15])
def test_moments_outside_the_years_are_answered(minute: int) -> None:
    """Nothing lies before 1970 or after 2199."""
    every = parse("* * * * ? *")
    assert every.first_from(minute) == (max(minute, 0) if minute < 10**8 else None)
    last = minute_of(datetime(2200, 1, 1, tzinfo=UTC)) - 1
    assert every.last_until(minute) == (None if minute < 0 else min(minute, last))
