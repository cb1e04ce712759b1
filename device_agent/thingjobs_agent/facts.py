"""The facts of this device that a document's `conditions` may ask for (A38): the thing's name, what the
system says of itself, and what the settings add.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from thingjobs_agent import VERSION


def facts_of_device(
    thing_name: str, added: Iterable[str], os_release: Path = Path("/etc/os-release")
) -> dict[str, str]:
    """Return the facts by name; `added` are the settings' `name=value` pairs, which win."""
    system = os.uname()
    facts = {
        "thingName": thing_name,
        "agentVersion": VERSION,
        "hostName": system.nodename,
        "kernel": system.release,
        "machine": system.machine,
    }
    try:
        lines = os_release.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition("=")
        if key in ("ID", "VERSION_ID"):
            facts["osId" if key == "ID" else "osVersion"] = value.strip("\"'")
    return facts | dict(pair.split("=", 1) for pair in added)
