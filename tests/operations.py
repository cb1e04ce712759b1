"""The table of operations in the documentation. `python -m tests.operations` writes it anew."""

from msgspec import inspect

from tests.support import ROOT
from thingjobs_broker.core.control import OPERATIONS

PAGE = ROOT / "docs" / "operations.md"
HEAD = """# Operations of the control plane

Each is `thingjobs call NAME --json '{...}'`, a request on `$aws/control/{clientId}/NAME`, and over HTTP AWS's
own route; those of our own are there at `POST /thingjobs/NAME`. Required members are bold. AWS's API
reference tells what the others mean; the reasons for our own are in [decisions](decisions.md).

| operation | members | what it does |
| --- | --- | --- |
"""


def page() -> str:
    """The page as the one table of operations has it."""
    rows = []
    for name, row in sorted(OPERATIONS.items()):
        info = inspect.type_info(row.request_type)
        assert isinstance(info, inspect.StructType)
        members = [f"**{one.encode_name}**" if one.required else one.encode_name for one in info.fields]
        lines = (row.handler.__doc__ or "").split("\n\n")[0].split()
        what = " ".join(lines).replace("|", "\\|")
        own = " *(our own)*" if is_own(name) else ""
        rows.append(f"| {name}{own} | {', '.join(members)} | {what} |\n")
    return HEAD + "".join(rows)


def is_own(name: str) -> bool:
    """Whether the request says that AWS has no such operation."""
    return (OPERATIONS[name].request_type.__doc__ or "").startswith("Our own")


if __name__ == "__main__":
    PAGE.write_text(page())
