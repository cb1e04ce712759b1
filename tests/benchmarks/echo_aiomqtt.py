"""Responders in Python that answer start-next with its own payload: what a service on aiomqtt could reach.

    python -m tests.benchmarks.echo_aiomqtt callback|sidecar PORT

`callback` is aiomqtt at its fastest in ordinary use: paho's callback instead of the iterator, acknowledgments
by hand, no delay of TCP. `sidecar` stands on the sidecar's own outbox and connection, which take publishes
past paho and gather reads and writes.
"""

import asyncio
import signal
import socket
import sys
from typing import Any

import aiomqtt

from thingjobs_broker.outbox import Outbox
from thingjobs_broker.transport import Access
from thingjobs_broker.two_ways import TwoWays

FILTER = "$aws/things/+/jobs/start-next"


async def callback(port: int, stop: asyncio.Event) -> None:
    """Answers in paho's callback."""
    async with aiomqtt.Client(
        "127.0.0.1",
        port,
        identifier="echo",
        max_inflight_messages=0,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    ) as client:
        paho = client._client
        paho.manual_ack_set(True)

        def answer(_client: Any, _userdata: Any, message: Any) -> None:
            paho.publish(f"{message.topic}/accepted", message.payload, 1)
            paho.ack(message.mid, message.qos)

        paho.on_message = answer
        await client.subscribe(FILTER, qos=1)
        print("ready", flush=True)
        await stop.wait()


async def sidecar(port: int, stop: asyncio.Event) -> None:
    """Answers over the sidecar's connection, which writes once a turn."""
    access = Access("127.0.0.1", port, "echo", receive_maximum=1000)
    outbox = Outbox()

    def answer(message: Any) -> None:
        outbox.publish(f"{message.topic}/accepted", message.payload)
        outbox.acknowledge(message.packet_id)

    connection = TwoWays(access, "$aws", answer, outbox.confirmed)
    accepted = await connection.open()
    outbox.attach(connection.link, accepted.receive_maximum, accepted.packet_bytes_max, 0.0)
    await connection.subscribe()
    print("ready", flush=True)
    await stop.wait()
    await connection.close()


async def main(kind: str, port: int) -> None:
    """Answers until it is told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await {"callback": callback, "sidecar": sidecar}[kind](port, stop)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
