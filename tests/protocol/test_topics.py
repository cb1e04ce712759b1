"""The topic grammar: builders and parser are inverses; hostile topics end in one of three known ways."""

import hypothesis
import hypothesis.strategies as st
import pytest

from thingjobs_protocol import topics
from thingjobs_protocol.errors import InvalidTopic
from thingjobs_protocol.topics import Api, RequestTopic

THING_NAMES = st.from_regex(r"\A[a-zA-Z0-9:_-]{1,128}\Z")
# Job ids that are words of the grammar must be as good as any other (A36).
JOB_IDS = st.one_of(
    st.sampled_from(["get", "update", "notify", "notify-next", "start-next", "accepted", "rejected", "jobs"]),
    st.from_regex(r"\A[a-zA-Z0-9_-]{1,64}\Z"),
)
ROOTS = st.sampled_from(["$aws", "thingjobs"])
SEGMENTS = st.one_of(
    st.sampled_from(
        [
            *("$aws", "things", "T", "jobs", "J", "get", "update", "start-next", "$next", "", "+", "#"),
            *("accepted", "namespace-", "namespace-n", "notify-namespace-n"),
        ]
    ),
    st.text(max_size=8),
)


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("$aws/things/T/jobs/get", (Api.GET_PENDING_JOB_EXECUTIONS, "T", "")),
        ("$aws/things/T/jobs/start-next", (Api.START_NEXT_PENDING_JOB_EXECUTION, "T", "")),
        ("$aws/things/T/jobs/J/get", (Api.DESCRIBE_JOB_EXECUTION, "T", "J")),
        ("$aws/things/T/jobs/$next/get", (Api.DESCRIBE_JOB_EXECUTION, "T", "$next")),
        ("$aws/things/T/jobs/J/update", (Api.UPDATE_JOB_EXECUTION, "T", "J")),
        # The shape is that of an update; that $next is no job id is found later (A21).
        ("$aws/things/T/jobs/$next/update", (Api.UPDATE_JOB_EXECUTION, "T", "$next")),
        ("$aws/things/T/jobs/get/get", (Api.DESCRIBE_JOB_EXECUTION, "T", "get")),
        ("$aws/things/T/jobs/notify/update", (Api.UPDATE_JOB_EXECUTION, "T", "notify")),
        ("$aws/things/T/jobs/accepted/get", (Api.DESCRIBE_JOB_EXECUTION, "T", "accepted")),
        ("$aws/things/T/jobs/J/namespace-n/get", (Api.DESCRIBE_JOB_EXECUTION, "T", "J", "n")),
        (
            "$aws/things/T/jobs/$next/namespace-aws-gg-deployment/get",
            (Api.DESCRIBE_JOB_EXECUTION, "T", "$next", "aws-gg-deployment"),
        ),
        ("$aws/things/T/jobs/get/namespace-get/update", (Api.UPDATE_JOB_EXECUTION, "T", "get", "get")),
        ("$aws/things/jobs/jobs/get", (Api.GET_PENDING_JOB_EXECUTIONS, "jobs", "")),
    ],
)
def test_a_request_is_known_by_its_topic(topic: str, expected: tuple[str, ...]) -> None:
    """The table of data plane 1.1, and the words of the grammar as job ids (1.3, A36)."""
    assert topics.parse_request(topic) == RequestTopic(topic, *expected)  # type: ignore[arg-type]


@hypothesis.given(st.sampled_from(Api), THING_NAMES, JOB_IDS, ROOTS)
def test_building_and_parsing_a_request_are_inverse(
    api: Api, thing_name: str, job_id: str, root: str
) -> None:
    """Any thing, any job, any root (data plane 1.1, 1.3)."""
    about_one_job = api in (Api.DESCRIBE_JOB_EXECUTION, Api.UPDATE_JOB_EXECUTION)
    wanted = job_id if about_one_job else ""
    topic = topics.request_topic(api, thing_name, wanted, root)
    assert topics.parse_request(topic, root) == RequestTopic(topic, api, thing_name, wanted)
    assert topics.thing_of(topic, root) == thing_name
    if about_one_job:
        topic = topics.request_topic(api, thing_name, wanted, root, "ns")
        assert topics.parse_request(topic, root) == RequestTopic(topic, api, thing_name, wanted, "ns")


@hypothesis.given(st.sampled_from(Api), THING_NAMES, JOB_IDS)
def test_another_root_is_not_ours(api: Api, thing_name: str, job_id: str) -> None:
    """The root is part of the grammar (data plane 1.1)."""
    topic = topics.request_topic(api, thing_name, job_id, "other")
    assert topics.parse_request(topic) is None
    assert topics.thing_of(topic) is None


@hypothesis.given(st.sampled_from(Api), THING_NAMES, JOB_IDS, st.sampled_from(["accepted", "rejected"]))
def test_a_reply_is_never_a_request(api: Api, thing_name: str, job_id: str, ending: str) -> None:
    """The guard against loops: whatever the service publishes it does not answer (A23, C82)."""
    topic = topics.request_topic(api, thing_name, job_id)
    assert topics.parse_request(f"{topic}/{ending}") is None
    assert topics.parse_request(f"{topic}/{ending}/{ending}") is None


