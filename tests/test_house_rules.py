"""The rules of the house, read from the source alone: imports one way, pure modules, sizes, words, the wheel.

Nothing here imports the product. A rule that names a package fails when that package is not there, so that
a rename cannot switch it off.
"""

import ast
import re
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support import ROOT

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

PACKAGES = {
    "thingjobs_protocol": ROOT / "shared" / "thingjobs_protocol",
    "thingjobs_broker": ROOT / "broker_plugin" / "thingjobs_broker",
    "thingjobs_agent": ROOT / "device_agent" / "thingjobs_agent",
}
HANDLERS = ROOT / "device_agent" / "handlers"
TOP_LEVEL = {
    *(".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "docs", "mosquitto.conf"),
    *("broker_plugin", "device_agent", "pyproject.toml", "shared", "tests"),
}
# What tools leave behind in a checkout; .gitignore names the same.
LEFT_BEHIND = {
    *(".git", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".coverage"),
    *("__pycache__", "build", "dist"),
}

# Layer -> the layers of ours it may import. The longest matching name decides; what is not listed under
# thingjobs_broker is an adapter and may use everything below it, but nothing below may use it.
MAY_IMPORT = {
    "thingjobs_protocol": {"thingjobs_protocol"},
    "thingjobs_broker.core": {"thingjobs_protocol", "thingjobs_broker.core"},
    "thingjobs_broker.store": {"thingjobs_protocol", "thingjobs_broker.core", "thingjobs_broker.store"},
    "thingjobs_broker.clock": {"thingjobs_broker.clock"},
    "thingjobs_broker.commits": {
        *("thingjobs_broker.core", "thingjobs_broker.store", "thingjobs_broker.commits"),
    },
    "thingjobs_broker.runner": {
        *("thingjobs_protocol", "thingjobs_broker.core", "thingjobs_broker.store"),
        *("thingjobs_broker.clock", "thingjobs_broker.commits", "thingjobs_broker.runner"),
        "thingjobs_broker.pace",
    },
    "thingjobs_broker.snapshotter": {
        *("thingjobs_broker.core", "thingjobs_broker.store", "thingjobs_broker.commits"),
        *("thingjobs_broker.runner", "thingjobs_broker.snapshotter"),
    },
    "thingjobs_broker.front": {"thingjobs_protocol", "thingjobs_broker.front"},
    "thingjobs_broker": {"thingjobs_protocol", "thingjobs_broker"},
    "thingjobs_agent": {"thingjobs_protocol", "thingjobs_agent"},
}

PURE = {
    *("thingjobs_protocol", "thingjobs_broker.core"),
    *("thingjobs_agent.agent", "thingjobs_agent.document", "thingjobs_agent.machine"),
}
IMPURE_MODULES = {
    *("asyncio", "time", "random", "os", "pathlib", "logging", "structlog", "aiomqtt", "amqtt", "socket"),
    *("threading", "subprocess", "secrets", "uuid", "tempfile", "shutil", "io", "selectors", "ssl", "sys"),
}
IMPURE_CALLS = {"open", "input", "print"}
CLOCK_CALLS = {"now", "utcnow", "today"}
# A gateway installs none of these.
NOT_ON_A_GATEWAY = {"thingjobs_broker", "typer", "rich", "msgpack", "amqtt", "starlette", "uvicorn"}

# Written in pieces, so that this file obeys the rule it states.
BRITISH = re.compile("cance" + r"ll(?:ed|ing)\b", re.IGNORECASE)
IMPOSED_BY_ASYNCIO = re.compile(
    "Cance" + r"lledError|\.cance" + r"ll(?:ed|ing)\(|\bcance" + r"ll(?:ed|ing)\(\)"
)
UNFINISHED = re.compile(r"\b(?:TO" + "DO|FIX" + r"ME)\b")
MACHINE_PATHS = re.compile("/(?:wo" + "rk|ro" + "ot|opt/t" + r"j)/")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".conf", ".c", ".txt", ".yaml", ".service", ".sh", ""}


