"""What people and programs read: ages, counters, whole tables, nothing that commands a terminal."""

import time

import pytest

from thingjobs_broker.cli.output import Output, age, complain, counters, moment, printable, span, thing_name


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "now"),
        (12, "12 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (47 * 3600, "47 h ago"),
        (48 * 3600, "2 d ago"),
        (-90, "in 1 min"),
    ],
)
def test_an_age_has_one_unit(seconds: float, text: str) -> None:
    """Rounded down, so that nothing seems older than it is."""
    assert age(seconds) == text


def test_a_moment_is_local_iso_time_with_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the offset from UTC, so that it can be compared across machines."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    assert moment(1_700_000_000.5, 1_700_000_060.0) == "2023-11-14T23:13:20+01:00 (59 s ago)"
    assert moment(None, 1.0) == moment(0, 1.0) == ""
    monkeypatch.undo()
    time.tzset()


def test_counters_that_are_zero_are_not_shown() -> None:
    """What ended first, what is pending last."""
    details = {"numberOfQueuedThings": 1, "numberOfSucceededThings": 2, "numberOfFailedThings": 0}
    assert counters({"jobProcessDetails": details}) == "2 succeeded, 1 queued"
    assert counters({}) == "none yet"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("caf\u00e9", "caf\u00e9"),
        ("two\nlines\tand tab", "two lines and tab"),
        ("\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"),
        ("\x9b31m \x07 \r", "\ufffd31m \ufffd \ufffd"),
        ("right\u202eleft", "right\ufffdleft"),
    ],
)
def test_what_devices_say_cannot_command_the_terminal(text: str, shown: str) -> None:
    """Status details come from devices; escape sequences and direction marks are taken out."""
    assert printable(text) == shown


def test_an_error_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever it quotes."""
    complain("wrong:\n\x1b[2J \udcff")
    assert capsys.readouterr() == ("", "thingjobs: wrong: \ufffd[2J \ufffd\n")


def test_a_table_that_a_program_reads_is_neither_folded_nor_padded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Standard output is no terminal here: long cells stay whole, no blanks at the end, no colors."""
    name = "n" * 300
    Output(as_json=False).table(("THING", "VERSION"), [(name, "1")], empty="no things")
    heading, row = capsys.readouterr().out.splitlines()
    assert heading == f"{'THING':300}  VERSION"
    assert row == f"{name}  1"


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A heading alone looks like a failure."""
    Output(as_json=False).table(("THING",), [], empty="no things")
    assert capsys.readouterr().out == "no things\n"


def test_markup_in_names_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    """A description such as [red] or :warning: is shown as it is."""
    Output(as_json=False).pairs({"description": "[red]x[/red] :warning:", "comment": ""})
    assert capsys.readouterr().out == "  description  [red]x[/red] :warning:\n"


def test_the_name_of_a_thing_is_the_end_of_its_arn() -> None:
    """Region and account say nothing to the reader."""
    assert thing_name("arn:aws:iot:local:000000000000:thing/press-7") == "press-7"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "1 h"),
        (3600, "1 h"),
        (4800, "1 h 20 min"),
        (172_800, "2 d"),
        (190_000, "2 d 4 h"),
    ],
)
def test_spans_are_told_in_two_units_at_most(seconds: float, text: str) -> None:
    """A rollout of days is not told to the second."""
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("as_json", "no_color", "is_terminal", "count", "is_shown"),
    [
        (False, False, True, 10_000_000, True),
        (True, False, True, 10_000_000, False),
        (False, True, True, 10_000_000, False),
        (False, False, False, 10_000_000, False),
        (False, False, True, 1000, False),
    ],
)
def test_a_bar_is_for_people_who_look(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    as_json: bool,
    no_color: bool,
    is_terminal: bool,
    count: int,
    is_shown: bool,
) -> None:
    """On standard error, of a terminal, for long work, and neither with --json nor with NO_COLOR."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    with Output(as_json=as_json).reading("reading the store", count) as advance:
        advance(count // 2)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("reading the store" in shown.err) is is_shown
    assert ("50%" in shown.err) is is_shown


@pytest.mark.parametrize("width", [20, 40, 60, 120])
def test_no_width_cuts_anything_off(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A narrow terminal wraps; times and names of a timeline stay readable and whole."""
    output = Output(as_json=False)
    monkeypatch.setattr(output.console, "_width", width)
    rows = [
        ("2026-11-23T01:21:19+00:00", "QUEUED", "by thingjobs-cli-f874754da3f6"),
        ("2026-11-23T01:23:32+00:00", "IN_PROGRESS", "by device"),
    ]
    output.columns(rows)
    shown = capsys.readouterr().out
    assert "\u2026" not in shown
    for time_, state, who in rows:
        assert time_ in shown
        assert state in shown
        assert who in "".join(line.strip() for line in shown.splitlines()).replace("bything", "by thing")


def test_columns_without_rows_are_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """No empty line either."""
    Output(as_json=False).columns([])
    assert capsys.readouterr().out == ""
