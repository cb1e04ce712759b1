"""The two sides of the front's door: who a client is, and what the endpoint must answer about it.

The front knows nothing of what the messages mean; the endpoint nothing of frames, packet ids and sockets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True, eq=False)
class Client:
    """One connection of an authenticated client; compared by identity, so that a reconnect is another one."""

    client_id: str
    user_name: str | None
    """As authenticated, without the `?SDK=...` that some SDKs append (client quirks); None: absent."""
    certificate_name: str | None
    """CN of the TLS client certificate, or None."""
    peer: str
    """`host:port`, for logs."""


class ReplyTo(NamedTuple):
    """Where an MQTT 5 client wants the answer to a request, and with what (MQTT 5.0, 4.10)."""

    topic: str
    correlation: bytes | None


class Endpoint(Protocol):
    """What lies under the topic root. All methods are called on the event loop and must not block.

    An exception out of any of them closes the connection and goes to the exception handler of the loop.
    """

    def may_subscribe(self, client: Client, topic_filter: str) -> bool:
        """Whether a client may hold a (valid) filter; False is answered with 0x80."""

    def may_publish(self, client: Client, topic: str) -> bool:
        """Whether to take a publish; asked of MQTT 5 clients alone, since they hear of a refusal."""

    def received(
        self,
        client: Client,
        topic: str,
        payload: bytes,
        retain: bool,  # noqa: FBT001  # One call per message: positional for speed.
        settled: Callable[[], None],
        *,
        reply_to: ReplyTo | None = None,
    ) -> None:
        """A client published.

        `settled` is to be called once, now or later, when the message is safe: the acknowledgment follows it.
        The front keeps the acknowledgments of one client in the order of its messages [MQTT-4.6.0-2].
        A QoS 2 message comes once, a QoS 1 message perhaps again; topic and payload are within their limits.
        """

    def opened(self, client: Client) -> None:
        """A client is past its CONNACK; nothing of it came before."""

    def closed(self, client: Client) -> None:
        """An opened client is gone; nothing of it comes afterwards. Its messages may still be settled."""
