"""`thingjobs up`, broker and jobs service in one process, and `thingjobs serve`, the service beside a broker.

`amqtt -c` runs no shutdown hooks; this does.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, cast

import structlog
from amqtt.broker import Broker
from amqtt.errors import PluginInitError

from thingjobs_broker import logs
from thingjobs_broker.authentication import PasswordFileError
from thingjobs_broker.host import StartError
from thingjobs_broker.plugin import JobsPlugin, broker_config, check
from thingjobs_broker.sidecar import Sidecar
from thingjobs_broker.store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.config import Settings, SidecarSettings

log = structlog.get_logger()

EXIT_OK = 0
EXIT_FAILED = 1


def run(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code. A failure is one line on standard error."""
    try:
        logs.configure(settings.log_level, json_lines=settings.json_logs)
        check(settings)
        _check_identities(settings)
        return asyncio.run(_serve(settings))
    except (StartError, PasswordFileError, ValueError) as error:
        return _complain(error)


def _check_identities(settings: Settings) -> None:
    """Refuse to let in clients that nothing tells apart."""
    if not (settings.anonymous or settings.password_file or settings.tls_ca):
        fix = "give --password-file FILE, or --anonymous to try it on loopback"
        raise StartError(f"nothing tells who a client is: {fix}")


def run_sidecar(settings: SidecarSettings) -> int:
    """Serve beside a broker until SIGINT or SIGTERM; return the exit code, as `run` does."""
    try:
        logs.configure(settings.log_level, json_lines=settings.json_logs)
        return asyncio.run(_serve_beside(settings))
    except (StartError, StoreError, OSError, ValueError) as error:
        return _complain(error)


async def _serve(settings: Settings) -> int:
    stop = asyncio.Event()
    _on_signals(stop.set)
    try:
        broker = Broker(broker_config(settings))
    except PluginInitError as error:
        # amqtt wraps what a plugin's constructor raised.
        raise StartError(str(error.__cause__ or error)) from None
    plugin = cast("JobsPlugin", broker.plugins_manager.get_plugin("JobsPlugin"))
    plugin.on_failure = lambda _: stop.set()
    await broker.start()
    if plugin.failure is None:
        for address in plugin.listening:
            print(f"listening on {address}", flush=True)  # noqa: T201 - the one line that scripts wait for
        await stop.wait()
    await broker.shutdown()
    return _complain(plugin.failure) if plugin.failure else EXIT_OK


async def _serve_beside(settings: SidecarSettings) -> int:
    def ready() -> None:
        if sidecar.listening:
            print(f"listening on {sidecar.listening}", flush=True)  # noqa: T201
        print(f"serving beside {settings.broker}", flush=True)  # noqa: T201 - scripts wait for it

    sidecar = Sidecar(settings, ready)
    _on_signals(sidecar.stop)
    await sidecar.run()
    return _complain(sidecar.host.failure) if sidecar.host.failure else EXIT_OK


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def _complain(error: BaseException) -> int:
    print(f"thingjobs: {error}", file=sys.stderr)  # noqa: T201
    return EXIT_FAILED
