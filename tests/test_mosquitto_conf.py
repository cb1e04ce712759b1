"""The shipped mosquitto.conf and access control list, in a real Mosquitto: who may do what, and nothing lost.

What is refused is published first and what is allowed last, so that the arrival of the last shows that the
others did not arrive; nothing here waits for something not to happen.
"""

import asyncio
import os
import re
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiomqtt
import pytest

from tests.support import ROOT, free_port, require_program, wait_for_port

pytestmark = pytest.mark.broker

PASSWORD = "between-us"
USERS = ["thingjobs-service", "thingjobs-operator", "press-7", "press-8"]
OWN, OTHER = "$aws/things/press-7/jobs", "$aws/things/press-8/jobs"
REQUESTS = ["get", "start-next", "job-1/get", "$next/get", "job-1/update", "$next/namespace-n/get"]
REQUESTS += ["job-1/namespace-n/update"]
REPLIES = [
    *("get/accepted", "get/rejected", "start-next/accepted", "start-next/rejected", "job-1/get/accepted"),
    *("job-1/get/rejected", "job-1/update/accepted", "job-1/update/rejected", "notify", "notify-next"),
    *("$next/namespace-n/get/accepted", "job-1/namespace-n/update/rejected", "job-1/notify-namespace-n/"),
    *("notify-namespace-aws-gg-deployment", "notify-next-namespace-aws-gg-deployment"),
]
REPLY_TIME_S_MAX = 5.0


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Mosquitto that runs the shipped configuration, with only its paths and port changed."""
    mosquitto = require_program("mosquitto", package="mosquitto")
    mosquitto_passwd = require_program("mosquitto_passwd", package="mosquitto")
    folder, port = tmp_path_factory.mktemp("mosquitto"), free_port()
    passwords = folder / "passwd"
    passwords.touch(mode=0o600)
    for user in USERS:
        subprocess.run([mosquitto_passwd, "-b", str(passwords), user, PASSWORD], check=True)
    config = (ROOT / "mosquitto.conf").read_text(encoding="utf-8")
    for shipped, here in [
        ("listener 1883 127.0.0.1", f"listener {port} 127.0.0.1"),
        ("acl_file /etc/mosquitto/thingjobs.acl", f"acl_file {ROOT}/broker_plugin/mosquitto/acl"),
        ("password_file /etc/mosquitto/thingjobs.passwd", f"password_file {passwords}"),
        ("persistence_location /var/lib/mosquitto/", f"persistence_location {folder}/"),
    ]:
        assert config.count(shipped) == 1, f"mosquitto.conf no longer says {shipped}"
        config = config.replace(shipped, here)
    if os.geteuid() == 0:
        # Started by root it would otherwise become a user who cannot read this folder.
        config += "user root\n"
    (folder / "mosquitto.conf").write_text(config, encoding="utf-8")
    with (folder / "log").open("wb") as log:
        broker = subprocess.Popen([mosquitto, "-c", str(folder / "mosquitto.conf")], stdout=log, stderr=log)
        try:
            wait_for_port(port)
            yield port
        finally:
            broker.terminate()
            broker.wait(timeout=10)
    log_lines = (folder / "log").read_text(encoding="utf-8").splitlines()
    complaints = [line for line in log_lines if re.search("Error:|Warning:", line) and " root" not in line]
    assert complaints == []


def client(port: int, user: str, **options: object) -> aiomqtt.Client:
    """A client that logs in as the user."""
    return aiomqtt.Client("127.0.0.1", port, username=user, password=PASSWORD, **options)  # type: ignore[arg-type]


async def topics_until(messages: AsyncIterator[aiomqtt.Message], last: str) -> list[str]:
    """The topics that arrive, up to and without the named last one."""
    found: list[str] = []
    async with asyncio.timeout(REPLY_TIME_S_MAX):
        async for message in messages:
            if str(message.topic) == last:
                return found
            found.append(str(message.topic))
    raise AssertionError("the connection ended")


async def arrived_at_service(port: int, user: str, topics: list[str], last: str) -> list[str]:
    """Publishes as the user to every topic; which of them the service then receives."""
    async with client(port, "thingjobs-service") as service, client(port, user) as publisher:
        await service.subscribe("$aws/#", qos=1)
        for topic in [*topics, last]:
            await publisher.publish(topic, b"{}", qos=1)
        return await topics_until(service.messages, last)


async def arrived_at_user(
    port: int, user: str, filters: list[str], topics: list[str], last: str
) -> list[str]:
    """The service publishes to every topic; which of them a user with these subscriptions receives."""
    async with client(port, "thingjobs-service") as service, client(port, user) as reader:
        for topic_filter in filters:
            await reader.subscribe(topic_filter, qos=1)
        for topic in [*topics, last]:
            await service.publish(topic, b"{}", qos=1)
        return await topics_until(reader.messages, last)


@pytest.mark.asyncio
async def test_a_device_can_publish_its_own_requests(port: int) -> None:
    """All four operations, $next among the job ids."""
    topics = [f"{OWN}/{request}" for request in REQUESTS if request != "get"]
    assert await arrived_at_service(port, "press-7", topics, f"{OWN}/get") == topics


@pytest.mark.asyncio
async def test_a_device_cannot_publish_requests_of_another(port: int) -> None:
    """Promise 7: a device cannot write another device's jobs."""
    topics = [f"{OTHER}/{request}" for request in REQUESTS]
    assert await arrived_at_service(port, "press-7", topics, f"{OWN}/get") == []


