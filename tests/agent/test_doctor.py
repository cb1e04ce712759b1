"""The doctor: each check fails where it should, and each failure comes with what to do."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.agent.authority import Authority
from thingjobs_agent import findings, inquiry
from thingjobs_agent.checkpoint import Store
from thingjobs_agent.config import load_config
from thingjobs_agent.doctor import clock_skew, examine
from thingjobs_agent.findings import Finding, expiry, local_findings

DAY = 86_400


def flags(directory: Path, **settings: Any) -> dict[str, object]:
    directory.chmod(0o755)
    handlers = directory / "handlers"
    handlers.mkdir(mode=0o755, exist_ok=True)
    state = directory / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    return {"thing": "press-7", "handler_dir": str(handlers), "state_dir": str(state), **settings}


def local(directory: Path, **settings: Any) -> dict[str, Finding]:
    return {each.what: each for each in local_findings(load_config(None, flags(directory, **settings), {}))}


async def all_of(directory: Path, **settings: Any) -> dict[str, Finding]:
    config = load_config(None, flags(directory, **settings), {})
    return {each.what: each for each in await examine(config, is_offline=False)}


def test_well_device_has_no_failure(tmp_path: Path) -> None:
    """What is good needs no fix."""
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "a.sh").touch(0o755)
    found = local(tmp_path)
    assert {what for what, each in found.items() if each.verdict == "ok"} == {
        *("clock", "state directory", "disk", "handlers", "reboot command")
    }
    assert found["agent"].verdict == "warn"
    assert all(bool(each.fix) is (each.verdict != "ok") for each in found.values())


def test_clock_that_was_never_set_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pi without a battery begins in 1970, and TLS fails until the clock is right."""
    monkeypatch.setattr(time, "time", lambda: 100.0)
    assert local(tmp_path)["clock"].verdict == "fail"


def test_full_disk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the agent stands still for want of a checkpoint."""
    monkeypatch.setattr(findings, "DISK_BYTES_MIN", 2**60)
    assert local(tmp_path)["disk"].verdict == "fail"


def test_wrong_handler_directory_and_rules_are_found(tmp_path: Path) -> None:
    """The reason is the one a job would be rejected with."""
    (tmp_path / "handlers").mkdir()
    path = tmp_path / "handlers" / "a.sh"
    path.touch()
    path.chmod(0o644)
    assert "is not executable" in local(tmp_path)["handler a.sh"].detail
    assert local(tmp_path, handler_dir="/nowhere")["handlers"].verdict == "fail"
    assert local(tmp_path, reboot_command=["no-such-program"])["reboot command"].verdict == "warn"


def test_loose_and_broken_state_is_found(tmp_path: Path) -> None:
    """Modes, and a checkpoint that cannot be read."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o755)
    (tmp_path / "state" / "checkpoint.json").write_bytes(b"\0")
    found = local(tmp_path)
    assert found["state directory"].fix == f"chmod 700 {tmp_path}/state"
    assert found["checkpoint"].verdict == "warn"
    store = Store(tmp_path / "state")
    store.prepare()
    assert local(tmp_path)["agent"].detail == f"runs, process {os.getpid()}"
    store.close()


@pytest.mark.parametrize(
    ("days", "verdict", "detail"),
    [(-2, "fail", "expired 2 days ago"), (3, "warn", "expires in 3 days"), (90, "ok", "valid for 90 days")],
)
def test_expiry_is_told_in_time(days: int, verdict: str, detail: str) -> None:
    """A month is left to renew a certificate in a cabinet far away."""
    found = expiry("x", 1000 * DAY + days * DAY, 1000 * DAY)
    assert (found.verdict, found.detail) == (verdict, detail)


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:5 / /proc rw,nosuid - proc proc rw
{}24 22 8:1 /usr/local /usr/local rw - ext4 /dev/root rw
"""


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", False),
        ("25 22 8:1 /usr /usr ro,relatime - ext4 /dev/root rw\n", True),
        ("25 22 8:1 / / ro - ext4 /dev/root rw\n", True),
        ("25 22 8:1 /usr /usr ro - ext4 /dev/root rw\n26 22 8:1 /usr /usr rw - ext4 /dev/root rw\n", False),
    ],
)
def test_walls_of_the_unit_are_seen(more: str, expected: bool) -> None:
    """Handlers that install packages cannot, where the unit makes the system read-only."""
    assert findings.is_read_only(MOUNTS.format(more), "/usr") is expected


def test_handler_behind_walls_is_told(tmp_path: Path) -> None:
    """Of interest where there is such a handler, and an agent."""
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "install-packages.sh").touch(0o755)
    assert "walls" not in local(tmp_path)
    store = Store(tmp_path / "state")
    store.prepare()
    found = local(tmp_path)["walls"]
    store.close()
    is_closed = findings.is_read_only(Path("/proc/self/mountinfo").read_text(), "/usr")
    assert found.verdict == ("warn" if is_closed else "ok")


# -- the network


@asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that accepts connections, and says nothing."""
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.asyncio
async def test_name_that_does_not_resolve_ends_the_way(tmp_path: Path) -> None:
    """Later checks could only fail for the same reason."""
    found = await all_of(tmp_path, broker="mqtt://no-such-host.invalid")
    assert found["name"].verdict == "fail"
    assert "tcp" not in found


