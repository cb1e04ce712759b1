"""One request of the AWS API from its first byte to its answer: limits, caller, operation, core, response.

What an operation does is the core's. The answer leaves when what it tells is durable.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import suppress
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import structlog

from thingjobs_broker.core.errors import ControlError, ServiceUnavailableError
from thingjobs_broker.core.service import CANNOT_STORE
from thingjobs_broker.host import ADVANCE_CLOCK
from thingjobs_broker.http import doorman, rest_json, routes, sigv4
from thingjobs_broker.http.rest_json import Answer, HttpError
from thingjobs_protocol.errors import InternalError, Rejected
from thingjobs_protocol.topics import NEXT_JOB_ID, Api, RequestTopic

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from thingjobs_broker.core.naming import Naming
    from thingjobs_broker.core.throttle import Throttle
    from thingjobs_broker.host import ServiceHost
    from thingjobs_broker.http.doorman import Announced, Doorman
    from thingjobs_broker.http.routes import Match
    from thingjobs_protocol.messages import Wire

log = structlog.get_logger()

BODY_BYTES_MAX: Final = 512 * 1024
"""A job document of 32,768 characters, each escaped, and 100 targets fit in twice."""

DISCARD_BYTES_MAX: Final = 4 * 1024 * 1024
DISCARD_SECONDS_MAX: Final = 5.0
"""Of a request that is refused unread so much still arrives: who writes first and reads then sees the answer.
"""

PAUSE_SECONDS_MAX: Final = 1.0
"""Without a byte; so long waits the refusal of who has announced a body and does not send it."""

ANSWER_SECONDS_MAX: Final = 60.0
"""For how long the core and the disk may let a request wait."""

Kind = TypeVar("Kind")


class Observer(Protocol):
    """Who counts."""

    def __call__(self, operation: str, code: str, seconds: float) -> None:
        """A request was answered: `code` is that of the error, or empty."""


class AwsApi:
    """The ASGI application.

    Args:
        host: carries the operations out.
        who: verifies the callers.
        naming_of: the names in answers for a region, or None for the service's own.
        observe: called for each answer.
        throttle: how fast each access key may ask; None for no limit.

    """

    def __init__(
        self,
        host: ServiceHost,
        who: Doorman,
        naming_of: Callable[[str], Naming | None] = lambda _: None,
        observe: Observer = lambda operation, code, seconds: None,  # noqa: ARG005
        throttle: Throttle | None = None,
    ) -> None:
        self._host = host
        self._who = who
        self._naming_of = naming_of
        self._observe = observe
        self._throttle = throttle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        body = _Body(receive)
        operation = "unknown"
        try:
            headers = _headers(scope)
            body.check_length(headers)
            announced = self._who.announced(headers, scope["query_string"])
            found = _match(scope, announced.service)
            operation = found.route.operation
            head = sigv4.Request(scope["method"], _raw_path(scope), scope["query_string"], headers, b"")
            self._who.check_head(announced, head)
            request = head._replace(body=await body.read())
            name = self._who.check(announced, request)
            self._check_rate(name)
            doorman.check_role(announced, found.route)
            answer = await self._carry_out(announced, found, request, name)
        except HttpError as error:
            answer = rest_json.failure(error.status, error.code, error.message)
        except ControlError as error:
            answer = rest_json.control_answer(error)
        except Exception:
            # A fault of the front: nothing was changed by it, so only this request fails.
            log.exception("An HTTP request failed", action="http_failed", operation=operation)
            answer = rest_json.failure(500, "InternalFailureException", "The service has failed; see its log")
        is_read = await body.drain()
        self._observe(operation, answer.code, time.perf_counter() - began)
        await _respond(send, answer, close=not is_read)

    def _check_rate(self, name: str) -> None:
        if self._throttle is not None and self._throttle.take(name, int(time.monotonic() * 1000)):
            message = f"{name} asks too fast; the setting is http.requests_per_second"
            raise HttpError(429, "ThrottlingException", message)

    async def _carry_out(
        self, announced: Announced, found: Match, request: sigv4.Request, name: str
    ) -> Answer:
        payload = routes.members(found, request.query, request.body)
        if found.route.service == routes.DATA:
            return await self._ask(found, payload)
        operation = found.route.operation
        if operation == ADVANCE_CLOCK:
            await self._moved(payload)
        naming = self._naming_of(announced.claim.region) if announced.claim is not None else None
        unavailable: dict[str, Any] | ControlError = ServiceUnavailableError(CANNOT_STORE)
        answered = _Reply(unavailable)
        self._host.answer(
            lambda service, now_ms: service.execute(operation, payload, name, now_ms, naming),
            unavailable,
            answered.set,
        )
        return rest_json.control_answer(await answered.get())

    async def _ask(self, found: Match, payload: bytes) -> Answer:
        """Carry out an operation of the data plane."""
        api = Api(found.route.operation)
        thing_name, *job_ids = found.labels
        job_id = job_ids[0] if job_ids else ""
        topic = RequestTopic("", api, thing_name, job_id)
        if job_id == NEXT_JOB_ID and api is not Api.DESCRIBE_JOB_EXECUTION:
            topic = RequestTopic("", api, thing_name)
        unavailable: Wire | Rejected = InternalError(CANNOT_STORE)
        answered = _Reply(unavailable)
        self._host.answer(
            lambda service, now_ms: service.ask(topic, payload, now_ms), unavailable, answered.set
        )
        return rest_json.data_answer(await answered.get(), thing_name)

    async def _moved(self, payload: bytes) -> None:
        """Return when time has passed, for a service under test."""
        moved = asyncio.Event()
        self._host.advance_clock(payload, moved.set)
        await moved.wait()


class _Reply(Generic[Kind]):
    """An answer that comes when it is durable, or `unavailable` where that takes too long."""

    def __init__(self, unavailable: Kind) -> None:
        self._unavailable = unavailable
        self._future: asyncio.Future[Kind] = asyncio.get_running_loop().create_future()

    def set(self, answer: Kind) -> None:
        """Take the answer."""
        if not self._future.done():
            self._future.set_result(answer)

    async def get(self) -> Kind:
        """Return the answer."""
        if self._future.done():
            return self._future.result()
        try:
            return await asyncio.wait_for(self._future, ANSWER_SECONDS_MAX)
        except TimeoutError:
            return self._unavailable


class _Body:
    """The body of a request, which may be refused before it was read."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_read = False
        self._waits_for_us = False

    def check_length(self, headers: list[tuple[str, str]]) -> None:
        """Refuse a body that says it is too long; no length is told by those sent in chunks."""
        self._waits_for_us = ("expect", "100-continue") in headers
        length = next((value for name, value in headers if name == "content-length"), "")
        if length.isdecimal() and int(length) > BODY_BYTES_MAX:
            raise _too_large()

    async def read(self) -> bytes:
        """Return the body.

        Raises:
            HttpError: it is too long, or ends too early.

        """
        parts: list[bytes] = []
        size = 0
        while not self._is_read:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise HttpError(400, "InvalidRequestException", "The request ended before its body did")
            part = message.get("body", b"")
            size += len(part)
            if size > BODY_BYTES_MAX:
                raise _too_large()
            parts.append(part)
            self._is_read = not message.get("more_body", False)
        return b"".join(parts)

    async def drain(self) -> bool:
        """Discard what is left of it, within bounds; tell whether the connection can go on."""
        if not self._is_read and not self._waits_for_us:
            with suppress(TimeoutError):
                async with asyncio.timeout(DISCARD_SECONDS_MAX):
                    await self._discard()
        return self._is_read

    async def _discard(self) -> None:
        size = 0
        while size < DISCARD_BYTES_MAX:
            message = await asyncio.wait_for(self._receive(), PAUSE_SECONDS_MAX)
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            if not message.get("more_body", False):
                self._is_read = True
                return


def _too_large() -> HttpError:
    message = f"The body is longer than {BODY_BYTES_MAX} bytes"
    return HttpError(413, "RequestEntityTooLargeException", message)


def _raw_path(scope: Scope) -> str:
    return bytes(scope["raw_path"]).decode("latin-1")


def _headers(scope: Scope) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]


def _match(scope: Scope, service: str) -> Match:
    found = routes.match(service, scope["method"], _raw_path(scope))
    if found is None:
        what = f"{scope['method']} {_raw_path(scope)[:100]}"
        raise HttpError(404, "UnknownOperationException", f"{what} is no operation of {service} here")
    return found


async def _respond(send: Send, answer: Answer, *, close: bool) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-amzn-requestid", str(uuid.uuid4()).encode()),
        (b"date", formatdate(usegmt=True).encode()),
    ]
    if answer.code:
        headers.append((b"x-amzn-errortype", answer.code.encode()))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
