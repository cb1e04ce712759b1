"""Who a client is: the password file, and the checks of an amqtt whose plugins somebody else has chosen."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from amqtt.plugins.authentication import AnonymousAuthPlugin

from thingjobs_broker import authentication
from thingjobs_broker.authentication import (
    Anyone,
    NoPlainTopics,
    PasswordFile,
    PasswordFileError,
    hash_password,
    verify_password,
)
from thingjobs_broker.config import Settings
from thingjobs_broker.host import StartError
from thingjobs_broker.plugin import broker_config, check, check_plugins


def plugin(kind: type[Any], **options: Any) -> Any:
    """A plugin as amqtt makes it."""
    return kind(SimpleNamespace(config=kind.Config(**options)))


def session(user: str | None, password: str | None) -> Any:
    """What amqtt asks about."""
    return SimpleNamespace(username=user, password=password, ssl_object=None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A password file with one user."""
    path = tmp_path / "passwd"
    path.write_text(f"# devices\n\npress-7:{hash_password('secret')}\n", encoding="utf-8")
    return path


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("user", "password", "is_right"),
    [
        ("press-7", "secret", True),
        ("press-7?SDK=Python&Version=1.6.2", "secret", True),
        ("press-7", "Secret", False),
        ("press-7", "", False),
        ("press-7", None, False),
        ("press-8", "secret", False),
        ("?SDK=Python", "secret", False),
        ("", "secret", False),
        (None, "secret", False),
        (None, None, False),
    ],
)
async def test_a_password_counts_for_its_user_alone(
    file: Path, user: str | None, password: str | None, is_right: bool
) -> None:
    """Client quirks: what an SDK appends to the name is not part of it."""
    asked = session(user, password)
    assert await plugin(PasswordFile, file=str(file)).authenticate(session=asked) is is_right
    if is_right:
        assert asked.username == "press-7"


@pytest.mark.asyncio
async def test_without_a_file_nobody_has_a_password() -> None:
    """A broker for certificates alone."""
    assert await plugin(PasswordFile).authenticate(session=session("press-7", "secret")) is False


@pytest.mark.asyncio
async def test_a_session_of_a_certified_client_is_not_believed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amqtt leaves the certificate of the earlier connection in a resumed session; ours alone counts."""
    asked = session("drill-7", None)
    earlier = {"subject": ((("commonName", "drill-7"),),)}
    asked.ssl_object = SimpleNamespace(getpeercert=lambda: earlier)
    assert await plugin(PasswordFile, file=str(file)).authenticate(session=asked) is False
    monkeypatch.setattr(authentication, "certified_name", lambda: "drill-8")
    assert await plugin(PasswordFile, file=str(file)).authenticate(session=asked) is True
    assert asked.username == "drill-8"


def replace(file: Path, text: str) -> None:
    """Another file under the name, as an editor leaves it."""
    beside = file.with_name("new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


@pytest.mark.asyncio
async def test_a_changed_file_counts_at_the_next_login(file: Path) -> None:
    """A new password needs no restart; a file that cannot be read leaves the last one in force."""
    door = plugin(PasswordFile, file=str(file))
    replace(file, f"press-8:{hash_password('other')}\n")
    assert await door.authenticate(session=session("press-8", "other")) is True
    assert await door.authenticate(session=session("press-7", "secret")) is False
    replace(file, "no colon")
    assert await door.authenticate(session=session("press-8", "other")) is True


@pytest.mark.parametrize("line", ["press-7", "press-7:secret", "press-7:$6$salt$hash", "a:b:$7$1$x$y"])
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    """File and number, and nothing of what the line says: it may be a password."""
    path = tmp_path / "passwd"
    path.write_text(f"# first\n{line}\n", encoding="utf-8")
    with pytest.raises(PasswordFileError, match=r"passwd:2: expected NAME:\$7\$"):
        plugin(PasswordFile, file=str(path))


@pytest.mark.parametrize(
    "hashed", ["", "$7$", "$7$x$y$z", "$6$1$AA$AA", "$7$0$AA$AA", "$7$99999999999$AA$AA"]
)
def test_a_hash_that_is_none_fits_no_password(hashed: str) -> None:
    """Neither does it raise."""
    assert verify_password("", hashed) is False


@pytest.mark.asyncio
async def test_plain_topics_are_refused_when_they_are_denied() -> None:
    """Whoever asks, for whatever."""
    assert await plugin(NoPlainTopics).topic_filtering(session=None, topic="a", action=None) is False


def test_a_broker_that_takes_clients_at_their_word_does_not_start() -> None:
    """`amqtt -c` with plugins that check nothing: a user name would be an identity that anyone may claim."""
    anyone, anonymous = plugin(Anyone), AnonymousAuthPlugin.__new__(AnonymousAuthPlugin)
    for doors in ([], [anyone], [anonymous], [anyone, anonymous]):
        with pytest.raises(StartError, match="nothing checks who a client is"):
            check_plugins(Settings(), doors)
        check_plugins(Settings(anonymous=True), doors)
    check_plugins(Settings(), [plugin(PasswordFile), anonymous])


def test_denied_plain_topics_need_the_plugin_that_denies_them() -> None:
    """`thingjobs up` adds it; with `amqtt -c` it stands in the YAML, or the broker does not start."""
    denying = Settings(plain_topics="deny", password_file="passwd")
    with pytest.raises(StartError, match=r"add thingjobs_broker\.authentication\.NoPlainTopics"):
        check_plugins(denying, [plugin(PasswordFile)])
    check_plugins(denying, [plugin(PasswordFile), plugin(NoPlainTopics)])
    assert "thingjobs_broker.authentication.NoPlainTopics" in broker_config(denying)["plugins"]
    assert "thingjobs_broker.authentication.NoPlainTopics" not in broker_config(Settings())["plugins"]


@pytest.mark.parametrize("setting", ["listen", "tls_listen"])
def test_anonymous_access_is_for_loopback_only(setting: str) -> None:
    """With TLS, too: it says nothing about who the client is."""
    settings = Settings(anonymous=True, tls_certificate="x" if setting == "tls_listen" else "")
    with pytest.raises(StartError, match=r"anonymous access is for loopback only, not for 0\.0\.0\.0:1"):
        check(dataclasses.replace(settings, **{setting: ["0.0.0.0:1"]}))  # type: ignore[arg-type]
