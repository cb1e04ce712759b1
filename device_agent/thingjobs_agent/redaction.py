"""Hides secrets in what leaves the device or goes into logs: as they are, as base64 and as in URLs.

Works on streams: a secret is found wherever the borders of the chunks fall. What is not known as a secret is
not hidden; this is a net under careful handlers, not a replacement for them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

HIDDEN: Final = b"[hidden]"
SECRET_BYTES_MIN: Final = 4
"""Shorter ones would hide half of any text; they are passed over."""
PATTERN_BYTES_MIN: Final = 6
"""As above, for the parts of base64 texts."""


class Secrets:
    """What to hide, compiled once."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Take the secrets as text."""
        plain = {secret.encode() for secret in secrets if len(secret.encode()) >= SECRET_BYTES_MIN}
        self._expression: re.Pattern[bytes] | None = None
        self.length_max = 0
        forms = [form for secret in plain for form in _plain_forms(secret)]
        wrapped = {form for secret in plain for form in _base64_forms(secret)}
        if forms:
            # The longest first: a secret that contains another is hidden whole.
            forms.sort(key=len, reverse=True)
            patterns = [re.escape(form) for form in forms]
            # base64 output is broken into lines anywhere.
            patterns += [
                rb"(?:\r?\n)?".join(re.escape(form[i : i + 1]) for i in range(len(form)))
                for form in sorted(wrapped, key=len, reverse=True)
            ]
            self._expression = re.compile(b"|".join(patterns))
            self.length_max = max(len(forms[0]), *(3 * len(form) for form in wrapped), 0)

    def hide(self, data: bytes) -> bytes:
        """Return a whole text without its secrets."""
        return data if self._expression is None else self._expression.sub(HIDDEN, data)

    def hide_text(self, text: str) -> str:
        """Return a text without its secrets."""
        if self._expression is None:
            return text
        return self.hide(text.encode(errors="surrogateescape")).decode(errors="surrogateescape")

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what can be passed on, without secrets, and the rest, which may be the beginning of one."""
        if self._expression is None:
            return data, b""
        safe = max(0, len(data) - self.length_max + 1)
        parts: list[bytes] = []
        done = 0
        for match in self._expression.finditer(data):
            if match.start() >= safe:
                break
            parts += [data[done : match.start()], HIDDEN]
            done = match.end()
        # A match that begins in the safe part may end behind it.
        end = max(done, safe)
        return b"".join((*parts, data[done:end])), data[end:]


class Redactor:
    """One stream."""

    def __init__(self, secrets: Secrets) -> None:
        """Begin a stream."""
        self._secrets = secrets
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; return those that can be passed on."""
        passed, self._rest = self._secrets.split(self._rest + chunk)
        return passed

    def flush(self) -> bytes:
        """Return what was held back, at the end of the stream."""
        rest, self._rest = self._rest, b""
        return self._secrets.hide(rest)


def _plain_forms(secret: bytes) -> set[bytes]:
    """Return the secret as it is and as URLs spell it, percent signs in both cases."""
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    lower = {re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in quoted}
    return {secret, *(form.encode() for form in quoted | lower)}


def _base64_forms(secret: bytes) -> set[bytes]:
    """Return the parts of base64 texts that depend on the secret alone, for each of its three alignments."""
    forms: set[bytes] = set()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret)
        # Six bits a character: the first ones also hold what stands before, the last one what follows.
        part = encoded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        if len(part) >= PATTERN_BYTES_MIN:
            forms |= {part, part.replace(b"+", b"-").replace(b"/", b"_")}
    return forms
