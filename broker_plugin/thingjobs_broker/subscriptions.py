"""What the service beside a broker subscribes to. Pure.

The requests go to the connection that keeps a session, everything below `jobs/` to the other one, which never
hears what it publishes itself: so topics that name no operation are heard as well, and refused (C49).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def requests_of_devices(root: str) -> list[str]:
    """Return the filters of the four requests of devices, with and without a namespace."""
    last = ["get", "start-next", "+/get", "+/update", "+/+/get", "+/+/update"]
    return [f"{root}/things/+/jobs/{one}" for one in last]


def all_requests(root: str) -> list[str]:
    """Return the filters of what is to be answered; none of them matches an answer, notification or event."""
    return [*requests_of_devices(root), f"{root}/control/+/+"]


def everything_of_jobs(root: str) -> list[str]:
    """Return the filter that also takes what names no operation, and what the service itself publishes."""
    return [f"{root}/things/+/jobs/#"]


def heard_twice(root: str) -> Callable[[bytes], object]:
    """Return what tells of a topic that `everything_of_jobs` takes whether a request's filter takes it too.

    Number of levels and last level are all that these filters differ in: looked at so, it takes half a
    microsecond.
    """
    wanted = {(one.count("/"), one.rpartition("/")[2].encode()) for one in requests_of_devices(root)}

    def is_heard_twice(topic: bytes) -> bool:
        return (topic.count(b"/"), topic.rpartition(b"/")[2]) in wanted

    return is_heard_twice