@pytest.mark.asyncio
async def test_closed_port_is_found(tmp_path: Path) -> None:
    """The port, and what to look at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found = await all_of(tmp_path, broker=f"mqtt://127.0.0.1:{probe.getsockname()[1]}")
    assert (found["name"].verdict, found["tcp"].verdict) == ("ok", "fail")
    assert "firewalls" in found["tcp"].fix


@pytest.mark.asyncio
async def test_tls_is_checked_with_both_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chain, name, expiry of the broker's and of our own."""
    monkeypatch.setattr(inquiry, "ANSWER_SECONDS_MAX", 0.3)
    authority = Authority(tmp_path)
    ours, our_key = authority.issue("press-7", days=10)
    settings = {"tls_ca_file": authority.ca, "tls_cert_file": ours, "tls_key_file": our_key}
    async with listening(server_context(*authority.issue("localhost"))) as port:
        found = await all_of(tmp_path, broker=f"mqtts://localhost:{port}", **settings)
        assert found["tls"].verdict == "ok"
        assert found["broker's certificate"].detail == "valid for 90 days"
        assert found["own certificate"].detail == "expires in 10 days"
        # It is no MQTT broker, after all.
        assert found["connect"].verdict == "fail"
        wrong_name = await all_of(tmp_path, broker=f"mqtts://127.0.0.1:{port}", **settings)
        assert wrong_name["tls"].verdict == "fail"
        del settings["tls_ca_file"]
        unknown = await all_of(tmp_path, broker=f"mqtts://localhost:{port}", **settings)
        assert "tls_ca_file" in unknown["tls"].fix
    expired = authority.issue("localhost", days=-2)
    async with listening(server_context(*expired)) as port:
        found = await all_of(tmp_path, broker=f"mqtts://localhost:{port}", tls_ca_file=authority.ca)
        assert "expired" in found["tls"].detail


@pytest.mark.asyncio
async def test_port_without_tls_is_found(tmp_path: Path) -> None:
    """A usual slip: mqtts:// with the plain port."""
    async with listening() as port:
        found = await all_of(tmp_path, broker=f"mqtts://localhost:{port}")
    assert found["tls"].verdict == "fail"


@pytest.mark.asyncio
async def test_wrong_settings_are_a_finding(tmp_path: Path) -> None:
    """The rest of the checks is still of use."""
    found = await all_of(tmp_path, broker="nonsense")
    assert found["settings"].verdict == "fail"
    assert found["clock"].verdict == "ok"


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o666])
def test_files_with_secrets_are_refused_when_others_see_them(tmp_path: Path, mode: int) -> None:
    """Issue 6: modes of key files are checked, and the fix is in the message."""
    from thingjobs_agent.config import broker_of
    from thingjobs_agent.errors import UsageError

    authority = Authority(tmp_path)
    certificate, key = authority.issue("press-7")
    for name, settings in {
        key: {"broker": "mqtts://x", "tls_cert_file": certificate, "tls_key_file": key},
        authority.ca: {"password_file": authority.ca},
    }.items():
        Path(name).chmod(mode)
        with pytest.raises(UsageError, match=f"chmod 600 {name}"):
            broker_of(load_config(None, {"thing": "x", **settings}, {}).settings)
        Path(name).chmod(0o640)
        assert broker_of(load_config(None, {"thing": "x", **settings}, {}).settings).client_id == "x"


@pytest.mark.parametrize("key", ["redact_file", "password"])
def test_other_secrets_of_the_settings_are_checked_too(tmp_path: Path, key: str) -> None:
    """The list of what to hide, and a settings file that holds the password."""
    from thingjobs_agent.errors import UsageError

    (tmp_path / "list").write_text("other-secret\n")
    path = tmp_path / "agent.toml"
    path.write_text(f'{key} = "{tmp_path / "list"}"\n')
    for each in (path, tmp_path / "list"):
        each.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        load_config(str(path), {}, {})
    for each in (path, tmp_path / "list"):
        each.chmod(0o600)
    secret = "other-secret" if key == "redact_file" else str(tmp_path / "list")
    assert load_config(str(path), {}, {}).secrets == (secret,)


@pytest.mark.parametrize(
    ("seconds", "verdict", "detail"),
    [
        (1.6, "ok", "none"),
        (-0.9, "ok", "none"),
        (3, "ok", "3 s ahead of the service"),
        (-4000, "warn", "4000 s behind the service"),
    ],
)
def test_clock_skew_is_told_when_it_is_one(seconds: float, verdict: str, detail: str) -> None:
    """Whole seconds and the way of the answer are none."""
    found = clock_skew(seconds)
    assert (found.verdict, found.detail, bool(found.fix)) == (verdict, detail, verdict == "warn")
