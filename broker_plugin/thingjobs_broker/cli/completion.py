"""What a shell completes a name to: asked of the service, quickly, or nothing at all."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import typer

from thingjobs_broker.cli.broker_address import DEFAULT_BROKER, broker_address
from thingjobs_broker.cli.errors import CliError
from thingjobs_protocol.limits import PAGE_SIZE_MAX
from thingjobs_protocol.topics import DEFAULT_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.cli.connection import Connection

TIMEOUT_SECONDS: Final = 1.0
"""Somebody waits at a prompt; what has been found by then has to do."""

MANAGED: Final = "managed"
"""The kind of AWS's own templates, which are few; the others are ListNames's."""


def names_of(*kinds: str) -> Callable[[typer.Context, str], list[str]]:
    """Return a completer of the names of these kinds; the service looks for what begins so."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        import asyncio

        found: list[str] = []
        # Whatever is wrong, a prompt is no place to say so.
        with suppress(CliError, OSError, ValueError, KeyError, TimeoutError):
            asyncio.run(_find(ctx.params, kinds, incomplete, found))
        return list(dict.fromkeys(found))

    return complete


async def _find(given: dict[str, Any], kinds: tuple[str, ...], prefix: str, found: list[str]) -> None:
    import asyncio

    from thingjobs_broker.cli.connection import connect

    environ = os.environ
    address = broker_address(
        given.get("broker") or environ.get("THINGJOBS_BROKER") or DEFAULT_BROKER,
        password_file=given.get("password_file"),
        ca_file=given.get("ca_file") or environ.get("THINGJOBS_CA_FILE"),
        topic_root=given.get("topic_root") or environ.get("THINGJOBS_TOPIC_ROOT") or DEFAULT_ROOT,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    async with asyncio.timeout(TIMEOUT_SECONDS), connect(address) as connection:
        for kind in kinds:
            await _find_kind(connection, kind, prefix, found)


async def _find_kind(connection: Connection, kind: str, prefix: str, found: list[str]) -> None:
    """Add the first page of names; it may take the service several looks to fill it."""
    if kind == MANAGED:
        reply = await connection.call("ListManagedJobTemplates", maxResults=PAGE_SIZE_MAX)
        names = [one["templateName"] for one in reply["managedJobTemplates"]]
        found += [name for name in names if name.startswith(prefix)]
        return
    token, most = None, len(found) + PAGE_SIZE_MAX
    while len(found) < most:
        reply = await connection.call(
            "ListNames", kind=kind, prefix=prefix, maxResults=most - len(found), nextToken=token
        )
        found += reply["names"]
        token = reply.get("nextToken")
        if token is None:
            return
