"""The broker's address: defaults, wrong forms, and no password where others can read it."""

from pathlib import Path

import pytest

from thingjobs_broker.cli.broker_address import BrokerAddress, broker_address
from thingjobs_broker.cli.errors import CliError, UsageError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://gateway", BrokerAddress("gateway", 1883)),
        ("mqtt://127.0.0.1:1884/", BrokerAddress("127.0.0.1", 1884)),
        ("mqtt://ada@gateway:1", BrokerAddress("gateway", 1, "ada")),
        ("mqtt://a%40b@gateway", BrokerAddress("gateway", 1883, "a@b")),
        ("mqtt://[::1]:1883", BrokerAddress("::1", 1883)),
        ("mqtts://gateway", BrokerAddress("gateway", 8883, tls=True)),
    ],
)
def test_an_address_gives_host_port_user_and_tls(url: str, address: BrokerAddress) -> None:
    """Port 1883 for mqtt, 8883 with TLS for mqtts; a user name may be percent-encoded."""
    assert broker_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        *("", "gateway", "gateway:1883", "http://gateway", "mqtt://", "mqtt:gateway", "mqtt://h:0x1"),
        *("mqtt://h:99999", "mqtt://[::1", "mqtt://h/topic", "mqtt://h?a=b", "mqtt://h#f"),
    ],
)
def test_a_wrong_address_is_an_error_of_usage(url: str) -> None:
    """One line that says what is expected."""
    with pytest.raises(UsageError, match=r"is not mqtt\[s\]://\[USER@\]HOST\[:PORT\]") as raised:
        broker_address(url)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("url", ["mqtt://ada:hunter2@gateway", "mqtt://ada:hunter2@gateway:no"])
def test_a_password_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    """Arguments can be read by every user of the machine."""
    with pytest.raises(UsageError) as raised:
        broker_address(url)
    assert "hunter2" not in str(raised.value)


def test_the_password_comes_from_the_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file wins; neither shows in what is printed of the address."""
    monkeypatch.setenv("THINGJOBS_PASSWORD", "hunter2")
    assert broker_address("mqtt://ada@gateway").password == "hunter2"
    (tmp_path / "password").write_text("hunter3\n")
    address = broker_address("mqtt://ada@gateway", password_file=str(tmp_path / "password"))
    assert address.password == "hunter3"
    assert "hunter" not in f"{address} {address!r}"


def test_a_password_without_a_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """MQTT 3.1.1 knows no password without a user name; the broker would refuse it without saying why."""
    monkeypatch.setenv("THINGJOBS_PASSWORD", "hunter2")
    with pytest.raises(
        UsageError, match="a password needs a user name: give the broker as mqtt://USER@gateway"
    ):
        broker_address("mqtt://gateway")


@pytest.mark.parametrize(
    "given", [{"ca_file": "ca.pem"}, {"topic_root": "a/b"}, {"topic_root": "+"}, {"topic_root": ""}]
)
def test_options_that_do_not_fit_are_refused(given: dict[str, str]) -> None:
    """A CA file without TLS would be ignored in silence; a topic root is one level."""
    with pytest.raises(CliError):
        broker_address("mqtt://gateway", **given)  # type: ignore[arg-type]
