"""The control plane as a client sees it: a request goes out, its reply comes back matched by client token.

Tells a missing broker, a refused login and a silent service apart; knows nothing of operations.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from thingjobs_broker.cli.broker_address import PASSWORD_VARIABLE, BrokerAddress
from thingjobs_broker.cli.errors import LocalFileError, RefusedError, UnreachableError, UsageError
from thingjobs_protocol.limits import PAGE_SIZE_MAX, PAYLOAD_BYTES_MAX
from thingjobs_protocol.topics import ACCEPTED, REJECTED, control_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

Reply = dict[str, Any]

_OPERATION: Final = re.compile(r"[A-Za-z]{1,64}")
# paho tells both MQTT 3.1.1 codes, bad user name or password and not authorized, by their names of MQTT 5.
_LOGIN_REFUSED: Final = frozenset({4, 5, 134, 135})
_SUBSCRIPTION_REFUSED: Final = 128


class Connection:
    """An open connection; made by `connect`. Calls may run at the same time."""

    def __init__(self, client: aiomqtt.Client, address: BrokerAddress) -> None:
        self.address = address
        self.changed = asyncio.Event()
        """Set when an event arrives, and when the connection is lost."""
        self._client = client
        self._replies: dict[str, asyncio.Future[Reply]] = {}
        self._loss: UnreachableError | None = None
        self._control = control_topic(client.identifier, "+", address.topic_root).removesuffix("/+")

    async def call(self, operation: str, /, **members: Any) -> Reply:
        """Return the answer to an operation; members that are None are left out. Raises as `request` does."""
        return await self.request(
            operation, {name: value for name, value in members.items() if value is not None}
        )

    async def request(self, operation: str, members: Mapping[str, Any]) -> Reply:
        """Return the answer to a control-plane operation, without its client token.

        Raises:
            UsageError: the operation or the request can be no request at all.
            RefusedError: the service refused it.
            UnreachableError: the connection was lost, or nobody answered in time.

        """
        if not _OPERATION.fullmatch(operation):
            raise UsageError(
                f"{operation[:80]!r} is no name of an operation; expected one such as DescribeJob"
            )
        token = secrets.token_hex(8)
        try:
            payload = json.dumps({**members, "clientToken": token}, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            wrong = error.object[error.start : error.end]
            raise UsageError(f"the request is not Unicode text: it holds {wrong!a}") from None
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise UsageError(f"the request has {len(payload)} bytes; a request may have {PAYLOAD_BYTES_MAX}")
        if self._loss is not None:
            raise self._loss
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._replies[token] = reply
        sending = asyncio.ensure_future(self._client.publish(f"{self._control}/{operation}", payload, qos=1))
        sending.add_done_callback(lambda done: self._sent(done, reply))
        try:
            async with asyncio.timeout(self.address.timeout_seconds):
                return await reply
        except TimeoutError:
            raise self._silence() from None
        finally:
            sending.cancel()
            del self._replies[token]

    async def now(self) -> float:
        """Return the service's time in epoch seconds; the clock here may be another. Raises as `request`."""
        return float((await self.call("DescribeClock"))["now"])

    async def pages(
        self, operation: str, member: str, limit: int | None, /, **members: Any
    ) -> AsyncIterator[Reply]:
        """Yield the entries of a list operation, page after page, at most `limit`."""
        token, left = None, limit
        while left is None or left > 0:
            size = PAGE_SIZE_MAX if left is None else min(left, PAGE_SIZE_MAX)
            reply = await self.call(operation, maxResults=size, nextToken=token, **members)
            for entry in reply[member]:
                yield entry
            left = None if left is None else left - len(reply[member])
            token = reply.get("nextToken")
            if token is None:
                return

    async def subscribe(self, *filters: str) -> None:
        """Let `changed` be set by every message on these topics.

        Raises:
            UnreachableError: the broker refuses, or is gone.

        """
        try:
            granted = await self._client.subscribe([(name, 1) for name in filters])
        except aiomqtt.MqttError as error:
            raise self._lost(error) from None
        if any(_code(answer) >= _SUBSCRIPTION_REFUSED for answer in granted):
            raise UnreachableError(
                f"{self.address} does not let {self._who} subscribe to {filters[0]}",
                "use an operator's login",
            )

    async def read(self) -> None:
        """Hand replies to their calls and note events until the connection is lost."""
        try:
            async for message in self._client.messages:
                self._received(message.topic.value, message.payload)
        except aiomqtt.MqttError as error:
            self._loss = self._lost(error)
        for reply in self._replies.values():
            if self._loss is not None and not reply.done():
                reply.set_exception(self._loss)
        self.changed.set()

    async def open(self) -> None:
        """Subscribe to the replies."""
        await self.subscribe(f"{self._control}/+/{ACCEPTED}", f"{self._control}/+/{REJECTED}")

    @property
    def _who(self) -> str:
        return f"user {self.address.user!r}" if self.address.user else "a client without a user name"

    def _received(self, topic: str, payload: object) -> None:
        if not topic.startswith(self._control + "/"):
            self.changed.set()
            return
        try:
            body = json.loads(payload if isinstance(payload, bytes) else b"")
            reply = self._replies.get(body.pop("clientToken"))
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            return  # not a reply to anything we asked
        if reply is None or reply.done():
            return
        if topic.endswith("/" + ACCEPTED):
            reply.set_result(body)
        else:
            reply.set_exception(RefusedError(str(body.get("code")), str(body.get("message", ""))))

    def _sent(self, sending: asyncio.Future[None], reply: asyncio.Future[Reply]) -> None:
        """Fail the reply when its request could not be sent."""
        error = None if sending.cancelled() else sending.exception()
        if error is not None and not reply.done():
            reply.set_exception(self._lost(error))

    def _lost(self, error: BaseException) -> UnreachableError:
        return UnreachableError(
            f"the connection to {self.address} was lost: {_reason(error)}", "is the broker still running?"
        )

    def _silence(self) -> UnreachableError:
        return UnreachableError(
            f"no jobs service answered at {self.address} within {self.address.timeout_seconds:g} s",
            "is thingjobs up, or serve beside the broker, running there with topic root"
            f" {self.address.topic_root!r}, and is {self._who} an operator?",
        )


