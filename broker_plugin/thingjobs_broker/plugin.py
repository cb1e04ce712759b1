"""The amqtt adapter: recovers before the broker opens, serves the reserved topics through the front, stops cleanly.

amqtt swallows what a plugin raises, so a failed start is kept in `failure` for our launcher and otherwise ends the process
with one line: a broker that runs with its journal unread would lose what it accepts.
"""

import dataclasses
import ipaddress
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

import structlog
from amqtt.broker import BrokerContext
from amqtt.plugins.base import BasePlugin

from thingjobs_broker.authority import Authority, Rights
from thingjobs_broker.config import Settings
from thingjobs_broker.core.outcome import Message
from thingjobs_broker.front import Client, Front, FrontLimits
from thingjobs_broker.host import ServiceHost, StartError
from thingjobs_broker.runner import Runner
from thingjobs_broker.store.errors import StoreError

log = structlog.get_logger()

TESTED_AMQTT_VERSIONS: Final = ("0.12.1",)
"""The front leans on how amqtt treats its external listeners; another version has to pass the tests first."""


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`.

    Raises:
        StartError: it is none.

    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        message = f"listen address {address!r} is not HOST:PORT, such as 127.0.0.1:1883"
        raise StartError(message)
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check(settings: Settings) -> None:
    """Refuse what must not start.

    Raises:
        StartError: anonymous access beyond loopback, a bad address, or an amqtt that was never tested.

    """
    installed = version("amqtt")
    if installed not in TESTED_AMQTT_VERSIONS:
        wanted = ", ".join(TESTED_AMQTT_VERSIONS)
        message = f"amqtt {installed} is not a tested version; install amqtt=={wanted}"
        raise StartError(message)
    for address in settings.listen:
        host, _ = parse_address(address)
        if settings.anonymous and not is_loopback(host):
            message = f"anonymous access is for loopback only, not for {address}; use a password file there"
            raise StartError(message)


class JobsPlugin(BasePlugin[BrokerContext]):  # type: ignore[misc]  # amqtt ships no types
    """The jobs service as a plugin of amqtt, enabled by its dotted path; `Config` holds its settings."""

    Config = Settings

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        self.settings: Settings = self.config
        self.on_failure: Callable[[BaseException], None] = self._exit
        self.addresses: list[tuple[str, int]] = []
        self.front: Front | None = None
        self._host = ServiceHost(self.settings, self._failed)
        self._rights: dict[Client, Rights] = {}
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
            await self._host.open()
            # amqtt has no public way to the broker from a plugin; this is the one private access.
            broker = self.context._broker_instance  # noqa: SLF001
            self.front = Front(broker, self.context, self, FrontLimits(), topic_root=self.settings.topic_root)
            self._host.start(self)
        except (StartError, StoreError, OSError) as error:
            self._host.fail(error)

    async def on_broker_post_start(self) -> None:
        """Open the listeners."""
        if self.failure is not None or self.front is None:
            return
        for address in self.settings.listen:
            host, port = parse_address(address)
            try:
                self.addresses.append(await self.front.listen(host, port))
            except OSError as error:
                reason = error.strerror or str(error)
                self._host.fail(StartError(f"cannot listen on {address}: {reason}; choose another --listen"))
                return
        log.info("The jobs service is ready", action="ready", listen=self.listening)

    async def on_broker_pre_shutdown(self) -> None:
        """Commit what is in hand while the clients are still connected, then let go of them and of the disk."""
        await self._host.finish()
        if self.front is not None:
            await self.front.close()
        await self._host.release()
        log.info("The jobs service has stopped", action="stopped")

    @property
    def listening(self) -> list[str]:
        """The bound addresses as HOST:PORT."""
        return [f"{host}:{port}" for host, port in self.addresses]

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
        self._rights[client] = self._authority.rights(name or (client.client_id if self.settings.anonymous else None))

    def closed(self, client: Client) -> None:
        """Forget the client."""
        self._rights.pop(client, None)

    def may_subscribe(self, client: Client, topic_filter: str) -> bool:
        """Tell whether the client may see what the filter matches."""
        return self._rights[client].may_subscribe(topic_filter)

    def received(
        self, client: Client, topic: str, payload: bytes, retain: bool, settled: Callable[[], None]
    ) -> None:
        """Bring a publish on a reserved topic to the core; what is not granted is acknowledged and dropped."""
        rights = self._rights[client]
        # A retained request would be a stale replay (spec: data plane 1.5).
        if self.runner is None or retain or not rights.may_publish(topic):
            settled()
        else:
            self._host.receive(topic, payload, rights.name, settled)

    # What the runner publishes (runner.Publisher)

    def publish(self, message: Message) -> None:
        """Send a message to the subscribed connections."""
        assert self.front is not None
        self.front.publish(message.topic, message.payload)

    def flush(self) -> None:
        """Let a batch out."""
        assert self.front is not None
        self.front.flush()

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
    # The front listens; amqtt gets its connections through its external listener.
    return {"listeners": {"default": {"type": "external", "bind": "front"}}, "plugins": plugins}
