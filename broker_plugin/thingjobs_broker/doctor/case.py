"""The set-up under examination, and what its checks hand on to those after them."""

from __future__ import annotations

import dataclasses
import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

    from thingjobs_broker.cli.broker_address import BrokerAddress
    from thingjobs_broker.cli.connection import Connection

CANARY_THING: Final = "thingjobs-doctor"
"""Stands for all the things that a device has no business with."""


@dataclasses.dataclass(frozen=True)
class DeviceLogin:
    """A device's thing name, and how it logs in."""

    name: str
    address: BrokerAddress


@dataclasses.dataclass
class Case:
    """What is examined.

    Args:
        address: the broker, with the login of an operator or of the service.
        device: a device to try, None to leave that out.
        data_dir: the service's data directory, None where it is on another machine.

    """

    address: BrokerAddress
    device: DeviceLogin | None = None
    data_dir: Path | None = None
    token: str = dataclasses.field(default_factory=lambda: f"doctor-{secrets.token_hex(6)}")
    """In every message of this examination, and in the ids of its jobs."""

    stack: AsyncExitStack = dataclasses.field(default_factory=AsyncExitStack)
    """What is to be closed at the end."""

    # Set by the checks `connect`, `login` and `device`; used by those that need them.
    network_ms: float = dataclasses.field(init=False)
    certificate: dict[str, Any] = dataclasses.field(init=False)
    """Of the broker, as `ssl.SSLSocket.getpeercert` gives it; empty without TLS."""

    connection: Connection = dataclasses.field(init=False)
    clock_ahead_seconds: float = dataclasses.field(init=False)

    @property
    def login(self) -> DeviceLogin:
        """The device, which the check `device` has made sure of."""
        assert self.device is not None
        return self.device
