"""How a program's settings are found: option over environment over file over default. Pure.

The settings of a program are a frozen dataclass whose fields are made with `setting`; a field whose type is
another such dataclass is a table. This module decides names, conversions, errors and where each value came
from; reading the file, the environment and the command line is the program's business.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeVar

SettingsT = TypeVar("SettingsT")

_MISSING: Final = object()
_SHOWN_CHARS_MAX: Final = 80
_TRUE_WORDS: Final = frozenset({"1", "true", "yes", "on"})
_FALSE_WORDS: Final = frozenset({"0", "false", "no", "off"})


class SettingsError(ValueError):
    """A setting is unknown, missing or has a wrong value; the message is one line for the operator."""


class SettingRow(NamedTuple):
    """One line of a table of settings: dotted key, expected value, default, variable, option, meaning."""

    key: str
    expected: str
    default: str
    environment: str
    flag: str
    help: str


class _WrongValueError(Exception):
    """The value does not fit the type; carries nothing, so that no secret can leak through it."""


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """One setting: its dotted key, resolved type and the dataclass field that declares it."""

    key: str
    type_: Any
    field: dataclasses.Field[Any]

    @property
    def is_secret(self) -> bool:
        return bool(self.field.metadata.get("secret"))

    def environment_name(self, prefix: str) -> str:
        return f"{prefix}_{self.key}".replace(".", "_").upper()

    @property
    def flag_name(self) -> str:
        return "--" + self.key.replace(".", "-").replace("_", "-")

    @property
    def expected(self) -> str:
        return _expected(self.type_, self.field.metadata.get("minimum"), self.field.metadata.get("maximum"))

    def default(self) -> Any:
        """The default, or _MISSING when the setting must be given."""
        if self.field.default is not dataclasses.MISSING:
            return self.field.default
        if self.field.default_factory is not dataclasses.MISSING:
            return self.field.default_factory()
        return _MISSING


def setting(
    help: str,  # noqa: A002 - the word everyone uses
    *,
    default: Any = _MISSING,
    minimum: float | None = None,
    maximum: float | None = None,
    secret: bool = False,
) -> Any:
    """A field of a settings dataclass.

    Args:
        help: One sentence for the table of settings; units belong in the field's name.
        default: Left out, the setting must be given. Lists are copied.
        minimum: Smallest number that is accepted.
        maximum: Largest number that is accepted.
        secret: The value appears in no message and in no repr, and cannot be given as an option.
    """
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "secret": secret}
    if default is _MISSING:
        return dataclasses.field(metadata=metadata, repr=not secret)
    if isinstance(default, list):
        return dataclasses.field(default_factory=default.copy, metadata=metadata, repr=not secret)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


def resolve(
    settings_type: type[SettingsT],
    *,
    file: Mapping[str, object] | None = None,
    file_name: str = "the settings file",
    environ: Mapping[str, str],
    env_prefix: str,
    env_ignored: Collection[str] = (),
    flags: Mapping[str, object],
) -> tuple[SettingsT, dict[str, str]]:
    """The settings of a program, and for each dotted key where its value came from.

    Args:
        settings_type: A frozen dataclass made of `setting` fields and tables of the same kind.
        file: The parsed TOML file, if there is one; tables are nested mappings.
        file_name: How messages call that file.
        environ: All environment variables; only those that begin with `env_prefix` and "_" are looked at.
        env_prefix: Such as "THINGJOBS": `[registry] auto_register` is THINGJOBS_REGISTRY_AUTO_REGISTER.
        env_ignored: Variables with our prefix that are not settings; an entry that ends in "_" is a prefix.
        flags: Dotted key to value; None means not given. Text is converted like a variable's.

    Returns:
        The settings, and `{key: origin}` with an origin such as "default", "thingjobs.toml",
        "environment variable THINGJOBS_LISTEN" or "--listen".

    Raises:
        SettingsError: An unknown key, a missing setting, a wrong type or value; the message names key,
            value, what was expected and where it came from. Values of secret settings are not shown.
    """
    leaves = {leaf.key: leaf for leaf in _leaves(settings_type)}
    from_file = _flatten(file or {}, leaves, file_name)
    from_environment = _from_environment(environ, env_prefix, env_ignored, leaves)
    for key in flags:
        if key not in leaves:
            raise SettingsError(f"unknown key {key!r} in the options{_suggest(key, leaves)}")

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, leaf in leaves.items():
        given = flags.get(key)
        if given is not None:
            origin = leaf.flag_name
            if leaf.is_secret:
                raise SettingsError(f"{key} is a secret and cannot be given as {origin}")
        elif key in from_environment:
            given, origin = from_environment[key], f"environment variable {leaf.environment_name(env_prefix)}"
        elif key in from_file:
            given, origin = from_file[key], file_name
        else:
            values[key], origins[key] = _default(leaf, file_name, env_prefix), "default"
            continue
        is_text = isinstance(given, str) and origin != file_name
        values[key], origins[key] = _checked(leaf, given, origin, is_text=is_text), origin
    return _build(settings_type, values), origins


def settings_table(settings_type: type[Any], *, env_prefix: str) -> list[SettingRow]:
    """One row for each setting, in the order of declaration, for the README and `config show`."""
    return [
        SettingRow(
            key=leaf.key,
            expected=leaf.expected,
            default="required" if leaf.default() is _MISSING else _shown(leaf, leaf.default()),
            environment=leaf.environment_name(env_prefix),
            flag="" if leaf.is_secret else leaf.flag_name,
            help=leaf.field.metadata.get("help", ""),
        )
        for leaf in _leaves(settings_type)
    ]


def _leaves(settings_type: type[Any], table: str = "") -> Iterator[_Leaf]:
    hints = typing.get_type_hints(settings_type)
    for field in dataclasses.fields(settings_type):
        key, hint = table + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from _leaves(hint, key + ".")
        else:
            yield _Leaf(key, hint, field)


def _build(settings_type: type[SettingsT], values: Mapping[str, Any], table: str = "") -> SettingsT:
    """The dataclass and its tables from values by dotted key."""
    hints = typing.get_type_hints(settings_type)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(settings_type):  # type: ignore[arg-type]  # SettingsT is a dataclass
        key = table + field.name
        arguments[field.name] = values[key] if key in values else _build(hints[field.name], values, key + ".")
    return settings_type(**arguments)


def _flatten(
    file: Mapping[str, object], leaves: Mapping[str, _Leaf], file_name: str, table: str = ""
) -> dict[str, object]:
    """The file's values by dotted key; every key must be known, every table a table."""
    tables = {key.rpartition(".")[0] for key in leaves} - {""}
    flat: dict[str, object] = {}
    for name, value in file.items():
        key = f"{table}{name}"
        if key in leaves:
            flat[key] = value
        elif key not in tables:
            raise SettingsError(f"unknown key {key!r} in {file_name}{_suggest(key, [*leaves, *tables])}")
        elif not isinstance(value, Mapping):
            raise SettingsError(f"{key} must be a table, [{key}], not a single value (in {file_name})")
        else:
            flat |= _flatten(value, leaves, file_name, key + ".")
    return flat


