"""The README is true: its commands run in their order, its snippets are accepted, its tables are right."""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # amqtt brings it along

from tests import readme
from tests.end_to_end.demo_output import masked
from tests.end_to_end.test_demo import EXPECTED
from tests.support import ROOT, free_port, require_program, run_session, wait_for_port
from thingjobs_broker.programs import BackgroundProgram


def test_the_tables_of_settings_are_those_of_the_programs():
    """`python -m tests.readme` writes them anew."""
    text = readme.README.read_text()
    assert readme.with_tables(text) == text


def test_the_shown_demo_is_what_the_demo_prints():
    """The demo itself is run and compared in test_demo."""
    shown = re.search(r"<!-- demo -->\n```text\n(.*?)```", readme.README.read_text(), re.DOTALL)
    assert shown is not None
    assert masked(shown[1]) == masked(EXPECTED)


def test_links_lead_to_files_that_exist():
    """Only links within the repository are looked at."""
    links = re.findall(r"\]\(([^)#]+)", readme.README.read_text())
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def write_snippets(folder: Path) -> None:
    """The document and the handler that the README shows."""
    (folder / "job.json").write_text(readme.blocks("json")[0])
    handlers = folder / "handlers"
    handlers.mkdir(mode=0o700)
    handler = next(block for block in readme.blocks("sh") if block.startswith("#!"))
    (handlers / "hello.sh").write_text(handler)
    (handlers / "hello.sh").chmod(0o700)


def adapted(command: str, port: str) -> list[str]:
    """A command with free ports, and what a person does by eye: waiting until a program is ready."""
    if command.startswith("thingjobs up") and command.endswith("&"):
        return [command, f"until (: </dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.1; done"]
    if command.startswith("thingjobs init setup"):
        # Beside the service that already runs; and root's Mosquitto stays root, to read this folder.
        edits = " ".join(f"-e s/{shipped}/{free_port()}/" for shipped in ("1883", "8883", "8884"))
        files = "setup/broker/mosquitto.conf setup/service/serve.toml setup/operators/*/operator.sh"
        root = ["echo user root >> setup/broker/mosquitto.conf"] if os.geteuid() == 0 else []
        return [command, f"sed -i {edits} {files}", *root]
    if command.startswith("thingjobs serve"):
        # The address in this test's environment is that of the other service.
        started = command.removesuffix("&") + "> serve.log 2>&1 &"
        ready = "until grep -q 'serving beside' serve.log; do kill -0 $!; sleep 0.1; done"
        return [f"env -u THINGJOBS_BROKER {started}", ready]
    return [command.replace("1883", port)]


@pytest.mark.broker
def test_the_commands_run_in_their_order(tmp_path: Path):
    """Each `$ ` line of the console blocks, in one shell; a command that fails ends it with its number."""
    for program in ("mosquitto", "mosquitto_passwd"):
        require_program(program, package="mosquitto")
    write_snippets(tmp_path)
    port = str(free_port())
    commands = [line[2:] for block in readme.blocks("console") for line in block.splitlines()]
    script = ["set -eu", "trap 'kill $(jobs -p); wait' EXIT"]
    for command in commands:
        script.append(f"echo '$ '{shlex.quote(command)} >&2")
        script += adapted(command, port)
    broker = {"THINGJOBS_LISTEN": f"127.0.0.1:{port}", "THINGJOBS_BROKER": f"mqtt://127.0.0.1:{port}"}
    done = run_session(script, tmp_path, **{**os.environ, **broker})
    assert done.returncode == 0, done.stderr
    assert "1 succeeded" in done.stdout
    assert "Hello, world, from job hello" in done.stdout
    assert "ok      impersonation gateway-2 can neither act for another thing" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.broker
def test_the_configuration_for_amqtt_starts_the_service(tmp_path: Path):
    """As shown, but for the port."""
    port = free_port()
    config = readme.blocks("yaml")[0].replace("1883", str(port))
    assert yaml.safe_load(config)
    (tmp_path / "amqtt.yaml").write_text(config)
    command = [str(Path(sys.executable).parent / "amqtt"), "-c", "amqtt.yaml"]
    broker = BackgroundProgram(
        "amqtt", command, log=tmp_path / "amqtt.log", environ=dict(os.environ), folder=tmp_path
    )
    try:
        wait_for_port(port)
    finally:
        broker.stop()
