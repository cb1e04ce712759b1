"""What operators hand in: JSON with line and column in the error, bounded reading, passwords."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import hypothesis.strategies as st
import pytest

from thingjobs_broker.cli.errors import CliError, LocalFileError, UsageError
from thingjobs_broker.cli.files import parse_object, read_document, read_password, read_request
from thingjobs_protocol.limits import PAYLOAD_BYTES_MAX


def refusal(content: bytes, tmp_path: Path) -> str:
    """The message for a document of this content, without the file's name."""
    path = tmp_path / "job.json"
    path.write_bytes(content)
    with pytest.raises(LocalFileError) as raised:
        read_document(str(path))
    assert "\n" not in str(raised.value)
    return str(raised.value).replace(repr(str(path)), "FILE")


def test_a_document_is_sent_as_it_stands(tmp_path: Path) -> None:
    """The service stores the text byte for byte, so the command line changes nothing in it."""
    text = '{ "b": 1.50,\n  "a": "\u00e9" }\n'
    (tmp_path / "job.json").write_text(text, encoding="utf-8")
    assert read_document(str(tmp_path / "job.json")) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n "b" 2}', "the job document FILE is not JSON: line 2 column 6: Expecting ':' delimiter"),
        (b"", "the job document FILE is not JSON: line 1 column 1: Expecting value"),
        (b"[1]", "the job document FILE must be a JSON object, {...}, not a list"),
        (b'"{}"', "the job document FILE must be a JSON object, {...}, not a string"),
        (b"null", "the job document FILE must be a JSON object, {...}, not null"),
        (b"7", "the job document FILE must be a JSON object, {...}, not a number"),
        (b"true", "the job document FILE must be a JSON object, {...}, not true or false"),
        (b'{"a": NaN}', "the job document FILE is not JSON: NaN is no JSON value"),
        (b'{"a": "\xff"}', "the job document FILE is not UTF-8: byte 7 cannot be decoded"),
        (b"[" * 100_000, "the job document FILE is not JSON: it is nested too deeply"),
    ],
)
def test_a_document_that_is_no_json_object_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    """The message says where in the file the mistake is."""
    assert refusal(content, tmp_path) == message


def test_a_document_larger_than_any_request_is_not_read_whole(tmp_path: Path) -> None:
    """An endless file must not fill the memory."""
    assert refusal(b" " * (PAYLOAD_BYTES_MAX + 1), tmp_path) == (
        f"the job document FILE is larger than the {PAYLOAD_BYTES_MAX} bytes a request may have"
    )
    with pytest.raises(LocalFileError, match="larger than"):
        read_document("/dev/zero")


@pytest.mark.parametrize(
    ("name", "reason"), [("missing.json", "No such file"), (".", "Is a directory"), ("a\0b", "null byte")]
)
def test_a_document_that_cannot_be_read_is_named(name: str, reason: str, tmp_path: Path) -> None:
    """The name is in the message, and why it cannot be read."""
    with pytest.raises(LocalFileError, match=reason):
        read_document(str(tmp_path / name))


def test_a_document_can_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads standard input, and errors say so."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b'{"a": 1}')))
    assert read_document("-") == '{"a": 1}'
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"{")))
    with pytest.raises(LocalFileError, match="the job document on standard input is not JSON: line 1"):
        read_document("-")


def test_a_request_in_an_option_is_an_error_of_usage() -> None:
    """What was typed is wrong usage; what came from standard input is a wrong file."""
    assert read_request('{"jobId": "j"}') == {"jobId": "j"}
    with pytest.raises(UsageError, match="the request in --json is not JSON: line 1 column 2"):
        read_request("{jobId}")


def test_a_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    """A newline at the end is not part of it; an empty file is an error and shows nothing of its content."""
    path = tmp_path / "password"
    path.write_text("hunter2\nsecond line\n")
    assert read_password(str(path)) == "hunter2"
    path.write_text("\nhunter2")
    with pytest.raises(LocalFileError) as raised:
        read_password(str(path))
    assert "hunter2" not in str(raised.value)


@hypothesis.given(st.text())
def test_any_text_is_an_object_or_an_error(text: str) -> None:
    """Whatever is given, the outcome is a dict or the one-line error."""
    outcome: object
    try:
        outcome = parse_object(text, "it", UsageError)
    except CliError as error:
        outcome = str(error)
    assert isinstance(outcome, dict) or "\n" not in str(outcome)
