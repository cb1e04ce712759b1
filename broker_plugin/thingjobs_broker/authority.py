"""Who may do what: the one table of rights on reserved topics, for every adapter that has to enforce it
itself.

A device is its user name (or the CN of its certificate): it publishes its own four requests and receives what
the service publishes under its own jobs topics. Operators use the control plane and see events. Only the
service publishes replies, notifications and events. Everything not granted is refused (spec: data plane 1.4;
architecture, "Who may do what").
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from thingjobs_protocol.limits import THING_NAME_PATTERN
from thingjobs_protocol.topics import DEFAULT_ROOT, is_service_only

_is_thing_name: Final = re.compile(THING_NAME_PATTERN).match


class Rights(msgspec.Struct, frozen=True):
    """The topic prefixes that one principal may publish under, and those it may subscribe under."""

    name: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()

    def may_publish(self, topic: str) -> bool:
        """Tell whether a request may be published; what only the service says never may (C82)."""
        return topic.startswith(self.publish) and not is_service_only(topic)

    def may_subscribe(self, topic_filter: str) -> bool:
        """Tell whether a filter stays within what the principal may see.

        The granted prefixes hold no wildcard, so a filter that begins with one can only match topics under
        it.
        """
        return topic_filter.startswith(self.subscribe)


NOBODY: Final = Rights("")


class Authority:
    """Turns a client's identity into its rights.

    Args:
        topic_root: first level of the reserved topics.
        operators: names with the operator role; such a name is no device.
        anonymous: any client may act for any thing and for operators.

    """

    def __init__(
        self,
        *,
        topic_root: str = DEFAULT_ROOT,
        operators: frozenset[str] = frozenset(),
        anonymous: bool = False,
    ) -> None:
        self._root = topic_root
        self._operators = operators
        self._anonymous = anonymous

    def rights(self, name: str | None) -> Rights:
        """Return the rights of the principal `name`; None is a client without a name."""
        things, control, events = (f"{self._root}/{branch}/" for branch in ("things", "control", "events"))
        if self._anonymous:
            return Rights(name or "anonymous", (things, control), (f"{self._root}/",))
        if name in self._operators:
            return Rights(name or "", (control,), (control, events))
        if name is None or not _is_thing_name(name):
            return NOBODY
        own = f"{things}{name}/jobs/"
        return Rights(name, (own,), (own,))