@cache
def modules() -> dict[str, Path]:
    """Dotted name to file of every module of the product."""
    found = {}
    for folder in PACKAGES.values():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def syntax(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def files_of_tests() -> list[Path]:
    """Every Python file of the tests."""
    return sorted((ROOT / "tests").rglob("*.py"))


def texts() -> Iterator[tuple[str, str]]:
    """Name and content of every text file that is part of the repository."""
    for top in sorted(TOP_LEVEL):
        root = ROOT / top
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            if path.is_file() and path.suffix in TEXT_SUFFIXES and not LEFT_BEHIND & set(path.parts):
                yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a file imports; a relative import is named by its dots."""
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            # `from package import module` names a module, which may lie in another layer than its package.
            yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)


def is_within(name: str, package: str) -> bool:
    """Whether a dotted name is the package or something in it."""
    return name == package or name.startswith(package + ".")


def layer(module: str) -> str:
    """The row of MAY_IMPORT that a module of ours falls under."""
    return max((known for known in MAY_IMPORT if is_within(module, known)), key=len)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file."""
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_imports_point_one_way() -> None:
    """Protocol <- core <- store <- runner <- adapters; front and agent know the protocol alone."""
    wrong = [
        f"{name}:{line} imports {imported}"
        for name, path in modules().items()
        for line, imported in imports(path)
        if imported.split(".")[0] in PACKAGES
        and not any(is_within(imported, allowed) for allowed in MAY_IMPORT[layer(name)])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", sorted({*MAY_IMPORT, *PURE}))
def test_every_layer_that_a_rule_names_is_there(name: str) -> None:
    """A renamed package must not slip out of its rule."""
    assert any(is_within(module, name) for module in modules())


def test_imports_are_absolute() -> None:
    """A later rename stays one mechanical edit."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in [*modules().values(), *files_of_tests()]
        for line, imported in imports(path)
        if imported.startswith(".")
    ]
    assert not wrong, "\n".join(wrong)


def test_pure_modules_touch_neither_clock_nor_disk_nor_network() -> None:
    """Time, randomness and everything outside come in as arguments."""
    wrong = []
    for name, path in modules().items():
        if not any(is_within(name, pure) for pure in PURE):
            continue
        wrong += [
            f"{name}:{line} imports {imported}"
            for line, imported in imports(path)
            if imported.split(".")[0] in IMPURE_MODULES
        ]
        for node in ast.walk(syntax(path)):
            match node:
                case ast.Call(func=ast.Name(id=called)) if called in IMPURE_CALLS:
                    wrong.append(f"{name}:{node.lineno} calls {called}")
                case ast.Call(func=ast.Attribute(attr=called)) if called in CLOCK_CALLS:
                    wrong.append(f"{name}:{node.lineno} calls {called}")
    assert not wrong, "\n".join(wrong)


def test_the_agent_imports_nothing_a_gateway_lacks() -> None:
    """The base install has no broker, no operator tools and no journal."""
    wrong = [
        f"{name}:{line} imports {imported}"
        for name, path in modules().items()
        if is_within(name, "thingjobs_agent") or is_within(name, "thingjobs_protocol")
        for line, imported in imports(path)
        if imported.split(".")[0] in NOT_ON_A_GATEWAY
    ]
    assert not wrong, "\n".join(wrong)


def test_files_are_short() -> None:
    """No file, product or test, is longer than a reader can hold."""
    paths = [*modules().values(), *files_of_tests(), *(ROOT / "tests").rglob("*.c")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in paths}
    assert {name: length for name, length in lengths.items() if length > FILE_LINES_MAX} == {}


def test_functions_are_short() -> None:
    """No function, product or test, is longer than a screen."""
    wrong = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name} has {length} lines"
        for path in [*modules().values(), *files_of_tests()]
        for function in functions(path)
        if (length := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not wrong, "\n".join(wrong)


def test_every_module_opens_with_a_docstring() -> None:
    """What it decides, and what it does not, stands first in every file."""
    wrong = [
        str(path.relative_to(ROOT))
        for path in [*modules().values(), *files_of_tests()]
        if ast.get_docstring(syntax(path)) is None
    ]
    assert not wrong, "\n".join(wrong)


def test_every_test_has_a_docstring() -> None:
    """A test says which behavior it holds, and the clause if there is one."""
    wrong = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
        for path in files_of_tests()
        for function in functions(path)
        if function.name.startswith("test_") and ast.get_docstring(function) is None
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "words", [BRITISH, UNFINISHED, MACHINE_PATHS], ids=["british", "unfinished", "machine_paths"]
)
def test_no_forbidden_words(words: re.Pattern[str]) -> None:
    """The protocol's spelling, nothing unfinished, and no path of somebody's machine."""
    wrong = [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if words.search(IMPOSED_BY_ASYNCIO.sub("", line))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_top_level_holds_what_was_agreed() -> None:
    """Nothing new at the root of the repository without a decision."""
    found = {path.name for path in ROOT.iterdir() if path.suffix != ".egg-info"}
    assert found - LEFT_BEHIND == TOP_LEVEL


def test_the_wheel_holds_the_three_packages_and_what_share_is_for(tmp_path: Path) -> None:
    """A stray name at the top would overwrite somebody else's package. Handlers and units come along."""
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    folders = {name.split("/")[0] for name in names}
    assert {name for name in folders if not name.endswith((".dist-info", ".data"))} == set(PACKAGES)
    shared = {name.partition(".data/data/share/")[2]: modes[name] for name in names if ".data/" in name}
    handlers = {f"thingjobs-agent/handlers/{path.name}" for path in HANDLERS.iterdir()}
    units = {f"thingjobs/systemd/thingjobs-{program}.service" for program in ("up", "serve")}
    assert handlers | units <= set(shared)
    assert all(shared[name] & 0o111 for name in handlers), "handlers are executable"
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
