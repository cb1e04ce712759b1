"""`provision.setup`: what is made, kept and refused, and that both brokers' files say the same."""

import datetime as dt
import fcntl
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # amqtt brings it along
from cryptography import x509

from thingjobs_agent import config as agent_config
from thingjobs_broker.authentication import read_password_file, verify_password
from thingjobs_broker.config import Settings, SidecarSettings
from thingjobs_broker.plugin import broker_config, check
from thingjobs_broker.provision import certificates
from thingjobs_broker.provision.errors import NameRefused, ProvisionError
from thingjobs_broker.provision.layout import Layout
from thingjobs_broker.provision.setup import BrokerKind, Setup
from thingjobs_protocol.settings import resolve

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def setup(folder: Path) -> Setup:
    return Setup(folder / "setup", NOW)


def made(folder: Path, *hosts: str, kind: BrokerKind = "amqtt") -> Layout:
    """A directory with a CA and one broker's files."""
    one = setup(folder)
    one.create(hosts or ["broker.example"], kind)
    return one.layout


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def settings_in(path: Path, kind: type[Any], prefix: str = "THINGJOBS") -> Any:
    file = tomllib.loads(path.read_text(encoding="utf-8"))
    return resolve(kind, file=file, environ={}, env_prefix=prefix, flags={})[0]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_can_read_what_was_made(tmp_path: Path, umask: int) -> None:
    """Files 0600, directories 0700, whatever the umask."""
    before = os.umask(umask)
    try:
        made(tmp_path, kind="mosquitto")
        made(tmp_path, kind="amqtt")
        setup(tmp_path).add_device("press-7")
        setup(tmp_path).add_device("drill-7", certificate=True)
        setup(tmp_path).add_operator("ada")
    finally:
        os.umask(before)
    paths = [tmp_path / "setup", *(tmp_path / "setup").rglob("*")]
    wrong = [p for p in paths if stat.S_IMODE(p.stat().st_mode) != (0o700 if p.is_dir() else 0o600)]
    assert wrong == []
    assert len(paths) > 20


def test_the_same_again_changes_nothing(tmp_path: Path) -> None:
    """Every command can be repeated; what is there is kept, and said to be."""

    def everything() -> list[Setup]:
        steps = [setup(tmp_path) for _ in range(5)]
        steps[0].create(["broker.example"], "amqtt")
        steps[1].create([], "mosquitto")
        steps[2].add_device("press-7")
        steps[3].add_device("drill-7", certificate=True)
        steps[4].add_operator("ada")
        return steps

    everything()
    before = contents(tmp_path)
    again = everything()
    assert contents(tmp_path) == before
    assert {fate for step in again for fate in step.files.fates.values()} == {"kept"}


@pytest.mark.parametrize("lost", ["server.crt", "server.key", "devices.crl", "ca.crt", "up.toml", "acl"])
def test_what_is_lost_is_made_again(tmp_path: Path, lost: str) -> None:
    """An interrupted start, or a file removed on purpose: the rest is kept, and the pair fits again."""
    made(tmp_path, kind="mosquitto")
    layout = made(tmp_path, kind="amqtt")
    setup(tmp_path).add_operator("ada")
    (layout.broker / lost).unlink()
    made(tmp_path, kind="amqtt")
    layout = made(tmp_path, kind="mosquitto")
    assert (layout.broker / lost).is_file()
    key, certificate = layout.server_key.read_text(), layout.server_certificate.read_text()
    assert certificates.belongs(certificate, key)
    assert "user ada" in layout.acl.read_text()
    assert settings_in(layout.up_settings, Settings).operators == ["thingjobs-operator", "ada"]


def test_a_lost_ca_key_is_no_reason_for_another_ca(tmp_path: Path) -> None:
    """Devices trust the old one; the message says what to put back, and nothing changes."""
    layout = made(tmp_path)
    layout.ca_key.unlink()
    before = contents(tmp_path)
    for act in (
        lambda: setup(tmp_path).create([], "amqtt", renew=True),
        lambda: setup(tmp_path).add_device("drill-7", certificate=True),
    ):
        with pytest.raises(ProvisionError, match=r"ca\.key is missing; put it back"):
            act()
    assert contents(tmp_path).items() >= before.items()


