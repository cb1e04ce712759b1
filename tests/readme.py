"""The README's blocks, and its tables of settings. `python -m tests.readme` writes the tables anew."""

import re
from pathlib import Path

from tests.support import ROOT
from thingjobs_agent.config import Settings as AgentSettings
from thingjobs_broker.config import ServiceSettings, Settings, SidecarSettings
from thingjobs_protocol.settings import settings_table

README = ROOT / "README.md"
# Name -> the settings, their prefix, and those that stand in a table of their own.
TABLES = {
    "service": (ServiceSettings, "THINGJOBS", None),
    "up": (Settings, "THINGJOBS", ServiceSettings),
    "serve": (SidecarSettings, "THINGJOBS", ServiceSettings),
    "agent": (AgentSettings, "THINGJOBS_AGENT", None),
}


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def table(name: str) -> str:
    """The table of settings of a program, in Markdown."""
    settings_type, prefix, base = TABLES[name]
    known = {row.key for row in settings_table(base, env_prefix=prefix)} if base is not None else set()
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for row in settings_table(settings_type, env_prefix=prefix):
        if row.key in known:
            continue
        default = f"`{row.default}`" if row.default else ""
        rows.append(f"| `{row.key}` | {row.expected} | {default} | {row.help} |")
    return "\n".join(rows)


def with_tables(text: str) -> str:
    """The README with its tables as they should be."""
    for name in TABLES:
        pattern = rf"(<!-- settings: {name} -->\n)\n?(?:\|.*\n)*\n?"
        # A backslash in the table would mean something to `re`.
        new = table(name).replace("\\", r"\\")
        text = re.sub(pattern, rf"\1\n{new}\n\n", text)
    return text


if __name__ == "__main__":
    Path(README).write_text(with_tables(README.read_text()))