@hypothesis.given(THING_NAMES, JOB_IDS, st.sampled_from(["succeeded", "deleted"]))
def test_what_the_service_publishes_of_itself_is_never_a_request(
    thing_name: str, job_id: str, operation: str
) -> None:
    """Notifications and events (data plane 1.1, 1.2, C82)."""
    for topic in (
        topics.notify_topic(thing_name),
        topics.notify_next_topic(thing_name),
        topics.notify_topic(thing_name, namespace_id=job_id),
        topics.notify_next_topic(thing_name, namespace_id=job_id),
        topics.job_notify_topic(thing_name, job_id, job_id),
        topics.job_event_topic(job_id, operation),
        topics.job_execution_event_topic(job_id, operation),
    ):
        assert topics.parse_request(topic) is None


def test_topics_of_the_service_are_those_of_the_table() -> None:
    """Data plane 1.1 (9, 10), 1.2 and 8."""
    assert topics.notify_topic("T") == "$aws/things/T/jobs/notify"
    assert topics.notify_next_topic("T") == "$aws/things/T/jobs/notify-next"
    assert topics.job_event_topic("J", "completed") == "$aws/events/job/J/completed"
    assert topics.job_execution_event_topic("J", "timed_out") == "$aws/events/jobExecution/J/timed_out"
    assert topics.jobs_base("T", "root") == "root/things/T/jobs"


def test_topics_of_a_namespace_carry_it() -> None:
    """Control plane 1.7; data plane 1.1, as Greengrass uses them."""
    namespace_id = "aws-gg-deployment"
    assert (
        topics.notify_topic("T", "$aws", namespace_id)
        == f"$aws/things/T/jobs/notify-namespace-{namespace_id}"
    )
    next_topic = topics.notify_next_topic("T", "$aws", namespace_id)
    assert next_topic == f"$aws/things/T/jobs/notify-next-namespace-{namespace_id}"
    assert topics.job_notify_topic("T", "J", "n") == "$aws/things/T/jobs/J/notify-namespace-n/"
    for topic in (next_topic, topics.job_notify_topic("T", "J", "n"), topics.notify_topic("T")):
        assert topics.is_service_only(topic)
    assert not topics.is_service_only("$aws/things/T/jobs/J/namespace-n/get")


@pytest.mark.parametrize(
    "topic",
    [
        "$aws/things/T/jobs/frob",
        "$aws/things/T/jobs/update",
        "$aws/things/T/jobs/GET",
        "$aws/things/T/jobs/",
        "$aws/things/T/jobs/J/frob",
        "$aws/things/T/jobs/J/start-next",
        "$aws/things/T/jobs//get",
        "$aws/things/T/jobs/J/get/",
        "$aws/things/T/jobs/J/get/more",
        "$aws/things/T/jobs/J/namespace-/get",
        "$aws/things/T/jobs/J/namespace-n/start-next",
        "$aws/things/T/jobs//namespace-n/get",
        "$aws/things/T/jobs/J/other-n/get",
        "$aws/things/T/jobs/namespace-n/start-next",
    ],
)
def test_a_topic_under_jobs_that_names_no_operation_is_invalid(topic: str) -> None:
    """Data plane 3.2: InvalidTopic, whose message names the topic (C49)."""
    with pytest.raises(InvalidTopic, match="names no job operation") as refusal:
        topics.parse_request(topic)
    assert repr(topic) in refusal.value.message


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "$aws",
        "$aws/things/T",
        "$aws/things/T/jobs",
        "$aws/things/T/shadow/get",
        "$aws/thing/T/jobs/get",
        "aws/things/T/jobs/get",
        "/$aws/things/T/jobs/get",
        "$aws/events/job/J/completed",
        "$aws/control/op/CreateJob",
    ],
)
def test_a_topic_outside_jobs_is_nobody_s_request(topic: str) -> None:
    """The service answers under `things/{thingName}/jobs` alone (data plane 1.1)."""
    assert topics.parse_request(topic) is None


@hypothesis.given(st.lists(SEGMENTS, max_size=9).map("/".join))
def test_any_topic_is_a_request_or_invalid_or_ignored(topic: str) -> None:
    """Hostile topics end in no other way, and a request is always answered where it was asked."""
    try:
        request = topics.parse_request(topic)
    except InvalidTopic:
        assert topic.startswith("$aws/things/")
        return
    if request is not None:
        assert request.topic == topic
        parts = (request.api, request.thing_name, request.job_id)
        assert topics.request_topic(*parts, namespace_id=request.namespace_id) == topic


@hypothesis.given(st.from_regex(r"\A[^/+#\x00]{1,20}\Z"), st.from_regex(r"\A[A-Za-z]{1,40}\Z"), ROOTS)
def test_building_and_parsing_a_control_request_are_inverse(
    client_id: str, operation: str, root: str
) -> None:
    """Architecture, "Control plane over MQTT"."""
    topic = topics.control_topic(client_id, operation, root)
    assert topics.parse_control(topic, root) == topics.ControlTopic(topic, client_id, operation)


@pytest.mark.parametrize(
    "topic",
    [
        "$aws/control/op",
        "$aws/control//CreateJob",
        "$aws/control/op/CreateJob/accepted",
        "other/control/op/CreateJob",
        "$aws/things/T/jobs/get",
    ],
)
def test_what_is_no_control_request_is_ignored(topic: str) -> None:
    """Replies above all, which have one segment more."""
    assert topics.parse_control(topic) is None


@hypothesis.given(st.lists(SEGMENTS, max_size=7).map("/".join))
def test_the_thing_of_any_topic_is_its_third_segment_or_none(topic: str) -> None:
    """Who may publish is decided by it, so it must never guess (data plane 1.4)."""
    thing_name = topics.thing_of(topic)
    if thing_name is not None:
        assert topic.startswith(f"$aws/things/{thing_name}/jobs")
