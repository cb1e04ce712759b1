"""The address of a broker, taken apart for the service and for the commands alike."""

import pytest

from thingjobs_broker.broker_url import BrokerUrl, is_loopback, parse_broker_url


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("mqtt://gateway", BrokerUrl("gateway", 1883, None, tls=False)),
        ("mqtts://gateway", BrokerUrl("gateway", 8883, None, tls=True)),
        ("mqtt://ada@gateway:1/", BrokerUrl("gateway", 1, "ada", tls=False)),
        ("mqtt://a%40b@gateway", BrokerUrl("gateway", 1883, "a@b", tls=False)),
        ("mqtts://[::1]:1884", BrokerUrl("::1", 1884, None, tls=True)),
    ],
)
def test_an_address_gives_host_port_user_and_tls(address: str, expected: BrokerUrl) -> None:
    """Port 1883 for mqtt, 8883 with TLS for mqtts; a user name may be percent-encoded."""
    assert parse_broker_url(address) == expected


@pytest.mark.parametrize(
    "address",
    [
        *("", "gateway", "gateway:1883", "http://gateway", "mqtt://", "mqtt:gateway", "mqtt://h:0x1"),
        *("mqtt://h:99999", "mqtt://h:0", "mqtt://[::1", "mqtt://h/topic", "mqtt://h?a=b", "mqtt://h#f"),
    ],
)
def test_what_is_no_address_is_named_with_an_example(address: str) -> None:
    """One line that says what is expected."""
    with pytest.raises(ValueError) as raised:
        parse_broker_url(address)
    assert str(raised.value).startswith(
        f"broker {address!r} is not mqtt[s]://[USER@]HOST[:PORT], such as mqtts:"
    )


@pytest.mark.parametrize(
    "address",
    [
        *(
            "mqtt://ada:hush@gateway",
            "mqtt://ada:hush@gateway:no",
            "ada:hush@gateway",
            "mqtt://ada:hu/sh@gateway",
        ),
        *("mqtt://ada:hush//hush@gateway", "mqtt://ada:hush@hush@gateway/x", "//ada:hush@gateway"),
    ],
)
def test_a_password_is_refused_and_never_repeated(address: str) -> None:
    """Whatever else is wrong with the address."""
    with pytest.raises(ValueError) as raised:
        parse_broker_url(address)
    assert "hush" not in str(raised.value)
    assert "hu/sh" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.9", True),
        ("::1", True),
        ("192.0.2.7", False),
        ("localhost.example", False),
    ],
)
def test_loopback_is_known(host: str, expected: bool) -> None:
    """Only there may a password travel in clear."""
    assert is_loopback(host) is expected
