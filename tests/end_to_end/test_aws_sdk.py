"""Unmodified clients of AWS run whole jobs on both brokers: both generations of both Python SDKs.

`client-quirks` is the contract. Over MQTT 3.1.1 and, where the client can, over MQTT 5. There is no TLS: the
services of these tests let everybody in.
"""

import json
import queue
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from awscrt import mqtt, mqtt5, mqtt_request_response
from awsiot import ServiceStreamOptions, V2ServiceException, iotjobs
from AWSIoTPythonSDK.core.jobs.thingJobManager import jobExecutionStatus as V0Status
from AWSIoTPythonSDK.core.jobs.thingJobManager import jobExecutionTopicReplyType as V0Reply
from AWSIoTPythonSDK.core.jobs.thingJobManager import jobExecutionTopicType as V0Topic
from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTThingJobsClient

from tests.end_to_end.jobs_client import DOCUMENT, call_once
from tests.end_to_end.wire_fixtures import WireService, new_name

pytestmark = pytest.mark.broker

PATIENCE_S = 10.0
AT_LEAST_ONCE = mqtt.QoS.AT_LEAST_ONCE


class Heard:
    """What callbacks were handed, in order, by their name."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[str, Any]] = queue.Queue()

    def listener(self, name: str) -> Any:
        """A callback with one argument."""
        return lambda event: self._queue.put((name, event))

    def next(self, name: str) -> Any:
        """The next one, which must be of that name; the SDK makes None of a payload it cannot read."""
        found, event = self._queue.get(timeout=PATIENCE_S)
        assert found == name, (found, event)
        assert event is not None, f"the SDK could not read {name}"
        return event

    def notifications(self) -> dict[str, Any]:
        """The next two, one of each kind in whatever order (data plane 1.5)."""
        pair = dict(self._queue.get(timeout=PATIENCE_S) for _ in range(2))
        assert pair.keys() == {"notify", "notify-next"}
        return pair

    def nothing(self) -> bool:
        """Whether nothing is left."""
        return self._queue.empty()


@contextmanager
def connection_of_311(service: WireService) -> Iterator[mqtt.Connection]:
    """A connection of the CRT over MQTT 3.1.1."""
    connection = mqtt.Connection(mqtt.Client(), "127.0.0.1", service.port, new_name("crt"))
    connection.connect().result(PATIENCE_S)
    yield connection
    connection.disconnect().result(PATIENCE_S)


@contextmanager
def client_of_5(service: WireService) -> Iterator[mqtt5.Client]:
    """A client of the CRT over MQTT 5."""
    connected: Future[None] = Future()
    stopped: Future[None] = Future()
    client = mqtt5.Client(
        mqtt5.ClientOptions(
            "127.0.0.1",
            service.port,
            connect_options=mqtt5.ConnectPacket(client_id=new_name("crt")),
            on_lifecycle_event_connection_success_fn=lambda _: connected.set_result(None),
            on_lifecycle_event_stopped_fn=lambda _: stopped.set_result(None),
        )
    )
    client.start()
    connected.result(PATIENCE_S)
    yield client
    client.stop()
    stopped.result(PATIENCE_S)


@pytest.fixture(params=[connection_of_311, client_of_5], ids=["mqtt-3.1.1", "mqtt-5"])
def protocol_client(request: pytest.FixtureRequest, service: WireService) -> Iterator[Any]:
    """What both clients of `awsiot.iotjobs` run over."""
    with request.param(service) as client:
        yield client


@pytest.fixture
def thing(service: WireService) -> str:
    """A registered thing without jobs."""
    name = new_name("press")
    call_once(service.port, "CreateThing", thingName=name)
    return name


def create_job(service: WireService, thing: str, **members: Any) -> str:
    """A job for the thing; its id."""
    job_id = new_name("job")
    call_once(service.port, "CreateJob", jobId=job_id, targets=[thing], document=DOCUMENT, **members)
    return job_id


# awsiotsdk, IotJobsClient: subscribe, publish, callbacks.


def subscribed(jobs: iotjobs.IotJobsClient, thing: str, job_id: str) -> Heard:
    """Listens to everything there is for a job of the thing, as the sample of the SDK does."""
    heard = Heard()
    of_thing, of_job = {"thing_name": thing}, {"thing_name": thing, "job_id": job_id}
    of_next = {"thing_name": thing, "job_id": "$next"}
    requests = {
        "get_pending_job_executions": (iotjobs.GetPendingJobExecutionsSubscriptionRequest, of_thing),
        "start_next_pending_job_execution": (
            iotjobs.StartNextPendingJobExecutionSubscriptionRequest,
            of_thing,
        ),
        "update_job_execution": (iotjobs.UpdateJobExecutionSubscriptionRequest, of_job),
        "describe_job_execution": (iotjobs.DescribeJobExecutionSubscriptionRequest, of_job),
    }
    futures = []
    for operation, (request, names) in requests.items():
        for reply in ("accepted", "rejected"):
            subscribe = getattr(jobs, f"subscribe_to_{operation}_{reply}")
            listener = heard.listener(f"{operation} {reply}")
            futures.append(subscribe(request(**names), AT_LEAST_ONCE, listener)[0])
    describe_next = iotjobs.DescribeJobExecutionSubscriptionRequest(**of_next)
    listener = heard.listener("$next accepted")
    futures += [
        jobs.subscribe_to_describe_job_execution_accepted(describe_next, AT_LEAST_ONCE, listener)[0],
        jobs.subscribe_to_job_executions_changed_events(
            iotjobs.JobExecutionsChangedSubscriptionRequest(**of_thing),
            AT_LEAST_ONCE,
            heard.listener("notify"),
        )[0],
        jobs.subscribe_to_next_job_execution_changed_events(
            iotjobs.NextJobExecutionChangedSubscriptionRequest(**of_thing),
            AT_LEAST_ONCE,
            heard.listener("notify-next"),
        )[0],
    ]
    for future in futures:
        assert future.result(PATIENCE_S) == AT_LEAST_ONCE
    return heard


def test_iot_jobs_client_runs_a_whole_job(service: WireService, protocol_client: Any, thing: str) -> None:
    """Issue 2, item 8: what AWS's own test of the SDK wants, with details, timers and time stamps."""
    jobs = iotjobs.IotJobsClient(protocol_client)
    now = datetime.fromtimestamp(service.align())  # noqa: DTZ006 - the SDK has no time zone either
    job_id = new_name("job")
    heard = subscribed(jobs, thing, job_id)
    timeout = {"inProgressTimeoutInMinutes": 10}
    request = {"jobId": job_id, "targets": [thing], "document": DOCUMENT, "timeoutConfig": timeout}
    call_once(service.port, "CreateJob", **request)
    first = heard.notifications()
    assert [one.job_id for one in first["notify"].jobs["QUEUED"]] == [job_id]
    execution = first["notify-next"].execution
    assert (execution.status, execution.queued_at, execution.job_document) == (
        "QUEUED",
        now,
        json.loads(DOCUMENT),
    )
    jobs.publish_get_pending_job_executions(
        iotjobs.GetPendingJobExecutionsRequest(thing_name=thing, client_token="list"), AT_LEAST_ONCE
    )
    pending = heard.next("get_pending_job_executions accepted")
    assert ([one.job_id for one in pending.queued_jobs], pending.in_progress_jobs) == ([job_id], [])
    jobs.publish_describe_job_execution(
        iotjobs.DescribeJobExecutionRequest(thing_name=thing, job_id="$next"), AT_LEAST_ONCE
    )
    assert heard.next("$next accepted").execution.version_number == 1
    jobs.publish_start_next_pending_job_execution(
        iotjobs.StartNextPendingJobExecutionRequest(
            thing_name=thing, client_token="start", status_details={"step": "download"}
        ),
        AT_LEAST_ONCE,
    )
    started = heard.next("start_next_pending_job_execution accepted")
    assert (started.client_token, started.timestamp) == ("start", now)
    execution = started.execution
    assert (execution.status, execution.version_number, execution.started_at) == ("IN_PROGRESS", 2, now)
    assert execution.status_details == {"step": "download"}
    _progress_and_finish(jobs, heard, thing, job_id, now)
    last = heard.notifications()
    assert (last["notify"].jobs, last["notify-next"].execution) == ({}, None)
    assert heard.nothing()


