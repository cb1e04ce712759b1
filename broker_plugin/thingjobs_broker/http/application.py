"""The HTTP front as a whole: checks its settings, puts its parts together, listens and stops.

It comes to life beside whichever adapter serves MQTT, on the same loop and the same host.
"""

from __future__ import annotations

import asyncio
import platform
import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from thingjobs_broker.broker_url import is_loopback
from thingjobs_broker.core.moto_compat import ACCOUNT
from thingjobs_broker.core.naming import Naming
from thingjobs_broker.core.throttle import Throttle
from thingjobs_broker.host import StartError
from thingjobs_broker.http import checks
from thingjobs_broker.http.api import AwsApi
from thingjobs_broker.http.doorman import Doorman
from thingjobs_broker.http.metrics import Metrics
from thingjobs_broker.http.server import HttpServer
from thingjobs_broker.http.turnstile import Turnstile

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from thingjobs_broker.config import ServiceSettings
    from thingjobs_broker.host import ServiceHost
    from thingjobs_broker.http.metrics import Gauges

log = structlog.get_logger()


class HttpFront:
    """The HTTP API of a service.

    Raises:
        StartError: its settings cannot work.

    """

    def __init__(
        self, settings: ServiceSettings, host: ServiceHost, gauges: Callable[[], Gauges] = dict
    ) -> None:
        self._settings = settings
        self._http = settings.http
        self._host = host
        self._address = checks.parse_address(self._http.listen)
        self._keys = checks.access_keys(self._http, self._address[0])
        self._tls = checks.tls_context(settings)
        self._metrics = Metrics(host, self._all_gauges)
        self._adapter_gauges = gauges
        self.url = ""
        """Where it listens, once it does."""
        self._turnstile = Turnstile(lambda: host.asked)
        self._server = HttpServer(self._app(), self._http.connections_max, self._turnstile)

    async def start(self) -> None:
        """Listen.

        Raises:
            StartError: the address cannot be bound.

        """
        try:
            host, port = await self._server.listen(*self._address, self._tls)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StartError(
                f"cannot listen on {self._http.listen}: {reason}; choose another --http"
            ) from None
        if self._tls is None and not is_loopback(host):
            log.warning("HTTP requests travel in clear", action="plain_http", listen=self._http.listen)
        if host in {"0.0.0.0", "::"}:  # noqa: S104 - it is looked at
            host = platform.node()
        self._metrics.start()
        host = f"[{host}]" if ":" in host else host
        self._host.endpoints["iot:Jobs"] = f"{self._settings.public_host or host}:{port}"
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}"

    async def close(self) -> None:
        """Answer what is in hand and take nothing more."""
        await self._server.close()

    def _app(self) -> Starlette:
        like_moto = self._http.moto_compat
        api = AwsApi(
            self._host,
            Doorman(self._keys, time.time),
            self._naming_of if like_moto else lambda _: None,
            self._metrics.http_request,
            Throttle(rate, rate) if (rate := self._http.requests_per_second) else None,
        )
        reset = [Route("/moto-api/reset", self._reset, methods=["POST"])] if like_moto else []
        app = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._show_metrics),
                *reset,
            ]
        )
        # Everything else, whatever it holds: a pattern would not match a newline, for one.
        app.router.default = api
        app.router.redirect_slashes = False
        return app

    async def _healthz(self, _: Request) -> Response:
        """Tell whether the process does its work: it answers."""
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: Request) -> Response:
        """Tell whether requests are served and changes taken."""
        runner = self._host.runner
        if self._host.failure is None and runner is not None and runner.is_writable:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("changes are refused\n", 503)

    async def _reset(self, _: Request) -> Response:
        """Forget everything, as a test suite asks moto's server to before each test."""
        cleared = asyncio.Event()
        assert self._host.runner is not None
        self._host.runner.clear(cleared.set)
        await cleared.wait()
        return JSONResponse({"status": "ok"})

    def _naming_of(self, region: str) -> Naming:
        """Return the names of a region, which moto's clients choose by what they sign."""
        return Naming(region, ACCOUNT, self._settings.topic_root)

    async def _show_metrics(self, _: Request) -> Response:
        """Tell everything that is counted, in Prometheus's words."""
        return Response(await self._metrics.text(), media_type=CONTENT_TYPE_LATEST)

    def _all_gauges(self) -> Gauges:
        return self._adapter_gauges() | {
            "thingjobs_http_connections": float(len(self._server)),
            "thingjobs_http_processor_seconds": self._turnstile.spent_seconds,
        }
