"""Access keys of operators: the line that the service reads, and the file that AWS's SDKs read.

Pure but for the randomness.
"""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from thingjobs_broker.http.access_keys import Role

ID_BYTES: Final = 10
SECRET_BYTES: Final = 30
"""240 random bits in 40 characters, as long as those of AWS."""


class Key(NamedTuple):
    """An access key."""

    access_key_id: str
    secret: str


def new_key() -> Key:
    """Return a key; its id says whose product has made it, and takes 20 characters, as tools expect."""
    return Key(
        "TJOP" + base64.b32encode(secrets.token_bytes(ID_BYTES)).decode(),
        secrets.token_urlsafe(SECRET_BYTES),
    )


def role_of(text: str, name: str) -> str | None:
    """Return the role of an operator's key, None without one."""
    return next((parts[2] for parts in _lines(text) if parts[3] == name), None)


def with_key(text: str, key: Key, role: Role, name: str) -> str:
    """Return the service's file with the operator's key, in place of an earlier one; other lines stay."""
    return without(text, name) + f"{key.access_key_id} {key.secret} {role} {name}\n"


def without(text: str, name: str) -> str:
    """Return the service's file without the operator's key; other lines stay."""
    return "".join(f"{line}\n" for line in text.splitlines() if line.split()[3:4] != [name])


def credentials(key: Key) -> str:
    """Return what stands in a shared credentials file of AWS."""
    return (
        "# AWS_SHARED_CREDENTIALS_FILE names this file. Keep it secret.\n"
        f"[default]\naws_access_key_id = {key.access_key_id}\naws_secret_access_key = {key.secret}\n"
    )


def _lines(text: str) -> list[list[str]]:
    lines = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return [parts for parts in lines if len(parts) == 4]
