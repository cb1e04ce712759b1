"""Passwords and the lines of the password file that both brokers read. Pure but for the randomness."""

from __future__ import annotations

import secrets
from typing import Final

from thingjobs_broker.authentication import hash_password

PASSWORD_BYTES: Final = 24
"""192 random bits: nobody guesses them, so that the number of hash iterations does not matter."""


def new_password() -> str:
    """Return a password of letters, digits, - and _, which needs no quoting anywhere."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def hash_of(text: str, name: str) -> str | None:
    """Return what a password file has for a user, or None."""
    return next((line.strip().partition(":")[2] for line in text.splitlines() if _user(line) == name), None)


def with_user(text: str, name: str, password: str) -> str:
    """Return a password file with the user's password, in place of an earlier one; other lines stay."""
    return without_user(text, name) + f"{name}:{hash_password(password)}\n"


def without_user(text: str, name: str) -> str:
    """Return a password file without the user; other lines stay."""
    return "".join(f"{line}\n" for line in text.splitlines() if _user(line) != name)


def _user(line: str) -> str:
    return line.strip().partition(":")[0]
