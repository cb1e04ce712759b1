"""Settings: one set of names, clear errors, no secret where others can see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thingjobs_agent.config import Broker, Settings, absolute, broker_of, load_config
from thingjobs_agent.errors import UsageError


def broker(**settings: Any) -> Broker:
    return broker_of(Settings(**({"thing": "press-7"} | settings)))


def refusal(**settings: Any) -> str:
    with pytest.raises(UsageError) as caught:
        broker(**settings)
    return str(caught.value)


def test_file_environment_and_flags_share_their_names(tmp_path: Path) -> None:
    """Issue 6: flags over environment over file."""
    path = tmp_path / "agent.toml"
    path.write_text('thing = "from-file"\nrestarts_max = 7\nkeepalive_seconds = 30\n')
    environ = {"THINGJOBS_AGENT_RESTARTS_MAX": "8", "THINGJOBS_AGENT_KEEPALIVE_SECONDS": "40"}
    settings = load_config(str(path), {"keepalive_seconds": "50"}, environ).settings
    assert (settings.thing, settings.restarts_max, settings.keepalive_seconds) == ("from-file", 8, 50)


def test_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    """Service managers set variables more easily than options."""
    path = tmp_path / "agent.toml"
    path.write_text('thing = "x"\n')
    assert load_config(None, {}, {"THINGJOBS_AGENT_CONFIG": str(path)}).settings.thing == "x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("thingg = 1", "did you mean 'thing'?"),
        ("thing = ", "is not TOML"),
        ("keepalive_seconds = 1", "from 5 to 3600"),
    ],
)
def test_bad_file_is_named_with_its_fault(tmp_path: Path, text: str, expected: str) -> None:
    """One line."""
    path = tmp_path / "agent.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"agent\.toml") as caught:
        load_config(str(path), {}, {})
    assert expected in str(caught.value)


def test_missing_file_is_named() -> None:
    """One line."""
    with pytest.raises(UsageError, match=r"no\.toml cannot be read: No such file"):
        load_config("no.toml", {}, {})


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("mqtt://broker", "broker", 1883),
        ("mqtt://10.0.0.1:2883/", "10.0.0.1", 2883),
        ("mqtt://[::1]:1884", "::1", 1884),
    ],
)
def test_broker_address_is_read(url: str, host: str, port: int) -> None:
    """Default ports by scheme."""
    read = broker(broker=url)
    assert (read.host, read.port, read.tls) == (host, port, None)


def test_tls_broker_has_its_own_port_and_checks_certificates() -> None:
    """Mqtts with the system's certificates."""
    read = broker(broker="mqtts://broker")
    assert read.port == 8883
    assert read.tls is not None
    assert read.tls.check_hostname


@pytest.mark.parametrize(
    "url", ["broker", "http://broker", "mqtt://", "mqtt://b:99999", "mqtt://b/x", "mqtt://b:0"]
)
def test_bad_address_is_refused_with_an_example(url: str) -> None:
    """Says what was expected."""
    assert "must look like mqtt://host:1883" in refusal(broker=url)


def test_password_in_the_address_is_refused_and_not_shown() -> None:
    """House rule: no secrets in arguments or messages."""
    message = refusal(broker="mqtt://user:hunter2@broker")
    assert "password_file" in message
    assert "hunter2" not in message


def test_identity_is_the_thing_unless_given() -> None:
    """Architecture 2: user name and client id are the thing's name."""
    read = broker()
    assert (read.client_id, read.username, read.password) == ("press-7", "press-7", None)
    assert broker(broker="mqtt://us%65r@broker").username == "user"
    assert broker(broker="mqtt://user@broker", username="other").username == "other"


def test_password_comes_from_the_first_line_of_its_file(tmp_path: Path) -> None:
    """Editors end files with a newline."""
    path = tmp_path / "password"
    path.write_text("hunter2\r\n")
    path.chmod(0o600)
    read = broker(password_file=str(path))
    assert read.password == "hunter2"
    assert "hunter2" not in repr(read)


def test_two_passwords_are_refused(tmp_path: Path) -> None:
    """Which one would be meant?"""
    (tmp_path / "p").write_text("x")
    assert "both given" in refusal(password="x", password_file=str(tmp_path / "p"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"thing": ""}, "thing is missing"),
        ({"thing": "a/b"}, "thing must be 1 to 128 characters"),
        ({"topic_root": "#"}, "topic_root must be"),
        ({"password_file": "nowhere"}, "password_file nowhere cannot be read"),
        ({"tls_ca_file": "ca.pem"}, "need a broker with mqtts://"),
        ({"broker": "mqtts://b", "tls_ca_file": "nowhere"}, "tls_ca_file nowhere cannot be read"),
        ({"broker": "mqtts://b", "tls_key_file": "k"}, "without tls_cert_file"),
    ],
)
def test_wrong_setting_is_named(settings: dict[str, Any], expected: str) -> None:
    """Each in one line."""
    assert expected in refusal(**settings)


def test_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    """Found at the start, not at the first connect."""
    (tmp_path / "ca.pem").write_text("hello")
    assert "TLS files cannot be used" in refusal(broker="mqtts://b", tls_ca_file=str(tmp_path / "ca.pem"))


def test_durations_reach_the_machine_in_milliseconds() -> None:
    """Units."""
    limits = Settings(step_timeout_seconds=5, cancel_grace_period_seconds=2, restarts_max=1).limits()
    assert (limits.step_timeout_ms, limits.grace_ms, limits.restarts_max) == (5000, 2000, 1)


def test_directories_become_absolute() -> None:
    """Handlers run in another directory than the agent."""
    assert absolute("x/../y") == Path.cwd() / "y"


def test_limits_are_those_that_were_set() -> None:
    """None of them is left at its default."""
    limits = Settings(
        heartbeat_seconds=11, reboots_max=7, reboot_wait_seconds=13, legacy_std_err=True
    ).limits()
    assert (limits.heartbeat_ms, limits.reboots_max, limits.reboot_wait_ms) == (11_000, 7, 13_000)
    assert limits.is_std_err_strict


def test_certificate_that_holds_its_key_is_private(tmp_path: Path) -> None:
    """Without tls_key_file the key stands in the certificate's file."""
    path = tmp_path / "device.pem"
    path.write_text("both")
    path.chmod(0o644)
    with pytest.raises(UsageError, match=r"which holds the key as well, .* can be read or written by others"):
        broker_of(Settings(thing="press-7", broker="mqtts://b", tls_cert_file=str(path)))