def _from_environment(
    environ: Mapping[str, str], prefix: str, ignored: Collection[str], leaves: Mapping[str, _Leaf]
) -> dict[str, str]:
    """The variables with our prefix by dotted key; each must be known."""
    keys = {leaf.environment_name(prefix): key for key, leaf in leaves.items()}
    assert len(keys) == len(leaves), "two settings share an environment variable"
    found: dict[str, str] = {}
    for name, text in sorted(environ.items()):
        if name in keys:
            found[keys[name]] = text
        elif name.startswith(prefix + "_") and not _is_ignored(name, ignored):
            raise SettingsError(f"unknown environment variable {name}{_suggest(name, keys, quote='')}")
    return found


def _is_ignored(name: str, ignored: Collection[str]) -> bool:
    return any(name.startswith(entry) if entry.endswith("_") else name == entry for entry in ignored)


def _suggest(key: str, known: Collection[str], quote: str = "'") -> str:
    import difflib  # noqa: PLC0415 - only for slips

    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {quote}{close[0]}{quote}?" if close else ""


def _default(leaf: _Leaf, file_name: str, env_prefix: str) -> Any:
    default = leaf.default()
    if default is _MISSING:
        ways = [f"in {file_name}", f"as {leaf.environment_name(env_prefix)}"]
        if not leaf.is_secret:
            ways.append(f"with {leaf.flag_name}")
        raise SettingsError(f"{leaf.key} is missing: give it {', '.join(ways[:-1])} or {ways[-1]}")
    return default


