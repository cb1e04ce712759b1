"""A job created by boto3 over HTTP runs on an unmodified device of AWS's SDK over MQTT.

On both brokers; `serve --http` beside Mosquitto is the program itself.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from awscrt import mqtt, mqtt_request_response
from awsiot import iotjobs
from botocore.config import Config

from tests.broker.beside import Mosquitto
from tests.end_to_end.beside_mosquitto import serving
from tests.end_to_end.harness import running_service
from tests.end_to_end.test_aws_sdk import PATIENCE_S, Heard
from tests.support import free_port

pytestmark = pytest.mark.broker

AT_LEAST_ONCE = mqtt.QoS.AT_LEAST_ONCE
DOCUMENT = '{"operation": "restart"}'


class Doors:
    """Where the service is reached: the port of MQTT, and boto3's clients of HTTP."""

    def __init__(self, mqtt_port: int, http_port: int) -> None:
        self.mqtt_port = mqtt_port
        session = botocore.session.get_session()

        def client(name: str) -> Any:
            return session.create_client(
                name,
                endpoint_url=f"http://127.0.0.1:{http_port}",
                region_name="local",
                aws_access_key_id="any",
                aws_secret_access_key="any",
                config=Config(retries={"total_max_attempts": 1}),
            )

        self.iot, self.data = client("iot"), client("iot-jobs-data")


@pytest.fixture(params=["amqtt", "mosquitto"])
def doors(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Doors]:
    """`thingjobs up --http`, and `thingjobs serve --http` beside Mosquitto."""
    http_port, mqtt_port = free_port(), free_port()
    options = ("--http", f"127.0.0.1:{http_port}", "--http-anonymous")
    with ExitStack() as stack:
        if request.param == "amqtt":
            stack.enter_context(running_service(tmp_path, *options, port=mqtt_port))
        else:
            broker = Mosquitto(tmp_path, mqtt_port).start()
            stack.callback(broker.stop)
            stack.enter_context(serving(tmp_path, broker, *options))
        found = Doors(mqtt_port, http_port)
        stack.callback(found.iot.close)
        stack.callback(found.data.close)
        yield found


def connected(stack: ExitStack, doors: Doors, name: str) -> mqtt.Connection:
    """A connection of the CRT, which is closed with the stack."""
    connection = mqtt.Connection(mqtt.Client(), "127.0.0.1", doors.mqtt_port, name)
    connection.connect().result(PATIENCE_S)
    stack.callback(lambda: connection.disconnect().result(PATIENCE_S))
    return connection


def test_a_job_of_boto3_is_run_by_the_device_sdk(doors: Doors) -> None:
    """Issue 7, item 3: created over HTTP, executed over MQTT, its events and its end seen on both sides."""
    iot, heard = doors.iot, Heard()
    target = iot.create_thing(thingName="press-7")["thingArn"]
    with ExitStack() as stack:
        watcher = connected(stack, doors, "watcher")

        def event(topic: str, payload: bytes, **_: Any) -> None:
            heard.listener("event")((topic, payload))

        watcher.subscribe("$aws/events/#", AT_LEAST_ONCE, event)[0].result(PATIENCE_S)
        limits = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=4, max_streaming_subscriptions=2
        )
        jobs = iotjobs.IotJobsClientV2(connected(stack, doors, "press-7"), limits)
        iot.create_job(jobId="j", targets=[target], document=DOCUMENT)
        request = iotjobs.StartNextPendingJobExecutionRequest(thing_name="press-7")
        started = jobs.start_next_pending_job_execution(request).result(PATIENCE_S).execution
        assert (started.job_id, started.job_document) == ("j", {"operation": "restart"})
        seen = iot.describe_job_execution(thingName="press-7", jobId="j")["execution"]
        assert seen["status"] == "IN_PROGRESS"
        update = iotjobs.UpdateJobExecutionRequest(
            thing_name="press-7", job_id="j", status="SUCCEEDED", status_details={"restarted": "yes"}
        )
        jobs.update_job_execution(update).result(PATIENCE_S)
        topics = {heard.next("event")[0] for _ in range(2)}
        assert topics == {"$aws/events/jobExecution/j/succeeded", "$aws/events/job/j/completed"}
        # The native side frees the client with its last reference, before its connection.
        del jobs
    ended = iot.describe_job_execution(thingName="press-7", jobId="j")["execution"]
    assert (ended["status"], ended["statusDetails"]) == ("SUCCEEDED", {"detailsMap": {"restarted": "yes"}})
    assert iot.describe_job(jobId="j")["job"]["status"] == "COMPLETED"


def test_v18_the_signed_service_decides_what_a_path_means(doors: Doors) -> None:
    """Control plane V18: GET /things/t/jobs of `iot-jobs-data` is the data plane's."""
    target = doors.iot.create_thing(thingName="t")["thingArn"]
    doors.iot.create_job(jobId="j", targets=[target], document=DOCUMENT)
    pending = doors.data.get_pending_job_executions(thingName="t")
    assert [one["jobId"] for one in pending["queuedJobs"]] == ["j"]
    assert pending["inProgressJobs"] == []
    assert "executionSummaries" not in pending
    (summary,) = doors.iot.list_job_executions_for_thing(thingName="t")["executionSummaries"]
    assert summary["jobId"] == "j"