@pytest.mark.asyncio
async def test_a_device_cannot_publish_replies_control_requests_or_events(port: int) -> None:
    """Only the service publishes replies and events, only operators speak on the control plane."""
    topics = [f"{thing}/{reply}" for thing in (OWN, OTHER) for reply in REPLIES]
    topics += ["$aws/control/press-7/CreateJob", f"{OWN}/job-1/update/more", f"{OWN}/other", "$aws/things/x"]
    assert await arrived_at_service(port, "press-7", topics, f"{OWN}/get") == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "filters",
    [
        ["$aws/#"],
        [f"{OWN}/+/update/+", f"{OWN}/#"],
        [f"{OWN}/+/+/+/+", f"{OWN}/+/+/+", f"{OWN}/+/+", f"{OWN}/+"],
    ],
    ids=["everything", "own", "levels"],
)
async def test_a_device_receives_its_own_replies_and_notifications_alone(
    port: int, filters: list[str]
) -> None:
    """Promise 7: whatever it subscribes to, a device reads only its own jobs."""
    own = [f"{OWN}/{reply}" for reply in REPLIES if reply != "notify-next"]
    foreign = [f"{OTHER}/{reply}" for reply in REPLIES]
    foreign += [
        "$aws/events/job/job-1/completed",
        "$aws/control/ops/ListJobs/accepted",
        f"{OWN}/job-1/update",
    ]
    arrived = await arrived_at_user(port, "press-7", filters, [*foreign, *own], f"{OWN}/notify-next")
    assert sorted(set(arrived)) == sorted(own)


@pytest.mark.asyncio
async def test_an_operator_reads_control_replies_and_events_alone(port: int) -> None:
    """An operator sees what the service says to operators, not the traffic of devices."""
    allowed = ["$aws/events/job/job-1/completed", "$aws/control/ops/ListJobs/rejected"]
    topics = [*(f"{OWN}/{reply}" for reply in REPLIES), *allowed, "$aws/control/ops/ListJobs"]
    last = "$aws/control/ops/ListJobs/accepted"
    assert await arrived_at_user(port, "thingjobs-operator", ["$aws/#"], topics, last) == allowed


