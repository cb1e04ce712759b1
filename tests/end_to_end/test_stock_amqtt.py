"""The service as a plugin of the stock broker: `amqtt -c amqtt.yaml`, which knows nothing of thingjobs."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.harness import environment
from tests.end_to_end.jobs_client import DOCUMENT, JobsClient
from tests.support import free_port
from thingjobs_broker.programs import BackgroundProgram

pytestmark = pytest.mark.broker

AMQTT = [str(Path(sys.executable).parent / "amqtt"), "-c", "amqtt.yaml"]
PATIENCE_S = 20.0
JOBS = "$aws/things/press-7/jobs"


@contextmanager
def stock_amqtt(folder: Path, **options: Any) -> Iterator[BackgroundProgram]:
    """The broker with the plugin by its dotted path. JSON is YAML."""
    folder.mkdir(exist_ok=True)
    plugin = {"data_dir": "data", "anonymous": True, "registry": {"auto_register": True}, **options}
    config = {
        "listeners": {"default": {"type": "external", "bind": "front"}},
        "plugins": {
            "thingjobs_broker.authentication.Anyone": {},
            "thingjobs_broker.plugin.JobsPlugin": plugin,
        },
    }
    (folder / "amqtt.yaml").write_text(json.dumps(config), encoding="utf-8")
    with BackgroundProgram(
        "amqtt", AMQTT, log=folder / "log", environ=environment(), folder=folder
    ) as program:
        yield program


def ended(program: BackgroundProgram) -> int:
    """The exit code of a broker that gives up; the suite's own timeout ends a wait in vain."""
    return program._process.wait(PATIENCE_S)


async def run_a_job(port: int, job_id: str) -> list[str]:
    """Runs a job, and returns the endings of all that its device heard."""
    async with JobsClient.connect(port, f"{JOBS}/#") as client:
        await client.ask(f"{JOBS}/get")
        await client.call("CreateJob", jobId=job_id, targets=["press-7"], document=DOCUMENT)
        heard = await client.ask(f"{JOBS}/start-next")
        heard += await client.ask(f"{JOBS}/{job_id}/update", {"status": "SUCCEEDED"})
        return [message.ending for message in heard]


def test_the_stock_broker_runs_jobs_and_keeps_them(tmp_path: Path) -> None:
    """Issue 2, item 1: by dotted path and Config; what was accepted is there after kill -9."""
    port = free_port()
    wanted = ["accepted", "accepted", "notify", "notify-next"]
    with stock_amqtt(tmp_path, listen=[f"127.0.0.1:{port}"]) as program:
        program.wait_for("jobs service is ready", timeout_seconds=PATIENCE_S)
        assert asyncio.run(run_a_job(port, "first")) == wanted
        program.kill()
    with stock_amqtt(tmp_path, listen=[f"127.0.0.1:{port}"]) as program:
        program.wait_for("jobs service is ready", timeout_seconds=PATIENCE_S)
        assert "things=1" in program.output
        assert "jobs=1" in program.output
        assert asyncio.run(run_a_job(port, "second")) == wanted
        os.kill(program.pid, signal.SIGINT)
        assert ended(program) == 0
        assert "The jobs service has stopped" in program.output


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"data_dir": "file"}, "data directory {folder}/file: is not a directory; choose another directory"),
        ({"listen": ["127.0.0.1:{taken}"]}, "cannot listen on 127.0.0.1:{taken}: "),
        ({"listen": ["127.0.0.1"]}, "listen address '127.0.0.1' is not HOST:PORT, such as 127.0.0.1:1883"),
        ({"listen": ["0.0.0.0:1883"]}, "anonymous access is for loopback only, not for 0.0.0.0:1883; "),
        ({"anonymous": False, "listen": ["127.0.0.1:0"]}, "nothing checks who a client is; "),
    ],
    ids=["data_dir", "port_in_use", "no_address", "anonymous", "open_door"],
)
def test_what_cannot_start_ends_the_process_with_one_line(
    tmp_path: Path, options: dict[str, Any], complaint: str
) -> None:
    """broker-facts 1.1: amqtt swallows what a plugin raises, and would serve with its journal unread."""
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        names = {"folder": tmp_path, "taken": taken.getsockname()[1]}
        filled = {
            name: [one.format(**names) for one in value] if isinstance(value, list) else value
            for name, value in options.items()
        }
        with stock_amqtt(tmp_path, **{"listen": ["127.0.0.1:0"], **filled}) as program:
            assert ended(program) == 1
    lines = [line for line in program.output.splitlines() if line.startswith("thingjobs: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"thingjobs: {complaint.format(**names)}")
    assert "Traceback" not in program.output
