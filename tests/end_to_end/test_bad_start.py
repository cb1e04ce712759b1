"""`thingjobs up` that cannot start says why in one line, and what helps, and leaves everything as it was."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.harness import THINGJOBS, environment, running_service
from tests.end_to_end.jobs_client import call_once
from thingjobs_broker.cli.exit_codes import ExitCode

pytestmark = pytest.mark.broker

END_SECONDS_MAX = 20


def complaint(folder: Path, *arguments: str, code: ExitCode = ExitCode.NOT_STARTED) -> str:
    """The one line of a service that ends by itself; it must not have said that it listens."""
    done = subprocess.run(
        [*THINGJOBS, "up", "--log-level", "error", *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=folder,
        timeout=END_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == code, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    found: str = line
    return found


def up_on_free_port(folder: Path, *arguments: str) -> str:
    """As `complaint`, where everything else would be fine."""
    return complaint(folder, "--anonymous", "--listen", "127.0.0.1:0", *arguments)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        yield port


def test_a_port_in_use(tmp_path: Path, taken: int) -> None:
    """Named, with what to choose instead."""
    line = complaint(tmp_path, "--anonymous", "--listen", f"127.0.0.1:{taken}")
    assert line.startswith(f"thingjobs: cannot listen on 127.0.0.1:{taken}: ")
    assert line.endswith("choose another --listen")


def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    """Nothing is made of it."""
    (tmp_path / "data").write_text("mine")
    line = up_on_free_port(tmp_path, "--data-dir", "data")
    assert line == f"thingjobs: data directory {tmp_path}/data: is not a directory; choose another directory"
    assert (tmp_path / "data").read_text() == "mine"


def test_a_data_directory_that_others_may_write(tmp_path: Path) -> None:
    """They could swap the journal; the directory stays empty."""
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)
    line = up_on_free_port(tmp_path, "--data-dir", "data")
    assert line.startswith(f"thingjobs: data directory {data}: is writable by others (mode 0777); run `chmod")
    assert list(data.iterdir()) == []


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """Below a place where nobody can make one, root included."""
    line = up_on_free_port(tmp_path, "--data-dir", "/proc/self/data")
    assert line.startswith("thingjobs: data directory /proc/self/data: cannot be created: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_directory_that_is_read_only(tmp_path: Path) -> None:
    """Somebody else's, or of a read-only disk."""
    data = tmp_path / "data"
    data.mkdir(mode=0o500)
    line = up_on_free_port(tmp_path, "--data-dir", "data")
    assert line.startswith(f"thingjobs: data directory {data}: is not readable and writable")


def test_a_second_service_on_the_same_data(tmp_path: Path) -> None:
    """The loser says so and exits; the first goes on serving."""
    with running_service(tmp_path) as service:
        line = up_on_free_port(tmp_path, "--data-dir", str(service.data_dir))
        pid = service.program.pid
        assert line == (
            f"thingjobs: data directory {service.data_dir} is in use by process {pid}; "
            "stop it or choose another directory"
        )
        assert service.ask("thing", "list") == {"things": []}


def test_a_service_that_never_started_does_not_say_that_it_has_stopped(tmp_path: Path) -> None:
    """Whoever reads the log would take it for the one that runs; its one line stands alone."""
    with running_service(tmp_path) as service:
        command = [*THINGJOBS, "up", "--anonymous", "--listen", "127.0.0.1:0"]
        done = subprocess.run(
            [*command, "--data-dir", str(service.data_dir), "--log-level", "info"],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=END_SECONDS_MAX,
            check=False,
        )
    assert done.returncode == ExitCode.NOT_STARTED
    assert "is in use by process" in done.stderr.splitlines()[-1]
    assert "has stopped" not in done.stdout + done.stderr
    assert "The jobs service has stopped" in service.output


def test_a_journal_that_is_damaged_in_the_middle(tmp_path: Path) -> None:
    """What is left must not be served as the truth: file and offset are named, and not a byte is changed."""
    with running_service(tmp_path) as service:
        for number in range(5):
            call_once(service.port, "CreateThing", thingName=f"press-{number}")
    journal = min((service.data_dir / "journal").glob("*.log"))
    damaged = bytearray(journal.read_bytes())
    at = damaged.index(b"press-1")
    damaged[at] ^= 1
    # A snapshot at the end would stand in for the records before it.
    for snapshot in (
        path for path in service.data_dir.rglob("*") if "snapshot" in path.name and path.is_file()
    ):
        snapshot.unlink()
    journal.write_bytes(damaged)
    line = up_on_free_port(tmp_path, "--data-dir", str(service.data_dir))
    assert line.startswith(f"thingjobs: {journal}: offset ")
    assert int(line.split("offset ")[1].split(":")[0]) <= at
    assert "restore the data directory" in line
    assert journal.read_bytes() == damaged


def test_settings_that_cannot_work(tmp_path: Path) -> None:
    """Named with what was expected (test_server has all of them); nothing is made on the disk."""
    found = complaint(tmp_path, "--anonymous", "--listen", "0.0.0.0:0")
    assert found.startswith("thingjobs: anonymous access is for loopback only, not for 0.0.0.0:0; use")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("data_dri = 'x'", ExitCode.USAGE, "did you mean"),
        ("log_level = 'loud'", ExitCode.NOT_STARTED, "log level 'loud' is none of"),
        ("listen = [", ExitCode.LOCAL_FILE, "is not TOML"),
    ],
)
def test_a_settings_file_with_a_mistake(tmp_path: Path, text: str, code: ExitCode, said: str) -> None:
    """Unknown keys are errors with a suggestion; the file is named."""
    (tmp_path / "thingjobs.toml").write_text(text)
    done = subprocess.run(
        [*THINGJOBS, "up", "--config", "thingjobs.toml"],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=tmp_path,
        timeout=END_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == code, done
    (line,) = done.stderr.splitlines()
    assert said in line
