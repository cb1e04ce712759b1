"""What a shell completes a name to: asked of the service, quickly, or nothing at all."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

import typer

from thingjobs_broker.cli.broker_address import DEFAULT_BROKER, broker_address
from thingjobs_broker.cli.errors import CliError
from thingjobs_protocol.limits import PAGE_SIZE_MAX
from thingjobs_protocol.topics import DEFAULT_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_SECONDS: Final = 1.0
"""Somebody waits at a prompt; the first page of names has to do."""


def names_of(operation: str, member: str, key: str) -> Callable[[typer.Context, str], list[str]]:
    """Return a completer of the names that a list operation tells."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            entries = asyncio.run(_entries(ctx.params, operation, member))
        except (CliError, OSError, ValueError, KeyError):
            return []  # whatever is wrong, a prompt is no place to say so
        return [entry[key] for entry in entries if entry[key].startswith(incomplete)]

    return complete


async def _entries(given: dict[str, Any], operation: str, member: str) -> list[dict[str, Any]]:
    from thingjobs_broker.cli.connection import connect

    environ = os.environ
    address = broker_address(
        given.get("broker") or environ.get("THINGJOBS_BROKER") or DEFAULT_BROKER,
        password_file=given.get("password_file"),
        ca_file=given.get("ca_file") or environ.get("THINGJOBS_CA_FILE"),
        topic_root=given.get("topic_root") or environ.get("THINGJOBS_TOPIC_ROOT") or DEFAULT_ROOT,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    async with connect(address) as connection:
        entries: list[dict[str, Any]] = (await connection.call(operation, maxResults=PAGE_SIZE_MAX))[member]
    return entries
