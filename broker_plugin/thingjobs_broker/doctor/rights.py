"""Checks of who may do what: a device's login tries what it must not, and canaries tell what came of it.

What a device publishes for itself it would hear itself; what it publishes for operators they would hear; what
it does to another thing shows in that thing's job, and that job's messages show what it can overhear.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from thingjobs_broker.cli.errors import RefusedError, UnreachableError
from thingjobs_broker.doctor.case import CANARY_THING
from thingjobs_broker.doctor.findings import NotChecked, Problem
from thingjobs_broker.doctor.peer import Heard, Peer, peer
from thingjobs_broker.forgery import NAMESPACE_TRIED, NAMESPACES, service_topics
from thingjobs_protocol.topics import (
    ACCEPTED,
    NAMESPACE,
    NEXT_JOB_ID,
    REJECTED,
    control_topic,
    job_event_topic,
    jobs_base,
    notify_next_topic,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from thingjobs_broker.doctor.case import Case

CLOCK_SECONDS_MAX: Final = 5.0
OPERATIONS_TRIED: Final = ("CreateJob", "UpdateJob", "DeleteJob", "CreateThing", "DeleteThing", "ListJobs")
"""Of the control plane, besides CancelJob: where rights go by the operation, these are worth most."""

LOOKS: Final = 100
LOOK_SECONDS: Final = 0.1

_ACL: Final = "give Mosquitto the access control list of broker_plugin/mosquitto/acl (docs/security.md)"
_RIGHTS: Final = f"{_ACL}; thingjobs up must not run with --anonymous"


async def strangers(case: Case) -> str:
    """Log in without a name."""
    stranger = dataclasses.replace(case.address, user=None, password=None)
    with suppress(UnreachableError):
        async with peer(stranger):
            raise Problem(
                "the broker lets in whoever comes, without user name and password",
                "Mosquitto: allow_anonymous false and a password_file; thingjobs up: --password-file, not"
                " --anonymous",
            )
    return "the broker refuses clients without a login"


async def device(case: Case) -> str:
    """Ask for the device's own jobs, which changes nothing and must be possible."""
    if case.device is None:
        raise NotChecked("needs a device's login: --device NAME --device-password-file FILE")
    name = case.device.name
    try:
        async with _device(case) as client:
            before = time.time()
            answer = await _ask(case, client)
    except UnreachableError as error:
        fix = "check --device and its password or certificate; thingjobs init device NAME makes them"
        raise Problem(f"the broker does not let {name} in: {error.problem}", fix) from None
    except TimeoutError:
        fix = f"its user name, or the CN of its certificate, must be its thing name; and {_ACL}"
        raise Problem(f"{name} gets no answer to its own request", fix) from None
    body = answer.body()
    if answer.topic.endswith(f"/{REJECTED}"):
        fix = f"thingjobs thing create {name}"
        raise Problem(f"{name} is refused its own jobs: {body.get('code')}: {body.get('message')}", fix)
    # The service tells whole seconds: it is at least that late, and not a second later.
    told, now = float(body.get("timestamp", 0)), time.time()
    case.clock_ahead_seconds = max(0.0, told - now) + min(0.0, told + 1 - before)
    return f"{name} logs in, asks for its jobs and is answered"


async def clock(case: Case) -> str:
    """Compare the service's clock with the one here."""
    ahead = case.clock_ahead_seconds
    if abs(ahead) > CLOCK_SECONDS_MAX:
        where = "ahead of" if ahead > 0 else "behind"
        raise Problem(
            f"the service's clock is {abs(ahead):.0f} s {where} the one here",
            "let both machines follow a time server; time-outs and schedules run on the service's clock",
        )
    return "the service's clock and the one here agree"


async def forgery(case: Case) -> str:
    """Let the device publish what only the service may (spec: data plane C82)."""
    root, name = case.address.topic_root, case.login.name
    jobs = jobs_base(name, root)
    forged = [
        # A notify without jobs says that nothing is pending, for which a device has to ask anyway.
        *service_topics(name, case.token, root),
        job_event_topic(case.token, "completed", root),
        f"{control_topic(case.token, 'DescribeJob', root)}/{ACCEPTED}",
    ]
    async with peer(case.address) as operator, _device(case) as client:
        fronts = await _fronts(case, client)
        await operator.subscribe(f"{root}/control/+/+/{ACCEPTED}")
        await operator.subscribe(f"{root}/events/#")
        for topic in forged:
            body = fronts.get(topic, {"jobs": {}})
            await client.publish(topic, {**body, "timestamp": int(time.time()), "clientToken": case.token})
        await _ask(case, client)
        heard = [
            *await client.heard(f"{jobs}/{case.token}/#"),
            *await operator.heard(f"{root}/events/job/+/x"),
        ]
    for message in heard:
        if message.topic in forged and message.body().get("clientToken") == case.token:
            raise Problem(f"{name} can publish what only the service may, on {message.topic}", _RIGHTS)
    return f"{name} cannot publish replies, notifications or events"


async def eavesdropping(case: Case) -> str:
    """Let the device subscribe to everything, and another thing get a job."""
    root, name = case.address.topic_root, case.login.name
    own = f"{root}/things/{name}/jobs/"
    wanted = [
        *("#", f"{root}/#", f"{root}/things/#", f"{root}/things/+/jobs/#"),
        *(f"{root}/things/{CANARY_THING}/jobs/#", f"{root}/control/#", f"{root}/events/#"),
    ]
    async with _device(case) as client:
        for topic_filter in wanted:
            await client.subscribe(topic_filter)
        # It gets a job, which is canceled: notifications, events and answers to the operator. With the
        # service's login it also asks something.
        async with _canary_job(case, "hear"), peer(case.address) as examiner:
            await examiner.publish(f"{root}/things/{CANARY_THING}/jobs/get", {"clientToken": case.token})
        await _ask(case, client)
        heard = await client.heard(f"{own}{case.token}/#")
    for message in heard:
        if message.topic.startswith(f"{root}/") and not message.topic.startswith(own):
            raise Problem(f"{name} hears what is not for it, such as {message.topic}", _RIGHTS)
    return f"{name} hears nothing that is for others, whatever it subscribes to"


