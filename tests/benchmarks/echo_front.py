"""A bare echo on the embedded broker: what the front alone can do, with no rules and no journal behind it.

`python -m tests.benchmarks.echo_front PORT` answers every publish on a request topic with its own payload.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable

from amqtt.broker import Broker, BrokerContext
from amqtt.plugins.base import BasePlugin

from thingjobs_broker.front import Client, Front, FrontLimits, ReplyTo
from thingjobs_protocol.topics import DEFAULT_ROOT

REQUEST = "/jobs/start-next"


class EchoPlugin(BasePlugin[BrokerContext]):  # type: ignore[misc]  # amqtt ships no types
    """Opens a front whose endpoint answers at once."""

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        broker = context._broker_instance
        self._front = Front(broker, context, self, FrontLimits(), topic_root=DEFAULT_ROOT)
        self._flush_scheduled = False

    async def on_broker_post_start(self) -> None:
        """Listens where the command line says."""
        await self._front.listen("127.0.0.1", int(sys.argv[1]))

    async def on_broker_pre_shutdown(self) -> None:
        """Lets the clients go."""
        await self._front.close()

    def may_subscribe(self, client: Client, topic_filter: str) -> bool:
        """Anyone may see anything."""
        return True

    def may_publish(self, client: Client, topic: str) -> bool:
        """Anyone may say anything."""
        return True

    def opened(self, client: Client) -> None:
        """Nothing is kept about a client."""

    def closed(self, client: Client) -> None:
        """Nothing was kept about it."""

    def received(
        self,
        client: Client,
        topic: str,
        payload: bytes,
        retain: bool,
        settled: Callable[[], None],
        *,
        reply_to: ReplyTo | None = None,
    ) -> None:
        """Answers, and lets all answers of one turn of the loop leave together, as the service does."""
        settled()
        if topic.endswith(REQUEST):
            self._front.publish(topic + "/accepted", lambda: payload)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        self._front.flush()


async def main() -> None:
    """Serves until it is terminated."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    broker = Broker(
        {
            "listeners": {"default": {"type": "external", "bind": "front"}},
            "plugins": {
                "tests.benchmarks.echo_front.EchoPlugin": {},
                "thingjobs_broker.authentication.Anyone": {},
            },
        }
    )
    await broker.start()
    await stop.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