@asynccontextmanager
async def connect(address: BrokerAddress) -> AsyncIterator[Connection]:
    """Open a connection for the length of a command.

    Raises:
        UnreachableError: there is no broker, or it refuses the login.
        LocalFileError: a file with certificates cannot be used.

    """
    async with listening(address) as connection:
        await connection.open()
        yield connection


@asynccontextmanager
async def listening(address: BrokerAddress) -> AsyncIterator[Connection]:
    """Open a connection that reads, but is not subscribed to replies yet. Raises as `connect` does."""
    async with logged_in(address) as client:
        connection = Connection(client, address)
        reading = asyncio.create_task(connection.read())
        try:
            yield connection
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading


@asynccontextmanager
async def logged_in(
    address: BrokerAddress, name: str = "thingjobs-cli", **options: Any
) -> AsyncIterator[aiomqtt.Client]:
    """Open a bare client, whose id begins with `name`; `options` are aiomqtt's. Raises as `connect` does."""
    client = aiomqtt.Client(
        address.host,
        address.port,
        username=address.user,
        password=address.password,
        protocol=aiomqtt.ProtocolVersion.V311,
        timeout=address.timeout_seconds,
        tls_context=tls_context(address),
        # Without it every request waits for a delayed acknowledgment of the one before.
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        **{"identifier": f"{name}-{secrets.token_hex(6)}"} | options,
    )
    try:
        await client.__aenter__()
    except (aiomqtt.MqttError, OSError, UnicodeError) as error:
        raise _not_connected(address, error) from None
    try:
        yield client
    finally:
        # What was asked for has been answered; a broker that goes away now changes nothing.
        with contextlib.suppress(aiomqtt.MqttError):
            await client.__aexit__(None, None, None)


def tls_context(address: BrokerAddress) -> ssl.SSLContext | None:
    """Return what the connection's TLS rests on, None for plain TCP.

    Raises:
        LocalFileError: a file with certificates cannot be used.

    """
    if not address.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=address.ca_file)
    except OSError as error:
        reason = _pem_problem(error, "it holds no certificate in PEM form")
        raise LocalFileError(f"cannot use the CA file {address.ca_file!r}: {reason}") from None
    if address.certificate_file is not None:
        try:
            context.load_cert_chain(address.certificate_file, address.key_file)
        except OSError as error:
            reason = _pem_problem(error, "no certificate in PEM form, or not its key")
            files = " and ".join(repr(name) for name in (address.certificate_file, address.key_file) if name)
            raise LocalFileError(f"cannot use {files}: {reason}") from None
    return context


def _pem_problem(error: OSError, about_content: str) -> str:
    return about_content if isinstance(error, ssl.SSLError) else error.strerror or str(error)


def _not_connected(address: BrokerAddress, error: BaseException) -> UnreachableError:
    reason = _reason(error)
    if isinstance(error, aiomqtt.MqttCodeError) and _code(error.rc) in _LOGIN_REFUSED:
        who = f"the login of user {address.user!r}" if address.user else "a login without a user name"
        fix = f"check the user in --broker mqtt://USER@... and --password-file or {PASSWORD_VARIABLE}"
        return UnreachableError(f"{address} refused {who}", fix)
    if "CERTIFICATE" in reason.upper():
        fix = "give its authority with --ca-file"
        return UnreachableError(f"the certificate of {address} is not trusted: {reason}", fix)
    if "[SSL" in reason:
        return UnreachableError(
            f"{address} does not speak TLS: {reason}", "give it as mqtt:// if it is plain"
        )
    if reason == "Operation timed out":  # by aiomqtt: connected, but no CONNACK
        fix = "is it an MQTT broker, and mqtts:// if it wants TLS?"
        return UnreachableError(f"{address} did not answer within {address.timeout_seconds:g} s", fix)
    fix = "start one with thingjobs up, or name yours with --broker"
    return UnreachableError(f"cannot reach a broker at {address}: {reason}", fix)


def _reason(error: BaseException) -> str:
    """Return what the system said, without its number."""
    return re.sub(r"^\[(?:Errno -?\d+|code:\d+)\] ", "", str(error)) or type(error).__name__


def _code(code: int | ReasonCode | None) -> int:
    return code.value if isinstance(code, ReasonCode) else code or 0
