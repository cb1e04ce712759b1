"""What `thingjobs init` does: decides what to make, to keep and to refuse below one directory.

Checks come first. Secrets are not overwritten unless `renew` says so; the same command again changes nothing.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from thingjobs_broker.authentication import verify_password
from thingjobs_broker.http.access_keys import Role
from thingjobs_broker.provision import access_keys, aws_tools, broker_files, client_files, names, passwords
from thingjobs_broker.provision.errors import ProvisionError
from thingjobs_broker.provision.files import Files, alone, read
from thingjobs_broker.provision.keys import KeyRoom
from thingjobs_broker.provision.layout import Layout, Login

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BrokerKind = Literal["amqtt", "mosquitto"]

_RENEW: Final = "give --renew to replace it"


class Setup:
    """The directory of one broker, its CA, and the logins of everybody who connects to it.

    Args:
        directory: made with mode 0700 where it is not there.
        now: the time for certificates.

    """

    def __init__(self, directory: Path, now: datetime | None = None) -> None:
        root = directory.absolute()
        if not str(root).isprintable() or any(character in str(root) for character in "\"'\\"):
            raise ProvisionError(
                f"the directory {str(root)!a} cannot stand in settings; choose one without quotes"
            )
        self.layout = Layout(root)
        self.files = Files()
        self._keys = KeyRoom(self.layout, self.files, now or datetime.now(UTC))

    # The commands

    def create(self, hosts: Sequence[str], kind: BrokerKind, *, renew: bool = False) -> None:
        """Make the CA, the broker's files, and the logins of the first operator and the service.

        Args:
            hosts: what clients call the broker, the first in their settings; none: the machine's name.
            kind: which broker's files; those of the other one may be made later, beside them.
            renew: the broker gets a new key and certificate.

        Raises:
            ProvisionError: a host is none, the certificate is for other hosts, or a file is not what it was.

        """
        layout, files = self.layout, self.files
        for host in hosts:
            names.check_host(host)
        files.directory(layout.root)
        with alone(layout.root):
            known = self._keys.server_hosts()
            missing = [host for host in hosts if known and host not in known]
            if missing and not renew:
                raise ProvisionError(
                    f"the broker's certificate is for {', '.join(known)},"
                    f" not for {', '.join(missing)}; {_RENEW}"
                )
            self._keys.make_authority()
            self._keys.make_server(hosts or (() if known else _own_hosts()), renew=renew)
            files.make(layout.passwords, "")
            if kind == "mosquitto":
                self._make_mosquitto()
            else:
                self._make_embedded()
            self._make_operator(names.FIRST_OPERATOR, renew=False)
            for directory in sorted(layout.operators.iterdir()):
                self._register_operator(directory.name)

    def add_operator(self, name: str, *, read_only: bool = False, renew: bool = False) -> Login:
        """Give an operator a password and an access key; with `renew` new ones.

        Args:
            name: the user name.
            read_only: an access key that changes nothing, and no password: MQTT knows no such role.
            renew: what there was is refused from then on.

        Raises:
            ProvisionError: the name is none or a device's, nothing was set up here, or it has another role.

        """
        names.check_operator(name)
        self._require_setup()
        login = self.layout.operator(name)
        with alone(self.layout.root):
            is_device = self.layout.device(name).root.exists() or bool(self._keys.issued_to(name))
            if is_device or (not login.root.exists() and self._has_password(name)):
                raise ProvisionError(f"{name} is a device, which cannot be an operator; choose another name")
            self._check_role(name, Role.READ_ONLY if read_only else Role.OPERATOR)
            if read_only:
                if self._has_password(name):
                    raise ProvisionError(f"{name} is an operator with a password; choose another name")
                self._make_access_key(name, login, Role.READ_ONLY, renew=renew)
                self.files.make(login.ca, read(self.layout.ca_certificate))
            else:
                self._make_operator(name, renew=renew)
                self._register_operator(name)
        return login

    def add_device(
        self,
        name: str,
        *,
        certificate: bool = False,
        url: str | None = None,
        device_directory: Path | None = None,
        renew: bool = False,
    ) -> Login:
        """Give a device a password or a certificate, and settings for its agent.

        Args:
            name: its thing name.
            certificate: a certificate instead of a password.
            url: the broker's address; made from the broker's certificate if not given.
            device_directory: where the files will lie on the device; where they are made if not given.
            renew: a new password or certificate; the old one is refused from then on.

        Raises:
            ProvisionError: the name is none, an operator's, or of a device with the other credential.

        """
        names.check_device(name, certificate=certificate)
        self._require_setup()
        login = self.layout.device(name)
        with alone(self.layout.root):
            self._refuse_operator(name, "which cannot be a device; choose another name")
            if renew:
                self._lock_out(name, login, password=certificate)
            else:
                self._check_credential(name, login, certificate=certificate)
            self.files.make(login.ca, read(self.layout.ca_certificate))
            if certificate:
                self._keys.make_device(name, login, renew=renew)
            else:
                self._make_password(name, login, renew=renew)
            place = Login(device_directory) if device_directory is not None else login
            url = url or self._url(certificate=certificate)
            settings = client_files.agent_toml(name, url, place, certificate=certificate)
            (self.files.replace if renew else self.files.make)(login.settings, settings)
        return login

    def aws_commands(self, login: Login) -> list[str]:
        """Return how an operator calls the service with AWS's tools."""
        files = [self.layout.up_settings, self.layout.service.service_settings]
        settings = {path: read(path) for path in files if path.exists()}
        return aws_tools.aws_commands(login, settings, self._keys.server_hosts())

    def revoke_device(self, name: str) -> None:
        """Lock a device out: its password goes, its certificates are revoked, its files are removed.

        Raises:
            ProvisionError: there is no such device.

        """
        names.check_device(name, certificate=":" in name)
        self._require_setup()
        login = self.layout.device(name)
        with alone(self.layout.root):
            self._refuse_operator(name, "not a device; init operator --renew gives it a new password")
            if not (self._has_password(name) or login.root.exists() or self._keys.issued_to(name)):
                raise ProvisionError(f"there is no device {name} in {self.layout.root}")
            self._lock_out(name, login, password=True)
            self.files.remove(login.settings)
            self.files.remove(login.ca)
            if login.root.exists() and not any(login.root.iterdir()):
                login.root.rmdir()

    # Checks

    def _require_setup(self) -> None:
        for path in (self.layout.ca_certificate, self.layout.server_certificate, self.layout.passwords):
            if not path.is_file():
                raise ProvisionError(
                    f"{path} is missing; run thingjobs init {self.layout.root} first,"
                    " or name the directory with --dir"
                )

    def _refuse_operator(self, name: str, hint: str) -> None:
        if self.layout.operator(name).root.exists():
            raise ProvisionError(f"{name} is an operator, {hint}")

    def _check_role(self, name: str, role: Role) -> None:
        """Refuse to make more, or less, of an operator than it was."""
        keys = self.layout.access_keys
        known = access_keys.role_of(read(keys), name) if keys.exists() else None
        if known not in (None, role):
            raise ProvisionError(f"{name} has an access key that is {known}; choose another name")

    def _check_credential(self, name: str, login: Login, *, certificate: bool) -> None:
        """Refuse what would leave a device with two credentials, or with one that nobody has."""
        if certificate:
            if self._has_password(name):
                raise ProvisionError(f"{name} has a password; {_RENEW} by a certificate")
            if self._keys.issued_to(name) and not login.key.exists():
                raise ProvisionError(f"{name} has a certificate whose key is not here any more; {_RENEW}")
        elif login.certificate.exists() or self._keys.issued_to(name):
            raise ProvisionError(f"{name} has a certificate; {_RENEW} by a password")

    def _has_password(self, name: str) -> bool:
        return passwords.hash_of(read(self.layout.passwords), name) is not None

    # The parts

    def _make_mosquitto(self) -> None:
        layout, files = self.layout, self.files
        files.directory(layout.broker / "sessions")
        conf = broker_files.mosquitto_conf(broker_files.shipped_mosquitto_conf(), layout)
        files.make(layout.mosquitto_conf, conf)
        files.make(layout.acl, broker_files.shipped_acl())
        self._make_password(names.SERVICE, layout.service, renew=False)
        self._make_password(names.CHECK, layout.check, renew=False)
        service, check = (read(login.password).strip() for login in (layout.service, layout.check))
        settings = client_files.serve_toml(service, check, layout.service.root / "data", layout)
        files.make(layout.service.service_settings, settings)

    def _make_embedded(self) -> None:
        settings = broker_files.embedded_settings(self.layout, [names.FIRST_OPERATOR])
        self.files.make(self.layout.up_settings, broker_files.up_toml(settings))
        self.files.make(self.layout.amqtt_yaml, broker_files.amqtt_yaml(settings))

    def _make_operator(self, name: str, *, renew: bool) -> None:
        login = self.layout.operator(name)
        self._make_password(name, login, renew=renew)
        self.files.make(login.ca, read(self.layout.ca_certificate))
        url = client_files.broker_url(self._keys.server_hosts()[0], broker_files.TLS_PORT, name)
        self.files.make(login.environment, client_files.operator_sh(url, login))
        self._make_access_key(name, login, Role.OPERATOR, renew=renew)

    def _register_operator(self, name: str) -> None:
        """Tell each broker that was set up."""
        layout, files = self.layout, self.files
        if layout.acl.exists():
            text = broker_files.acl_with_operator(read(layout.acl), name, broker_files.shipped_acl())
            files.replace(layout.acl, text)
        for path in (layout.up_settings, layout.amqtt_yaml):
            if path.exists():
                files.replace(path, broker_files.with_operator(read(path), name, path))

    def _make_password(self, name: str, login: Login, *, renew: bool) -> None:
        """Make a password and its line in the password file; one of the two alone is completed or refused."""
        text = read(self.layout.passwords)
        known = passwords.hash_of(text, name)
        if not renew and known is not None:
            password = read(login.password).strip() if login.password.exists() else ""
            if not password or not verify_password(password, known):
                raise ProvisionError(
                    f"{name} has a password that is not in {login.password} any more; {_RENEW}"
                )
            self.files.keep(login.password)
            return
        if renew:
            self.files.replace(login.password, f"{passwords.new_password()}\n")
        elif not login.password.exists():
            self.files.make(login.password, f"{passwords.new_password()}\n")
        password = read(login.password).strip()
        self.files.keep(login.password)
        self.files.replace(self.layout.passwords, passwords.with_user(text, name, password))

    def _make_access_key(self, name: str, login: Login, role: Role, *, renew: bool) -> None:
        """Make an access key and its line in the service's file; one of the two alone is made anew."""
        keys = self.layout.access_keys
        text = read(keys) if keys.exists() else ""
        if access_keys.role_of(text, name) is not None and login.credentials.exists() and not renew:
            self.files.keep(keys)
            self.files.keep(login.credentials)
            return
        key = access_keys.new_key()
        self.files.replace(keys, access_keys.with_key(text, key, role, name))
        self.files.replace(login.credentials, access_keys.credentials(key))

    def _lock_out(self, name: str, login: Login, *, password: bool) -> None:
        """Take away a device's certificate, and its password too if that is not replaced anyway."""
        self._keys.revoke(name)
        self.files.remove(login.certificate)
        self.files.remove(login.key)
        if password:
            text = read(self.layout.passwords)
            self.files.replace(self.layout.passwords, passwords.without_user(text, name))
            self.files.remove(login.password)

    def _url(self, *, certificate: bool) -> str:
        with_own_port = certificate and self.layout.mosquitto_conf.exists()
        port = broker_files.CERTIFICATE_PORT if with_own_port else broker_files.TLS_PORT
        return client_files.broker_url(self._keys.server_hosts()[0], port)


def _own_hosts() -> tuple[str, ...]:
    """Return what this machine calls itself, if that can stand in a certificate."""
    name = socket.gethostname()
    try:
        names.check_host(name)
    except ProvisionError:
        return ()
    return (name,)