def test_the_certificate_of_the_broker_has_all_its_names(tmp_path: Path) -> None:
    """DNS names and addresses, the given ones first, and what programs on the machine call it."""
    layout = made(tmp_path, "broker.example", "192.0.2.7", "2001:db8::7")
    certificate = layout.server_certificate.read_text()
    assert certificates.hosts_of(certificate) == [
        *("broker.example", "192.0.2.7", "2001:db8::7"),
        *("localhost", "127.0.0.1"),
    ]


def test_another_name_for_the_broker_needs_a_new_certificate(tmp_path: Path) -> None:
    """It is asked for, since devices may hold on to the old one; with `renew` it is made, the CA stays."""
    layout = made(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ProvisionError, match=r"not for other\.example; give --renew to replace it"):
        setup(tmp_path).create(["other.example"], "amqtt")
    assert contents(tmp_path) == before
    setup(tmp_path).create(["other.example"], "amqtt", renew=True)
    assert certificates.hosts_of(layout.server_certificate.read_text())[0] == "other.example"
    assert layout.ca_certificate.read_bytes() == before[str(layout.ca_certificate)]
    assert layout.server_key.read_bytes() != before[str(layout.server_key)]


@pytest.mark.parametrize(
    "host", ["", "a b", "x/y", "ex\u00e4mple", "-a", "a..b", "mqtts://a", "1.2.3.4:1", "a" * 64]
)
def test_a_host_that_is_none_is_refused(tmp_path: Path, host: str) -> None:
    """Before anything is made."""
    with pytest.raises(NameRefused, match="a host is a DNS name or an IP address"):
        setup(tmp_path).create([host], "amqtt")
    assert not (tmp_path / "setup").exists()


def test_thingjobs_up_takes_the_settings(tmp_path: Path) -> None:
    """up.toml and amqtt.yaml say the same, and every check of the service passes."""
    layout = made(tmp_path)
    settings = settings_in(layout.up_settings, Settings)
    check(settings)
    yaml_file = yaml.safe_load(layout.amqtt_yaml.read_text())
    wanted = broker_config(settings)
    assert yaml_file["listeners"] == wanted["listeners"]
    assert list(yaml_file["plugins"]) == list(wanted["plugins"])
    plugin, settings_of_plugin = next(iter(yaml_file["plugins"].items()))
    http = settings_of_plugin.pop("http")
    assert wanted["plugins"][plugin]["http"].items() >= http.items()
    assert wanted["plugins"][plugin].items() >= settings_of_plugin.items()


def test_the_service_beside_mosquitto_takes_its_settings(tmp_path: Path) -> None:
    """Its password is the one in the password file, as is that of the device with which it tries rights."""
    layout = made(tmp_path, kind="mosquitto")
    settings = settings_in(layout.service.service_settings, SidecarSettings)
    hashes = read_password_file(layout.passwords)
    assert settings.broker == "mqtt://thingjobs-service@127.0.0.1:1883"
    assert verify_password(settings.password, hashes["thingjobs-service"])
    assert settings.check_user == "thingjobs-check"
    assert verify_password(settings.check_password, hashes["thingjobs-check"])


@pytest.mark.parametrize(
    ("kind", "certificate", "port"),
    [("amqtt", False, 8883), ("amqtt", True, 8883), ("mosquitto", False, 8883), ("mosquitto", True, 8884)],
)
def test_an_agent_takes_its_settings(tmp_path: Path, kind: BrokerKind, certificate: bool, port: int) -> None:
    """Read by the agent's own code: address, credential and CA fit together."""
    made(tmp_path, kind=kind)
    login = setup(tmp_path).add_device("press-7", certificate=certificate)
    settings = agent_config.load_config(str(login.settings), {}, {}).settings
    broker = agent_config.broker_of(settings)
    assert (broker.host, broker.port, broker.username) == ("broker.example", port, "press-7")
    assert broker.tls is not None
    assert (broker.password is None) is certificate


def test_settings_name_the_files_where_they_will_lie(tmp_path: Path) -> None:
    """The files are copied to the device afterwards."""
    made(tmp_path)
    login = setup(tmp_path).add_device("press-7", device_directory=Path("/etc/agent"), url="mqtts://b:1")
    settings = tomllib.loads(login.settings.read_text())
    assert settings == {
        "thing": "press-7",
        "broker": "mqtts://b:1",
        "tls_ca_file": "/etc/agent/ca.crt",
        "password_file": "/etc/agent/password",
    }


