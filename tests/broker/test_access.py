"""From the sidecar's settings to where and as whom it connects."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from thingjobs_broker.access import access_of
from thingjobs_broker.config import SidecarSettings
from thingjobs_broker.host import StartError
from thingjobs_broker.transport import Access


def access(broker: str, **settings: Any) -> Access:
    """What the settings lead to."""
    return access_of(SidecarSettings(broker=broker, **settings), receive_maximum=10)


def test_an_address_is_taken_apart() -> None:
    """Scheme, user, host and port, the port by the scheme."""
    plain = access("mqtt://127.0.0.1")
    assert (plain.host, plain.port, plain.user, plain.tls) == ("127.0.0.1", 1883, None, None)
    secure = access("mqtts://thingjobs%2Dservice@broker.example", password="s")
    assert (secure.host, secure.port, secure.user) == ("broker.example", 8883, "thingjobs-service")
    assert secure.tls is not None
    assert secure.tls.verify_mode is ssl.CERT_REQUIRED
    assert access("mqtt://[::1]:1900").host == "::1"
    assert access("mqtt://127.0.0.1", mqtt_version="3.1.1").mqtt_5 is False


@pytest.mark.parametrize(
    "broker",
    ["", "127.0.0.1:1883", "http://host", "mqtt://", "mqtt://host:99999", "mqtt://host/path", "mqtt://h:x"],
)
def test_what_is_no_address_is_named(broker: str) -> None:
    """With an example of one that is."""
    with pytest.raises(StartError, match=r"mqtt\[s\]://\[USER@\]HOST\[:PORT\]"):
        access(broker)


@pytest.mark.parametrize("broker", ["mqtts://user:hush@host", "mqtts://user:hush@host:99999"])
def test_a_password_in_the_address_is_refused_and_not_repeated(broker: str) -> None:
    """Others can read the arguments of a process."""
    with pytest.raises(StartError) as refused:
        access(broker)
    assert "hush" not in str(refused.value)


def test_a_password_does_not_travel_in_clear() -> None:
    """Unless it stays on this machine, or it is asked for."""
    with pytest.raises(StartError, match="--insecure"):
        access("mqtt://user@broker.example", password="hush")
    assert access("mqtt://user@broker.example", password="hush", insecure=True).password == "hush"
    assert "hush" not in repr(access("mqtt://user@localhost", password="hush"))


def test_a_password_needs_a_user() -> None:
    """It would be sent for nobody."""
    with pytest.raises(StartError, match="user"):
        access("mqtt://localhost", password="hush")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """The certificate authority's, and the service's own."""
    with pytest.raises(StartError, match="no-such-ca"):
        access("mqtts://host", ca_file=str(tmp_path / "no-such-ca"))
    with pytest.raises(StartError, match="no-such-cert"):
        access("mqtts://host", certificate_file=str(tmp_path / "no-such-cert"))
