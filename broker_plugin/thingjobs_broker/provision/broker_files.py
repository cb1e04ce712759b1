"""The files of the broker: Mosquitto's from the shipped ones with the paths filled in, and those of the
embedded broker.

Pure but for `shipped`. An admin may edit what was made, so later changes touch single lines.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.provision.errors import ProvisionError
from thingjobs_broker.provision.names import FIRST_OPERATOR

if TYPE_CHECKING:
    from thingjobs_broker.provision.layout import Layout

PLAIN_PORT: Final = 1883
TLS_PORT: Final = 8883
CERTIFICATE_PORT: Final = 8884
"""Mosquitto asks for certificates on a listener of their own; the embedded broker takes both on one."""

_HERE: Final = Path(__file__).resolve().parent
_CHECKOUT: Final = _HERE.parents[2]
_SWITCHED_OFF: Final = re.compile(r"^#(?=[a-z])", re.MULTILINE)
_OPERATORS: Final = re.compile(r"^(\s*operators\s*[=:]\s*)(\[.*\])(\s*)$", re.MULTILINE)


def shipped(name: str, in_checkout: str) -> str:
    """Return a file that comes with thingjobs: inside the package where installed, or in the checkout.

    Raises:
        ProvisionError: it is in neither place.

    """
    for path in (_HERE / name, _CHECKOUT / in_checkout):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise ProvisionError(f"{in_checkout} did not come with this installation; install thingjobs again")


def shipped_mosquitto_conf() -> str:
    """Return the shipped mosquitto.conf."""
    return shipped("mosquitto.conf", "mosquitto.conf")


def shipped_acl() -> str:
    """Return the shipped access control list."""
    return shipped("mosquitto.acl", "broker_plugin/mosquitto/acl")


def mosquitto_conf(text: str, layout: Layout) -> str:
    """Return the shipped configuration with all its listeners switched on and our paths.

    Raises:
        ProvisionError: a setting is no longer where it was.

    """
    # The head tells how to install by hand.
    settings = text[text.index("# ---") :]
    settings = _SWITCHED_OFF.sub("", settings)
    for name, value in {
        "password_file": layout.passwords,
        "acl_file": layout.acl,
        "certfile": layout.server_certificate,
        "keyfile": layout.server_key,
        "cafile": layout.client_ca,
        "crlfile": layout.revoked,
        "persistence_location": f"{layout.broker / 'sessions'}/",
    }.items():
        settings, count = re.subn(rf"^{name} .*$", f"{name} {value}", settings, flags=re.MULTILINE)
        if not count:
            raise ProvisionError(f"the shipped mosquitto.conf has no {name}; install thingjobs again")
    return f"# Mosquitto 2.0 for thingjobs, made by thingjobs init.\n\n{settings}"


def acl_with_operator(text: str, name: str, template: str) -> str:
    """Return an access control list in which `name` has the rights of `template`'s operator."""
    if re.search(rf"^user {re.escape(name)}\s*$", text, re.MULTILINE):
        return text
    found = re.search(rf"^user {FIRST_OPERATOR}\n((?:topic .*\n)+)", template, re.MULTILINE)
    if found is None:
        raise ProvisionError(
            f"the shipped access control list has no {FIRST_OPERATOR}; install thingjobs again"
        )
    return f"{text.rstrip()}\n\nuser {name}\n{found[1]}"


def embedded_settings(layout: Layout, operators: list[str]) -> dict[str, Any]:
    """Return the settings of the embedded broker."""
    return {
        "listen": [f"127.0.0.1:{PLAIN_PORT}"],
        "tls_listen": [f"0.0.0.0:{TLS_PORT}"],
        "tls_certificate": str(layout.server_certificate),
        "tls_key": str(layout.server_key),
        "tls_ca": str(layout.client_ca),
        "tls_crl": str(layout.revoked),
        "password_file": str(layout.passwords),
        "operators": operators,
        "data_dir": str(layout.broker / "data"),
        "http": {"access_keys": str(layout.access_keys), "tls": True},
    }


def up_toml(settings: dict[str, Any]) -> str:
    """Return the settings of `thingjobs up`."""
    return "# The settings of thingjobs up --config.\n" + toml(settings)


def amqtt_yaml(settings: dict[str, Any]) -> str:
    """Return the same for amqtt's own launcher."""
    plugin = "".join(f"    {name}: {_quoted(value)}\n" for name, value in settings.items())
    return (
        "# amqtt -c with the jobs service as its plugin. `thingjobs up` is better: it also stops cleanly.\n"
        "listeners:\n"
        "  default:\n"
        "    # The jobs service listens, at the addresses below.\n"
        "    type: external\n"
        "    bind: front\n"
        "plugins:\n"
        f"  thingjobs_broker.plugin.JobsPlugin:\n{plugin}"
        "  thingjobs_broker.authentication.PasswordFile:\n"
        f"    file: {_quoted(settings['password_file'])}\n"
    )


def with_operator(text: str, name: str, file: Path) -> str:
    """Return settings, in TOML or YAML, in whose line `operators` the name stands.

    Raises:
        ProvisionError: there is no such line, or it cannot be read.

    """
    found = _OPERATORS.search(text)
    try:
        names = json.loads(found[2]) if found else None
    except ValueError:
        names = None
    if found is None or not isinstance(names, list):
        raise ProvisionError(
            f'{file} has no line operators with a list of names in double quotes; give it one with "{name}"'
        )
    if name in names:
        return text
    return text[: found.start(2)] + _quoted([*names, name]) + text[found.end(2) :]


def toml(settings: dict[str, Any]) -> str:
    """Return settings as TOML, those of a table with dotted names. JSON's texts and lists are TOML's, too."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= (
            {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        )
    return "".join(f"{name} = {_quoted(value)}\n" for name, value in flat.items())


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
