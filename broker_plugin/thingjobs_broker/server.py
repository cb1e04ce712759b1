"""`thingjobs up`: one process that is the broker and the jobs service. `amqtt -c` runs no shutdown hooks; this does."""

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

if TYPE_CHECKING:
    from thingjobs_broker.config import Settings

log = structlog.get_logger()

EXIT_OK = 0
EXIT_FAILED = 1


def run(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code. A failure is told in one line on standard error."""
    try:
        logs.configure(settings.log_level, json_lines=settings.json_logs)
        check(settings)
        if not settings.anonymous and not settings.password_file:
            message = "nothing tells who a client is: give --password-file FILE, or --anonymous to try it on loopback"
            raise StartError(message)
        return asyncio.run(_serve(settings))
    except (StartError, PasswordFileError, ValueError) as error:
        return _complain(error)


async def _serve(settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
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
            print(f"listening on mqtt://{address}", flush=True)  # noqa: T201 - the one line that scripts wait for
        await stop.wait()
    await broker.shutdown()
    return _complain(plugin.failure) if plugin.failure else EXIT_OK


def _complain(error: BaseException) -> int:
    print(f"thingjobs: {error}", file=sys.stderr)  # noqa: T201
    return EXIT_FAILED
