"""Both brokers as `thingjobs init` sets them up, with a way to speak for the service and to overhear it all.

amqtt runs in this process, so that what the plugin lets through can be seen before any rule of jobs applies;
Mosquitto gets an observer in its access control list, who may read everything.
"""

import asyncio
import dataclasses
import os
import ssl
import subprocess
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from amqtt.broker import Broker

from tests.end_to_end.raw_client import RawClient
from tests.support import free_port, require_program, wait_for_port
from thingjobs_broker.config import Settings
from thingjobs_broker.plugin import JobsPlugin, broker_config
from thingjobs_broker.provision import passwords
from thingjobs_broker.provision.layout import Login
from thingjobs_broker.provision.setup import Setup
from thingjobs_protocol.settings import resolve

DEVICES = ("press-7", "press-8")
CERTIFIED = ("drill-7", "drill-8")
OPERATOR = "thingjobs-operator"
SERVICE = "thingjobs-service"
OBSERVER = "observer"


class Place(Protocol):
    """A running broker that `setup` has made the files of."""

    setup: Setup
    ports: dict[str, int]
    """Of the listeners for `plain` connections, TLS with `password`, TLS with `certificate`."""


class Stage(Place, Protocol):
    """One where the service can be played."""

    def heard(self) -> list[str]:
        """The topics of what clients have published and the broker let through, since the last time."""

    def say(self, topics: Sequence[str]) -> None:
        """Publishes as the service."""


def prepare(folder: Path, kind: str) -> Setup:
    """A directory with credentials for everybody."""
    directory = folder / "setup"
    assert kind in {"amqtt", "mosquitto"}
    Setup(directory).create(["localhost"], "amqtt" if kind == "amqtt" else "mosquitto")
    for name in DEVICES:
        Setup(directory).add_device(name)
    for name in CERTIFIED:
        Setup(directory).add_device(name, certificate=True)
    return Setup(directory)


def password_of(login: Login) -> str:
    """The password of a device, an operator, or the service."""
    return login.password.read_text(encoding="utf-8").strip()


def tls_of(setup: Setup, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """What a client of the private CA uses, with a certificate or without."""
    context = ssl.create_default_context(cafile=setup.layout.ca_certificate)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def log_in(place: Place, principal: str, **options: Any) -> RawClient:
    """A client with the principal's own credentials."""
    layout = place.setup.layout
    if principal in CERTIFIED:
        login = layout.device(principal)
        tls = tls_of(place.setup, login.certificate, login.key)
        return RawClient(place.ports["certificate"], tls=tls, **options)
    login = {OPERATOR: layout.operator(OPERATOR), SERVICE: layout.service}.get(
        principal, layout.device(principal)
    )
    tls = tls_of(place.setup)
    return RawClient(place.ports["password"], user=principal, password=password_of(login), tls=tls, **options)


class AmqttStage:
    """The plugin in this process. What it lets through is noted, and goes no further."""

    def __init__(self, setup: Setup, **changes: Any) -> None:
        """The changes are to the settings in up.toml."""
        self.setup = setup
        self._heard: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="amqtt")
        self._thread.start()
        file = tomllib.loads(setup.layout.up_settings.read_text(encoding="utf-8"))
        settings, _ = resolve(Settings, file=file, environ={}, env_prefix="THINGJOBS", flags={})
        here = {"listen": ["127.0.0.1:0"], "tls_listen": ["127.0.0.1:0"]}
        self._broker, self._plugin = self._call(
            self._start, dataclasses.replace(settings, **(here | changes))
        )
        plain, with_tls = (int(url.rpartition(":")[2]) for url in self._plugin.listening)
        self.ports = {"plain": plain, "password": with_tls, "certificate": with_tls}

    async def _start(self, settings: Settings) -> tuple[Broker, JobsPlugin]:
        broker = Broker(broker_config(settings))
        plugin = broker.plugins_manager.get_plugin("JobsPlugin")
        assert isinstance(plugin, JobsPlugin)
        plugin.on_failure = lambda _: None
        await broker.start()
        assert plugin.failure is None, plugin.failure

        def receive(topic: str, _payload: bytes, _by: str, settled: Callable[[], None]) -> int:
            self._heard.append(topic)
            settled()
            return 0

        plugin._host.receive = receive  # type: ignore[assignment, method-assign]
        return broker, plugin

    def heard(self) -> list[str]:
        heard, self._heard = self._heard, []
        return heard

    def say(self, topics: Sequence[str]) -> None:
        async def publish() -> None:
            assert self._plugin.front is not None
            for topic in topics:
                self._plugin.front.publish(topic, lambda: b"{}")
            self._plugin.front.flush()

        self._call(publish)

    def close(self) -> None:
        self._call(self._broker.shutdown)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(function(*arguments), self._loop).result(30)


class MosquittoStage:
    """Mosquitto with the made files; only ports differ, and somebody may overhear everything."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.ports = {"plain": free_port(), "password": free_port(), "certificate": free_port()}
        layout = setup.layout
        conf = layout.mosquitto_conf.read_text(encoding="utf-8")
        for shipped, kind in (
            ("listener 1883 127.0.0.1", "plain"),
            ("listener 8883", "password"),
            ("listener 8884", "certificate"),
        ):
            assert conf.count(f"{shipped}\n") == 1
            conf = conf.replace(f"{shipped}\n", f"listener {self.ports[kind]} 127.0.0.1\n")
        if os.geteuid() == 0:
            # Started by root it would otherwise become a user who cannot read this folder.
            conf += "user root\n"
        layout.mosquitto_conf.write_text(conf, encoding="utf-8")
        with layout.acl.open("a", encoding="utf-8") as file:
            file.write(f"\nuser {OBSERVER}\ntopic read #\ntopic read $aws/#\n")
        text = layout.passwords.read_text(encoding="utf-8")
        layout.passwords.write_text(passwords.with_user(text, OBSERVER, "overhears"), encoding="utf-8")
        program = require_program("mosquitto", package="mosquitto")
        self._clients: list[RawClient] = []
        with (layout.root / "mosquitto.log").open("wb") as log:
            self._broker = subprocess.Popen(
                [program, "-c", str(layout.mosquitto_conf)], stdout=log, stderr=log
            )
        try:
            for port in self.ports.values():
                wait_for_port(port, while_running=self._broker)
            self._observer = RawClient(self.ports["plain"], user=OBSERVER, password="overhears")
            self._clients.append(self._observer)
            self._observer.subscribe("$aws/#", "#")
            self._service = log_in(self, SERVICE)
            self._clients.append(self._service)
        except BaseException:
            self.close()
            raise

    def heard(self) -> list[str]:
        return self._observer.drain()

    def say(self, topics: Sequence[str]) -> None:
        self._service.publish(topics)
        self._observer.drain()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._broker.terminate()
        self._broker.wait(timeout=10)


@contextmanager
def running(folder: Path, kind: str) -> Iterator[Stage]:
    """A broker of the kind `amqtt` or `mosquitto`."""
    setup = prepare(folder, kind)
    stage = AmqttStage(setup) if kind == "amqtt" else MosquittoStage(setup)
    try:
        yield stage
    finally:
        stage.close()
