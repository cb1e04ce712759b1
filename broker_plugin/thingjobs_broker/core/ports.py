"""What the core asks of its surroundings, as interfaces, and the settings of its rules."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from thingjobs_broker.core.quotas import Quotas
from thingjobs_broker.core.rollout import PER_MINUTE_MAX

if TYPE_CHECKING:
    from thingjobs_broker.core.placeholders import UrlSigner


class Presence(msgspec.Struct, frozen=True):
    """What is known of a thing's connection; a broker that is not ours does not tell, so that all is None."""

    is_connected: bool | None = None
    since_ms: int | None = None
    """When it connected, or was lost; None: before the service started."""
    is_subscribed: bool | None = None
    """Whether it hears of new jobs by itself."""


class Presences(Protocol):
    """Which things are connected."""

    def of(self, thing_name: str) -> Presence:
        """Return what is known of the connection of a thing."""


class NoPresences:
    """A broker that does not tell."""

    def of(self, _thing_name: str) -> Presence:
        """Nothing is known."""
        return Presence()


class Notices(Protocol):
    """Who is told what no answer tells."""

    def left_out(self, thing_name: str, group_name: str) -> None:
        """A thing meets the query of a dynamic group and is in too many groups to join it."""


class NoNotices:
    """Nobody."""

    def left_out(self, thing_name: str, group_name: str) -> None:
        """Nothing is noted."""


class DocumentSource(Protocol):
    """Where documentSource is fetched from; once, when a job or template is created."""

    def fetch(self, url: str) -> bytes:
        """Return what lies there; at most one byte more than a document may have is looked at.

        Raises:
            OSError: it cannot be had; the message says why.

        """


class Rules(Quotas, frozen=True):
    """Settings of the rules (spec: control plane 9, 10), quotas included. The defaults are those of AWS."""

    rollout_per_minute: int | None = PER_MINUTE_MAX
    """Of jobs that name no rate; None is as fast as possible."""
    windowed_jobs_cancel_at_limit: bool = True
    """A job whose window opens while so many are at work is canceled, as AWS does (A30), else it waits."""
    timeout_minutes_default: int | None = None
    timeout_minutes_maxima: tuple[tuple[str, int | None], ...] = ()
    """Of jobs that name no timeout, and of all; each maximum with its name, the smallest binds (B24)."""
    moto_compat: bool = False
    """Whether what moto's own tests need is allowed (spec: control plane 11.2)."""
    expiry_minutes: int | None = None
    """QUEUED executions are canceled after so long (B19); None for never, as AWS has it."""
    expiry_interval_ms: int = 3_600_000
    """How often that is looked for, at most an hour (B20): an execution may wait so much longer."""


class Ports(msgspec.Struct, frozen=True):
    """Everything the core is given, apart from state, time and ids."""

    rules: Rules = Rules()
    documents: DocumentSource | None = None
    """None: documentSource is refused."""
    signer: UrlSigner | None = None
    """None: documents with presigned placeholders are refused."""
    presences: Presences = NoPresences()
    last_seen_ms: Mapping[str, int] = MappingProxyType({})
    """By thing, when it last asked for something. It is not on record: a restart begins anew."""
    endpoints: Mapping[str, str] = MappingProxyType({})
    """By the endpointType of DescribeEndpoint, the host."""
    notices: Notices = NoNotices()
    is_test_clock: bool = False
    """Whether AdvanceClock moves the clock, and nothing else does."""


DEFAULT_PORTS: Final = Ports()
