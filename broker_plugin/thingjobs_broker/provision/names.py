"""Which names devices, operators and hosts may have; each check says what is wrong with one. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from thingjobs_broker.provision.errors import NameRefused
from thingjobs_protocol.limits import THING_NAME_PATTERN

SERVICE: Final = "thingjobs-service"
"""The user that the access control list of Mosquitto knows as the jobs service."""

CHECK: Final = "thingjobs-check"
"""A device to try: with its login the service finds out at its start what devices could forge."""

FIRST_OPERATOR: Final = "thingjobs-operator"

COMMON_NAME_CHARACTERS_MAX: Final = 64
"""RFC 5280, appendix A.1: ub-common-name."""

_LABEL: Final = r"(?!-)[a-zA-Z0-9_-]{1,63}(?<!-)"
_HOST: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_HOST_CHARACTERS_MAX: Final = 253


def check_device(name: str, *, certificate: bool) -> None:
    """Refuse a name that is no thing name, or that the wished credential cannot hold.

    Raises:
        NameRefused: it is refused.

    """
    _check(name, "a device")
    if certificate and len(name) > COMMON_NAME_CHARACTERS_MAX:
        raise NameRefused(
            f"a certificate holds a name of at most {COMMON_NAME_CHARACTERS_MAX} characters, and {name} has"
            f" {len(name)}; leave --certificate away to give the device a password"
        )
    if not certificate and ":" in name:
        raise NameRefused(
            f"a password file cannot hold {name}, because it has a colon; give the device a --certificate"
        )


def check_operator(name: str) -> None:
    """Refuse a name that is no user name for an operator.

    Raises:
        NameRefused: it is refused.

    """
    _check(name, "an operator")
    if ":" in name:
        raise NameRefused(f"an operator's name has no colon, which a password file cannot hold: {name!a}")


def check_host(host: str) -> None:
    """Refuse what is neither a DNS name nor an IP address.

    Raises:
        NameRefused: it is refused.

    """
    if is_address(host) or (_HOST.fullmatch(host) and len(host) <= _HOST_CHARACTERS_MAX):
        return
    raise NameRefused(f"a host is a DNS name or an IP address, such as broker.example, not {host[:160]!a}")


def is_address(host: str) -> bool:
    """Tell whether a host is given as an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check(name: str, what: str) -> None:
    if not re.match(THING_NAME_PATTERN, name):
        raise NameRefused(
            f"the name of {what} is 1 to 128 characters of a-z A-Z 0-9 : _ -, not {name[:160]!a}"
        )
    if name == SERVICE:
        raise NameRefused(f"{SERVICE} is the jobs service itself; choose another name")
    if name == CHECK:
        raise NameRefused(f"{CHECK} is what the jobs service tries devices' rights with; choose another name")
