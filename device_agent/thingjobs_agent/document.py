"""Job documents of the AWS IoT Device Client: version 1.0 and the older flat form (spec: control plane 8.1,
8.2).

Decides what a document asks for and whether it is well formed. Does not look at the disk or at local rules:
whether a handler or a command may run is decided in `handlers`. Everything here treats the document as
hostile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from thingjobs_agent import members
from thingjobs_agent.members import DocumentError, kind, shown

NESTING_MAX: Final = 16
STEPS_MAX: Final = 100
"""Our own bounds, beside the document's 32,768 bytes."""

VERSION: Final = "1.0"

OnRestart = Literal["fail", "restart", "resume"]
"""What to do when the agent or the device went down while a handler ran; our own optional member."""

StepType = Literal["runHandler", "runCommand", "reboot"]
"""As on the wire; `reboot` is our own."""


class Step(msgspec.Struct, frozen=True):
    """One action. `path` is as written; `args` do not hold the leading user argument; `command` is for
    runCommand alone.
    """

    name: str
    handler: str = ""
    args: tuple[str, ...] = ()
    path: str = ""
    run_as_user: str = ""
    allow_std_err: int | None = None
    ignore_step_failure: bool = False
    timeout_seconds: int | None = None
    is_flat: bool = False
    type: StepType = "runHandler"
    command: tuple[str, ...] = ()

    def arguments(self) -> tuple[str, ...]:
        """Return what follows the program's name: the user comes first, but not in the flat form (8.3)."""
        if self.type == "runCommand":
            return self.command[1:]
        return self.args if self.is_flat else (self.run_as_user, *self.args)


class Condition(msgspec.Struct, frozen=True):
    """A fact of the device that must have one of these values (A38)."""

    key: str
    values: tuple[str, ...]


class Document(msgspec.Struct, frozen=True):
    """What to do, in order. The final step, if there is one, is the last of `steps`."""

    steps: tuple[Step, ...]
    include_std_out: bool = False
    on_restart: OnRestart = "fail"
    conditions: tuple[Condition, ...] = ()

    def unmet(self, facts: Mapping[str, str]) -> str | None:
        """Return which condition does not hold on a device with these facts, or None if all do (A38)."""
        for condition in self.conditions:
            value = facts.get(condition.key)
            if value is None:
                return f"the condition on {condition.key} cannot hold: this device has no such fact"
            if value not in condition.values:
                wanted = " or ".join(condition.values) or "nothing"
                return f"the condition on {condition.key} does not hold: it is {value}, not {wanted}"
        return None


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
        raise DocumentError(f"the document must be an object, not {kind(value)}")
    _check_nesting(value)
    if "version" not in value:
        return _flat(value)
    if value["version"] != VERSION:
        raise DocumentError(f'version must be the text "{VERSION}", not {shown(value["version"])}')
    return _version_1_0(value)


def _version_1_0(value: dict[str, Any]) -> Document:
    steps = members.items(value, "steps", "steps", count_max=STEPS_MAX)
    if not steps:
        raise DocumentError("steps must hold at least one step")
    actions = [_action(step, f"steps[{index}]") for index, step in enumerate(steps)]
    if value.get("finalStep") is not None:
        actions.append(_action(value["finalStep"], "finalStep"))
    return Document(
        steps=tuple(actions),
        include_std_out=members.flag(value, "includeStdOut", "includeStdOut"),
        on_restart=_on_restart(value),
        conditions=_conditions(value),
    )


def _flat(value: dict[str, Any]) -> Document:
    """Return the older form: one handler without a leading user argument (8.2)."""
    if "operation" not in value:
        hint = f'; a document with steps needs "version": "{VERSION}"' if "steps" in value else ""
        raise DocumentError(f"the document has neither version nor operation{hint}")
    operation = members.handler(value, "operation", "operation")
    step = Step(
        name=operation,
        handler=operation,
        args=members.arguments(value, "args"),
        path=members.text(value, "path", "path", default=""),
        allow_std_err=members.count(value, "allowStdErr", "allowStdErr"),
        timeout_seconds=members.timeout(value, "timeoutSeconds"),
        is_flat=True,
    )
    return Document(
        steps=(step,),
        include_std_out=members.flag(value, "includeStdOut", "includeStdOut"),
        on_restart=_on_restart(value),
    )


def _action(step: object, where: str) -> Step:
    if not isinstance(step, dict):
        raise DocumentError(f"{where} must be an object, not {kind(step)}")
    action, where = step.get("action"), f"{where}.action"
    if not isinstance(action, dict):
        raise DocumentError(f"{where} must be an object, not {kind(action)}")
    name = members.text(action, "name", f"{where}.name", characters_max=members.NAME_CHARACTERS_MAX)
    user = members.text(
        action, "runAsUser", f"{where}.runAsUser", default="", characters_max=members.NAME_CHARACTERS_MAX
    )
    common = Step(
        name=name,
        type=_step_type(action, f"{where}.type"),
        run_as_user=user,
        allow_std_err=members.count(action, "allowStdErr", f"{where}.allowStdErr"),
        ignore_step_failure=members.flag(action, "ignoreStepFailure", f"{where}.ignoreStepFailure"),
        timeout_seconds=members.timeout(action, f"{where}.timeoutSeconds"),
    )
    return common if common.type == "reboot" else _with_input(common, action.get("input"), f"{where}.input")


def _with_input(step: Step, given: object, where: str) -> Step:
    if not isinstance(given, dict):
        raise DocumentError(f"{where} must be an object, not {kind(given)}")
    if step.type == "runCommand":
        return msgspec.structs.replace(step, command=members.command(given, f"{where}.command"))
    return msgspec.structs.replace(
        step,
        handler=members.handler(given, "handler", f"{where}.handler"),
        args=members.arguments(given, f"{where}.args"),
        path=members.text(given, "path", f"{where}.path", default=""),
    )


def _step_type(action: dict[str, Any], where: str) -> StepType:
    match action.get("type"):
        case "runHandler":
            return "runHandler"
        case "runCommand":
            return "runCommand"
        case "reboot":
            return "reboot"
        case other:
            raise DocumentError(f"{where} must be runHandler, runCommand or reboot, not {shown(other)}")


def _conditions(value: dict[str, Any]) -> tuple[Condition, ...]:
    """Return the conditions. Their form is checked always; whether they hold only if set so (A38)."""
    found = []
    for index, each in enumerate(members.items(value, "conditions", "conditions", count_max=STEPS_MAX)):
        where = f"conditions[{index}]"
        if not isinstance(each, dict):
            raise DocumentError(f"{where} must be an object, not {kind(each)}")
        key = members.text(each, "key", f"{where}.key")
        values = each.get("value")
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            raise DocumentError(f"{where}.value must be a list of texts")
        if each.get("type", "stringEqual") != "stringEqual":
            raise DocumentError(f"{where}.type must be stringEqual, not {shown(each['type'])}")
        found.append(Condition(key, tuple(values)))
    return tuple(found)


def _on_restart(owner: dict[str, Any]) -> OnRestart:
    match owner.get("onRestart"):
        case None | "fail":
            return "fail"
        case "restart":
            return "restart"
        case "resume":
            return "resume"
        case other:
            raise DocumentError(f"onRestart must be fail, restart or resume, not {shown(other)}")


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
