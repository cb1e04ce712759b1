"""A private CA: its own certificate, those of broker and devices, and the list of the revoked ones.

Pure but for the randomness of keys and serial numbers. Keys are P-256. The purposes keep the roles apart: no
certificate of a device passes for a broker's, nor the reverse.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING, Final, Self, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from thingjobs_broker.provision.errors import ProvisionError
from thingjobs_broker.provision.names import COMMON_NAME_CHARACTERS_MAX, is_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography.x509 import Certificate, CertificateRevocationList

AUTHORITY_DAYS: Final = 20 * 365
CERTIFICATE_DAYS: Final = 10 * 365
"""Nobody drives to a gateway for a certificate, and one of the broker that expires cuts all of them off."""

BACKDATED: Final = dt.timedelta(days=1)
"""The clock of a device may be slow."""


def new_key() -> str:
    """Return a private key in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Authority:
    """The private CA, from its certificate and key in PEM."""

    def __init__(self, certificate: str, key: str) -> None:
        self.certificate = load_certificate(certificate, "the CA's certificate")
        self._key = _load_key(key, "the CA's key")
        if self.certificate.public_key() != self._key.public_key():
            raise ProvisionError("the CA's key does not belong to its certificate; put the right pair back")

    @classmethod
    def of_new_key(cls, key: str, now: dt.datetime) -> Self:
        """Return a CA with a certificate made now."""
        private = _load_key(key, "the CA's key")
        name = _name("thingjobs private CA")
        builder = _builder(name, name, private, now, AUTHORITY_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
        return cls(to_pem(builder.sign(private, hashes.SHA256())), key)

    def issue_server(self, key: str, hosts: Sequence[str], now: dt.datetime) -> str:
        """Return the certificate in PEM of a broker that is reached under these DNS names and addresses."""
        names: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host)
            for host in hosts
        ]
        names_extension = x509.SubjectAlternativeName(names)
        subject = _name(hosts[0][:COMMON_NAME_CHARACTERS_MAX])
        return self._issue(key, subject, ExtendedKeyUsageOID.SERVER_AUTH, now, names_extension)

    def issue_device(self, key: str, name: str, now: dt.datetime) -> str:
        """Return the certificate in PEM of a device; its CN is the thing name."""
        return self._issue(key, _name(name), ExtendedKeyUsageOID.CLIENT_AUTH, now)

    def revoke(self, serial_numbers: Iterable[int], now: dt.datetime) -> str:
        """Return the list in PEM of all revoked certificates. It never expires before the CA does."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(now - BACKDATED).next_update(self.certificate.not_valid_after_utc)
        for number in serial_numbers:
            revoked = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now).build()
            builder = builder.add_revoked_certificate(revoked)
        number_extension = x509.CRLNumber(int(now.timestamp() * 1000))
        builder = builder.add_extension(number_extension, critical=False)
        builder = builder.add_extension(self._key_identifier(), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def _issue(
        self,
        key: str,
        subject: x509.Name,
        purpose: x509.ObjectIdentifier,
        now: dt.datetime,
        *extensions: x509.ExtensionType,
    ) -> str:
        builder = _builder(
            subject, self.certificate.subject, _load_key(key, "the key"), now, CERTIFICATE_DAYS
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        for extension in (x509.ExtendedKeyUsage([purpose]), self._key_identifier(), *extensions):
            builder = builder.add_extension(extension, critical=False)
        return to_pem(builder.sign(self._key, hashes.SHA256()))

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())


def load_certificate(pem: str, what: str) -> Certificate:
    """Return a certificate from PEM.

    Raises:
        ProvisionError: it is none; `what` is how the message calls it.

    """
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise ProvisionError(f"{what} is no certificate in PEM; put the right file back") from None


def belongs(certificate: str, key: str) -> bool:
    """Tell whether a certificate was made for a key, both in PEM."""
    public = _load_key(key, "the key").public_key()
    return load_certificate(certificate, "the certificate").public_key() == public


def hosts_of(certificate: str) -> list[str]:
    """Return the DNS names and addresses of a broker's certificate in PEM, in its order."""
    loaded = load_certificate(certificate, "the broker's certificate")
    try:
        names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def revoked_in(pem: str) -> set[int]:
    """Return the serial numbers in a list of revoked certificates."""
    try:
        revoked: CertificateRevocationList = x509.load_pem_x509_crl(pem.encode())
    except ValueError:
        raise ProvisionError(
            "the list of revoked certificates is none in PEM; put the right file back"
        ) from None
    return {entry.serial_number for entry in revoked}


def to_pem(certificate: Certificate) -> str:
    """Return a certificate in PEM."""
    return certificate.public_bytes(Encoding.PEM).decode()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _load_key(pem: str, what: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise ProvisionError(f"{what} is no private key in PEM; put the right file back") from None
    # Whatever kind an admin brings, all that is asked of it is to sign.
    return cast("ec.EllipticCurvePrivateKey", key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
    days: int,
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
