"""The log: a sentence and fields, for people and for machines."""

from __future__ import annotations

import io
import re

import msgspec
import pytest

from thingjobs_agent.logs import Log


def lines(log_format: str, level: str = "info") -> str:
    stream = io.StringIO()
    log = Log(log_format, level, stream, thing_name="press-7").bind(job_id="J1")
    log.debug("Too much")
    log.info("Took up a job", action="job_taken_up", reason='two "words"', empty="")
    log.warning("Odd", path=io)
    return stream.getvalue()


def test_line_for_people_has_its_fields_behind_the_sentence() -> None:
    """Values that could be misread are quoted."""
    first, second = lines("text").splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info    Took up a job thing_name=press-7 job_id=J1 "
        r"""action=job_taken_up reason='two "words"' empty=''""",
        first,
    )
    assert " warning Odd thing_name=press-7" in second


def test_line_for_machines_is_json() -> None:
    """One object a line; what JSON does not know is shown as text."""
    first, second = (msgspec.json.decode(line) for line in lines("json").splitlines())
    assert (
        first.items()
        >= {
            "level": "info",
            "event": "Took up a job",
            "thing_name": "press-7",
            "job_id": "J1",
            "action": "job_taken_up",
        }.items()
    )
    assert "module" in second["path"]


@pytest.mark.parametrize(("level", "count"), [("debug", 3), ("info", 2), ("warning", 1), ("error", 0)])
def test_level_is_the_lowest_that_is_written(level: str, count: int) -> None:
    """log_level."""
    assert len(lines("json", level).splitlines()) == count


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_fault_is_written_with_its_stack(log_format: str) -> None:
    """The one kind of line that is longer."""
    stream = io.StringIO()
    try:
        dict[str, str]()["a fault"]
    except KeyError:
        Log(log_format, stream=stream).exception("The agent stops", action="fault")
    assert "Traceback (most recent call last)" in stream.getvalue()
    assert "KeyError: 'a fault'" in stream.getvalue()
