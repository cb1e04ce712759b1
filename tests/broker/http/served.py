"""A service with its HTTP front, in a thread of its own, and boto3's clients that check every answer.

with Served(tmp_path) as served:
    served.iot.create_thing(thingName="A")
"""

import asyncio
import http.client
import json
import threading
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config

from tests.broker.http.shapes import problems
from thingjobs_broker.config import HttpSettings, ServiceSettings
from thingjobs_broker.core.outcome import Message
from thingjobs_broker.host import ServiceHost
from thingjobs_broker.http.application import HttpFront

PATIENCE_S = 20.0
REGION = "local"
_SESSION = botocore.session.get_session()
"""One for all, because reading the service model takes a while."""


class Served:
    """See the module. `said` holds what would go to the broker."""

    def __init__(self, data_dir: Path, *, http: dict[str, Any] | None = None, **settings: Any) -> None:
        given = {"listen": "127.0.0.1:0", "anonymous": True, **(http or {})}
        self.settings = ServiceSettings(
            data_dir=str(data_dir / "data"), region=REGION, http=HttpSettings(**given), **settings
        )
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.called: set[tuple[str, str]] = set()
        """Service and operation of every call that succeeded."""
        self.failures: list[BaseException] = []
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._clients: dict[tuple[Any, ...], Any] = {}

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        for client in self._clients.values():
            client.close()

    async def _run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.host = ServiceHost(self.settings, self.failures.append)
        try:
            self.front = HttpFront(self.settings, self.host)
            await self.host.open()
            self.host.start(self)
            await self.front.start()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self._error = error
            await self.host.finish()
            await self.host.release()
            return
        finally:
            self._ready.set()
        await self._stop.wait()
        await self.front.close()
        await self.host.finish()
        await self.host.release()

    # What the runner publishes (runner.Publisher)

    def publish(self, message: Message) -> None:
        self.said.append((message.topic, json.loads(message.payload())))

    def flush(self) -> None:
        pass

    # Clients

    @property
    def url(self) -> str:
        """Where the front listens."""
        return self.front.url

    @property
    def iot(self) -> Any:
        """A boto3 client of the control plane."""
        return self.client("iot")

    @property
    def data(self) -> Any:
        """A boto3 client of the data plane."""
        return self.client("iot-jobs-data")

    def client(self, service: str, key: str = "any", secret: str = "any", **options: Any) -> Any:  # noqa: S107
        """A client that checks every answer against botocore's model of the service."""
        known = self._clients.get((service, key, secret, *options))
        if known is not None:
            return known
        client = _SESSION.create_client(
            service,
            **{
                "endpoint_url": self.url,
                "region_name": REGION,
                "aws_access_key_id": key,
                "aws_secret_access_key": secret,
                "config": Config(retries={"total_max_attempts": 1}, read_timeout=PATIENCE_S),
            }
            | options,
        )
        client.meta.events.register(f"after-call.{service}", self._check)
        self._clients[service, key, secret, *options] = client
        return client

    def _check(self, http_response: Any, model: Any, **_: Any) -> None:
        """Look at a raw answer, before botocore makes the best of it."""
        body = json.loads(http_response.content)
        what = f"{model.name}: {http_response.status_code} {body}"
        assert http_response.headers["x-amzn-requestid"], what
        if http_response.status_code == 200:
            assert problems(model.output_shape, body) == [], what
            self.called.add((model.service_model.signing_name, model.name))
            return
        code = http_response.headers["x-amzn-errortype"]
        assert isinstance(body["message"], str), what
        assert http_response.status_code < 500, what
        modeled = {shape.error_code: shape for shape in model.error_shapes}
        if code in modeled:
            # Members of errors are all optional in the model.
            assert problems(modeled[code], body) == [], what
            assert modeled[code].metadata["error"]["httpStatusCode"] == http_response.status_code, what

    def raw(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer to a request as it is written."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE_S)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, content
