"""How to reach the control plane: the broker's address and the login, checked before anything is opened."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Final

from thingjobs_broker.broker_url import parse_broker_url
from thingjobs_broker.cli.errors import UsageError
from thingjobs_broker.cli.files import read_password
from thingjobs_protocol.topics import DEFAULT_ROOT

DEFAULT_BROKER: Final = "mqtt://127.0.0.1:1883"
DEFAULT_TIMEOUT_SECONDS: Final = 10.0
CALLS_MAX: Final = 8
"""How many calls a command makes at the same time; of more than ten aiomqtt warns on standard error."""

PASSWORD_VARIABLE: Final = "THINGJOBS_PASSWORD"  # noqa: S105 - the name of the variable

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
    certificate_file: str | None = None
    key_file: str | None = None

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
    try:
        host, port, user, tls = parse_broker_url(url)
    except ValueError as error:
        raise UsageError(str(error)) from None
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
