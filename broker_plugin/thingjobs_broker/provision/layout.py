"""Where each file lies. Pure.

ca/         the CA: its key never leaves this directory
broker/     what the broker reads, and nothing else
service/    the jobs service's login, where it runs beside a broker
operators/  a directory for each operator
devices/    a directory for each device, to be copied to it
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

CA_FILE: Final = "ca.crt"


@dataclass(frozen=True)
class Login:
    """The directory of one operator, device, or the service."""

    root: Path

    @property
    def ca(self) -> Path:
        """Return the CA's certificate, by which the broker is known."""
        return self.root / CA_FILE

    @property
    def password(self) -> Path:
        """Return the password, in the first line."""
        return self.root / "password"

    @property
    def certificate(self) -> Path:
        """Return the certificate of a device."""
        return self.root / "device.crt"

    @property
    def key(self) -> Path:
        """Return the key of a device."""
        return self.root / "device.key"

    @property
    def settings(self) -> Path:
        """Return the settings of a device's agent."""
        return self.root / "agent.toml"

    @property
    def environment(self) -> Path:
        """Return what an operator's shell reads."""
        return self.root / "operator.sh"

    @property
    def credentials(self) -> Path:
        """Return an operator's access key, as AWS's SDKs and commands read it."""
        return self.root / "credentials"

    @property
    def service_settings(self) -> Path:
        """Return the settings of the service."""
        return self.root / "serve.toml"


@dataclass(frozen=True)
class Layout:
    """Everything below one directory, which is absolute."""

    root: Path

    @property
    def ca_certificate(self) -> Path:
        """Return the CA's certificate."""
        return self.root / "ca" / CA_FILE

    @property
    def ca_key(self) -> Path:
        """Return the CA's key."""
        return self.root / "ca" / "ca.key"

    @property
    def issued(self) -> Path:
        """Return the directory with a copy of each device's certificate, by which it can be revoked."""
        return self.root / "ca" / "issued"

    @property
    def broker(self) -> Path:
        """Return the broker's directory."""
        return self.root / "broker"

    @property
    def server_certificate(self) -> Path:
        """Return the broker's certificate."""
        return self.broker / "server.crt"

    @property
    def server_key(self) -> Path:
        """Return the broker's key."""
        return self.broker / "server.key"

    @property
    def client_ca(self) -> Path:
        """Return the CA's certificate, as the broker reads it."""
        return self.broker / CA_FILE

    @property
    def revoked(self) -> Path:
        """Return the list of revoked certificates."""
        return self.broker / "devices.crl"

    @property
    def passwords(self) -> Path:
        """Return the password file."""
        return self.broker / "passwd"

    @property
    def access_keys(self) -> Path:
        """Return the access keys of all operators, which the service reads."""
        return self.broker / "access_keys"

    @property
    def mosquitto_conf(self) -> Path:
        """Return the configuration of Mosquitto."""
        return self.broker / "mosquitto.conf"

    @property
    def acl(self) -> Path:
        """Return the access control list of Mosquitto."""
        return self.broker / "acl"

    @property
    def up_settings(self) -> Path:
        """Return the settings of `thingjobs up`."""
        return self.broker / "up.toml"

    @property
    def amqtt_yaml(self) -> Path:
        """Return the configuration of amqtt with the jobs service as its plugin."""
        return self.broker / "amqtt.yaml"

    @property
    def service(self) -> Login:
        """Return the service's login."""
        return Login(self.root / "service")

    @property
    def check(self) -> Login:
        """Return the login of the device with which the service tries what devices may do."""
        return Login(self.service.root / "check")

    @property
    def operators(self) -> Path:
        """Return the directory of all operators."""
        return self.root / "operators"

    @property
    def devices(self) -> Path:
        """Return the directory of all devices."""
        return self.root / "devices"

    def operator(self, name: str) -> Login:
        """Return an operator's login."""
        return Login(self.operators / name)

    def device(self, name: str) -> Login:
        """Return a device's login."""
        return Login(self.devices / name)
