"""The unit and the package: verified by the tools of systemd and Debian, where they are installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, find_program

PACKAGING = ROOT / "device_agent" / "packaging"
UNIT = (PACKAGING / "thingjobs-agent.service").read_text()
EXPOSURE_MAX = 3.0

ANALYZE = find_program("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def analyzed(directory: Path, *arguments: str, drop_in: bool = False) -> subprocess.CompletedProcess[str]:
    """What systemd-analyze says of the unit, with a program that is there."""
    path = directory / "thingjobs-agent.service"
    path.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT, flags=re.MULTILINE))
    if drop_in:
        (directory / "thingjobs-agent.service.d").mkdir()
        text = (PACKAGING / "system-changes.conf").read_text()
        (directory / "thingjobs-agent.service.d" / "system-changes.conf").write_text(text)
    assert ANALYZE is not None
    return subprocess.run(
        [ANALYZE, *arguments, str(path)], capture_output=True, text=True, check=False, timeout=60
    )


@needs_systemd
@pytest.mark.broker
@pytest.mark.parametrize("drop_in", [False, True])
def test_unit_is_valid(tmp_path: Path, drop_in: bool) -> None:
    """Issue 6: systemd-analyze verify, without a word."""
    result = analyzed(tmp_path, "verify", drop_in=drop_in)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_systemd
@pytest.mark.broker
def test_unit_exposes_little(tmp_path: Path) -> None:
    """Issue 6: systemd-analyze security; 3.0 is what root with handlers of other users can reach."""
    result = analyzed(tmp_path, "security", "--offline=true", "--no-pager")
    found = re.search(r"Overall exposure level for thingjobs-agent.service: ([\d.]+)", result.stdout)
    assert found is not None, result.stderr
    assert float(found[1]) <= EXPOSURE_MAX


@pytest.mark.parametrize(
    "line",
    ["Type=notify", "Restart=always", "StartLimitIntervalSec=0", "WatchdogSec=120", "KillMode=mixed"],
)
def test_unit_never_gives_up(line: str) -> None:
    """Issue 6: nobody is there to start it again."""
    assert f"\n{line}\n" in UNIT


def test_shipped_settings_are_settings(tmp_path: Path) -> None:
    """With every line of the template in force, no key is unknown."""
    from thingjobs_agent.config import load_config

    text = re.sub(r"^#(?=[a-z_\[])", "", (PACKAGING / "agent.toml").read_text(), flags=re.MULTILINE)
    text = re.sub(r"^password_file.*$", "", text, flags=re.MULTILINE)
    path = tmp_path / "agent.toml"
    path.write_text(text)
    loaded = load_config(str(path), {}, {})
    assert loaded.settings.thing == "gateway-1"
    assert loaded.local.rule("health-check.sh").user == "nobody"


@pytest.mark.broker
@pytest.mark.parametrize("name", ["build-deb", "postinst", "prerm", "postrm"])
def test_script_is_posix_shell(name: str) -> None:
    """It parses, and is executable."""
    path = PACKAGING / name
    assert path.stat().st_mode & 0o111
    subprocess.run(["/bin/sh", "-n", str(path)], check=True)


@pytest.mark.broker
@pytest.mark.long
def test_package_holds_an_agent_that_runs(tmp_path: Path) -> None:
    """Built for this machine, with libraries from the package index; nothing of the service is in it."""
    command = [str(PACKAGING / "build-deb"), "--output", str(tmp_path)]
    built = subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=True,
    )
    tree = tmp_path / "tree"
    subprocess.run(["dpkg-deb", "-x", built.stdout.strip(), str(tree)], check=True)
    lib = tree / "usr" / "lib" / "thingjobs-agent"
    shown = subprocess.run(
        [sys.executable, "-S", "-m", "thingjobs_agent", "validate", "-"],
        env={"PYTHONPATH": str(lib)},
        input='{"operation": "a.sh"}',
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "valid: 1 step\n"
    assert not (lib / "thingjobs_broker").exists()
    assert (tree / "etc" / "thingjobs-agent" / "agent.toml").stat().st_mode & 0o777 == 0o600
