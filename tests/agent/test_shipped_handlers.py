"""The handlers that come with the agent (control plane 8.4), against stand-ins for the commands they call."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT
from thingjobs_agent.handlers import handler_refusal

HANDLERS = ROOT / "device_agent" / "handlers"
TOOLS = ("id", "mv", "rm", "grep", "env", "cat")
ALL = sorted(path.name for path in HANDLERS.iterdir())

pytestmark = pytest.mark.broker


class System:
    """A PATH with stand-ins alone; each notes its words in `calls`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bin = directory / "bin"
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)

    def add(self, name: str, then: str = "") -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.directory}/calls\n{then}\n')
        path.chmod(0o755)

    def run(self, handler: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", str(HANDLERS / handler), *arguments],
            env={"PATH": str(self.bin)} | environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.directory,
        )

    @property
    def calls(self) -> list[str]:
        path = self.directory / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


@pytest.mark.parametrize("name", ALL)
def test_handler_is_a_program_that_the_agent_accepts(name: str) -> None:
    """POSIX sh, executable, not writable by others; says in its head what it does and takes."""
    path = HANDLERS / name
    assert path.stat().st_mode & 0o777 == 0o755
    if os.geteuid() == path.stat().st_uid:
        assert "handler " + name not in (handler_refusal(name, HANDLERS) or "")
    assert path.read_text().startswith("#!/bin/sh\n# ")
    subprocess.run(["/bin/sh", "-n", str(path)], check=True)


WGET = 'for last; do :; done\nwhile [ "$1" != -O ] && [ "$1" != -P ]; do shift; done\n'


def test_download_to_a_file_is_whole_or_not_there(system: System) -> None:
    """Quiet, aside, then in place."""
    system.add("wget", WGET + 'echo data >"$2"')
    assert system.run("download-file.sh", "", "http://x/a", "out").returncode == 0
    assert (system.directory / "out").read_text() == "data\n"
    assert system.calls == ["wget -q -O out.part -- http://x/a"]
    system.add("wget", WGET + 'echo half >"$2"; exit 4')
    assert system.run("download-file.sh", "", "http://x/a", "out").returncode == 1
    assert (system.directory / "out").read_text() == "data\n"
    assert not (system.directory / "out.part").exists()


def test_download_to_a_directory_keeps_the_name(system: System) -> None:
    """Control plane 8.4: -P for a directory."""
    system.add("wget")
    (system.directory / "folder").mkdir()
    assert system.run("download-file.sh", "", "http://x/a", "folder").returncode == 0
    assert system.calls == ["wget -q -P folder -- http://x/a"]


def test_download_needs_wget(system: System) -> None:
    """Control plane 8.4: exit status 1."""
    result = system.run("download-file.sh", "", "http://x/a", "out")
    assert (result.returncode, result.stderr) == (1, "wget is not installed\n")


@pytest.mark.parametrize(
    ("handler", "apt", "yum"),
    [
        ("install-packages.sh", "install", "yum -y install a b"),
        ("remove-packages.sh", "--purge remove", "yum -y remove a b"),
    ],
)
def test_packages_are_changed_with_what_is_there(system: System, handler: str, apt: str, yum: str) -> None:
    """Control plane 8.4: apt-get without questions, else yum, else failure."""
    assert system.run(handler, "", "a", "b").returncode == 1
    system.add("yum")
    assert system.run(handler, "", "a", "b").returncode == 0
    system.add("apt-get", f'echo "$DEBIAN_FRONTEND" >>{system.directory}/calls')
    assert system.run(handler, "", "a", "b").returncode == 0
    expected = f"apt-get -q -y -o DPkg::Lock::Timeout=300 {apt} a b"
    assert system.calls == [yum, expected, "noninteractive"]
    system.add("apt-get", "exit 100")
    assert system.run(handler, "", "a").returncode == 100


PACKAGES = [
    "install-packages.sh",
    "remove-packages.sh",
    "verify-packages-installed.sh",
    "verify-packages-removed.sh",
]


@pytest.mark.parametrize("handler", PACKAGES)
@pytest.mark.parametrize("name", ["--allow-downgrades", "vim-", "a b", "$(reboot)", ""])
def test_names_that_mean_something_else_are_refused(system: System, handler: str, name: str) -> None:
    """An argument of a job is a name, never an option or a wish to remove."""
    for program in ("apt-get", "dpkg"):
        system.add(program)
    result = system.run(handler, "", "vim", name)
    assert result.returncode == 1
    assert "is not the name of a package" in result.stderr
    assert system.calls == []


