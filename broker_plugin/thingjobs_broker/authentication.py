"""amqtt's questions who a client is and which plain topics it may use, answered.

A client is the CN of its verified certificate, or else the user whose password it knows; `Anyone` is for
trying things on loopback. The password file has the format of `mosquitto_passwd`,
`name:$7$iterations$salt$hash` (PBKDF2-HMAC-SHA512), so that one file serves both brokers. It is read again
when it changes.
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
from amqtt.contexts import Action
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from thingjobs_broker.tls import certified_name

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
    """Lets in who shows a certificate that the listener has verified, or knows a password of the file."""

    @dataclasses.dataclass
    class Config:
        """Where the file is; without one nobody comes in with a password."""

        file: str | Path = ""

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        file = self._option("file")
        self._path = Path(file) if file else None
        self._hashes: dict[str, str] = {}
        self._read_of = 0
        if self._path is not None:
            self._hashes = read_password_file(self._path)
            self._read_of = self._path.stat().st_mtime_ns

    def _option(self, name: str) -> Any:
        return getattr(self.config, name)

    async def authenticate(self, *, session: Session) -> bool | None:
        """Tell whether the client is who it says.

        A certificate wins: a user name besides it is ignored, as Mosquitto does with
        `use_identity_as_username`. Plugins that decide about plain topics see who it is, too.
        """
        certified = certified_name()
        if certified is not None:
            session.username = certified
            return True
        self._read_again_if_changed()
        # The v1 SDKs append their version to the name (client-quirks).
        name, password = (session.username or "").partition("?SDK=")[0], session.password
        if not name or password is None:
            return False
        session.username = name
        hashed = self._hashes.get(name, _UNKNOWN_NAME_HASH)
        # Off the event loop: a good hash is slow on purpose.
        return await asyncio.to_thread(verify_password, password, hashed)

    def _read_again_if_changed(self) -> None:
        if self._path is None:
            return
        try:
            changed_at = self._path.stat().st_mtime_ns
            if changed_at != self._read_of:
                self._hashes = read_password_file(self._path)
                self._read_of = changed_at
        except (OSError, PasswordFileError) as error:
            log.warning("The password file is kept as last read", action="password_file", error=str(error))


class NoPlainTopics(BaseTopicPlugin):  # type: ignore[misc]  # amqtt ships no types
    """Refuses every topic outside the topic root; what lies under the root never reaches amqtt."""

    @dataclasses.dataclass
    class Config:
        """No options."""

    async def topic_filtering(
        self,
        *,
        session: Session | None = None,  # noqa: ARG002 - amqtt's signature
        topic: str | None = None,  # noqa: ARG002
        action: Action | None = None,  # noqa: ARG002
    ) -> bool | None:
        """Refuse."""
        return False
