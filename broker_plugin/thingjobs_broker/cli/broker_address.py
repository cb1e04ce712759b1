"""How to reach the control plane: the broker's address and the login, checked before anything is opened."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from thingjobs_broker.cli.errors import UsageError
from thingjobs_broker.cli.files import read_password
from thingjobs_protocol.topics import DEFAULT_ROOT

DEFAULT_BROKER: Final = "mqtt://127.0.0.1:1883"
DEFAULT_TIMEOUT_SECONDS: Final = 10.0
PASSWORD_VARIABLE: Final = "THINGJOBS_PASSWORD"  # noqa: S105 - the name of the variable

_DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_EXPECTED: Final = "expected mqtt://[user@]host[:port] or mqtts://..."
_ROOT: Final = re.compile(r"[^/+#\x00-\x1f]+")


@dataclass(frozen=True)
class BrokerAddress:
    """Everything a connection needs. The password is in no repr."""

    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None
    topic_root: str = DEFAULT_ROOT
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS

    def __str__(self) -> str:
        """Return the address for messages: without the user, never a password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def broker_address(
    url: str,
    *,
    password_file: str | None = None,
    ca_file: str | None = None,
    topic_root: str = DEFAULT_ROOT,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> BrokerAddress:
    """Return the address of the broker; the password comes from `password_file` or the environment.

    Raises:
        UsageError, LocalFileError: the address, the topic root or the password file is wrong.

    """
    host, port, user, tls = _split(url)
    if ca_file is not None and not tls:
        raise UsageError(f"--ca-file goes with TLS: give the broker as mqtts://, not {url!r}")
    if not _ROOT.fullmatch(topic_root):
        raise UsageError(f"the topic root must be one topic level without +, # and /, not {topic_root!r}")
    password = read_password(password_file) if password_file else os.environ.get(PASSWORD_VARIABLE) or None
    if password is not None and user is None:
        raise UsageError(
            f"a password needs a user name: give the broker as mqtt{'s' if tls else ''}://USER@{host}"
        )
    return BrokerAddress(host, port, user, password, tls, ca_file, topic_root, timeout_seconds)


def _split(url: str) -> tuple[str, int, str | None, bool]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        # A wrong address may hold a password; only what is wrong is said.
        raise UsageError(f"the broker's address is wrong: {error}; {_EXPECTED}") from None
    if parts.password is not None:
        raise UsageError(
            "a password in the broker's address can be read by others:"
            f" give it in {PASSWORD_VARIABLE} or --password-file"
        )
    if (
        parts.scheme not in _DEFAULT_PORTS
        or not host
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise UsageError(f"the broker's address {url!r} is wrong; {_EXPECTED}")
    user = unquote(parts.username) if parts.username else None
    return host, port or _DEFAULT_PORTS[parts.scheme], user, parts.scheme == "mqtts"
