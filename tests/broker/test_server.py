"""`run` and `run_sidecar`: every way not to start is one line on standard error and an exit code."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from thingjobs_broker import logs, server
from thingjobs_broker.authentication import hash_password
from thingjobs_broker.config import Settings, SidecarSettings


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logs are left as they are, since they are of the whole process; amqtt must not print its own."""
    monkeypatch.setattr(logs, "configure", _checked)
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.configure(**before)


def _checked(level: str, *, json_lines: bool) -> None:
    if level not in logs.LEVELS:
        raise ValueError(f"log level {level!r} is none of {', '.join(logs.LEVELS)}")


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error; standard output stays empty."""
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    found: str = line
    return found


def settings(folder: Path, **members: Any) -> Settings:
    """Settings with which the service would start."""
    usual = {"data_dir": str(folder / "data"), "listen": ["127.0.0.1:0"], "anonymous": True}
    return Settings(**{**usual, **members})


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ({"listen": ["127.0.0.1"]}, "listen address '127.0.0.1' is not HOST:PORT, such as 127.0.0.1:1883"),
        ({"listen": ["127.0.0.1:99999"]}, "listen address '127.0.0.1:99999' is not HOST:PORT, such as"),
        ({"listen": ["127.0.0.1:mqtt"]}, "listen address '127.0.0.1:mqtt' is not HOST:PORT, such as"),
        ({"listen": [":1883"]}, "listen address ':1883' is not HOST:PORT, such as"),
        ({"listen": ["127.0.0.1:²"]}, "listen address '127.0.0.1:²' is not HOST:PORT, such as"),
        (
            {"listen": ["127.0.0.1:0", "0.0.0.0:0"]},
            "anonymous access is for loopback only, not for 0.0.0.0:0",
        ),
        ({"listen": ["[::]:0"]}, "anonymous access is for loopback only, not for [::]:0"),
        ({"listen": ["nowhere.invalid:0"]}, "anonymous access is for loopback only, not for nowhere.invalid"),
        ({"anonymous": False}, "nothing tells who a client is: give --password-file FILE, or --anonymous"),
        ({"log_level": "loud"}, "log level 'loud' is none of debug, info, warning, error"),
        ({"topic_root": "a/b"}, "topic_root 'a/b' is not one level of a topic, such as $aws"),
        ({"topic_root": ""}, "topic_root '' is not one level of a topic, such as $aws"),
        ({"topic_root": "#"}, "topic_root '#' is not one level of a topic, such as $aws"),
        ({"data_dir": ""}, "data_dir is empty; name a directory"),
        ({"data_dir": "/proc/self/data"}, "data directory /proc/self/data: cannot be created: "),
        ({"data_dir": "a\0b"}, "data directory "),
    ],
)
def test_what_cannot_work_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], members: dict[str, Any], line: str
) -> None:
    """Named is what was wrong and what was expected; exit code 1, and nothing made on the disk."""
    assert server.run(settings(tmp_path, **members)) == server.EXIT_FAILED
    assert said(capsys).startswith(f"thingjobs: {line}")


def test_a_port_in_use_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where another address was free; both are let go of."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = ["127.0.0.1:0", f"127.0.0.1:{port}"]
        assert server.run(settings(tmp_path, listen=listen)) == server.EXIT_FAILED
    assert said(capsys).startswith(f"thingjobs: cannot listen on 127.0.0.1:{port}: ")
    # The data directory is free again.
    assert run_and_stop(settings(tmp_path)) == server.EXIT_OK


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "cannot read the password file "),
        (b"\xff\xfe", "cannot read the password file "),
        (b"press-7\n", "{path}:1: expected NAME:$7$..., as mosquitto_passwd writes it"),
        (b"# ok\npress-7:$6$abc$def\n", "{path}:2: expected NAME:$7$..., as mosquitto_passwd writes it"),
    ],
    ids=["missing", "binary", "no hash", "old hash"],
)
def test_a_password_file_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, line: str
) -> None:
    """File and line, and nothing of what the line says."""
    path = tmp_path / "passwd"
    if content is not None:
        path.write_bytes(content)
    found = settings(tmp_path, anonymous=False, password_file=str(path))
    assert server.run(found) == server.EXIT_FAILED
    told = said(capsys)
    assert told.startswith("thingjobs: " + line.format(path=path))
    assert "abc" not in told


def run_and_stop(found: Settings) -> int:
    """Runs until the first line is printed, then asks the process to end."""
    first: list[bool] = []

    def printed(*_: object, **__: object) -> None:
        if not first:
            first.append(True)
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(server, "print", printed, raising=False)
        return server.run(found)


@pytest.mark.parametrize("is_anonymous", [True, False])
def test_sigterm_ends_the_service_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_anonymous: bool
) -> None:
    """Exit code 0, nothing on standard error, and nothing left running."""
    passwords = tmp_path / "passwd"
    passwords.write_text(f"press-7:{hash_password('secret')}\n")
    found = settings(tmp_path, anonymous=is_anonymous, password_file="" if is_anonymous else str(passwords))
    assert run_and_stop(found) == server.EXIT_OK
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ({"broker": "http://127.0.0.1"}, "broker 'http://127.0.0.1' is not mqtt[s]://[USER@]HOST[:PORT]"),
        ({"broker": "mqtt://ada:secret@127.0.0.1"}, "the broker's address holds a password; "),
        ({"password": "x"}, "a password is given but no user; "),
        ({"client_id": ""}, "client_id is empty; "),
        ({"ca_file": "nowhere", "broker": "mqtts://127.0.0.1"}, "ca_file nowhere: No such file or directory"),
        ({"data_dir": "/proc/self/data"}, "data directory /proc/self/data: cannot be created: "),
        ({"log_level": "loud"}, "log level 'loud' is none of debug, info, warning, error"),
    ],
)
def test_a_sidecar_that_cannot_work_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], members: dict[str, Any], line: str
) -> None:
    """As `run`; nothing secret is repeated."""
    found = SidecarSettings(**{"data_dir": str(tmp_path / "data"), **members})
    assert server.run_sidecar(found) == server.EXIT_FAILED
    told = said(capsys)
    assert told.startswith(f"thingjobs: {line}")
    assert "secret" not in told
