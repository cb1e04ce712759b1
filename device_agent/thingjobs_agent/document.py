"""Job documents of the AWS IoT Device Client: version 1.0 and the older flat form (spec: control plane 8.1,
8.2).

Decides what a document asks for and whether it is well formed. Does not look at the disk: whether a handler
exists and may run is decided in `handlers`. Everything here treats the document as hostile.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

NESTING_MAX: Final = 16
STEPS_MAX: Final = 100
ARGS_MAX: Final = 100
NAME_CHARACTERS_MAX: Final = 128
TEXT_CHARACTERS_MAX: Final = 4096
STEP_TIMEOUT_SECONDS_MAX: Final = 604_800
"""Our own bounds, beside the document's 32,768 bytes; seven days is the longest timer of the service (data
plane 6.1).
"""

VERSION: Final = "1.0"

OnRestart = Literal["fail", "restart", "resume"]
"""What to do when the agent or the device went down while a handler ran; our own optional member."""


class DocumentError(ValueError):
    """The document cannot be run; the message is one line that names the member and the rule."""


class Step(msgspec.Struct, frozen=True):
    """One action. `path` is as written; `args` do not hold the leading user argument."""

    name: str
    handler: str
    args: tuple[str, ...] = ()
    path: str = ""
    run_as_user: str = ""
    allow_std_err: int | None = None
    ignore_step_failure: bool = False
    timeout_seconds: int | None = None
    is_flat: bool = False

    def arguments(self) -> tuple[str, ...]:
        """Return what follows the program's name: the user comes first, but not in the flat form (8.3)."""
        return self.args if self.is_flat else (self.run_as_user, *self.args)


class Document(msgspec.Struct, frozen=True):
    """What to do, in order. The final step, if there is one, is the last of `steps`."""

    steps: tuple[Step, ...]
    include_std_out: bool = False
    on_restart: OnRestart = "fail"


def parse(job_document: bytes | msgspec.Raw) -> Document:
    """Return the document in its JSON text.

    Raises:
        DocumentError: it is not a document this agent can run; nothing has been done.

    """
    try:
        value = msgspec.json.decode(job_document)
    except RecursionError:
        raise DocumentError(f"the document is nested deeper than {NESTING_MAX} levels") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DocumentError(f"the document is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise DocumentError(f"the document must be an object, not {_kind(value)}")
    _check_nesting(value)
    if "version" not in value:
        return _flat(value)
    if value["version"] != VERSION:
        raise DocumentError(f'version must be the text "{VERSION}", not {_shown(value["version"])}')
    return _version_1_0(value)


def _version_1_0(value: dict[str, Any]) -> Document:
    steps = _list(value, "steps", "steps", count_max=STEPS_MAX)
    if not steps:
        raise DocumentError("steps must hold at least one step")
    actions = [_action(step, f"steps[{index}]") for index, step in enumerate(steps)]
    if value.get("finalStep") is not None:
        actions.append(_action(value["finalStep"], "finalStep"))
    _check_conditions(value)
    return Document(
        steps=tuple(actions),
        include_std_out=_flag(value, "includeStdOut", "includeStdOut"),
        on_restart=_on_restart(value),
    )


def _flat(value: dict[str, Any]) -> Document:
    """Return the older form: one handler without a leading user argument (8.2)."""
    if "operation" not in value:
        hint = f'; a document with steps needs "version": "{VERSION}"' if "steps" in value else ""
        raise DocumentError(f"the document has neither version nor operation{hint}")
    operation = _handler(value, "operation", "operation")
    step = Step(
        name=operation,
        handler=operation,
        args=_args(value, "args"),
        path=_text(value, "path", "path", default=""),
        allow_std_err=_count(value, "allowStdErr", "allowStdErr"),
        timeout_seconds=_timeout(value, "timeoutSeconds"),
        is_flat=True,
    )
    return Document(
        steps=(step,),
        include_std_out=_flag(value, "includeStdOut", "includeStdOut"),
        on_restart=_on_restart(value),
    )


def _action(step: object, where: str) -> Step:
    if not isinstance(step, dict):
        raise DocumentError(f"{where} must be an object, not {_kind(step)}")
    action, where = step.get("action"), f"{where}.action"
    if not isinstance(action, dict):
        raise DocumentError(f"{where} must be an object, not {_kind(action)}")
    name = _text(action, "name", f"{where}.name", characters_max=NAME_CHARACTERS_MAX)
    _check_type(action, f"{where}.type")
    given = action.get("input")
    if not isinstance(given, dict):
        raise DocumentError(f"{where}.input must be an object, not {_kind(given)}")
    return Step(
        name=name,
        handler=_handler(given, "handler", f"{where}.input.handler"),
        args=_args(given, f"{where}.input.args"),
        path=_text(given, "path", f"{where}.input.path", default=""),
        run_as_user=_text(
            action, "runAsUser", f"{where}.runAsUser", default="", characters_max=NAME_CHARACTERS_MAX
        ),
        allow_std_err=_count(action, "allowStdErr", f"{where}.allowStdErr"),
        ignore_step_failure=_flag(action, "ignoreStepFailure", f"{where}.ignoreStepFailure"),
        timeout_seconds=_timeout(action, f"{where}.timeoutSeconds"),
    )


def _check_type(action: dict[str, Any], where: str) -> None:
    kind = action.get("type")
    if kind == "runCommand":
        raise DocumentError(f"{where} runCommand is off on this device; use runHandler")
    if kind != "runHandler":
        raise DocumentError(f"{where} must be runHandler, not {_shown(kind)}")


def _check_conditions(value: dict[str, Any]) -> None:
    """Check the shape of `conditions`; they are not evaluated, as in the Device Client (A38)."""
    for index, condition in enumerate(_list(value, "conditions", "conditions", count_max=STEPS_MAX)):
        where = f"conditions[{index}]"
        if not isinstance(condition, dict):
            raise DocumentError(f"{where} must be an object, not {_kind(condition)}")
        _text(condition, "key", f"{where}.key")
        values = condition.get("value")
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            raise DocumentError(f"{where}.value must be a list of texts")
        if condition.get("type", "stringEqual") != "stringEqual":
            raise DocumentError(f"{where}.type must be stringEqual, not {_shown(condition['type'])}")


def _check_nesting(value: object) -> None:
    """Refuse deep documents, level by level so that depth costs no stack."""
    level: list[object] = [value]
    for _ in range(NESTING_MAX):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)  # type: ignore[attr-defined]
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise DocumentError(f"the document is nested deeper than {NESTING_MAX} levels")


