"""The TLS settings of the embedded broker: what does not fit together or cannot be read is named."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from thingjobs_broker.config import Settings
from thingjobs_broker.host import StartError
from thingjobs_broker.plugin import check
from thingjobs_broker.provision.layout import Layout
from thingjobs_broker.provision.setup import Setup
from thingjobs_broker.tls import certified_name, server_context


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A directory with a CA and a broker's certificate."""
    one = Setup(tmp_path_factory.mktemp("tls") / "setup")
    one.create(["localhost"], "amqtt")
    return one.layout


def tls_settings(layout: Layout, **changes: Any) -> Settings:
    """Settings that work, but for the changes."""
    options: dict[str, Any] = {
        "tls_listen": ["127.0.0.1:0"],
        "tls_certificate": str(layout.server_certificate),
        "tls_key": str(layout.server_key),
        "tls_ca": str(layout.client_ca),
        "tls_crl": str(layout.revoked),
    }
    return Settings(**(options | changes))


def test_the_context_verifies_who_shows_a_certificate(layout: Layout) -> None:
    """TLS 1.2 or later; certificates are optional or required; without a CA nobody is asked."""
    context = server_context(tls_settings(layout))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_OPTIONAL
    assert context.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF
    required = server_context(tls_settings(layout, tls_require_certificate=True))
    assert required.verify_mode is ssl.CERT_REQUIRED
    assert server_context(tls_settings(layout, tls_ca="", tls_crl="")).verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tls_listen": []}, "tls_certificate is given, but no address to listen on with TLS"),
        ({"tls_certificate": ""}, "tls_listen needs the broker's certificate"),
        ({"tls_ca": ""}, "tls_crl needs tls_ca"),
        (
            {"tls_ca": "", "tls_crl": "", "tls_require_certificate": True},
            "tls_require_certificate needs tls_ca",
        ),
        ({"tls_listen": ["8883"]}, "listen address '8883' is not HOST:PORT"),
    ],
)
def test_settings_that_would_do_less_than_they_say_are_refused(
    layout: Layout, changes: dict[str, Any], message: str
) -> None:
    """A security setting that has no effect must not look as if it had."""
    with pytest.raises(StartError, match=message):
        check(tls_settings(layout, **changes))


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key", "tls_ca", "tls_crl"])
@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_that_cannot_be_used_is_named(
    layout: Layout, tmp_path: Path, name: str, content: str | None
) -> None:
    """Missing, empty or something else."""
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(StartError, match=r"file\.pem( and \S+)? cannot be used: \S+"):
        server_context(tls_settings(layout, **{name: str(path)}))


def test_a_key_of_another_certificate_is_refused(layout: Layout) -> None:
    """The two are made together."""
    with pytest.raises(StartError, match="key values mismatch"):
        server_context(tls_settings(layout, tls_key=str(layout.ca_key)))


def test_outside_a_connection_nobody_is_certified() -> None:
    """A listener that is not ours, such as amqtt's own, vouches for nobody."""
    assert certified_name() is None
