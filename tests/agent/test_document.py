"""Job documents: what is read from them, and that hostile ones are refused with one line (control plane
8).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.agent.harness import document, reboot_step, step
from thingjobs_agent.document import parse
from thingjobs_agent.members import DocumentError


def parsed(value: Any) -> Any:
    return parse(msgspec.json.encode(value))


def refusal(value: Any) -> str:
    with pytest.raises(DocumentError) as caught:
        parse(value if isinstance(value, bytes) else msgspec.json.encode(value))
    return str(caught.value)


def test_version_1_0_document_is_read_in_order_with_the_final_step_last() -> None:
    """Control plane 8.1: steps run in order, the final step after them."""
    read = parsed(document("a.sh", "b.sh", finalStep=step("c.sh"), includeStdOut=True, onRestart="restart"))
    assert [each.handler for each in read.steps] == ["a.sh", "b.sh", "c.sh"]
    assert read.include_std_out
    assert read.on_restart == "restart"


def test_members_of_an_action_are_read() -> None:
    """Control plane 8.1: every member of an action, text booleans included."""
    action = step("a.sh", runAsUser="pi", allowStdErr=3, ignoreStepFailure="true", timeoutSeconds=60)
    action["action"]["input"] |= {"args": ["-v", "two words"], "path": "default"}
    (read,) = parsed({"version": "1.0", "steps": [action]}).steps
    assert (read.run_as_user, read.allow_std_err, read.ignore_step_failure, read.timeout_seconds) == (
        "pi",
        3,
        True,
        60,
    )
    assert read.arguments() == ("pi", "-v", "two words")


def test_user_is_always_the_first_argument_of_version_1_0_handlers() -> None:
    """Control plane 8.3: argv[1] is the user, possibly empty."""
    (read,) = parsed(document("a.sh")).steps
    assert read.arguments() == ("",)


def test_flat_document_has_no_user_argument() -> None:
    """Control plane 8.2, 8.3: one step, arguments as they are."""
    read = parsed(
        {"operation": "a.sh", "args": ["x"], "path": "default", "allowStdErr": 0, "includeStdOut": "true"}
    )
    (only,) = read.steps
    assert (only.name, only.handler, only.arguments(), only.allow_std_err) == ("a.sh", "a.sh", ("x",), 0)
    assert read.include_std_out


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), ("true", True), (False, False), ("false", False)]
)
def test_flags_are_booleans_or_their_text(value: Any, expected: bool) -> None:
    """A36: existing documents write booleans as text."""
    assert parsed(document("a.sh", includeStdOut=value)).include_std_out is expected


def test_unknown_members_are_ignored() -> None:
    """Control plane 8.1: members such as _comment are ignored."""
    assert parsed(document("a.sh", _comment="hello")).steps


def command(text: str) -> dict[str, Any]:
    action = {"name": "x", "type": "runCommand", "input": {"command": text}}
    return {"version": "1.0", "steps": [{"action": action}]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ls", ("ls",)),
        ("systemctl, restart , my.service", ("systemctl", "restart", "my.service")),
        ("echo,one\\, two,,three", ("echo", "one, two", "", "three")),
    ],
)
def test_command_is_split_at_commas(text: str, words: tuple[str, ...]) -> None:
    """Control plane 8.1: commas separate, a backslash keeps one, every word is trimmed."""
    (read,) = parsed(command(text)).steps
    assert read.command == words
    assert read.arguments() == words[1:]


def test_reboot_is_a_step_of_its_own() -> None:
    """Issue 6: needs no input, may say how long to wait."""
    (read,) = parsed({"version": "1.0", "steps": [reboot_step(timeoutSeconds=60)]}).steps
    assert (read.name, read.type, read.timeout_seconds) == ("Reboot", "reboot", 60)


CONDITIONS = [
    {"key": "site", "value": ["berlin", "oslo"], "type": "stringEqual"},
    {"key": "os", "value": ["a"]},
]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"site": "oslo", "os": "a"}, None),
        ({"site": "rome", "os": "a"}, "the condition on site does not hold: it is rome, not berlin or oslo"),
        ({"site": "oslo"}, "the condition on os cannot hold: this device has no such fact"),
    ],
)
def test_conditions_hold_if_each_fact_has_one_of_its_values(
    facts: dict[str, str], reason: str | None
) -> None:
    """A38: all must hold."""
    assert parsed(document("a.sh", conditions=CONDITIONS)).unmet(facts) == reason


CASES: dict[str, tuple[Any, str]] = {
    "not json": (b'{"version":', "the document is not JSON"),
    "not utf-8": (b'{"operation": "\xff"}', "the document is not JSON"),
    "array": ([], "the document must be an object, not a list"),
    "nothing": ({}, "the document has neither version nor operation"),
    "no version": ({"steps": []}, 'needs "version": "1.0"'),
    "number as version": ({"version": 1.0, "steps": []}, 'version must be the text "1.0", not 1.0'),
    "other version": ({"version": "2.0"}, "version must be"),
    "no steps": ({"version": "1.0"}, "steps must hold at least one step"),
    "steps no list": ({"version": "1.0", "steps": {}}, "steps must be a list, not an object"),
    "too many steps": (document(*["a"] * 101), "steps may hold 100 entries, not 101"),
    "step no object": ({"version": "1.0", "steps": [1]}, "steps[0] must be an object, not a number"),
    "no action": ({"version": "1.0", "steps": [{}]}, "steps[0].action must be an object, not missing"),
    "no name": ({"version": "1.0", "steps": [{"action": {"type": "runHandler"}}]}, "steps[0].action.name"),
    "command with blanks": (command("ls -l"), "must begin with a program without white space, not 'ls -l'"),
    "command without a program": (command(",ls"), "must begin with a program"),
    "nul in command": (command("ls,a\0b"), "control character U+0000"),
    "no command": (
        {"version": "1.0", "steps": [{"action": {"name": "x", "type": "runCommand", "input": {}}}]},
        "steps[0].action.input.command must be a text, not missing",
    ),
    "long command": (command("a" + ",b" * 100), "may hold 100 words, not 101"),
    "type": ({"version": "1.0", "steps": [step("a", type="run")]}, "steps[0].action.type must be runHandler"),
    "traversal": (document("../../bin/sh"), "steps[0].action.input.handler must be a bare file name"),
    "absolute": (document("/bin/sh"), "must be a bare file name"),
    "dots": (document(".."), "must be a bare file name"),
    "empty handler": ({"version": "1.0", "steps": [step("", name="x")]}, "handler must not be empty"),
    "nul in handler": ({"version": "1.0", "steps": [step("a\0b", name="x")]}, "control character U+0000"),
    "long handler": (
        {"version": "1.0", "steps": [step("a" * 129, name="x")]},
        "may have 128 characters, not 129",
    ),
    "escape in name": ({"version": "1.0", "steps": [step("a", name="\x1b[2J")]}, "control character U+001B"),
    "bad user": (
        {"version": "1.0", "steps": [step("a", runAsUser=7)]},
        "runAsUser must be a text, not a number",
    ),
    "bad stderr": (
        {"version": "1.0", "steps": [step("a", allowStdErr=True)]},
        "allowStdErr must be a whole number",
    ),
    "bad timeout": (
        {"version": "1.0", "steps": [step("a", timeoutSeconds=0)]},
        "timeoutSeconds must be a whole",
    ),
    "bad ignore": (
        {"version": "1.0", "steps": [step("a", ignoreStepFailure="yes")]},
        "ignoreStepFailure must be",
    ),
    "bad restart": (
        document("a", onRestart="maybe"),
        "onRestart must be fail, restart or resume, not 'maybe'",
    ),
    "bad final": (document("a", finalStep=[]), "finalStep must be an object, not a list"),
    "bad conditions": (document("a", conditions=[{"key": "k", "value": "v"}]), "conditions[0].value must be"),
    "deep": (b'{"a":' * 20 + b"1" + b"}" * 20, "the document is nested deeper than 16 levels"),
    "very deep": (b"[" * 16_000 + b"]" * 16_000, "the document is nested deeper than 16 levels"),
    "bad flat path": ({"operation": "a", "path": 3}, "path must be a text, not a number"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_document_is_refused_with_member_and_rule(case: str) -> None:
    """Issue: a hostile document is refused with a reason that names what was wrong."""
    value, expected = CASES[case]
    assert expected in refusal(value)


@pytest.mark.parametrize(
    ("arg", "expected"),
    [
        (5, "args[0] must be a text"),
        ("a\0b", "U+0000"),
        ("a\x1bb", "U+001B"),
        ("x" * 4097, "may have 4096 characters"),
    ],
)
def test_bad_argument_is_refused(arg: Any, expected: str) -> None:
    """Arguments reach programs, so what no program can be given is refused."""
    value = document("a.sh")
    value["steps"][0]["action"]["input"]["args"] = [arg]
    assert expected in refusal(value)


def test_arguments_may_have_lines_and_tabs() -> None:
    """Newline and tab are ordinary in arguments."""
    value = document("a.sh")
    value["steps"][0]["action"]["input"]["args"] = ["a\n\tb"]
    assert parsed(value).steps[0].args == ("a\n\tb",)


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except DocumentError as error:
        return str(error)
    return "read"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("version", "steps", "operation", "args"), json_values))
)
def test_any_json_is_read_or_refused_in_one_printable_line(value: Any) -> None:
    """No document makes anything but a DocumentError."""
    assert outcome(lambda: parsed(value)).isprintable()


@given(json_values, st.sampled_from(["name", "type", "input", "runAsUser", "allowStdErr", "timeoutSeconds"]))
def test_any_value_of_an_action_is_read_or_refused(value: Any, member: str) -> None:
    """As above, one level down."""
    hostile = document("a.sh")
    hostile["steps"][0]["action"][member] = value
    assert outcome(lambda: parsed(hostile)).isprintable()


@given(st.binary())
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    """Bytes that are no JSON are refused, not raised about."""
    assert outcome(lambda: parse(data)).isprintable()
