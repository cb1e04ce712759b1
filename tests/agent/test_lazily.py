"""Modules that stay out of memory until somebody uses them, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.broker


def printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_module_is_loaded_at_its_first_use() -> None:
    """And is the real one then, for whoever has imported it before."""
    code = """
import sys
from thingjobs_agent.lazily import lazily
lazily("urllib.request")
import urllib.request
before = "http.client" in sys.modules
found = urllib.request.getproxies, urllib.request.Request
import urllib.request as again
print(before, "http.client" in sys.modules, found[0] is again.getproxies, again.__spec__ is not None)
"""
    assert printed(code) == "False True True True"


def test_module_that_is_loaded_stays_as_it_is() -> None:
    """Nothing is taken away from anybody."""
    code = "import uuid; from thingjobs_agent.lazily import lazily; lazily('uuid')\n"
    code += "import uuid as again; print(uuid is again)"
    assert printed(code) == "True"


def test_dataclass_needs_no_inspect() -> None:
    """One without a docstring would load it; what is made afterwards has its signature again."""
    code = """
import sys
from thingjobs_agent.lazily import lazily, without_signatures
lazily("inspect")
import dataclasses
with without_signatures():
    A = dataclasses.make_dataclass("A", ["x"])
before = "ast" in sys.modules
B = dataclasses.make_dataclass("B", ["y"])
print(A(1), before, "ast" in sys.modules, B.__doc__.startswith("B(y"))
"""
    assert printed(code) == "A(x=1) False True True"


def test_library_does_without_types_that_no_message_holds() -> None:
    """And who wants them gets them, before and afterwards."""
    code = """
import sys
from thingjobs_agent.lazily import lazily, without_types
lazily("uuid")
with without_types():
    import msgspec
before = "decimal" in sys.modules, "_decimal" in sys.modules, "_uuid" in sys.modules
import decimal, uuid
print(*before, decimal.Decimal("1.5"), len(str(uuid.uuid4())), msgspec.json.decode(b'{"a": 1.5}'))
"""
    assert printed(code) == "False False False 1.5 36 {'a': 1.5}"


def test_forgotten_module_is_gone_and_comes_back() -> None:
    """Its memory too: nothing refers to what was in it."""
    code = """
import sys, weakref
import email.message, email
gone = weakref.ref(email.message.Message)
from thingjobs_agent.lazily import forget
forget("email.message", "email.unknown", "nowhere")
print(gone() is None, "email.message" in sys.modules, hasattr(email, "message"))
import email.message
print(email.message.Message is not None)
"""
    assert printed(code) == "True False False\nTrue"


@pytest.mark.parametrize(
    ("name", "is_loaded"),
    [
        ("broker.example.com", False),
        ("broker.", False),
        ("", False),
        ("a" * 63, False),
        ("a" * 64, True),
        ("a..b", True),
        ("b\u00fccher.example", True),
    ],
)
def test_host_name_is_encoded_as_ever(name: str, is_loaded: bool) -> None:
    """The tables are loaded for names that need them, and for those that are wrong."""
    code = f"""
import sys
if sys.argv[1:]:
    from thingjobs_agent.lazily import plain_host_names
    plain_host_names()
for _ in range(2):
    try:
        print({name!r}.encode("idna"))
    except UnicodeError as error:
        print(error)
print(b"b.xn--bcher-kva".decode("idna") if "stringprep" in sys.modules else "light")
"""
    done = [
        subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        ).stdout
        for words in ([], ["light"])
    ]
    *plain, _ = done[0].splitlines()
    *light, state = done[1].splitlines()
    assert plain == light
    assert (state != "light") is is_loaded


AGENT = """
import sys
# Not on a device; here it is, and looks for itself into inspect.
sys.modules["typing_extensions"] = None
from thingjobs_agent import cli
from thingjobs_agent.commands import running

real = running._drive

async def drive(config, broker, *others):
    # Without a broker it fails when all is imported.
    try:
        await real(config, None, *others)
    except AttributeError:
        print("aiomqtt" in sys.modules)

running._drive = drive
cli.main(["run", "--thing", "x", "--state-dir", "state", "--handler-dir", ".", "--log-level", "error"])
names = {"http.client", "email", "structlog", "rich", "tarfile", "tempfile", "difflib", "tomllib"}
names |= {"argparse", "gettext", "decimal", "stringprep"}
lazy = "bz2", "inspect", "ipaddress", "locale", "lzma", "msgspec.inspect", "tokenize", "urllib.request"
print(names & set(sys.modules), [name for name in lazy if hasattr(sys.modules[name], "__file__")])
"""


def test_agent_does_without_what_it_does_not_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 6: memory of an idle agent."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert printed(AGENT) == "True\nset() []"