@pytest.mark.asyncio
async def test_an_operator_can_ask_but_cannot_answer_or_act_for_a_device(port: int) -> None:
    """Control requests pass; replies, events and requests of things do not."""
    refused = [f"{OWN}/get", "$aws/control/ops/ListJobs/accepted", "$aws/events/job/job-1/completed"]
    last = "$aws/control/ops/ListJobs"
    assert await arrived_at_service(port, "thingjobs-operator", refused, last) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("password", [None, "wrong"])
async def test_nobody_comes_in_without_the_right_password(port: int, password: str | None) -> None:
    """Neither without a name nor with a wrong password."""
    user = None if password is None else "press-7"
    with pytest.raises(aiomqtt.MqttError, match=r"(?i)not authori[sz]ed"):
        async with aiomqtt.Client("127.0.0.1", port, username=user, password=password):
            pass


@pytest.mark.asyncio
async def test_a_burst_while_the_service_is_away_is_kept(port: int) -> None:
    """More requests than Mosquitto's default queue holds wait for the service's session, and none is lost."""
    count = 3000
    away = client(port, "thingjobs-service", identifier="service", clean_session=False)
    async with away:
        await away.subscribe("$aws/things/+/jobs/+/update", qos=1)
    async with client(port, "press-7", max_inflight_messages=0, max_queued_outgoing_messages=0) as device:
        device.pending_calls_threshold = count
        await asyncio.gather(*(device.publish(f"{OWN}/{n}/update", b"{}", qos=1) for n in range(count)))
    back = client(port, "thingjobs-service", identifier="service", clean_session=False)
    async with back:
        found = await topics_until(back.messages, f"{OWN}/{count - 1}/update")
        await back.unsubscribe("$aws/things/+/jobs/+/update")
    assert len(set(found)) == count - 1


@pytest.mark.asyncio
async def test_a_reply_does_not_wait_for_nagle(port: int) -> None:
    """An answer sent right behind another is not held back for the delayed acknowledgment of the first."""
    rounds = 60
    async with client(port, "thingjobs-service") as service:
        await service.subscribe(f"{OWN}/notify", qos=0)
        started_s = time.monotonic()
        for _ in range(rounds):
            # The broker sends the message, then the PUBACK; this side says nothing in between.
            await service.publish(f"{OWN}/notify", b"{}", qos=1)
            await anext(service.messages)
        # Linux acknowledges the first dozen at once; each of the others would take 40 ms.
        assert time.monotonic() - started_s < rounds * 0.02


@pytest.mark.asyncio
async def test_a_packet_over_the_limit_ends_the_connection(port: int) -> None:
    """What is larger than any job document with its envelope is refused at the door."""
    async with client(port, "thingjobs-service") as service:
        await service.subscribe(f"{OWN}/notify", qos=1)
        await service.publish(f"{OWN}/notify", b"x" * 135_000, qos=1)
        assert len((await anext(service.messages)).payload) == 135_000
    with raw_connection(port, "press-7") as device:
        # A QoS 0 PUBLISH that announces 150,000 bytes; the broker need not read them to know.
        device.sendall(b"\x30\xf0\x93\x09")
        assert device.recv(1) == b""


def raw_connection(port: int, user: str) -> socket.socket:
    """A socket on which the user has already logged in, for packets that no client library sends."""
    fields = [user.encode(), user.encode(), PASSWORD.encode()]
    body = b"\x00\x04MQTT\x04\xc2\x00\x3c" + b"".join(len(f).to_bytes(2, "big") + f for f in fields)
    connection = socket.create_connection(("127.0.0.1", port), timeout=REPLY_TIME_S_MAX)
    connection.sendall(bytes([0x10, len(body)]) + body)
    assert connection.recv(4) == b"\x20\x02\x00\x00"
    return connection


def test_the_access_control_list_stands_beside_the_plugin() -> None:
    """The path that mosquitto.conf tells the reader to install from exists."""
    named = re.search(r"install .* (broker_plugin/\S+)", (ROOT / "mosquitto.conf").read_text("utf-8"))
    assert named is not None
    assert (ROOT / Path(named[1])).is_file()