INSTALLED = "echo 'Status: install ok installed'"
REMOVED = "echo 'Status: deinstall ok config-files'"


@pytest.mark.parametrize(
    ("program", "then", "codes"),
    [
        ("dpkg", INSTALLED, (0, 1)),
        ("dpkg", REMOVED, (1, 0)),
        ("dpkg", "exit 1", (1, 0)),
        ("dpkg", "exit 2", (1, 1)),
        ("dpkg", "", (0, 1)),
        ("rpm", "", (0, 1)),
        ("rpm", "exit 1", (1, 0)),
        ("none", "", (1, 1)),
    ],
)
def test_packages_are_verified_both_ways(
    system: System, program: str, then: str, codes: tuple[int, int]
) -> None:
    """Control plane 8.4; a tool that fails proves neither."""
    system.add(program, then)
    found = tuple(system.run(handler, "", "vim").returncode for handler in PACKAGES[2:])
    assert found == codes


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_services_are_changed_with_what_is_there(system: System, verb: str) -> None:
    """Control plane 8.4: systemctl, else service; neither is a failure for restart alone."""
    handler = f"{verb}-services.sh"
    assert system.run(handler, "", "a").returncode == (1 if verb == "restart" else 0)
    system.add("service")
    assert system.run(handler, "", "a", "b").returncode == 0
    assert system.calls == [f"service a {verb}", f"service b {verb}"]
    (system.directory / "calls").unlink()
    system.add("systemctl")
    assert system.run(handler, "", "a", "b").returncode == 0
    together = [f"systemctl {verb} a b"]
    assert system.calls == ([f"systemctl {verb} a", f"systemctl {verb} b"] if verb == "restart" else together)
    system.add("systemctl", "exit 5")
    assert system.run(handler, "", "a").returncode == 5
    assert system.run(handler, "", "--force").returncode == 1


@pytest.mark.parametrize("name", ["thingjobs-agent", "thingjobs-agent.service"])
def test_agent_is_restarted_after_the_step(system: System, name: str) -> None:
    """Control plane 8.4: the restart of the agent itself must not end the handler that asks for it."""
    system.add("systemctl")
    wish = str(system.directory / "then")
    assert system.run("restart-services.sh", "", "a", name, THINGJOBS_THEN_FILE=wish).returncode == 0
    assert Path(wish).read_text() == "restart\n"
    assert system.calls == ["systemctl restart a"]


def test_reboot_is_asked_of_the_agent(system: System) -> None:
    """The agent stores the next step first, and proves the reboot by boot_id."""
    wish = str(system.directory / "then")
    assert system.run("reboot.sh", "", THINGJOBS_THEN_FILE=wish).returncode == 0
    assert Path(wish).read_text() == "reboot\n"
    assert system.run("reboot.sh", "").returncode == 1


def test_shutdown_leaves_a_minute_for_the_report(system: System) -> None:
    """Control plane 8.4."""
    system.add("shutdown")
    assert system.run("shutdown.sh", "").returncode == 0
    assert system.calls == ["shutdown -h +1"]


def test_health_check_and_echo_succeed(system: System) -> None:
    """Control plane 8.4: echo prints the user first, empty or not."""
    assert system.run("health-check.sh", "").returncode == 0
    assert system.run("echo", "", "hello", "world").stdout == " hello world\n"


def test_flat_documents_pass_no_user(system: System) -> None:
    """Control plane 8.3: one set of handlers for both forms; the agent says which one it is."""
    system.add("systemctl")
    assert system.run("start-services.sh", "a", THINGJOBS_SCHEMA="flat").returncode == 0
    assert system.run("start-services.sh", "", "b", THINGJOBS_SCHEMA="1.0").returncode == 0
    assert system.calls == ["systemctl start a", "systemctl start b"]


def test_other_user_is_become_or_nothing_is_done(system: System) -> None:
    """Under another agent sudo must do it; without sudo the handler fails."""
    system.add("systemctl")
    assert system.run("start-services.sh", "daemon", "a").returncode != 0
    system.add("sudo")
    assert system.run("start-services.sh", "daemon", "a").returncode == 0
    assert system.calls == ["sudo -n -u daemon -- systemctl start a"]
