"""The files of the CA: its own pair, the pairs it signs, and what it has issued and revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thingjobs_broker.provision import certificates
from thingjobs_broker.provision.certificates import Authority
from thingjobs_broker.provision.errors import ProvisionError
from thingjobs_broker.provision.files import Files, read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from thingjobs_broker.provision.layout import Layout, Login

ALWAYS_HOSTS: Final = ("localhost", "127.0.0.1")
"""What programs on the broker's machine call it."""


class KeyRoom:
    """Makes keys and certificates below a layout; `open` comes before anything is signed."""

    def __init__(self, layout: Layout, files: Files, now: datetime) -> None:
        self._layout = layout
        self._files = files
        self._now = now

    def make_authority(self) -> None:
        """Make the CA's key and certificate, where there are none, and its list of revoked certificates.

        Raises:
            ProvisionError: one of the two is missing or they do not belong together.

        """
        layout, files = self._layout, self._files
        if not layout.ca_certificate.exists():
            if not layout.ca_key.exists():
                files.make(layout.ca_key, certificates.new_key())
            made = Authority.of_new_key(read(layout.ca_key), self._now)
            files.make(layout.ca_certificate, certificates.to_pem(made.certificate))
        authority = self._authority()
        files.keep(layout.ca_key)
        files.keep(layout.ca_certificate)
        files.make(layout.client_ca, read(layout.ca_certificate))
        if layout.revoked.exists():
            files.keep(layout.revoked)
        else:
            files.make(layout.revoked, authority.revoke((), self._now))

    def make_server(self, hosts: Sequence[str], *, renew: bool) -> None:
        """Make the broker's pair; with `renew` a new one, for the same hosts if none are given."""
        certificate = self._layout.server_certificate
        if not hosts and certificate.exists():
            hosts = certificates.hosts_of(read(certificate))
        everything = tuple(dict.fromkeys((*hosts, *ALWAYS_HOSTS)))
        authority = self._authority()
        self._make_pair(
            certificate,
            self._layout.server_key,
            lambda key: authority.issue_server(key, everything, self._now),
            renew=renew,
        )

    def server_hosts(self) -> list[str]:
        """Return what clients may call the broker; none before it has a certificate."""
        certificate = self._layout.server_certificate
        return certificates.hosts_of(read(certificate)) if certificate.exists() else []

    def make_device(self, name: str, login: Login, *, renew: bool) -> None:
        """Make a device's key and certificate, and keep a copy of the certificate to revoke it by."""
        authority = self._authority()
        self._make_pair(
            login.certificate,
            login.key,
            lambda key: authority.issue_device(key, name, self._now),
            renew=renew,
        )
        pem = read(login.certificate)
        self._files.make(self._layout.issued / name / f"{_serial_number(pem):x}.crt", pem)

    def issued_to(self, name: str) -> list[Path]:
        """Return the copies of the certificates of a device that are not revoked."""
        return sorted((self._layout.issued / name).glob("*.crt"))

    def revoke(self, name: str) -> None:
        """Revoke the certificates of a device."""
        copies = self.issued_to(name)
        if not copies:
            return
        revoked = (
            certificates.revoked_in(read(self._layout.revoked)) if self._layout.revoked.exists() else set()
        )
        revoked |= {_serial_number(read(copy)) for copy in copies}
        self._files.replace(self._layout.revoked, self._authority().revoke(sorted(revoked), self._now))
        for copy in copies:
            self._files.remove(copy)
        (self._layout.issued / name).rmdir()

    def _authority(self) -> Authority:
        for path in (self._layout.ca_certificate, self._layout.ca_key):
            if not path.exists():
                raise ProvisionError(f"{path} is missing; put it back, without it nothing can be signed")
        return Authority(read(self._layout.ca_certificate), read(self._layout.ca_key))

    def _make_pair(self, certificate: Path, key: Path, issue: Callable[[str], str], *, renew: bool) -> None:
        """Make a key, then its certificate; a key without one, after a power cut, gets it later."""
        if renew:
            self._files.replace(key, certificates.new_key())
        elif key.exists():
            self._files.keep(key)
        else:
            self._files.make(key, certificates.new_key())
        if certificate.exists() and certificates.belongs(read(certificate), read(key)):
            self._files.keep(certificate)
        else:
            self._files.replace(certificate, issue(read(key)))


def _serial_number(pem: str) -> int:
    return certificates.load_certificate(pem, "a device's certificate").serial_number
