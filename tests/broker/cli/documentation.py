"""The tables of docs/operators.md. `python -m tests.broker.cli.documentation` writes them anew."""

import re

from tests.support import ROOT
from thingjobs_broker.cli.exit_codes import MEANINGS
from thingjobs_broker.core.why import VERDICTS

PAGE = ROOT / "docs" / "operators.md"


def tables() -> dict[str, str]:
    """Marker in the page -> the table that follows it."""
    verdicts = [f"| `{verdict.code}` | {verdict.sentence} |" for verdict in VERDICTS]
    codes = [f"| {int(code)} | {meaning} |" for code, meaning in MEANINGS.items()]
    return {
        "verdicts": "\n".join(["| verdict | it says |", "| --- | --- |", *verdicts]),
        "exit codes": "\n".join(["| code | meaning |", "| --- | --- |", *codes]),
    }


def with_tables(text: str) -> str:
    """The page with its tables as they should be."""
    for marker, table in tables().items():
        pattern = rf"(<!-- {marker} -->\n\n)(?:\|.*\n)*"
        text = re.sub(pattern, lambda found, table=table: f"{found[1]}{table}\n", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
