"""One connection to an MQTT broker: aiomqtt in callback mode, with late acknowledgment.

Decides how bytes travel. What to subscribe to, what to send again after a loss and when to reconnect is the
caller's, who makes a new `Connection` each time. Everything happens in the event loop.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from typing import TYPE_CHECKING, Any, Final

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from thingjobs_broker.data_packets import QOS
from thingjobs_broker.paho_link import PACKET_IDS, Accepted, ConnectionLost, PahoLink

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine

    from thingjobs_broker.data_packets import Received

SESSION_EXPIRY_SECONDS: Final = 14 * 24 * 3600
"""How long the broker keeps requests for an absent service."""

KEEP_ALIVE_SECONDS: Final = 30
CONNECT_SECONDS_MAX: Final = 10.0
DISCONNECT_SECONDS_MAX: Final = 5.0


@dataclasses.dataclass(frozen=True)
class Access:
    """Where to connect, and as whom. `tls` is None for plain TCP."""

    host: str
    port: int
    client_id: str
    user: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    mqtt_5: bool = True
    receive_maximum: int = PACKET_IDS


class Connection:
    """One connection, from `open` until `lost` is done. Not reusable. What goes over it goes over its `link`.

    Args:
        access: where and as whom.
        received: called for each message, also for those the broker kept; acknowledge each of QoS 1.
        confirmed: called with the packet id and the reason code when the broker has taken a message.
        keeps_session: whether the broker keeps it, and what arrives for it, over a loss.
        is_unwanted: tells of a topic, as it stands in the packet, that messages on it are dropped unread; for
            QoS 0 only, since nobody acknowledges them.

    """

    def __init__(
        self,
        access: Access,
        received: Callable[[Received], None],
        confirmed: Callable[[int, int], None],
        *,
        keeps_session: bool = True,
        is_unwanted: Callable[[bytes], object] | None = None,
    ) -> None:
        self.lost: asyncio.Future[ConnectionLost] = asyncio.get_running_loop().create_future()
        self._client = _client(access, _persistent_session(access)) if keeps_session else plain_client(access)
        self._mqtt_5 = access.mqtt_5
        self.link = PahoLink(
            self._client, received, confirmed, self._ended, mqtt_5=access.mqtt_5, is_unwanted=is_unwanted
        )
        self._open = False

    async def open(self) -> Accepted:
        """Connect.

        Raises:
            ConnectionLost: nobody listens, or the broker refuses; `code` is its reason then.

        """
        connecting: asyncio.Future[Any] = asyncio.ensure_future(self._client.__aenter__())
        try:
            await asyncio.wait({connecting, self.lost}, return_when=asyncio.FIRST_COMPLETED)
            if self.lost.done():
                raise self.lost.result()
            connecting.result()
        except aiomqtt.MqttError as error:
            raise ConnectionLost(str(error)) from None
        finally:
            self._open = connecting.done() and not self.lost.done() and connecting.exception() is None
            if not self._open:
                connecting.cancel()
                self.link.drop()
        return self.link.begin()

    async def subscribe(self, topic_filters: list[str], qos: int = QOS) -> None:
        """Subscribe.

        Raises:
            ConnectionLost: the broker refuses a filter or does not answer.

        """
        # MQTT 5 marks a retained request also when it comes live, and keeps from us what we publish.
        options: Any = SubscribeOptions(qos, noLocal=True, retainAsPublished=True) if self._mqtt_5 else qos
        try:
            codes = await self._unless_lost(
                self._client.subscribe([(topic_filter, options) for topic_filter in topic_filters])
            )
        except aiomqtt.MqttError as error:
            raise ConnectionLost(f"no answer to the subscription: {error}") from None
        for topic_filter, code in zip(topic_filters, codes, strict=True):
            value = int(getattr(code, "value", code))  # a number before MQTT 5
            if value >= 0x80:
                raise ConnectionLost(f"the broker refuses the subscription to {topic_filter}: {code}", value)

    async def unsubscribe(self, topic_filters: list[str]) -> None:
        """Take subscriptions back, if there are any.

        Raises:
            ConnectionLost: the broker does not answer.

        """
        try:
            await self._unless_lost(self._client.unsubscribe(topic_filters))
        except aiomqtt.MqttError as error:
            raise ConnectionLost(f"no answer to the end of a subscription: {error}") from None

    async def _unless_lost(self, asking: Coroutine[Any, Any, Any]) -> Any:
        """Wait for an answer; aiomqtt would go on waiting after the loss of the connection."""
        asked = asyncio.ensure_future(asking)
        await asyncio.wait({asked, self.lost}, return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            return asked.result()
        asked.cancel()
        raise self.lost.result()

    async def close(self) -> None:
        """Send DISCONNECT, if there is still somebody to send it to, and let go of the socket."""
        if self._open and not self.lost.done():
            self.link.disconnect()
            await asyncio.wait({self.lost}, timeout=DISCONNECT_SECONDS_MAX)
        self.link.drop()

    def _ended(self, reason: ConnectionLost) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho leaves some of its methods untyped


def plain_client(access: Access) -> aiomqtt.Client:
    """Return a client that keeps no session, for aiomqtt's ordinary use."""
    return _client(access, {"clean_session": True} if not access.mqtt_5 else {"clean_start": True})


def _persistent_session(access: Access) -> dict[str, Any]:
    if not access.mqtt_5:
        return {"clean_session": False}
    properties = _properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_EXPIRY_SECONDS
    properties.ReceiveMaximum = access.receive_maximum
    return {"clean_start": False, "properties": properties}


def _client(access: Access, session: dict[str, Any]) -> aiomqtt.Client:
    return aiomqtt.Client(
        access.host,
        access.port,
        protocol=aiomqtt.ProtocolVersion.V5 if access.mqtt_5 else aiomqtt.ProtocolVersion.V311,
        identifier=access.client_id,
        username=access.user,
        password=access.password,
        tls_context=access.tls,
        keepalive=KEEP_ALIVE_SECONDS,
        timeout=CONNECT_SECONDS_MAX,
        # Both without limit: our outbox keeps to the broker's limit, and paho's default of 20 would stall.
        max_inflight_messages=0,
        max_queued_outgoing_messages=0,
        # Otherwise each small packet waits for a delayed acknowledgment of TCP: 20 requests a second.
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        **session,
    )
