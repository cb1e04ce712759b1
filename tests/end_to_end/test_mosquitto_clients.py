"""The command-line clients of Mosquitto run a whole job on both brokers: what one tries first, by hand."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.end_to_end.jobs_client import DOCUMENT, call_once
from tests.end_to_end.wire_fixtures import WireService, new_name
from tests.support import require_program

pytestmark = pytest.mark.broker

PATIENCE_S = 10


@contextmanager
def listening(service: WireService, topic_filter: str, version: str) -> Iterator["Listener"]:
    """`mosquitto_sub` on a filter, subscribed."""
    program = require_program("mosquitto_sub", package="mosquitto-clients")
    # With -d it says when the subscription is acknowledged, which stdbuf lets through at once.
    command = [
        "stdbuf",
        "-oL",
        program,
        "-d",
        "-p",
        str(service.port),
        "-V",
        version,
        "-q",
        "1",
        "-t",
        topic_filter,
    ]
    with subprocess.Popen([*command, "-F", "got %t %p"], stdout=subprocess.PIPE, text=True) as process:
        try:
            listener = Listener(process)
            listener.line_with("Subscribed")
            yield listener
        finally:
            process.terminate()


class Listener:
    """What a `mosquitto_sub` prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line_with(self, text: str) -> str:
        """The next line with a text; the suite's own timeout ends a wait in vain."""
        assert self._process.stdout is not None
        return next(line for line in self._process.stdout if text in line)

    def hear(self, what: str) -> Any:
        """The payload of the next message whose topic ends in `what`; it must be the very next reply."""
        while True:
            _, topic, payload = self.line_with("got ").split(" ", 2)
            if topic.rpartition("/")[2] in {"accepted", "rejected", "notify", "notify-next"}:
                assert topic.endswith(f"/{what}"), (topic, payload)
                return json.loads(payload)


def publish(service: WireService, version: str, topic: str, options: Sequence[str]) -> None:
    """`mosquitto_pub`."""
    program = require_program("mosquitto_pub", package="mosquitto-clients")
    command = [program, "-p", str(service.port), "-V", version, "-t", topic, *options]
    subprocess.run(command, check=True, timeout=PATIENCE_S)


@pytest.mark.parametrize("version", ["311", "5"])
def test_mosquitto_pub_and_sub_run_a_whole_job(service: WireService, version: str) -> None:
    """Data plane 1.6, ad-hoc tools: `base/#`, requests of no bytes (-n) and of every QoS."""
    thing, job_id = new_name("press"), new_name("job")
    base = f"$aws/things/{thing}/jobs"
    call_once(service.port, "CreateThing", thingName=thing)
    with listening(service, f"{base}/#", version) as listener:
        publish(service, version, f"{base}/get", ["-n"])
        assert listener.hear("get/accepted")["queuedJobs"] == []
        call_once(service.port, "CreateJob", jobId=job_id, targets=[thing], document=DOCUMENT)
        assert listener.hear("notify")["jobs"]["QUEUED"][0]["jobId"] == job_id
        assert listener.hear("notify-next")["execution"]["jobDocument"] == json.loads(DOCUMENT)
        publish(service, version, f"{base}/start-next", ["-n", "-q", "1"])
        assert listener.hear("start-next/accepted")["execution"]["versionNumber"] == 2
        publish(service, version, f"{base}/{job_id}/update", ["-q", "2", "-m", '{"status":"QUEUED"}'])
        assert listener.hear(f"{job_id}/update/rejected")["code"] == "InvalidStateTransition"
        publish(service, version, f"{base}/{job_id}/update", ["-q", "2", "-m", '{"status":"SUCCEEDED"}'])
        assert listener.hear(f"{job_id}/update/accepted").keys() == {"timestamp"}
        assert listener.hear("notify")["jobs"] == {}
        assert "execution" not in listener.hear("notify-next")