def _checked(leaf: _Leaf, given: object, origin: str, *, is_text: bool) -> Any:
    """The value in its declared type, within its bounds."""
    try:
        value = _from_text(leaf.type_, str(given)) if is_text else _from_value(leaf.type_, given)
        _check_bounds(value, leaf.field.metadata)
    except _WrongValueError:
        raise SettingsError(
            f"{leaf.key} must be {leaf.expected}, not {_shown(leaf, given)} (from {origin})"
        ) from None
    return value


def _check_bounds(value: object, metadata: Mapping[str, Any]) -> None:
    if isinstance(value, int | float):
        minimum, maximum = metadata.get("minimum"), metadata.get("maximum")
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise _WrongValueError


def _alternatives(type_: Any) -> tuple[Any, ...]:
    """The members of a union, None apart; any other type alone."""
    if typing.get_origin(type_) in (typing.Union, types.UnionType):
        return tuple(member for member in typing.get_args(type_) if member is not types.NoneType)
    return (type_,)


def _is_optional(type_: Any) -> bool:
    return types.NoneType in typing.get_args(type_)


def _single(type_: Any) -> Any:
    """The type under an Optional. Unions of several types are not settings."""
    members = _alternatives(type_)
    assert len(members) == 1, f"a setting has one type, not {type_}"
    return members[0]


def _from_text(type_: Any, text: str) -> Any:
    """A variable's or option's text as a value of the type; an empty text is None where None is allowed."""
    if text == "" and _is_optional(type_):
        return None
    single = _single(type_)
    try:
        if single is bool:
            return _bool_from_text(text)
        if single is int:
            return int(text)
        if single is float:
            return _from_value(float, float(text))
    except ValueError:
        raise _WrongValueError from None
    if typing.get_origin(single) in (list, tuple):
        return _from_value(single, [item.strip() for item in text.split(",") if item.strip()])
    if typing.get_origin(single) is Literal:
        # A choice may be a number; in text it is written as it prints.
        return _from_value(single, next((c for c in typing.get_args(single) if str(c) == text), text))
    return _from_value(single, text)


def _bool_from_text(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE_WORDS:
        return True
    if word in _FALSE_WORDS:
        return False
    raise _WrongValueError


def _from_value(type_: Any, given: object) -> Any:
    """A value of a TOML file, or of a typed option, as a value of the type."""
    if given is None and _is_optional(type_):
        return None
    single = _single(type_)
    origin = typing.get_origin(single)
    if origin in (list, tuple):
        if not isinstance(given, list | tuple) or not all(isinstance(item, str) for item in given):
            raise _WrongValueError
        return origin(given)
    if origin is Literal:
        if any(given == choice and type(given) is type(choice) for choice in typing.get_args(single)):
            return given
        raise _WrongValueError
    if single is float and type(given) is int:
        return float(given)
    # Exact types: True is no number here, and a string is never half a list.
    if type(given) is not single or (isinstance(given, float) and not math.isfinite(given)):
        raise _WrongValueError
    return given


_EXPECTED: Final[Mapping[Any, str]] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list of texts",
    tuple: "a list of texts",
}


def _expected(type_: Any, minimum: float | None, maximum: float | None) -> str:
    single = _single(type_)
    if typing.get_origin(single) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(single))
    name = _EXPECTED[typing.get_origin(single) or single]
    if minimum is not None and maximum is not None:
        return f"{name} from {minimum} to {maximum}"
    if minimum is not None:
        return f"{name} of at least {minimum}"
    if maximum is not None:
        return f"{name} of at most {maximum}"
    return name


def _shown(leaf: _Leaf, value: object) -> str:
    """The value for a message or a table: short, in TOML's spelling, and never a secret."""
    if leaf.is_secret:
        return "(hidden)" if value else "none"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    text = repr(list(value)) if isinstance(value, Sequence) and not isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN_CHARS_MAX else text[: _SHOWN_CHARS_MAX - 3] + "..."
