"""The table of rights on reserved topics (data plane 1.4), row by row, for everybody who can knock."""

import pytest

from thingjobs_broker.authority import NOBODY, Authority

AUTHORITY = Authority(operators=frozenset({"ada", "press-0"}))
OWN, OTHER = "$aws/things/press-7/jobs", "$aws/things/press-8/jobs"
REQUESTS = ["get", "start-next", "$next/get", "job-1/get", "job-1/update", "job-1/namespace-n/get"]
REPLIES = [
    *("get/accepted", "get/rejected", "start-next/accepted", "start-next/rejected"),
    *("job-1/get/accepted", "$next/get/rejected", "job-1/update/accepted", "job-1/update/rejected"),
    *("notify", "notify-next", "notify-namespace-n", "notify-next-namespace-n", "job-1/notify-namespace-n/"),
    "job-1/namespace-n/get/accepted",
]
CONTROL = "$aws/control/ada/CreateJob"
EVENT = "$aws/events/job/job-1/completed"
NEAR_MISSES = [
    *("$aws/things/press-77/jobs/get", "$aws/things/press-7", "$aws/things/press-7/jobs"),
    *("$aws/things/press-7/shadow/get", "$AWS/things/press-7/jobs/get", "aws/things/press-7/jobs/get"),
    *("$aws/things//jobs/get", "$aws/things/press-7/jobsx/get", "/$aws/things/press-7/jobs/get", "", "$aws"),
]
WIDE_FILTERS = [
    *(
        "#",
        "+/#",
        "$aws/#",
        "$aws/things/#",
        "$aws/things/+/jobs/#",
        "$aws/things/press-7/#",
        "$aws/+/+/+/get",
    ),
    *("$aws/things/press-7/+/get/accepted", "$share/g/$aws/things/press-7/jobs/#"),
]
OWN_FILTERS = [f"{OWN}/{what}" for what in (*REPLIES, "#", "+", "get/+", "+/update/+", "+/+/accepted")]


def test_a_device_publishes_its_own_requests_and_nothing_else() -> None:
    """C81, C82."""
    may = AUTHORITY.rights("press-7").may_publish
    assert all(may(f"{OWN}/{what}") for what in REQUESTS)
    assert not any(may(f"{OTHER}/{what}") for what in REQUESTS)
    assert not any(may(f"{thing}/{what}") for thing in (OWN, OTHER) for what in REPLIES)
    assert not any(map(may, [CONTROL, EVENT, *NEAR_MISSES]))


def test_a_device_subscribes_to_its_own_jobs_and_nothing_else() -> None:
    """1.4, 1.6: filters with wildcards below its own jobs, none above."""
    may = AUTHORITY.rights("press-7").may_subscribe
    assert all(map(may, OWN_FILTERS))
    assert not any(may(topic_filter.replace(OWN, OTHER)) for topic_filter in OWN_FILTERS)
    assert not any(map(may, [*WIDE_FILTERS, CONTROL, EVENT, "$aws/control/#", "$aws/events/#"]))


def test_an_operator_uses_the_control_plane_and_sees_events() -> None:
    """Architecture, "Who may do what": no device's topics, no forged replies, no forged events."""
    rights = AUTHORITY.rights("ada")
    assert rights.may_publish(CONTROL)
    assert not rights.may_publish(f"{CONTROL}/accepted")
    assert not any(rights.may_publish(f"{OWN}/{what}") for what in (*REQUESTS, *REPLIES))
    assert not rights.may_publish(EVENT)
    assert all(map(rights.may_subscribe, ["$aws/control/#", f"{CONTROL}/+", "$aws/events/#", EVENT]))
    assert not any(map(rights.may_subscribe, [*OWN_FILTERS, *WIDE_FILTERS]))


def test_an_operator_is_no_device_even_with_the_name_of_one() -> None:
    """One name has one role."""
    rights = AUTHORITY.rights("press-0")
    assert not rights.may_publish("$aws/things/press-0/jobs/get")
    assert not rights.may_subscribe("$aws/things/press-0/jobs/#")


@pytest.mark.parametrize(
    "name",
    [None, "", "a/b", "+", "#", "press-7/jobs", "a b", "a\n", "\n", "ä", "x" * 129, "$aws", "press-7?SDK=x"],
)
def test_a_name_that_is_no_thing_name_has_no_rights(name: str | None) -> None:
    """1.3: a wildcard in a name would widen what its prefix matches."""
    rights = AUTHORITY.rights(name)
    assert rights == NOBODY
    topics = [*OWN_FILTERS, *WIDE_FILTERS, CONTROL, EVENT, f"$aws/things/{name}/jobs/get"]
    assert not any(rights.may_publish(topic) or rights.may_subscribe(topic) for topic in topics)


@pytest.mark.parametrize("name", [None, "press-7", "a b"])
def test_anonymous_access_grants_requests_to_everybody_but_no_forgery(name: str | None) -> None:
    """`--anonymous`, on loopback: any client for any thing; what the service says stays the service's."""
    rights = Authority(anonymous=True).rights(name)
    assert rights.name == (name or "anonymous")
    assert all(rights.may_publish(f"{thing}/{what}") for thing in (OWN, OTHER) for what in REQUESTS)
    assert rights.may_publish(CONTROL)
    assert not any(rights.may_publish(f"{OWN}/{what}") for what in REPLIES)
    assert not rights.may_publish(EVENT)
    assert all(map(rights.may_subscribe, ["$aws/#", "$aws/things/+/jobs/#", *OWN_FILTERS, EVENT]))


def test_another_root_moves_the_whole_table() -> None:
    """Some brokers refuse `$` topics; rights must not stay behind under the old root."""
    rights = Authority(topic_root="aws").rights("press-7")
    assert rights.may_publish("aws/things/press-7/jobs/get")
    assert not rights.may_publish(f"{OWN}/get")
    assert not rights.may_subscribe(f"{OWN}/#")