# -- members: each takes the object, the key and how messages call the member


def _handler(owner: dict[str, Any], key: str, where: str) -> str:
    name = _text(owner, key, where, characters_max=NAME_CHARACTERS_MAX)
    if "/" in name or name in (".", ".."):
        raise DocumentError(f"{where} must be a bare file name in the handler directory, not {_shown(name)}")
    return name


def _args(owner: dict[str, Any], where: str) -> tuple[str, ...]:
    args = _list(owner, "args", where, count_max=ARGS_MAX)
    for index, arg in enumerate(args):
        if not isinstance(arg, str):
            raise DocumentError(f"{where}[{index}] must be a text, not {_kind(arg)}")
        _check_text(arg, f"{where}[{index}]", allowed="\t\n")
    return tuple(args)


def _list(owner: dict[str, Any], key: str, where: str, *, count_max: int) -> list[Any]:
    value = owner.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise DocumentError(f"{where} must be a list, not {_kind(value)}")
    if len(value) > count_max:
        raise DocumentError(f"{where} may hold {count_max} entries, not {len(value)}")
    return value


def _text(
    owner: dict[str, Any],
    key: str,
    where: str,
    *,
    default: str | None = None,
    characters_max: int = TEXT_CHARACTERS_MAX,
) -> str:
    """Return a text without control characters; without a default it must be there and not be empty."""
    value = owner.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise DocumentError(f"{where} must be a text, not {_kind(value)}")
    if not value and default is None:
        raise DocumentError(f"{where} must not be empty")
    _check_text(value, where, characters_max=characters_max)
    return value


def _check_text(
    value: str, where: str, *, allowed: str = "", characters_max: int = TEXT_CHARACTERS_MAX
) -> None:
    if len(value) > characters_max:
        raise DocumentError(f"{where} may have {characters_max} characters, not {len(value)}")
    for character in value:
        # Control characters, and surrogates, which no program can be given.
        if (character < " " and character not in allowed) or "\x7f" <= character < "\xa0":
            raise DocumentError(f"{where} must not hold the control character U+{ord(character):04X}")
        if "\ud800" <= character <= "\udfff":
            raise DocumentError(f"{where} must not hold the surrogate U+{ord(character):04X}")


def _flag(owner: dict[str, Any], key: str, where: str) -> bool:
    """Return a boolean; existing documents write it as text (8.1, A36)."""
    value = owner.get(key)
    if value is None or value is False or value == "false":
        return False
    if value is True or value == "true":
        return True
    raise DocumentError(f'{where} must be true, false, "true" or "false", not {_shown(value)}')


def _count(owner: dict[str, Any], key: str, where: str) -> int | None:
    value = owner.get(key)
    if value is not None and (type(value) is not int or value < 0):
        raise DocumentError(f"{where} must be a whole number of at least 0, not {_shown(value)}")
    return value


def _timeout(owner: dict[str, Any], where: str) -> int | None:
    value = owner.get("timeoutSeconds")
    if value is not None and (type(value) is not int or not 1 <= value <= STEP_TIMEOUT_SECONDS_MAX):
        raise DocumentError(
            f"{where} must be a whole number from 1 to {STEP_TIMEOUT_SECONDS_MAX}, not {_shown(value)}"
        )
    return value


def _on_restart(owner: dict[str, Any]) -> OnRestart:
    match owner.get("onRestart"):
        case None | "fail":
            return "fail"
        case "restart":
            return "restart"
        case "resume":
            return "resume"
        case other:
            raise DocumentError(f"onRestart must be fail, restart or resume, not {_shown(other)}")


_KINDS: Final = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def _kind(value: object) -> str:
    return "missing" if value is None else _KINDS[type(value)]


def _shown(value: object) -> str:
    """Return the value for a message: short, and printable because the message goes into status details."""
    if value is None or isinstance(value, dict | list):
        return _kind(value)
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
