"""The two connections of the service to a broker, used as one: one for requests, one for answers.

A turn of Mosquitto reads one packet of each connection: a flood's acknowledgments would hold up answers.
When to acknowledge is the outbox's; when to reconnect is the caller's.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Final

from thingjobs_broker.paho_link import ConnectionLost
from thingjobs_broker.subscriptions import all_requests, everything_of_jobs, heard_twice
from thingjobs_broker.transport import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.data_packets import Received
    from thingjobs_broker.paho_link import Accepted, PahoLink
    from thingjobs_broker.transport import Access

ANSWERS_SUFFIX: Final = "-answers"
"""Behind the client id, for the connection that answers go over."""


class TwoLinks:
    """What leaves goes the way of its kind; reading stops and goes on for both."""

    def __init__(self, requests: PahoLink, answers: PahoLink) -> None:
        self._both = (answers, requests)
        self.publish = answers.publish
        self.acknowledge = requests.acknowledge

    def dropped(self) -> None:
        """What was just received, over either, is dropped."""
        for link in self._both:
            link.dropped()

    def flush(self) -> None:
        """Write what is queued, answers first."""
        for link in self._both:
            link.flush()

    def pause(self) -> None:
        """Stop reading."""
        for link in self._both:
            link.pause()

    def resume(self) -> None:
        """Read again."""
        for link in self._both:
            link.resume()


class TwoWays:
    """Two connections that live and die together. Not reusable.

    Args:
        access: where and as whom; the second adds `ANSWERS_SUFFIX` to the client id and keeps no session.
        root: of the topics.
        received: called for each message that is to be looked at; acknowledge each of QoS 1.
        confirmed: called when the broker has taken a message.

    """

    def __init__(
        self,
        access: Access,
        root: str,
        received: Callable[[Received], None],
        confirmed: Callable[[int, int], None],
    ) -> None:
        self.lost: asyncio.Future[ConnectionLost] = asyncio.get_running_loop().create_future()
        self.is_rivalry_possible = True
        """False where the answers' connection was lost first: that tells nothing about the client id."""
        self._root = root
        self._mqtt_5 = access.mqtt_5
        self._requests = Connection(access, received, confirmed)
        second = dataclasses.replace(access, client_id=access.client_id + ANSWERS_SUFFIX)
        self._answers_id = second.client_id
        self._answers = Connection(
            second, received, confirmed, keeps_session=False, is_unwanted=heard_twice(root)
        )
        self.link = TwoLinks(self._requests.link, self._answers.link)
        self._requests.lost.add_done_callback(self._requests_lost)

    async def open(self) -> Accepted:
        """Connect both, the one for requests first; return its session and the other's limits.

        Requests that wait in the session are not read before `subscribe`: there is no way for answers yet.

        Raises:
            ConnectionLost: nobody listens, or the broker refuses one of them.

        """
        first = await self._requests.open()
        self._requests.link.pause()
        try:
            second = await self._answers.open()
        except ConnectionLost as error:
            reason = f"the second connection, with the client id {self._answers_id!r}: {error}"
            raise ConnectionLost(reason, error.code) from None
        self._answers.lost.add_done_callback(self._answers_lost)
        # Messages go over the second.
        return second._replace(session_present=first.session_present)

    async def subscribe(self) -> None:
        """Subscribe to what is to be answered, and begin to read it.

        With MQTT 5 also to what names no operation (C49), over the connection that answers: no local
        (3.8.3.1) goes by the client id. Without it the service would hear all its answers.

        Raises:
            ConnectionLost: the broker refuses a filter or does not answer.

        """
        self._requests.link.resume()
        everything = everything_of_jobs(self._root)
        # All at once: a rival leaves little time.
        work = [
            self._requests.subscribe(all_requests(self._root)),
            # An earlier version has it in its session; it would bring the service its own answers.
            self._requests.unsubscribe(everything),
        ]
        if self._mqtt_5:
            work.append(self._answers.subscribe(everything, qos=0))
        await asyncio.gather(*work)

    async def close(self) -> None:
        """End both; answers first."""
        await self._answers.close()
        await self._requests.close()

    def _requests_lost(self, lost: asyncio.Future[ConnectionLost]) -> None:
        if not self.lost.done():
            self.lost.set_result(lost.result())

    def _answers_lost(self, lost: asyncio.Future[ConnectionLost]) -> None:
        if not self.lost.done():
            # A rival takes over the requests' connection first; its loss may be known in the same turn.
            self.is_rivalry_possible = self._requests.lost.done()
            self.lost.set_result(lost.result())