def _progress_and_finish(
    jobs: iotjobs.IotJobsClient, heard: Heard, thing: str, job_id: str, now: datetime
) -> None:
    names = {"thing_name": thing, "job_id": job_id}
    jobs.publish_update_job_execution(
        iotjobs.UpdateJobExecutionRequest(
            **names,
            status="IN_PROGRESS",
            status_details={"progress": "50"},
            expected_version=2,
            execution_number=1,
            include_job_execution_state=True,
            include_job_document=True,
            step_timeout_in_minutes=5,
        ),
        AT_LEAST_ONCE,
    )
    updated = heard.next("update_job_execution accepted")
    assert updated.execution_state.version_number == 3
    assert updated.execution_state.status_details == {"progress": "50"}
    assert (updated.job_document, updated.timestamp) == (json.loads(DOCUMENT), now)
    jobs.publish_describe_job_execution(
        iotjobs.DescribeJobExecutionRequest(**names, include_job_document=False), AT_LEAST_ONCE
    )
    described = heard.next("describe_job_execution accepted").execution
    assert (described.job_document, described.last_updated_at, described.thing_name) == (None, now, None)
    jobs.publish_update_job_execution(
        iotjobs.UpdateJobExecutionRequest(**names, status="SUCCEEDED"), AT_LEAST_ONCE
    )
    assert heard.next("update_job_execution accepted").execution_state is None


