"""docs/aws.md is true: its commands run in their order, with the real `aws` and boto3."""

import re
import shlex
from pathlib import Path

import pytest

from tests import readme
from tests.support import ROOT, free_port, run_session

GUIDE = ROOT / "docs/aws.md"


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_readme_shows_commands_of_the_guide():
    """In their order, so that they are tested here."""
    commands = [line for block in blocks("console") for line in block.splitlines()]
    shown = [f"$ {line}" for line in readme.blocks("bash")[0].splitlines()]
    assert shown == [line for line in commands if line in shown]


@pytest.mark.broker
def test_the_commands_run_in_their_order(tmp_path: Path):
    """Each of them succeeds; ports are free ones, and the service is waited for."""
    port = str(free_port())
    (tmp_path / "rollout.py").write_text(blocks("python")[0])
    script = ["set -eu", "trap 'kill $(jobs -p); wait' EXIT"]
    for line in "".join(blocks("console")).splitlines():
        command = line.removeprefix("$ ").replace("8080", port)
        script.append(f"echo {shlex.quote(command)} >&2")
        if command.startswith("thingjobs up"):
            script.append(f"sed -i -e s/1883/{free_port()}/ -e s/8883/{free_port()}/ setup/broker/up.toml")
            script.append(command.removesuffix("&") + "> up.log 2>&1 &")
            command = "until grep -q 'listening on https' up.log; do kill -0 $!; sleep 0.1; done"
        script.append(command)
    done = run_session(script, tmp_path, HOME=str(tmp_path), AWS_EC2_METADATA_DISABLED="true")
    assert done.returncode == 0, done.stderr
    assert '"IN_PROGRESS"' in done.stdout
    assert '"queuedJobs"' in done.stdout
    assert "firmware-3 IN_PROGRESS" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