def test_a_device_has_one_kind_of_credential(tmp_path: Path) -> None:
    """The other kind is refused, or replaces the first one, which then opens nothing."""
    layout = made(tmp_path)
    setup(tmp_path).add_device("press-7")
    with pytest.raises(ProvisionError, match="press-7 has a password; give --renew to replace it by a cert"):
        setup(tmp_path).add_device("press-7", certificate=True)
    login = setup(tmp_path).add_device("press-7", certificate=True, renew=True)
    assert "press-7" not in read_password_file(layout.passwords)
    assert not login.password.exists()
    number = x509.load_pem_x509_certificate(login.certificate.read_bytes()).serial_number
    with pytest.raises(
        ProvisionError, match="press-7 has a certificate; give --renew to replace it by a pass"
    ):
        setup(tmp_path).add_device("press-7")
    setup(tmp_path).add_device("press-7", renew=True)
    assert not login.certificate.exists()
    assert not login.key.exists()
    assert certificates.revoked_in(layout.revoked.read_text()) == {number}
    assert "password_file" in login.settings.read_text()


@pytest.mark.parametrize("certificate", [False, True])
def test_a_credential_that_was_taken_away_is_not_made_anew_unasked(tmp_path: Path, certificate: bool) -> None:
    """An admin may move the files to the device; the same command must not lock it out."""
    made(tmp_path)
    login = setup(tmp_path).add_device("press-7", certificate=certificate)
    (login.key if certificate else login.password).unlink()
    before = contents(tmp_path)
    with pytest.raises(ProvisionError, match="any more; give --renew"):
        setup(tmp_path).add_device("press-7", certificate=certificate)
    assert contents(tmp_path) == before


def test_a_new_password_replaces_the_old_one(tmp_path: Path) -> None:
    """The other lines of the password file stay, those of other tools included."""
    layout = made(tmp_path)
    login = setup(tmp_path).add_device("press-7")
    setup(tmp_path).add_device("press-8")
    first = login.password.read_text().strip()
    others = [line for line in layout.passwords.read_text().splitlines() if not line.startswith("press-7:")]
    setup(tmp_path).add_device("press-7", renew=True)
    second = login.password.read_text().strip()
    hashed = read_password_file(layout.passwords)["press-7"]
    assert verify_password(second, hashed)
    assert not verify_password(first, hashed)
    assert set(others) < set(layout.passwords.read_text().splitlines())


def test_a_revoked_device_is_gone(tmp_path: Path) -> None:
    """Password and certificates; a second one revoked later does not forgive the first."""
    layout = made(tmp_path)
    numbers = set()
    for name in ("drill-7", "drill-8"):
        login = setup(tmp_path).add_device(name, certificate=True)
        numbers.add(x509.load_pem_x509_certificate(login.certificate.read_bytes()).serial_number)
        setup(tmp_path).revoke_device(name)
        assert not login.root.exists()
    assert certificates.revoked_in(layout.revoked.read_text()) == numbers
    setup(tmp_path).add_device("press-7")
    setup(tmp_path).revoke_device("press-7")
    assert "press-7" not in read_password_file(layout.passwords)
    with pytest.raises(ProvisionError, match="there is no device press-7"):
        setup(tmp_path).revoke_device("press-7")


def test_operators_are_told_to_every_broker(tmp_path: Path) -> None:
    """Also to one that is set up later; an edited file keeps its other lines."""
    layout = made(tmp_path)
    setup(tmp_path).add_operator("ada")
    layout.up_settings.write_text(layout.up_settings.read_text() + 'plain_topics = "deny"\n')
    made(tmp_path, kind="mosquitto")
    setup(tmp_path).add_operator("bob")
    settings = settings_in(layout.up_settings, Settings)
    assert settings.operators == ["thingjobs-operator", "ada", "bob"]
    assert settings.plain_topics == "deny"
    acl = layout.acl.read_text()
    assert [line for line in acl.splitlines() if line.startswith("user ")] == [
        *("user thingjobs-service", "user thingjobs-operator", "user ada", "user bob"),
    ]
    assert acl.count("topic write $aws/control/+/+") == 3


