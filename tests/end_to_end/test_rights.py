"""Who may do what, on both brokers as `thingjobs init` sets them up: every kind of topic x every principal x
publish, subscribe, receive. What is not in a table of grants is refused (spec: data plane 1.4; promise 7).

`press-` devices have passwords, `drill-` devices certificates; the rules know no difference.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from paho.mqtt.client import topic_matches_sub

from tests.end_to_end.raw_client import RawClient, RefusedError
from tests.end_to_end.stages import (
    CERTIFIED,
    DEVICES,
    OPERATOR,
    SERVICE,
    AmqttStage,
    Stage,
    log_in,
    prepare,
    running,
)

pytestmark = pytest.mark.broker

REFUSED = 0x80
ALL_DEVICES = (*DEVICES, *CERTIFIED)
REPLIES = [
    *("get/accepted", "get/rejected", "start-next/accepted", "start-next/rejected"),
    *("job-1/get/accepted", "job-1/get/rejected", "$next/get/accepted", "$next/get/rejected"),
    *("job-1/update/accepted", "job-1/update/rejected"),
    *("$next/namespace-n/get/accepted", "job-1/namespace-n/update/rejected"),
]
OF_A_THING = {
    "get": ["get"],
    "start-next": ["start-next"],
    "describe": ["job-1/get", "$next/get", "$next/namespace-n/get"],
    "update": ["job-1/update", "job-1/namespace-n/update"],
    "replies": REPLIES,
    "notify": ["notify", "notify-namespace-aws-gg-deployment", "job-1/notify-namespace-n/"],
    "notify-next": ["notify-next", "notify-next-namespace-aws-gg-deployment"],
    "no operation": ["job-1/other", "job-1/get/more", "a/b/c/d/e", "job-1"],
}
REQUESTS = {"get", "start-next", "describe", "update"}
ANSWERS = {"replies", "notify", "notify-next"}
ELSEWHERE = {
    "job events": ["$aws/events/job/job-1/completed", "$aws/events/job/job-1/canceled"],
    "execution events": ["$aws/events/jobExecution/job-1/succeeded"],
    "control requests": ["$aws/control/ops/ListJobs", "$aws/control/press-7/CreateJob"],
    "control replies": ["$aws/control/ops/ListJobs/accepted", "$aws/control/press-7/CreateJob/rejected"],
    "bare branches": ["$aws/things/press-7/jobs", "$aws/control", "$aws/events/presence/press-7"],
    "other reserved topics": [
        *("$aws/things/press-7/shadow/update", "$aws/things/press-8/shadow/get/accepted"),
        *("$aws/things/press-7", "$aws/rules/all", "$aws"),
    ],
}


def topics_of(kind: str, whose: str) -> list[str]:
    """The topics of a kind; those of a thing are `whose`."""
    if kind in ELSEWHERE:
        return ELSEWHERE[kind]
    return [f"$aws/things/{whose}/jobs/{ending}" for ending in OF_A_THING[kind]]


class Case(NamedTuple):
    """A row of the matrix: a principal, a kind of topic, and for topics of things whose they are."""

    principal: str
    kind: str
    whose: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.principal, self.whose, self.kind))).replace(" ", "_")


def cases() -> list[Case]:
    """Every principal with every kind of topic, of itself and of another."""
    found = []
    for principal, other in [("press-7", "press-8"), ("drill-7", "drill-8"), (OPERATOR, ""), (SERVICE, "")]:
        is_device = bool(other)
        for whose in (principal, other) if is_device else ("press-7",):
            found += [Case(principal, kind, whose) for kind in OF_A_THING]
        found += [Case(principal, kind) for kind in ELSEWHERE]
    return found


def may_publish(case: Case, broker: str) -> bool:
    """The grants of publish."""
    if case.principal == SERVICE:
        return case.kind != "other reserved topics"
    if case.principal == OPERATOR:
        return case.kind == "control requests"
    if case.principal != case.whose:
        return False
    # The embedded service answers that with InvalidTopic; the list of Mosquitto stops it before.
    return case.kind in REQUESTS or (case.kind == "no operation" and broker == "amqtt")


def may_receive(case: Case) -> bool:
    """The grants of receive."""
    if case.principal == SERVICE:
        return case.kind in OF_A_THING or case.kind.startswith("control")
    if case.principal == OPERATOR:
        return case.kind in {"control replies", "job events", "execution events"}
    return case.principal == case.whose and case.kind in ANSWERS


@pytest.fixture(scope="module", params=["amqtt", "mosquitto"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which broker."""
    return str(request.param)


