"""One question to the service, over a connection of its own: what is the next job? For the engineer's
commands.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import Any, Final

import aiomqtt
import msgspec

from thingjobs_agent.checkpoint import Store
from thingjobs_agent.config import Broker, Config, absolute, broker_of
from thingjobs_agent.errors import UnreachableError
from thingjobs_agent.inbox import Inbox
from thingjobs_protocol.codec import encode
from thingjobs_protocol.messages import DescribeJobExecutionRequest
from thingjobs_protocol.topics import NEXT_JOB_ID, Api, request_topic

ANSWER_SECONDS_MAX: Final = 10.0
SUBACK_FAILURE: Final = 0x80


class Inquiry:
    """A connection beside that of a running agent, which keeps its own."""

    def __init__(self, config: Config) -> None:
        """Take whom to ask; nothing is opened yet.

        Raises:
            UsageError: the settings of the connection are wrong.

        """
        settings = config.settings
        self._broker: Broker = broker_of(settings)
        self._thing_name = settings.thing
        self._root = settings.topic_root
        is_taken = Store(absolute(settings.state_dir)).holder() is not None
        # Two connections of one client id end each other; a broker may allow only the one it knows.
        self.client_id = f"{self._broker.client_id}-cli-{os.getpid()}" if is_taken else self._broker.client_id

    def client(self) -> aiomqtt.Client:
        """Return a client that is not connected yet."""
        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.username,
            password=self._broker.password,
            identifier=self.client_id,
            # Keeps the session of the agent, if it has one.
            clean_session=self.client_id != self._broker.client_id,
            tls_context=self._broker.tls,
            timeout=ANSWER_SECONDS_MAX,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )

    def filters(self) -> tuple[str, ...]:
        """Return what the agent subscribes to."""
        return Inbox(self._thing_name, self._root).filters()

    async def refused_filters(self, client: aiomqtt.Client) -> list[str]:
        """Subscribe to all the agent needs; return what the broker refuses."""
        refused = []
        for topic in self.filters():
            (code,) = await client.subscribe(topic, qos=1)
            if (code if isinstance(code, int) else int(code.value)) >= SUBACK_FAILURE:
                refused.append(topic)
        return refused

    async def ask(self, client: aiomqtt.Client) -> tuple[dict[str, Any], float]:
        """Return the answer to a describe of `$next` and how many seconds it took; needs the subscriptions.

        Raises:
            TimeoutError: nobody answered.

        """
        token = f"cli-{os.urandom(6).hex()}"
        topic = request_topic(Api.DESCRIBE_JOB_EXECUTION, self._thing_name, NEXT_JOB_ID, self._root)
        request = DescribeJobExecutionRequest(client_token=token, include_job_document=False)
        began = time.monotonic()
        await client.publish(topic, encode(request), qos=1)
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            async for message in client.messages:
                try:
                    answer = msgspec.json.decode(message.payload)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    continue
                if isinstance(answer, dict) and answer.get("clientToken") == token:
                    return answer, time.monotonic() - began
        raise TimeoutError

    async def next_execution(self) -> dict[str, Any] | None:
        """Return the execution that the service would hand out, as on the wire.

        Raises:
            UnreachableError: the broker or the service gives no answer.

        """
        where = f"{self._broker.host}:{self._broker.port}"
        try:
            async with self.client() as client:
                refused = await self.refused_filters(client)
                if refused:
                    raise UnreachableError(f"the broker {where} refuses to subscribe to {refused[0]}")
                answer, _ = await self.ask(client)
        except TimeoutError:
            raise UnreachableError(f"no jobs service answers at the broker {where}") from None
        except (aiomqtt.MqttError, OSError, ValueError) as error:
            raise UnreachableError(f"the broker {where} cannot be reached: {error}") from None
        if "code" in answer:
            raise UnreachableError(
                f"the service refuses the question: {answer['code']} {answer.get('message')}"
            )
        return answer.get("execution")
