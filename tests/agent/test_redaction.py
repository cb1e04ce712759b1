"""Secrets are hidden in all their forms, wherever chunks end; everything else stays as it is."""

from __future__ import annotations

import base64
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingjobs_agent.redaction import Redactor, Secrets

SECRET = "hunter2 pass/word+?"
SECRETS = Secrets([SECRET, "abc", "other-secret"])
FORMS = {
    "plain": SECRET.encode(),
    "url": quote(SECRET, safe="").encode(),
    "url path": quote(SECRET).encode(),
    "form": quote_plus(SECRET).encode(),
    "lower case": quote(SECRET, safe="").lower().encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_secret_are_hidden(form: str) -> None:
    """Issue 6: as it is and as URLs spell it."""
    assert SECRETS.hide(b"before " + FORMS[form] + b" after") == b"before [hidden] after"


@given(st.binary(max_size=9), st.binary(max_size=9), st.booleans(), st.booleans())
def test_base64_is_hidden_at_every_alignment(before: bytes, after: bytes, safe: bool, wrapped: bool) -> None:
    """Issue 6: user:password pairs, both alphabets, and lines broken anywhere."""
    text = (base64.urlsafe_b64encode if safe else base64.b64encode)(before + SECRET.encode() + after)
    if wrapped:
        text = b"\n".join(text[i : i + 7] for i in range(0, len(text), 7))
    assert b"[hidden]" in SECRETS.hide(text)
    # All but what depends on the neighbors is gone.
    assert len(SECRETS.hide(text)) <= len(text) - len(SECRET) + len(b"[hidden]") + 2


PIECES = [
    *FORMS.values(),
    base64.encodebytes(b"user:" + SECRET.encode()),
    b"hunter2",
    b"other-secre",
    b"\n",
    b"x" * 90,
]


@given(st.lists(st.sampled_from(PIECES), max_size=8), st.lists(st.integers(1, 30), min_size=1))
def test_stream_in_chunks_is_hidden_like_the_whole(pieces: list[bytes], sizes: list[int]) -> None:
    """Issue 6: the border of a chunk may fall anywhere."""
    text = b"".join(pieces)
    redactor, passed, at, turn = Redactor(SECRETS), b"", 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        passed += redactor.feed(text[at : at + size])
        at, turn = at + size, turn + 1
    assert passed + redactor.flush() == SECRETS.hide(text)


def test_short_secret_is_no_secret() -> None:
    """Hiding three letters would hide half of any text."""
    assert SECRETS.hide(b"abcdef") == b"abcdef"


@given(st.binary())
def test_without_secrets_nothing_is_touched_or_held_back(data: bytes) -> None:
    """The common case costs nothing."""
    assert Redactor(Secrets([])).feed(data) == data


def test_little_is_held_back() -> None:
    """Who follows the log of a handler waits for a line, not for a page."""
    redactor = Redactor(SECRETS)
    assert len(redactor.feed(b"x" * 1000)) >= 1000 - SECRETS.length_max
    assert SECRETS.length_max < 120


def test_text_that_is_no_utf_8_survives() -> None:
    """Values of progress files may hold anything."""
    assert SECRETS.hide_text("\udcff other-secret") == "\udcff [hidden]"