def test_iot_jobs_client_understands_every_refusal(
    service: WireService, protocol_client: Any, thing: str
) -> None:
    """Data plane 3: code, message, token and state arrive in the SDK's own type."""
    jobs = iotjobs.IotJobsClient(protocol_client)
    job_id = create_job(service, thing)
    heard = subscribed(jobs, thing, job_id)
    names = {"thing_name": thing, "job_id": job_id, "client_token": "c"}

    def refused(**members: Any) -> Any:
        request = iotjobs.UpdateJobExecutionRequest(**names, **members)
        jobs.publish_update_job_execution(request, AT_LEAST_ONCE)
        error = heard.next("update_job_execution rejected")
        assert (error.client_token, bool(error.message)) == ("c", True)
        assert isinstance(error.timestamp, datetime)
        return error

    mismatch = refused(status="IN_PROGRESS", expected_version=99)
    assert mismatch.code == iotjobs.RejectedErrorCode.VERSION_MISMATCH
    assert (mismatch.execution_state.status, mismatch.execution_state.version_number) == ("QUEUED", 1)
    assert refused(status="CANCELED").code == iotjobs.RejectedErrorCode.INVALID_STATE_TRANSITION
    assert refused(status="DONE").code == iotjobs.RejectedErrorCode.INVALID_REQUEST
    missing = refused(status="IN_PROGRESS", execution_number=7)
    assert (missing.code, missing.execution_state) == (iotjobs.RejectedErrorCode.RESOURCE_NOT_FOUND, None)
    jobs.publish_update_job_execution(
        iotjobs.UpdateJobExecutionRequest(**names, status="SUCCEEDED"), AT_LEAST_ONCE
    )
    heard.next("update_job_execution accepted")
    heard.notifications()
    request = iotjobs.DescribeJobExecutionRequest(**names)
    jobs.publish_describe_job_execution(request, AT_LEAST_ONCE)
    ended = heard.next("describe_job_execution rejected")
    assert ended.code == iotjobs.RejectedErrorCode.TERMINAL_STATE_REACHED


# awsiotsdk, IotJobsClientV2: requests as futures, notifications as streams.


@contextmanager
def stream(create: Any, request: Any, heard: Heard, name: str) -> Iterator[None]:
    """An open stream of notifications, once its subscription is established."""
    status: queue.Queue[Any] = queue.Queue()
    options: ServiceStreamOptions[Any] = ServiceStreamOptions(
        incoming_event_listener=heard.listener(name),
        subscription_status_listener=status.put,
        deserialization_failure_listener=lambda failure: heard.listener(name)(None),
    )
    opened = create(request, options)
    opened.open()
    event = status.get(timeout=PATIENCE_S)
    assert event.type == mqtt_request_response.SubscriptionStatusEventType.SUBSCRIPTION_ESTABLISHED
    yield
    # The native side frees the stream with its last reference.
    del opened


def test_iot_jobs_client_v2_runs_a_whole_job(service: WireService, protocol_client: Any, thing: str) -> None:
    """Client quirks: replies through `+` filters, matched by clientToken; both streams."""
    options = mqtt_request_response.ClientOptions(
        max_request_response_subscriptions=4, max_streaming_subscriptions=2, operation_timeout_in_seconds=10
    )
    jobs, heard = iotjobs.IotJobsClientV2(protocol_client, options), Heard()
    changed = iotjobs.JobExecutionsChangedSubscriptionRequest(thing_name=thing)
    next_changed = iotjobs.NextJobExecutionChangedSubscriptionRequest(thing_name=thing)
    with (
        stream(jobs.create_job_executions_changed_stream, changed, heard, "notify"),
        stream(jobs.create_next_job_execution_changed_stream, next_changed, heard, "notify-next"),
    ):
        idle = jobs.start_next_pending_job_execution(
            iotjobs.StartNextPendingJobExecutionRequest(thing_name=thing)
        )
        assert idle.result(PATIENCE_S).execution is None
        job_id = create_job(service, thing)
        assert heard.notifications()["notify-next"].execution.job_id == job_id
        names = {"thing_name": thing, "job_id": job_id}
        pending = jobs.get_pending_job_executions(iotjobs.GetPendingJobExecutionsRequest(thing_name=thing))
        assert [one.job_id for one in pending.result(PATIENCE_S).queued_jobs] == [job_id]
        started = jobs.start_next_pending_job_execution(
            iotjobs.StartNextPendingJobExecutionRequest(thing_name=thing)
        )
        assert started.result(PATIENCE_S).execution.status == "IN_PROGRESS"
        described = jobs.describe_job_execution(iotjobs.DescribeJobExecutionRequest(**names))
        assert described.result(PATIENCE_S).execution.job_document == json.loads(DOCUMENT)
        for status in ("IN_PROGRESS", "SUCCEEDED"):
            request = iotjobs.UpdateJobExecutionRequest(**names, status=status, status_details={"p": status})
            jobs.update_job_execution(request).result(PATIENCE_S)
        assert heard.notifications()["notify"].jobs == {}
        with pytest.raises(V2ServiceException) as refusal:
            jobs.update_job_execution(request).result(PATIENCE_S)
        error = refusal.value.modeled_error
        assert error.code == iotjobs.RejectedErrorCode.INVALID_STATE_TRANSITION
        assert error.execution_state.status_details == {"p": "SUCCEEDED"}