def test_an_operators_line_written_by_hand_is_not_guessed_at(tmp_path: Path) -> None:
    """What cannot be read is refused, with what to do."""
    layout = made(tmp_path)
    text = layout.up_settings.read_text().replace('["thingjobs-operator"]', "['me']")
    layout.up_settings.write_text(text)
    with pytest.raises(ProvisionError, match='give it one with "ada"'):
        setup(tmp_path).add_operator("ada")
    assert layout.up_settings.read_text() == text


def test_nobody_is_device_and_operator(tmp_path: Path) -> None:
    """A device with the rights of an operator would be one by mistake; the service's name is nobody's."""
    made(tmp_path)
    setup(tmp_path).add_device("press-7")
    setup(tmp_path).add_device("drill-7", certificate=True)
    setup(tmp_path).add_operator("ada")
    for name in ("press-7", "drill-7"):
        with pytest.raises(ProvisionError, match="is a device, which cannot be an operator"):
            setup(tmp_path).add_operator(name)
    with pytest.raises(ProvisionError, match="ada is an operator, which cannot be a device"):
        setup(tmp_path).add_device("ada", certificate=True)
    with pytest.raises(ProvisionError, match="ada is an operator"):
        setup(tmp_path).revoke_device("ada")
    for add in (setup(tmp_path).add_device, setup(tmp_path).add_operator):
        with pytest.raises(NameRefused, match="is the jobs service itself"):
            add("thingjobs-service")
        with pytest.raises(NameRefused, match="tries devices' rights with"):
            add("thingjobs-check")


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "a\n", "x" * 129, "\u00e4", "+", "#", ".."])
def test_a_name_that_is_no_thing_name_is_refused(tmp_path: Path, name: str) -> None:
    """Neither a path nor a topic can be smuggled in (data plane 1.3)."""
    made(tmp_path)
    before = contents(tmp_path)
    for act in (setup(tmp_path).add_device, setup(tmp_path).add_operator, setup(tmp_path).revoke_device):
        with pytest.raises(NameRefused, match="is 1 to 128 characters of"):
            act(name)
    assert contents(tmp_path) == before


def test_a_name_that_its_credential_cannot_hold_is_refused(tmp_path: Path) -> None:
    """A password file has no place for a colon, a certificate none for a 65th character."""
    made(tmp_path)
    with pytest.raises(NameRefused, match="because it has a colon; give the device a --certificate"):
        setup(tmp_path).add_device("plant:press")
    setup(tmp_path).add_device("plant:press", certificate=True)
    with pytest.raises(NameRefused, match="leave --certificate away"):
        setup(tmp_path).add_device("x" * 65, certificate=True)
    setup(tmp_path).add_device("x" * 65)


def test_nothing_is_added_where_nothing_was_set_up(tmp_path: Path) -> None:
    """The message says what comes first; no directory is made."""
    with pytest.raises(
        ProvisionError, match=r"run thingjobs init .* first, or name the directory with --dir"
    ):
        setup(tmp_path).add_device("press-7")
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_do_not_lose_each_others_lines(tmp_path: Path) -> None:
    """The second is told to wait."""
    layout = made(tmp_path)
    descriptor = os.open(layout.root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(ProvisionError, match="another thingjobs init is at work"):
            setup(tmp_path).add_device("press-7")
    finally:
        os.close(descriptor)
    setup(tmp_path).add_device("press-7")


@pytest.mark.parametrize("name", ['a"b', "a'b", "a\\b", "a\nb"])
def test_a_directory_that_cannot_stand_in_settings_is_refused(tmp_path: Path, name: str) -> None:
    """Four formats hold the paths, each with its own rules of quoting."""
    with pytest.raises(ProvisionError, match="cannot stand in settings"):
        Setup(tmp_path / name)


def test_a_file_keeps_the_owner_it_was_given(tmp_path: Path) -> None:
    """The broker may run as another user, to whom an admin gave its directory; needs root to look at."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    layout = made(tmp_path)
    for path in (layout.broker, layout.passwords):
        os.chown(path, 12345, 12345)
    setup(tmp_path).add_device("press-7")
    assert (layout.passwords.stat().st_uid, layout.passwords.stat().st_gid) == (12345, 12345)
    assert stat.S_IMODE(layout.passwords.stat().st_mode) == 0o600
