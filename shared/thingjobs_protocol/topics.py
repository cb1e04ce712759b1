"""The topic grammar: builders and the parser of requests are inverses; the root (`$aws`) is a value.

After `{root}/things/{thingName}/jobs` one segment is a list, start or notify topic, two are
`{jobId}/get|update` or a reply, three a reply or `{jobId}/namespace-{ns}/get|update`, so that job ids such as
`get` or `notify` stay unambiguous (spec: data plane 1.1, 1.3, A36; control plane 1.7).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from thingjobs_protocol.errors import InvalidTopic

DEFAULT_ROOT: Final = "$aws"
NEXT_JOB_ID: Final = "$next"
ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
NOTIFY: Final = "notify"
NOTIFY_NEXT: Final = "notify-next"

NAMESPACE: Final = "namespace-"

SERVICE_ONLY_ENDINGS: Final = frozenset({ACCEPTED, REJECTED, NOTIFY, NOTIFY_NEXT})
"""Last segments that only the service publishes; never answered, which also guards against loops (A23)."""

_SERVICE_ONLY_BEGINNINGS: Final = f"{NOTIFY}-{NAMESPACE}", f"{NOTIFY_NEXT}-{NAMESPACE}"
"""What such segments begin with when they carry a namespace."""


class Api(StrEnum):
    """The four operations of a device (spec: data plane 1.1)."""

    GET_PENDING_JOB_EXECUTIONS = "GetPendingJobExecutions"
    START_NEXT_PENDING_JOB_EXECUTION = "StartNextPendingJobExecution"
    DESCRIBE_JOB_EXECUTION = "DescribeJobExecution"
    UPDATE_JOB_EXECUTION = "UpdateJobExecution"


_THING_APIS: Final = {
    "get": Api.GET_PENDING_JOB_EXECUTIONS,
    "start-next": Api.START_NEXT_PENDING_JOB_EXECUTION,
}
_JOB_APIS: Final = {
    "get": Api.DESCRIBE_JOB_EXECUTION,
    "update": Api.UPDATE_JOB_EXECUTION,
}
_SUFFIXES: Final = {api: suffix for table in (_THING_APIS, _JOB_APIS) for suffix, api in table.items()}


class RequestTopic(msgspec.Struct, frozen=True, gc=False):
    """A device's request as its topic names it. `job_id` is empty for the two list operations."""

    topic: str
    api: Api
    thing_name: str
    job_id: str = ""
    namespace_id: str = ""


class ControlTopic(msgspec.Struct, frozen=True, gc=False):
    """A control-plane request as its topic names it: `{root}/control/{clientId}/{Operation}`."""

    topic: str
    client_id: str
    operation: str


def jobs_base(thing_name: str, root: str = DEFAULT_ROOT) -> str:
    """Return the prefix of all job topics of one thing."""
    return f"{root}/things/{thing_name}/jobs"


def request_topic(
    api: Api, thing_name: str, job_id: str = "", root: str = DEFAULT_ROOT, namespace_id: str = ""
) -> str:
    """Return the topic on which a device asks for `api`; inverse of `parse_request`."""
    base = jobs_base(thing_name, root)
    if namespace_id:
        return f"{base}/{job_id}/{NAMESPACE}{namespace_id}/{_SUFFIXES[api]}"
    return f"{base}/{job_id}/{_SUFFIXES[api]}" if job_id else f"{base}/{_SUFFIXES[api]}"


def notify_topic(thing_name: str, root: str = DEFAULT_ROOT, namespace_id: str = "") -> str:
    """Return the topic of JobExecutionsChanged, of a namespace or of none."""
    suffix = f"-{NAMESPACE}{namespace_id}" if namespace_id else ""
    return f"{root}/things/{thing_name}/jobs/notify{suffix}"


def notify_next_topic(thing_name: str, root: str = DEFAULT_ROOT, namespace_id: str = "") -> str:
    """Return the topic of NextJobExecutionChanged, of a namespace or of none."""
    suffix = f"-{NAMESPACE}{namespace_id}" if namespace_id else ""
    return f"{root}/things/{thing_name}/jobs/notify-next{suffix}"


def job_notify_topic(thing_name: str, job_id: str, namespace_id: str, root: str = DEFAULT_ROOT) -> str:
    """Return the topic that tells of one job in a namespace; the last slash is AWS's (control plane 1.7)."""
    return f"{root}/things/{thing_name}/jobs/{job_id}/notify-{NAMESPACE}{namespace_id}/"


def is_service_only(topic: str) -> bool:
    """Tell whether only the service publishes on a topic of jobs or of the control plane."""
    last = topic[topic.rfind("/") + 1 :]
    if last:
        return last in SERVICE_ONLY_ENDINGS or last.startswith(_SERVICE_ONLY_BEGINNINGS)
    return topic[topic.rfind("/", 0, -1) + 1 :].startswith(_SERVICE_ONLY_BEGINNINGS)


def job_event_topic(job_id: str, operation: str, root: str = DEFAULT_ROOT) -> str:
    """Return the topic of a JOB event (spec: data plane 8.1)."""
    return f"{root}/events/job/{job_id}/{operation}"


def job_execution_event_topic(job_id: str, operation: str, root: str = DEFAULT_ROOT) -> str:
    """Return the topic of a JOB_EXECUTION event (spec: data plane 8.2)."""
    return f"{root}/events/jobExecution/{job_id}/{operation}"


def control_topic(client_id: str, operation: str, root: str = DEFAULT_ROOT) -> str:
    """Return the request topic of a control-plane operation; inverse of `parse_control`."""
    return f"{root}/control/{client_id}/{operation}"


def thing_of(topic: str, root: str = DEFAULT_ROOT) -> str | None:
    """Return the thing whose jobs topics `topic` belongs to, or None."""
    segments = topic.split("/")
    if len(segments) > 3 and segments[0] == root and segments[1] == "things" and segments[3] == "jobs":
        return segments[2]
    return None


def parse_request(topic: str, root: str = DEFAULT_ROOT) -> RequestTopic | None:
    """Return what a device asks for, or None where the topic is not for the service to answer.

    Raises:
        InvalidTopic: the topic lies under a thing's jobs but maps to no operation (data plane 3.2).

    """
    segments = topic.split("/")
    count = len(segments)
    if count < 5 or segments[0] != root or segments[1] != "things" or segments[3] != "jobs":
        return None
    last = segments[-1]
    if last in SERVICE_ONLY_ENDINGS:
        return None
    if count == 5:
        api = _THING_APIS.get(last)
        if api is not None:
            return RequestTopic(topic, api, segments[2])
    elif count == 6:
        api = _JOB_APIS.get(last)
        if api is not None and segments[4]:
            return RequestTopic(topic, api, segments[2], segments[4])
    elif count == 7 and segments[5].startswith(NAMESPACE):
        api, namespace_id = _JOB_APIS.get(last), segments[5].removeprefix(NAMESPACE)
        if api is not None and segments[4] and namespace_id:
            return RequestTopic(topic, api, segments[2], segments[4], namespace_id)
    if is_service_only(topic):
        return None
    expected = "get, start-next, {jobId}/get or {jobId}/update"
    message = f"The topic {topic!r} names no job operation; expected {expected}"
    raise InvalidTopic(message)


def parse_control(topic: str, root: str = DEFAULT_ROOT) -> ControlTopic | None:
    """Return the control-plane request that `topic` names, or None where it names none."""
    segments = topic.split("/")
    if len(segments) != 4 or segments[0] != root or segments[1] != "control" or not segments[2]:
        return None
    return ControlTopic(topic, segments[2], segments[3])
