"""amqtt's question who a client is, answered: from a password file, or by `Anyone` for trying things on
loopback.

The file has the format of `mosquitto_passwd`, `name:$7$iterations$salt$hash` (PBKDF2-HMAC-SHA512), so that
one file serves both brokers. It is read again when it changes.
"""

import asyncio
import base64
import binascii
import dataclasses
import hashlib
import hmac
import os
from pathlib import Path
from typing import Any

import structlog
from amqtt.broker import BrokerContext
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

log = structlog.get_logger()

_ITERATIONS = 50_000
_SALT_BYTES = 12
_UNKNOWN_NAME_HASH = "$7$50000$AAAAAAAAAAAAAAAA$AAAA"
"""Checked against when a name is unknown, so that the time of the answer does not tell names."""


class PasswordFileError(Exception):
    """The password file cannot be used; the message says why and what to do."""


def hash_password(password: str) -> str:
    """Return the part of a line behind `name:`."""
    salt = os.urandom(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def verify_password(password: str, hashed: str) -> bool:
    """Tell whether the password is the one that was hashed; False for a hash of another kind."""
    try:
        _, kind, iterations, salt, digest = hashed.split("$")
        if kind != "7":
            return False
        made = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(salt), int(iterations))
        return hmac.compare_digest(made, base64.b64decode(digest))
    except (ValueError, binascii.Error, OverflowError):
        return False


def read_password_file(path: Path) -> dict[str, str]:
    """Return name to hash.

    Raises:
        PasswordFileError: the file is missing, unreadable or has a line that is not `name:hash`.

    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read the password file {path}: {error}"
        raise PasswordFileError(message) from None
    hashes: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, hashed = line.strip().partition(":")
        if not colon or not hashed.startswith("$7$"):
            message = f"{path}:{number}: expected NAME:$7$..., as mosquitto_passwd writes it"
            raise PasswordFileError(message)
        hashes[name] = hashed
    return hashes


class Anyone(BaseAuthPlugin):  # type: ignore[misc]  # amqtt ships no types
    """Lets every client in. Unlike amqtt's anonymous plugin it keeps persistent sessions."""

    @dataclasses.dataclass
    class Config:
        """No options."""

    async def authenticate(self, *, session: Session) -> bool | None:  # noqa: ARG002 - amqtt's signature
        """Accept."""
        return True


class PasswordFile(BaseAuthPlugin):  # type: ignore[misc]  # amqtt ships no types
    """Lets in who knows a password of the file."""

    @dataclasses.dataclass
    class Config:
        """Where the file is."""

        file: str | Path

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        self._path = Path(self._option("file"))
        self._hashes = read_password_file(self._path)
        self._read_of = self._path.stat().st_mtime_ns

    def _option(self, name: str) -> Any:
        return getattr(self.config, name)

    async def authenticate(self, *, session: Session) -> bool | None:
        """Check the password off the event loop: a good hash is slow on purpose."""
        self._read_again_if_changed()
        name, password = session.username, session.password
        if not name or password is None:
            return False
        # The v1 SDKs append their version to the name (client-quirks).
        hashed = self._hashes.get(name.partition("?SDK=")[0], _UNKNOWN_NAME_HASH)
        return await asyncio.to_thread(verify_password, password, hashed)

    def _read_again_if_changed(self) -> None:
        try:
            changed_at = self._path.stat().st_mtime_ns
            if changed_at != self._read_of:
                self._hashes = read_password_file(self._path)
                self._read_of = changed_at
        except (OSError, PasswordFileError) as error:
            log.warning("The password file is kept as last read", action="password_file", error=str(error))