@pytest.fixture(scope="module")
def stage(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One broker for the whole module."""
    folder = tmp_path_factory.mktemp(kind)
    with running(folder, kind) as started:
        yield started


@pytest.fixture(scope="module")
def clients(stage: Stage, kind: str) -> Iterator[dict[str, RawClient]]:
    """A connection of every principal that has one, for the whole module."""
    names = ["press-7", "drill-7", OPERATOR, *([SERVICE] if kind == "mosquitto" else [])]
    found = {name: log_in(stage, name) for name in names}
    yield found
    for client in found.values():
        client.close()


def skip_without_principal(case_or_name: Case | str, kind: str) -> None:
    name = case_or_name if isinstance(case_or_name, str) else case_or_name.principal
    if name == SERVICE and kind == "amqtt":
        pytest.skip("in the embedded broker the service is no client")


@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_publish_gets_through_if_it_is_granted(
    stage: Stage, clients: dict[str, RawClient], kind: str, case: Case
) -> None:
    """C81, C82, data plane 1.4: what is not granted is acknowledged, and reaches nobody."""
    skip_without_principal(case, kind)
    topics = topics_of(case.kind, case.whose)
    stage.heard()
    clients[case.principal].publish(topics)
    assert stage.heard() == (topics if may_publish(case, kind) else [])


FILTERS = [
    *("#", "+/#", "+/things/press-7/jobs/#", "$aws/#", "$aws/+/#", "$aws/things/#", "$aws/things/+/#"),
    *("$aws/things/+/jobs/#", "$aws/things/+/jobs/notify", "$aws/things/+/jobs/+/update/accepted"),
    *("$aws/+/press-8/jobs/#", "$aws/things/press-8/#", "$aws/+/+/+/+", "$aws/events/#", "$aws/control/#"),
    *("$aws/control/+/+/accepted", "$aws/things/press-8/jobs/#", "$aws/things/drill-8/jobs/notify-next"),
    *("$aws/things/{own}/jobs/#", "$aws/things/{own}/jobs/+", "$aws/things/{own}/jobs/+/get/+"),
    *("$aws/things/{own}/jobs/$next/get/accepted", "$aws/things/{own}/jobs/notify", "$aws/things/{own}/#"),
]


def may_hold(principal: str, topic_filter: str) -> bool:
    """The grants of subscribe in the embedded broker, of filters under the root."""
    if not topic_filter.startswith("$aws"):
        return True
    if principal == OPERATOR:
        return topic_filter.startswith(("$aws/control/", "$aws/events/"))
    return topic_filter.startswith(f"$aws/things/{principal}/jobs/")


@pytest.mark.parametrize("principal", ["press-7", "drill-7", OPERATOR, SERVICE])
@pytest.mark.parametrize("pattern", FILTERS)
def test_a_subscription_brings_what_is_granted_and_nothing_else(
    stage: Stage, clients: dict[str, RawClient], kind: str, principal: str, pattern: str
) -> None:
    """Promise 7. amqtt refuses the filter itself; Mosquitto grants any, and holds messages back."""
    skip_without_principal(principal, kind)
    client, topic_filter = clients[principal], pattern.format(own=principal)
    is_held = kind == "mosquitto" or may_hold(principal, topic_filter)
    assert client.subscribe(topic_filter) == [1 if is_held else REFUSED]
    cases_said = [Case(principal, kind_, whose) for whose in ALL_DEVICES for kind_ in sorted(ANSWERS)]
    cases_said += [Case(principal, kind_) for kind_ in ("job events", "execution events", "control replies")]
    said = {topic: case for case in cases_said for topic in topics_of(case.kind, case.whose)}
    stage.say(list(said))
    assert client.drain() == [
        topic
        for topic, case in said.items()
        if is_held and may_receive(case) and topic_matches_sub(topic_filter, topic)
    ]
    client.unsubscribe(topic_filter)


def test_what_clients_ask_reaches_the_service_alone(
    stage: Stage, clients: dict[str, RawClient], kind: str
) -> None:
    """No device and no operator overhears a request, its own or another's."""
    listeners = [clients[name] for name in ("press-7", "drill-7", OPERATOR)]
    filters = ["$aws/#", "#", "$aws/control/#", "$aws/events/#"]
    filters += [f"$aws/things/{name}/jobs/#" for name in ("press-7", "drill-7")]
    for listener in listeners:
        listener.subscribe(*filters)
    stage.heard()
    said = [topic for request in sorted(REQUESTS) for topic in topics_of(request, "press-7")]
    clients["press-7"].publish(said)
    clients[OPERATOR].publish(ELSEWHERE["control requests"])
    assert stage.heard() == said + ELSEWHERE["control requests"]
    for listener in listeners:
        assert listener.drain() == []
        listener.unsubscribe(*filters)


@pytest.mark.parametrize("principal", ["press-7", "drill-7", OPERATOR])
@pytest.mark.parametrize(
    "topic",
    [
        *(
            "$aws/things/press-8/jobs/get",
            "$aws/things/press-8/jobs/notify",
            "$aws/things/press-7/jobs/notify",
        ),
        *("$aws/events/job/job-1/completed", "$aws/control/ops/ListJobs/accepted"),
    ],
)
def test_a_will_has_no_more_rights_than_its_client(stage: Stage, principal: str, topic: str) -> None:
    """A will is a publish that the broker makes later."""
    with log_in(stage, "press-8") as victim, log_in(stage, OPERATOR) as operator:
        victim.subscribe("$aws/things/press-8/jobs/#")
        operator.subscribe("$aws/control/#", "$aws/events/#")
        stage.heard()
        try:
            log_in(stage, principal, will=(topic, b"{}")).vanish()
        except RefusedError:
            return
        # Whoever comes now comes after the broker has dealt with the one that went.
        log_in(stage, principal).close()
        assert stage.heard() == []
        assert victim.drain() == operator.drain() == []


# Topics that are none of the service's.


@pytest.mark.parametrize("principal", ["press-7", "drill-7", OPERATOR])
def test_plain_topics_are_free_in_the_embedded_broker_and_granted_by_hand_in_mosquitto(
    stage: Stage, clients: dict[str, RawClient], kind: str, principal: str
) -> None:
    """`plain_topics` is "allow" by default; the shipped access control list grants none."""
    client = clients[principal]
    client.subscribe("site/#")
    stage.heard()
    client.publish(["site/temperature"])
    if kind == "amqtt":
        client.wait_for("site/temperature")
        client.drain()
    else:
        assert stage.heard() == client.drain() == []
    client.unsubscribe("site/#")


def test_plain_topics_can_be_denied_in_the_embedded_broker(tmp_path: Path) -> None:
    """`plain_topics = "deny"`: no filter outside the root is held, and job topics work as before."""
    denying = AmqttStage(prepare(tmp_path, "amqtt"), plain_topics="deny")
    try:
        with log_in(denying, "press-7") as device, log_in(denying, OPERATOR) as operator:
            for client in (device, operator):
                assert client.subscribe("site/#", "#", "+/temperature") == [REFUSED] * 3
                client.publish(["site/temperature"])
            own = topics_of("get", "press-7")
            assert device.subscribe("$aws/things/press-7/jobs/#") == [1]
            device.publish(own)
            assert denying.heard() == own
    finally:
        denying.close()
