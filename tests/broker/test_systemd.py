"""The units of the service: verified by systemd's own tool, where it is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, find_program

UNITS = ROOT / "broker_plugin" / "systemd"
ANALYZE = find_program("systemd-analyze")
EXPOSURE_MAX = 2.5

pytestmark = pytest.mark.parametrize("program", ["up", "serve"])


def analyzed(directory: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What systemd-analyze says of a unit, with a program and a user that are there."""
    name = f"thingjobs-{program}.service"
    text = (UNITS / name).read_text()
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE)
    (directory / name).write_text(re.sub(r"^User=.*", "User=daemon", text, flags=re.MULTILINE))
    command = [str(ANALYZE), *arguments, str(directory / name)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
@pytest.mark.broker
def test_unit_is_valid_and_exposes_little(tmp_path: Path, program: str) -> None:
    """`systemd-analyze verify` without a word; `security` of a program without rights."""
    result = analyzed(tmp_path, program, "verify")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    result = analyzed(tmp_path, program, "security", "--offline=true", "--no-pager")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", result.stdout)
    assert found is not None, result.stderr
    assert float(found[1]) <= EXPOSURE_MAX


def test_unit_runs_the_program_for_ever_and_not_as_root(program: str) -> None:
    """Devices wait, and nobody is there to start it again."""
    text = (UNITS / f"thingjobs-{program}.service").read_text()
    assert {"Restart=always", "StartLimitIntervalSec=0", "NoNewPrivileges=yes"} <= set(text.splitlines())
    assert re.search(
        rf"^ExecStart=/opt/thingjobs/bin/thingjobs {program} --config /var/lib/thingjobs/", text, re.MULTILINE
    )
    assert re.search(r"^User=(thingjobs|mosquitto)$", text, re.MULTILINE)
