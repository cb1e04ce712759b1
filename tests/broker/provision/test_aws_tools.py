"""The command for AWS's tools: the address that clients use, for each way to set the HTTP listener."""

import shlex
from pathlib import Path

import pytest

from thingjobs_broker.provision.aws_tools import aws_commands
from thingjobs_broker.provision.layout import Login

LOGIN = Login(Path("/etc/thing jobs/operators/ada"))
UP = Path("/etc/up.toml")
SERVE = Path("/etc/serve.toml")
HOSTS = ["broker.example", "192.0.2.7", "::1"]


def variables(*settings: str) -> dict[str, str]:
    """What the last line sets."""
    files = dict(zip((UP, SERVE), settings, strict=False))
    words = shlex.split(aws_commands(LOGIN, files, HOSTS)[-1])
    assert words[-3:] == ["aws", "iot", "list-jobs"]
    return dict(word.split("=", 1) for word in words[:-3])


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ('http = {listen = "0.0.0.0:8080", tls = true}', "https://broker.example:8080"),
        ('http = {listen = "[::]:8080", tls = true}', "https://broker.example:8080"),
        ('http = {listen = ":8080"}', "http://broker.example:8080"),
        ('http = {listen = "192.0.2.7:8080", tls = true}', "https://192.0.2.7:8080"),
        ('http = {listen = "[::1]:8080", tls = true}', "https://[::1]:8080"),
        ('http = {listen = "127.0.0.1:8080", tls = true}', "https://broker.example:8080"),
        ('http = {listen = "127.0.0.1:8080"}', "http://127.0.0.1:8080"),
        (
            'public_host = "out.example"\nhttp = {listen = "10.0.0.1:80", tls = true}',
            "https://out.example:80",
        ),
        ("http = {tls = true}", "https://broker.example:PORT"),
        ('http = {listen = "127.0.0.1:0", tls = true}', "https://broker.example:PORT"),
        ('http = {listen = "nonsense:x"}', "http://broker.example:PORT"),
        ("http = 3", "http://broker.example:PORT"),
        ("this is no TOML", "https://broker.example:PORT"),
    ],
)
def test_the_address_is_that_of_the_listener(settings: str, address: str) -> None:
    """Where it is open to all, or its certificate has another name, the broker's first name."""
    given = variables(settings)
    assert given["AWS_ENDPOINT_URL"] == address
    assert ("AWS_CA_BUNDLE" in given) is address.startswith("https")


def test_the_listener_may_stand_in_either_file() -> None:
    """After a setup for both brokers the one that listens is meant; no hint is needed."""
    serving = 'region = "eu"\nhttp = {listen = "0.0.0.0:1", tls = true}'
    given = variables("http = {tls = true}", serving)
    assert given["AWS_ENDPOINT_URL"] == "https://broker.example:1"
    assert given["AWS_DEFAULT_REGION"] == "eu"
    assert given["AWS_SHARED_CREDENTIALS_FILE"] == str(LOGIN.credentials)
    assert len(aws_commands(LOGIN, {UP: "", SERVE: serving}, HOSTS)) == 1


def test_without_settings_the_option_is_named() -> None:
    """As where amqtt runs the service as its plugin."""
    hint, command = aws_commands(LOGIN, {}, [])
    assert hint == "PORT is that of the HTTP listener, set with --http HOST:PORT"
    assert command.startswith("AWS_ENDPOINT_URL=https://HOST:PORT ")
