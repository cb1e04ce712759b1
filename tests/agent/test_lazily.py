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
lazy = "inspect", "ipaddress", "tokenize", "urllib.request"
print(names & set(sys.modules), [name for name in lazy if hasattr(sys.modules[name], "__file__")])
"""


def test_agent_does_without_what_it_does_not_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 6: memory of an idle agent."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert printed(AGENT) == "True\nset() []"
