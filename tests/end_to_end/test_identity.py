"""From `thingjobs init` to a finished job, with real credentials over TLS and the real programs."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.end_to_end import harness
from tests.end_to_end.raw_client import RawClient, RefusedError
from tests.end_to_end.stages import OPERATOR, log_in, password_of, tls_of
from tests.support import free_port
from thingjobs_broker.provision.setup import Setup

pytestmark = pytest.mark.broker


class Plant:
    """A broker with TLS that `thingjobs init` has set up, and its ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "setup"
        self.tls_port = free_port()
        harness.thingjobs("init", str(self.directory), "--host", "localhost")
        self.setup = Setup(self.directory)
        self.ports = {"password": self.tls_port, "certificate": self.tls_port}
        settings = self.setup.layout.up_settings
        text, count = re.subn("0.0.0.0:8883", f"127.0.0.1:{self.tls_port}", settings.read_text())
        assert count == 1
        settings.write_text(text)

    def add_device(self, name: str, *options: str) -> Path:
        """Makes a device's credential; the settings of its agent."""
        login = self.setup.layout.device(name)
        harness.thingjobs(
            *("init", "device", name, "--dir", str(self.directory), *options),
            *("--url", f"mqtts://localhost:{self.tls_port}", "--device-dir", str(login.root)),
        )
        return login.settings

    def ask(self, *arguments: str) -> str:
        """What a command of the first operator writes, with what operator.sh exports."""
        login = self.setup.layout.operator(OPERATOR)
        done = harness.thingjobs(
            *arguments,
            environ={
                "THINGJOBS_BROKER": f"mqtts://{OPERATOR}@localhost:{self.tls_port}",
                "THINGJOBS_CA_FILE": str(login.ca),
                "THINGJOBS_PASSWORD": password_of(login),
            },
        )
        return done.stdout


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """The running broker, with a device with a password and one with a certificate."""
    one = Plant(tmp_path)
    one.add_device("press-7")
    one.add_device("press-8")
    one.add_device("drill-7", "--certificate")
    # The data directory comes from the file, the plain listener is not needed.
    command = [*harness.THINGJOBS, "up", "--config", str(one.setup.layout.up_settings)]
    command += ["--listen", f"127.0.0.1:{free_port()}"]
    up = harness.Restartable("up", command, tmp_path, ready="listening on mqtts://")
    up.start()
    try:
        yield one
    finally:
        assert up.stop() == 0


def test_jobs_run_with_own_credentials_and_nobody_else_sees_them(plant: Plant) -> None:
    """Promise 7, end to end: password and certificate, and another device that listens to everything."""
    # The first argument of a handler is the user it runs as.
    handlers = harness.handler_folder(plant.folder, {"write.sh": 'echo "$2" > "$3"'})
    with ExitStack() as stack:
        spy = stack.enter_context(log_in(plant, "press-8"))
        assert spy.subscribe("$aws/#", "#", "$aws/things/+/jobs/#", "$aws/things/press-8/jobs/#")[-1] == 1
        for name in ("press-7", "drill-7"):
            settings = plant.setup.layout.device(name).settings
            command = [*harness.AGENT, "run", "--config", str(settings), "--handler-dir", str(handlers)]
            command += ["--state-dir", str(plant.folder / f"state-{name}")]
            agent = harness.Restartable(name, command, plant.folder, ready="Connected")
            agent.start()
            stack.callback(agent.stop)
        for name in ("press-7", "drill-7"):
            job = plant.folder / f"{name}.json"
            output = plant.folder / f"{name}.txt"
            document = harness.document(("Write", "write.sh", [name, str(output)]))
            job.write_text(json.dumps(document))
            plant.ask("job", "create", "--id", f"job-{name}", "--target", name, "--document", str(job))
            assert "1 succeeded" in plant.ask("job", "watch", f"job-{name}")
            assert output.read_text().strip() == name
        spy.publish(["$aws/things/press-7/jobs/get", "$aws/things/press-7/jobs/job-press-7/get"])
        assert spy.drain() == []


def test_a_lost_device_is_locked_out(plant: Plant) -> None:
    """Its password counts no more from the next login on; for certificates a restart is due."""
    login = plant.setup.layout.device("press-7")
    secret = password_of(login)
    done = harness.thingjobs("init", "revoke", "press-7", "--dir", str(plant.directory))
    assert "restart the broker" in done.stdout
    with pytest.raises(RefusedError, match="return code"):
        RawClient(plant.tls_port, user="press-7", password=secret, tls=tls_of(plant.setup))


def test_the_shell_of_an_operator_needs_one_file(plant: Plant) -> None:
    """`. operator.sh` exports everything that client commands want."""
    script = plant.setup.layout.operator(OPERATOR).environment
    text = script.read_text().replace(":8883", f":{plant.tls_port}")
    script.write_text(text)
    command = f'. "{script}" && exec "$@"'
    done = subprocess.run(
        ["/bin/sh", "-c", command, "sh", *harness.THINGJOBS, "thing", "list"],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=harness.COMMAND_SECONDS_MAX,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
