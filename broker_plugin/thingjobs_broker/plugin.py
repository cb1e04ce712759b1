"""The amqtt adapter: recovers before the broker opens, serves the reserved topics through the front, stops
cleanly.

amqtt swallows what a plugin raises, so a failed start is kept in `failure` for our launcher and otherwise
ends the process with one line: a broker that runs with its journal unread would lose what it accepts.
"""

import dataclasses
import ssl
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import structlog
from amqtt.broker import BrokerContext
from amqtt.plugins.authentication import AnonymousAuthPlugin
from amqtt.plugins.base import BaseAuthPlugin, BasePlugin

from thingjobs_broker.authentication import Anyone, NoPlainTopics
from thingjobs_broker.authority import Authority, Rights
from thingjobs_broker.broker_url import is_loopback
from thingjobs_broker.config import Settings
from thingjobs_broker.core.outcome import Message
from thingjobs_broker.front import Client, Front, FrontLimits, ReplyTo
from thingjobs_broker.host import ServiceHost, StartError
from thingjobs_broker.http import http_front
from thingjobs_broker.presence import Connections
from thingjobs_broker.responses import Responses
from thingjobs_broker.runner import Runner
from thingjobs_broker.store.errors import StoreError
from thingjobs_broker.tls import CertificateFront, check_tls, server_context

log = structlog.get_logger()

TESTED_AMQTT_VERSIONS: Final = ("0.12.1",)
"""The front leans on how amqtt treats its external listeners; another version has to pass the tests first."""


