"""What the sidecar subscribes to, and which copies of requests it drops unread."""

import pytest

from tests.simulation.network import matches
from thingjobs_broker.subscriptions import all_requests, everything_of_jobs, heard_twice

LAST_LEVELS = ("get", "start-next", "update", "frob", "accepted", "rejected", "notify", "notify-next", "")


def test_the_service_subscribes_to_requests_only() -> None:
    """No filter matches a reply, a notification or an event."""
    assert all_requests("$aws") == [
        "$aws/things/+/jobs/get",
        "$aws/things/+/jobs/start-next",
        "$aws/things/+/jobs/+/get",
        "$aws/things/+/jobs/+/update",
        "$aws/things/+/jobs/+/+/get",
        "$aws/things/+/jobs/+/+/update",
        "$aws/control/+/+",
    ]


@pytest.mark.parametrize("root", ["$aws", "plant/3"])
def test_what_is_dropped_unread_is_what_another_filter_brings(root: str) -> None:
    """No request is answered twice, and none is lost, whatever its topic."""
    (everything,), is_heard_twice = everything_of_jobs(root), heard_twice(root)
    for last in LAST_LEVELS:
        for between in ("", "J1/", "get/", "J1/ns/", "/", "//", "J1/ns/more/", "a/b/c/d/"):
            topic = f"{root}/things/press-7/jobs/{between}{last}"
            is_request = any(matches(one, topic) for one in all_requests(root))
            assert matches(everything, topic)
            assert bool(is_heard_twice(topic.encode())) == is_request, topic