async def impersonation(case: Case) -> str:
    """Let the device ask for another thing's job, and use the control plane."""
    root, name = case.address.topic_root, case.login.name
    jobs = f"{root}/things/{CANARY_THING}/jobs"
    async with _canary_job(case, "act") as job_id, peer(case.address) as operator, _device(case) as client:
        for operation in OPERATIONS_TRIED:
            await operator.subscribe(f"{control_topic(name, operation, root)}/{REJECTED}")
        tried: dict[str, dict[str, object]] = {
            f"{jobs}/start-next": {},
            f"{jobs}/{job_id}/update": {"status": "IN_PROGRESS"},
            control_topic(name, "CancelJob", root): {"jobId": job_id, "force": True},
        }
        for topic, body in tried.items():
            await client.publish(topic, {**body, "clientToken": case.token})
        for operation in OPERATIONS_TRIED:
            # No job, whatever the operation: the service refuses it, on a topic where the operator hears it.
            await client.publish(control_topic(name, operation, root), [case.token])
        # The service answers in the order of arrival: afterwards, what was tried has had its effect.
        await _ask(case, client)
        job = (await case.connection.call("DescribeJob", jobId=job_id))["job"]
        if job["status"] != "IN_PROGRESS":
            raise Problem(f"{name} can use the control plane: it canceled a job", _RIGHTS)
        if await _status(case, job_id) != "QUEUED":
            raise Problem(f"{name} can act for other things: it started a job of {CANARY_THING}", _RIGHTS)
        for message in await operator.heard(control_topic(case.token, "none", root) + f"/{ACCEPTED}"):
            *_, operation, _reply = message.topic.split("/")
            raise Problem(f"{name} can use the control plane: {operation} reaches the service", _RIGHTS)
    return f"{name} can neither act for another thing nor use the control plane"


@asynccontextmanager
async def _device(case: Case) -> AsyncIterator[Peer]:
    """The device, subscribed to everything of its own."""
    async with peer(case.login.address) as client:
        await client.subscribe(f"{case.address.topic_root}/things/{case.login.name}/jobs/#")
        yield client


async def _ask(case: Case, client: Peer, request: str = "get") -> Heard:
    """Ask for the device's own jobs. With the answer, what it published before has been dealt with."""
    topic = f"{case.address.topic_root}/things/{case.login.name}/jobs/{request}"
    token = f"{case.token}-{time.monotonic_ns()}"
    await client.publish(topic, {"clientToken": token})
    passed: list[Heard] = []
    while True:
        message = await client.next()
        if (
            message.topic in (f"{topic}/{ACCEPTED}", f"{topic}/{REJECTED}")
            and message.body().get("clientToken") == token
        ):
            client.put_back(passed)
            return message
        passed.append(message)


async def _fronts(case: Case, client: Peer) -> dict[str, dict[str, object]]:
    """Return what each notify-next of the device would truly tell: a running agent that hears a forged one
    may act on it. Where rights leave out namespaces, nobody there can be misled.
    """
    root, name = case.address.topic_root, case.login.name
    of_namespace = f"{NEXT_JOB_ID}/{NAMESPACE}{NAMESPACE_TRIED}/get"
    await client.publish(f"{jobs_base(name, root)}/{of_namespace}", {"clientToken": case.token})
    answer = await _ask(case, client, f"{NEXT_JOB_ID}/get")
    # The service answers in the order of arrival.
    before = {message.topic: message for message in await client.heard(f"{root}/{case.token}")}
    of_its = before.get(f"{jobs_base(name, root)}/{of_namespace}/{ACCEPTED}")
    return {
        notify_next_topic(name, root, namespace): {
            key: value for key, value in (message.body() if message else {}).items() if key == "execution"
        }
        for namespace, message in zip(NAMESPACES, (answer, of_its), strict=True)
    }


@asynccontextmanager
async def _canary_job(case: Case, suffix: str) -> AsyncIterator[str]:
    """Give another thing a job that nobody runs, its id; both are gone afterwards."""
    job_id, call = f"{case.token}-{suffix}", case.connection.call
    document = json.dumps({"operation": "none", "comment": "made by thingjobs doctor, and removed by it"})
    await call("CreateThing", thingName=CANARY_THING)
    try:
        await call("CreateJob", jobId=job_id, targets=[CANARY_THING], document=document)
        await _wait_for_execution(case, job_id)
        yield job_id
    finally:
        with suppress(RefusedError, UnreachableError):
            await call("CancelJob", jobId=job_id, force=True)
        with suppress(RefusedError, UnreachableError):
            await call("DeleteJob", jobId=job_id, force=True)
        with suppress(RefusedError, UnreachableError):
            await call("DeleteThing", thingName=CANARY_THING)


async def _wait_for_execution(case: Case, job_id: str) -> None:
    for _ in range(LOOKS):
        with suppress(RefusedError):
            await _status(case, job_id)
            return
        await asyncio.sleep(LOOK_SECONDS)
    raise Problem(f"the job {job_id} does not reach {CANARY_THING}", "see the log of the service")


async def _status(case: Case, job_id: str) -> str:
    """Return the state of the canary's execution."""
    found = await case.connection.call("DescribeJobExecution", jobId=job_id, thingName=CANARY_THING)
    status: str = found["execution"]["status"]
    return status
