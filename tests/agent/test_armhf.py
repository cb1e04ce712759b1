"""The package for 32-bit ARM: compiled here, and run by an emulated processor with Debian's armhf Python."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.harness import document
from tests.agent.programs import Agent, Served
from tests.support import ROOT, find_program
from thingjobs_protocol.status import JobExecutionStatus as Status

PACKAGING = ROOT / "device_agent" / "packaging"
EMULATOR = find_program("qemu-arm-static")
MISSING = [
    name
    for name in ("qemu-arm-static", "arm-linux-gnueabihf-gcc", "apt-get", "dpkg-deb")
    if find_program(name) is None
]

pytestmark = [
    pytest.mark.broker,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {' '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="another root directory needs root"),
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="a wheel for Debian 12 needs Python 3.11"),
    pytest.mark.skipif(platform.machine() == "armv7l", reason="this is the machine itself"),
]

# The agent sees an armhf system, this one's /proc and /dev, and the directory of the test.
ENTER = """
set -eu
root=$1 shared=$2
shift 2
for name in /proc /dev "$shared"; do
    mkdir -p "$root$name"
    mount --bind "$name" "$root$name"
done
exec chroot "$root" /usr/bin/qemu-arm-static "$@"
"""

# Without help from the kernel a program of the device must name the emulator itself.
HANDLER = """#!/usr/bin/qemu-arm-static /usr/bin/python3
import os, platform
print(platform.machine(), os.environ["THINGJOBS_JOB_ID"])
"""


def checked(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's armhf Python and the package, which was built on this machine."""
    assert EMULATOR is not None
    directory = tmp_path_factory.mktemp("armhf")
    root = directory / "system"
    checked(
        "env", f"PYTHON={sys.executable}", str(PACKAGING / "build-deb"), "--arch", "armhf", "--output",
        str(directory),
    )  # fmt: skip
    (package,) = directory.glob("thingjobs-agent_*_armhf.deb")
    checked(str(PACKAGING / "unpack-armhf"), "--with-depends", str(root), "python3", "libpython3.11-stdlib")
    checked("dpkg-deb", "-x", str(package), str(root))
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    shutil.copy(EMULATOR, root / "usr" / "bin" / "qemu-arm-static")
    return root


@pytest.fixture
def arm_agent(agent: Agent, system: Path, tmp_path: Path) -> Agent:
    """The installed program, at its place, on the emulated processor."""
    enter = ["unshare", "-m", "/bin/sh", "-c", ENTER, "sh", str(system), str(tmp_path)]
    if subprocess.run([*enter, "/usr/bin/python3", "-c", ""], check=False).returncode != 0:
        pytest.skip("a mount namespace of one's own is not allowed here")
    # As in the first line of the program.
    agent.python = [*enter, "/usr/bin/python3", "-BISOOXno_debug_ranges"]
    agent.program = ["/usr/bin/thingjobs-agent"]
    path = agent.handler_dir / "a.sh"
    path.write_text(HANDLER)
    path.chmod(0o755)
    return agent


def test_package_runs_on_32_bit_arm(arm_agent: Agent, tmp_path: Path) -> None:
    """Issue 6: armv7, where msgspec has no wheel; its compiled part reads the document."""
    command = [*arm_agent.python, *arm_agent.program]
    assert checked(*command, "--version").startswith("thingjobs-agent ")
    path = tmp_path / "document.json"
    path.write_text(json.dumps(document("a.sh")))
    assert checked(*command, "validate", str(path)) == "valid: 1 step\n"
    path.write_text('{"version": "1.0", "steps": 5}')
    rejected = subprocess.run([*command, "validate", str(path)], capture_output=True, check=False)
    assert rejected.returncode == 1
    path.write_text(json.dumps(document("a.sh")))
    planned = arm_agent.run("plan", str(path))
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert str(arm_agent.handler_dir / "a.sh") in planned.stdout


@pytest.mark.asyncio
async def test_job_from_a_service_is_done_on_32_bit_arm(arm_agent: Agent, served: Served) -> None:
    """From the notification to the report with what the handler printed."""
    served.service.queue("J1", document("a.sh", includeStdOut=True))
    arm_agent.start()
    status, details = await served.until_over("J1")
    assert (status, details["stdout"].strip()) == (Status.SUCCEEDED, "armv7l J1")
    # Slow as it is there, the answer to the report is still to be read.
    await served.until(lambda: "J1" in arm_agent.run("history").stdout, 60)
    assert arm_agent.end() == 0