REFUSED_SECONDS: Final = 0.02
"""What a publish that is not granted costs its sender, so that a flood of them costs us nothing."""


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`.

    Raises:
        StartError: it is none.

    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        message = f"listen address {address!r} is not HOST:PORT, such as 127.0.0.1:1883"
        raise StartError(message)
    return host.strip("[]"), int(port)


def check(settings: Settings) -> None:
    """Refuse what must not start.

    Raises:
        StartError: anonymous access beyond loopback, a bad address, TLS settings that do not fit together, or
            an amqtt that was never tested.

    """
    installed = version("amqtt")
    if installed not in TESTED_AMQTT_VERSIONS:
        wanted = ", ".join(TESTED_AMQTT_VERSIONS)
        message = f"amqtt {installed} is not a tested version; install amqtt=={wanted}"
        raise StartError(message)
    for address in (*settings.listen, *settings.tls_listen):
        host, _ = parse_address(address)
        if settings.anonymous and not is_loopback(host):
            message = f"anonymous access is for loopback only, not for {address}; use a password file there"
            raise StartError(message)
    check_tls(settings)


def check_plugins(settings: Settings, plugins: list[Any]) -> None:
    """Refuse a broker, as `amqtt -c` may run one, whose plugins do less than the settings promise.

    Raises:
        StartError: clients are taken at their word, or may use plain topics that they must not.

    """
    doors = [plugin for plugin in plugins if isinstance(plugin, BaseAuthPlugin)]
    if not settings.anonymous and all(isinstance(plugin, Anyone | AnonymousAuthPlugin) for plugin in doors):
        message = (
            "nothing checks who a client is; add thingjobs_broker.authentication.PasswordFile to the plugins"
        )
        raise StartError(message)
    if settings.plain_topics == "deny" and not any(isinstance(plugin, NoPlainTopics) for plugin in plugins):
        message = 'plain_topics is "deny"; add thingjobs_broker.authentication.NoPlainTopics to the plugins'
        raise StartError(message)


class JobsPlugin(BasePlugin[BrokerContext]):  # type: ignore[misc]  # amqtt ships no types
    """The jobs service as a plugin of amqtt, enabled by its dotted path; `Config` holds its settings."""

    Config = Settings

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        self.settings: Settings = self.config
        self.on_failure: Callable[[BaseException], None] = self._exit
        self.listening: list[str] = []
        """The bound addresses as URLs: mqtt://, mqtts://, http:// or https://."""
        self.front: Front | None = None
        self._host = ServiceHost(self.settings, self._failed)
        self._http = http_front(self.settings, self._host, self._gauges)
        self._responses = Responses(self.settings.topic_root)
        self._rights: dict[Client, Rights] = {}
        self._presence: Connections | None = None
        self._authority = Authority(
            topic_root=self.settings.topic_root,
            operators=frozenset(self.settings.operators),
            anonymous=self.settings.anonymous,
        )

    # amqtt's life cycle

    async def on_broker_pre_start(self) -> None:
        """Recover the state, before any socket opens."""
        try:
            check(self.settings)
            # amqtt has no public way to the broker from a plugin; this is the one private access.
            broker = self.context._broker_instance  # noqa: SLF001
            check_plugins(self.settings, broker.plugins_manager.plugins)
            await self._host.open()
            root = self.settings.topic_root
            self.front = CertificateFront(broker, self.context, self, FrontLimits(), topic_root=root)
            self._presence = Connections(
                now_ms=self._host.now_ms,
                is_thing=self._host.is_thing,
                is_subscribed=self.front.is_subscribed,
                topic_root=root,
                names_are_things=not self.settings.anonymous,
            )
            self._host.presences = self._presence
            self._host.serves_at(parse_address((self.settings.tls_listen or self.settings.listen)[0])[0])
            self._host.start(self)
        except (StartError, StoreError, OSError) as error:
            self._host.fail(error)
        except Exception as error:
            # A fault of ours: swallowed, it would leave a process that neither serves nor ends.
            log.exception("The service cannot start", action="start_failed")
            self._host.fail(error)

    async def on_broker_post_start(self) -> None:
        """Open the listeners."""
        if self.failure is not None or self.front is None:
            return
        try:
            for address in self.settings.listen:
                await self._listen(self.front, address, None)
            tls = server_context(self.settings) if self.settings.tls_listen else None
            for address in self.settings.tls_listen:
                await self._listen(self.front, address, tls)
            if self._http is not None:
                await self._http.start()
                self.listening.append(self._http.url)
        except StartError as error:
            self._host.fail(error)
        else:
            log.info("The jobs service is ready", action="ready", listen=self.listening)

    async def _listen(self, front: Front, address: str, tls: ssl.SSLContext | None) -> None:
        host, port = parse_address(address)
        try:
            host, port = await front.listen(host, port, tls)
        except OSError as error:
            reason = error.strerror or str(error)
            setting = "tls_listen" if tls else "--listen"
            message = f"cannot listen on {address}: {reason}; choose another {setting}"
            raise StartError(message) from None
        if tls is None and not self.settings.anonymous and not is_loopback(host):
            log.warning("Passwords travel in clear", action="plain_listener", listen=address)
        host = f"[{host}]" if ":" in host else host
        self.listening.append(f"{'mqtts' if tls else 'mqtt'}://{host}:{port}")

    async def on_broker_pre_shutdown(self) -> None:
        """Commit what is in hand while the clients are connected, then let go of them and of the disk."""
        if self._http is not None:
            await self._http.close()
        await self._host.finish()
        if self.front is not None:
            await self.front.close()
        await self._host.release()
        if self.runner is not None:
            log.info("The jobs service has stopped", action="stopped")

    @property
    def failure(self) -> BaseException | None:
        """What the process has to stop for."""
        return self._host.failure

    @property
    def runner(self) -> Runner | None:
        """The runner, once the state is recovered."""
        return self._host.runner

    # What the front asks and brings (front.Endpoint)

    def opened(self, client: Client) -> None:
        """Look up once what the client may do."""
        name = client.certificate_name or client.user_name
        self._rights[client] = self._authority.rights(
            name or (client.client_id if self.settings.anonymous else None)
        )
        if self._presence is not None:
            self._presence.opened(self._rights[client].name)
            self._host.connection_changed(self._rights[client].name)

    def closed(self, client: Client) -> None:
        """Forget the client."""
        rights = self._rights.pop(client, None)
        if rights is not None and self._presence is not None:
            self._presence.closed(rights.name)
            self._host.connection_changed(rights.name)

    def may_subscribe(self, client: Client, topic_filter: str) -> bool:
        """Tell whether the client may see what the filter matches."""
        return self._rights[client].may_subscribe(topic_filter)

    def may_publish(self, client: Client, topic: str) -> bool:
        """Tell whether the client may ask on a topic; if not, it has to wait, as in `received`."""
        granted = self._rights[client].may_publish(topic)
        if not granted and self.front is not None:
            self.front.hold(client, REFUSED_SECONDS)
        return granted

    def received(
        self,
        client: Client,
        topic: str,
        payload: bytes,
        retain: bool,  # noqa: FBT001 - as the front calls it
        settled: Callable[[], None],
        *,
        reply_to: ReplyTo | None = None,
    ) -> None:
        """Bring a publish on a reserved topic to the core; what is not granted is dropped."""
        rights = self._rights[client]
        # A retained request would be a stale replay (spec: data plane 1.5).
        if self.runner is None or self.front is None or retain:
            settled()
        elif not rights.may_publish(topic):
            settled()
            self.front.hold(client, REFUSED_SECONDS)
        else:
            if reply_to is not None:
                settled = self._also_respond(client, topic, reply_to, settled)
            wait_ms = self._host.receive(topic, payload, rights.name, settled)
            if wait_ms:
                self.front.hold(client, wait_ms / 1000)

    def _also_respond(
        self, client: Client, topic: str, reply_to: ReplyTo, settled: Callable[[], None]
    ) -> Callable[[], None]:
        """Return what is to be called in the place of `settled`; see `Responses`."""
        assert self.front is not None
        send = partial(self.front.respond, client, reply_to)
        wanted, correlation = reply_to
        return self._responses.settled(topic, wanted, correlation, send=send, settled=settled)

    # What the runner publishes (runner.Publisher)

    def publish(self, message: Message) -> None:
        """Send a message to the subscribed connections."""
        assert self.front is not None
        self.front.publish(message.topic, message.payload)
        self._responses.published(message)

    def flush(self) -> None:
        """Let a batch out."""
        assert self.front is not None
        self.front.flush()

    def _gauges(self) -> dict[str, float]:
        """Tell what `/metrics` shows of the broker, which is this process."""
        clients = self.front.stats.clients if self.front is not None else 0
        return {"thingjobs_broker_connected": 1.0, "thingjobs_mqtt_clients": float(clients)}

    # Failure

    def _failed(self, error: BaseException) -> None:
        self.on_failure(error)

    @staticmethod
    def _exit(error: BaseException) -> None:
        """End the process: nobody else would notice (broker-facts 1.1)."""
        log.critical("The jobs service stops the broker", action="fatal", error=str(error))
        message = f"thingjobs: {error}"
        raise SystemExit(message)


def broker_config(settings: Settings) -> dict[str, Any]:
    """Return amqtt's configuration for an embedded broker with the jobs service and nothing else."""
    plugins: dict[str, dict[str, Any]] = {
        "thingjobs_broker.plugin.JobsPlugin": dataclasses.asdict(settings),
    }
    if settings.anonymous:
        plugins["thingjobs_broker.authentication.Anyone"] = {}
    else:
        plugins["thingjobs_broker.authentication.PasswordFile"] = {"file": settings.password_file}
    if settings.plain_topics == "deny":
        plugins["thingjobs_broker.authentication.NoPlainTopics"] = {}
    # The front listens; amqtt gets its connections through its external listener.
    return {"listeners": {"default": {"type": "external", "bind": "front"}}, "plugins": plugins}