# AWSIoTPythonSDK, the first SDK: QoS 0, numbers as strings, a user name of its own.


@contextmanager
def first_sdk(service: WireService, thing: str, heard: Heard) -> Iterator[AWSIoTMQTTThingJobsClient]:
    """A connected jobs client that listens to everything under the thing's jobs."""
    jobs = AWSIoTMQTTThingJobsClient(new_name("v1sdk"), thing, QoS=0, awsIoTMQTTClient=None)
    jobs.configureEndpoint("127.0.0.1", service.port)
    jobs.configureConnectDisconnectTimeout(PATIENCE_S)
    jobs.configureMQTTOperationTimeout(PATIENCE_S)
    assert jobs.connect()

    def on_message(_client: Any, _userdata: Any, message: Any) -> None:
        name = message.topic.removeprefix(f"$aws/things/{thing}/jobs/")
        if name.rpartition("/")[2] not in {"get", "update", "start-next"}:
            heard.listener(name)(json.loads(message.payload))

    assert jobs.createJobSubscription(on_message, V0Topic.JOB_WILDCARD_TOPIC)
    yield jobs
    jobs.disconnect()


def test_the_first_sdk_runs_a_whole_job(service: WireService, thing: str) -> None:
    """Client quirks: user name `?SDK=...` without a password, versions and execution numbers as strings."""
    heard = Heard()
    with first_sdk(service, thing, heard) as jobs:
        job_id = create_job(service, thing)
        heard.notifications()
        assert jobs.sendJobsStartNext(statusDetails={"step": "download"}, stepTimeoutInMinutes=5)
        started = heard.next("start-next/accepted")
        assert started["execution"]["approximateSecondsBeforeTimedOut"] == 300
        update = {"expectedVersion": 2, "executionNumber": 1, "includeJobExecutionState": True}
        assert jobs.sendJobsUpdate(job_id, V0Status.JOB_EXECUTION_IN_PROGRESS, {"uptime": 5}, **update)
        state = heard.next(f"{job_id}/update/accepted")["executionState"]
        assert state == {"status": "IN_PROGRESS", "versionNumber": 3, "statusDetails": {"uptime": "5"}}
        assert jobs.sendJobsQuery(V0Topic.JOB_GET_PENDING_TOPIC)
        assert [one["jobId"] for one in heard.next("get/accepted")["inProgressJobs"]] == [job_id]
        assert jobs.sendJobsDescribe(job_id, executionNumber=1)
        assert heard.next(f"{job_id}/get/accepted")["execution"]["jobDocument"] == json.loads(DOCUMENT)
        assert jobs.sendJobsUpdate(job_id, V0Status.JOB_EXECUTION_SUCCEEDED, **update)
        assert heard.next(f"{job_id}/update/rejected")["code"] == "VersionMismatch"
        assert jobs.sendJobsUpdate(job_id, V0Status.JOB_EXECUTION_SUCCEEDED)
        heard.next(f"{job_id}/update/accepted")
        last = heard.notifications()
        assert (last["notify"]["jobs"], "execution" in last["notify-next"]) == ({}, False)


def test_the_first_sdk_listens_on_single_topics(service: WireService, thing: str) -> None:
    """Data plane 1.6: one subscription for each reply, `$next` as the job."""
    heard = Heard()
    with first_sdk(service, thing, Heard()) as jobs:
        topic = V0Topic.JOB_DESCRIBE_TOPIC
        for reply in (V0Reply.JOB_ACCEPTED_REPLY_TYPE, V0Reply.JOB_REJECTED_REPLY_TYPE):
            listener = heard.listener("$next")
            assert jobs.createJobSubscription(
                lambda *found, put=listener: put(found[2]), topic, reply, "$next"
            )
        assert jobs.sendJobsDescribe("$next")
        answer = heard.next("$next")
        assert answer.topic == f"$aws/things/{thing}/jobs/$next/get/accepted"
        assert "execution" not in json.loads(answer.payload)
