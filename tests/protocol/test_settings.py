"""Settings: precedence, names, conversions, one-line errors, origins and the table for the README."""

import dataclasses
from typing import Literal

import hypothesis
import hypothesis.strategies as st
import pytest

from thingjobs_protocol.settings import SettingsError, resolve, setting, settings_table


@dataclasses.dataclass(frozen=True)
class Registry:
    """A table."""

    auto_register: bool = setting("Whether a device that speaks becomes a thing.", default=True)
    names: tuple[str, ...] = setting("Names that may register.", default=())


@dataclasses.dataclass(frozen=True)
class Settings:
    """One setting of each type."""

    data_dir: str = setting("Where the state lives.")
    port: int = setting("The port to listen on.", default=1883, minimum=1, maximum=65535)
    ratio: float = setting("A share.", default=0.5, minimum=0)
    level: Literal["debug", "info"] = setting("The least level that is logged.", default="info")
    listeners: list[str] = setting("Addresses.", default=["127.0.0.1"])
    user: str | None = setting("User name at the broker.", default=None)
    retries: int | None = setting("How often to try; none is for ever.", default=None, minimum=1)
    password: str | None = setting("Password at the broker.", default=None, secret=True)
    registry: Registry = dataclasses.field(default_factory=Registry)


def found(
    file: dict[str, object] | None = None,
    environ: dict[str, str] | None = None,
    flags: dict[str, object] | None = None,
    env_ignored: tuple[str, ...] = (),
) -> tuple[Settings, dict[str, str]]:
    """Resolves with the one required setting given, in the lowest place that is not the default."""
    return resolve(
        Settings,
        file={"data_dir": "state"} | (file or {}),
        file_name="thingjobs.toml",
        environ=environ or {},
        env_prefix="THINGJOBS",
        env_ignored=env_ignored,
        flags=flags or {},
    )


def error(**given: object) -> str:
    """The message of the error that resolving must raise."""
    with pytest.raises(SettingsError) as raised:
        found(**given)  # type: ignore[arg-type]
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("places", "port", "origin"),
    [
        ("", 1883, "default"),
        ("file", 1, "thingjobs.toml"),
        ("file environment", 2, "environment variable THINGJOBS_PORT"),
        ("file environment flag", 3, "--port"),
        ("file flag", 3, "--port"),
    ],
)
def test_the_strongest_place_wins_and_is_named(places: str, port: int, origin: str) -> None:
    """Option over environment over file over default, and the origin says which it was."""
    settings, origins = found(
        file={"port": 1} if "file" in places else {},
        environ={"THINGJOBS_PORT": "2"} if "environment" in places else {},
        flags={"port": 3 if "flag" in places else None},
    )
    assert settings.port == port
    assert origins["port"] == origin


def test_every_key_has_an_origin() -> None:
    """Origins cover every setting, those of tables included."""
    _, origins = found()
    assert set(origins) == {row.key for row in settings_table(Settings, env_prefix="THINGJOBS")}
    assert origins["registry.auto_register"] == "default"
    assert origins["data_dir"] == "thingjobs.toml"


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ({"file": {"registry": {"auto_register": False}}}, "thingjobs.toml"),
        (
            {"environ": {"THINGJOBS_REGISTRY_AUTO_REGISTER": "no"}},
            "environment variable THINGJOBS_REGISTRY_AUTO_REGISTER",
        ),
        ({"flags": {"registry.auto_register": False}}, "--registry-auto-register"),
    ],
)
def test_a_setting_of_a_table_can_be_given_everywhere(given: dict[str, object], origin: str) -> None:
    """The table [registry], the variable PREFIX_REGISTRY_... and the option name the same setting."""
    settings, origins = found(**given)  # type: ignore[arg-type]
    assert settings.registry.auto_register is False
    assert origins["registry.auto_register"] == origin


def test_false_and_zero_as_options_are_values() -> None:
    """Only None means that an option was not given."""
    settings, _ = found(environ={"THINGJOBS_RATIO": "0.9"}, flags={"ratio": 0})
    assert settings.ratio == 0


def test_list_defaults_are_not_shared() -> None:
    """Changing a list of one result leaves the next one alone."""
    first, _ = found()
    first.listeners.append("0.0.0.0")
    assert found()[0].listeners == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("PORT", "1884", "port", 1884),
        ("RATIO", "1", "ratio", 1.0),
        ("RATIO", "2.5e-1", "ratio", 0.25),
        ("LEVEL", "debug", "level", "debug"),
        ("LISTENERS", "a, b,", "listeners", ["a", "b"]),
        ("LISTENERS", "", "listeners", []),
        ("USER", "", "user", None),
        ("USER", "tom", "user", "tom"),
        ("RETRIES", "", "retries", None),
        ("RETRIES", "7", "retries", 7),
    ],
)
def test_text_of_variables_becomes_the_declared_type(name: str, text: str, key: str, value: object) -> None:
    """Numbers, choices, comma-separated lists; an empty text is none where none is allowed."""
    settings, _ = found(environ={f"THINGJOBS_{name}": text})
    assert getattr(settings, key) == value
    assert type(getattr(settings, key)) is type(value)


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("TRUE", True), ("on", True), ("no", False), ("0", False)]
)
def test_truth_has_several_spellings(text: str, value: bool) -> None:
    """true, yes, on, 1 and their opposites, in any case."""
    settings, _ = found(environ={"THINGJOBS_REGISTRY_AUTO_REGISTER": text})
    assert settings.registry.auto_register is value


def test_text_given_as_an_option_is_converted_like_a_variable() -> None:
    """A generic KEY=VALUE option needs no types of its own."""
    settings, _ = found(flags={"port": "99", "registry.names": "a,b"})
    assert (settings.port, settings.registry.names) == (99, ("a", "b"))


def test_unknown_key_in_the_file_is_an_error_with_a_suggestion() -> None:
    """A misspelled key names the file and the key that was meant."""
    assert error(file={"data_dirr": "x"}) == (
        "unknown key 'data_dirr' in thingjobs.toml; did you mean 'data_dir'?"
    )


def test_unknown_key_in_a_table_is_named_with_its_table() -> None:
    """Keys of tables are dotted in messages."""
    assert error(file={"registry": {"autoregister": True}}) == (
        "unknown key 'registry.autoregister' in thingjobs.toml; did you mean 'registry.auto_register'?"
    )


def test_a_key_outside_its_table_is_suggested_inside() -> None:
    """A table's key written at the top level is found again."""
    assert error(file={"auto_register": True}).endswith("did you mean 'registry.auto_register'?")


def test_an_unknown_key_unlike_any_other_gets_no_suggestion() -> None:
    """No suggestion is better than a wild one."""
    assert error(file={"zzz": 1}) == "unknown key 'zzz' in thingjobs.toml"


def test_unknown_variable_with_our_prefix_is_an_error() -> None:
    """A misspelled variable is not silently without effect."""
    assert error(environ={"THINGJOBS_PROT": "1"}) == (
        "unknown environment variable THINGJOBS_PROT; did you mean THINGJOBS_PORT?"
    )


def test_variables_of_others_are_left_alone() -> None:
    """Other prefixes, and the ignored names and prefixes among ours, are not settings."""
    environ = {"PATH": "x", "THINGJOBSX": "x", "THINGJOBS_CONFIG": "x", "THINGJOBS_AGENT_THING": "x"}
    settings, _ = found(environ=environ, env_ignored=("THINGJOBS_CONFIG", "THINGJOBS_AGENT_"))
    assert settings == found()[0]


def test_an_ignored_name_is_not_a_prefix() -> None:
    """Only an ignored entry that ends in an underscore covers longer names."""
    message = error(environ={"THINGJOBS_CONFIGS": "x"}, env_ignored=("THINGJOBS_CONFIG",))
    assert message.startswith("unknown environment variable THINGJOBS_CONFIGS")


def test_unknown_option_is_an_error() -> None:
    """A key that no setting has cannot come in as an option either."""
    assert error(flags={"porto": 1}) == "unknown key 'porto' in the options; did you mean 'port'?"


def test_a_required_setting_left_out_says_how_to_give_it() -> None:
    """All three ways are named."""
    with pytest.raises(SettingsError) as raised:
        resolve(Settings, environ={}, env_prefix="THINGJOBS", flags={}, file_name="thingjobs.toml")
    assert str(raised.value) == (
        "data_dir is missing: give it in thingjobs.toml, as THINGJOBS_DATA_DIR or with --data-dir"
    )


PORT = "port must be a whole number from 1 to 65535"
RATIO = "ratio must be a number of at least 0"
LEVEL = "level must be one of 'debug', 'info'"
LISTENERS = "listeners must be a list of texts"


@pytest.mark.parametrize(
    ("key", "given", "message"),
    [
        ("port", "1883", PORT + ", not '1883'"),
        ("port", True, PORT + ", not true"),
        ("port", 1.0, PORT + ", not 1.0"),
        ("port", 65536, PORT + ", not 65536"),
        ("port", {}, PORT + ", not a table"),
        ("ratio", float("inf"), RATIO + ", not inf"),
        ("ratio", -0.1, RATIO + ", not -0.1"),
        ("level", "loud", LEVEL + ", not 'loud'"),
        ("level", ["info"], LEVEL + ", not ['info']"),
        ("listeners", "a", LISTENERS + ", not 'a'"),
        ("listeners", ["a", 1], LISTENERS + ", not ['a', 1]"),
        ("data_dir", 5, "data_dir must be text, not 5"),
        ("retries", 0, "retries must be a whole number of at least 1, not 0"),
    ],
)
def test_a_wrong_value_in_the_file_names_key_value_and_expectation(
    key: str, given: object, message: str
) -> None:
    """One line says everything that is needed to correct it."""
    assert error(file={key: given}) == message + " (from thingjobs.toml)"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("PORT", "x", PORT + ", not 'x'"),
        ("PORT", "", PORT + ", not ''"),
        ("PORT", "9" * 5000, PORT + ", not '" + "9" * 76 + "..."),
        ("RATIO", "nan", RATIO + ", not 'nan'"),
        ("LEVEL", "", LEVEL + ", not ''"),
        ("REGISTRY_AUTO_REGISTER", "maybe", "registry.auto_register must be true or false, not 'maybe'"),
    ],
)
def test_a_wrong_text_in_the_environment_names_the_variable(name: str, text: str, message: str) -> None:
    """The variable is the place to correct; long values are cut."""
    assert error(environ={f"THINGJOBS_{name}": text}) == (
        f"{message} (from environment variable THINGJOBS_{name})"
    )


def test_a_wrong_value_of_an_option_names_the_option() -> None:
    """The option is the place to correct."""
    assert error(flags={"port": 0}) == PORT + ", not 0 (from --port)"


def test_a_value_where_a_table_belongs_is_an_error() -> None:
    """`registry = 1` is told how a table is written."""
    assert error(file={"registry": 1}) == (
        "registry must be a table, [registry], not a single value (in thingjobs.toml)"
    )


@pytest.mark.parametrize("given", [{"file": {"password": ["hunter2"]}}, {"flags": {"password": "hunter2"}}])
def test_a_secret_is_in_no_message(given: dict[str, object]) -> None:
    """A wrong secret is not shown, and the command line is no place for one."""
    assert "hunter2" not in error(**given)


def test_a_secret_is_in_no_repr() -> None:
    """Settings can be logged whole."""
    settings, origins = found(environ={"THINGJOBS_PASSWORD": "hunter2"})
    assert settings.password == "hunter2"
    assert "hunter2" not in f"{settings} {origins}"


@hypothesis.given(
    text=st.text(max_size=20), name=st.sampled_from(["PORT", "RATIO", "LEVEL", "RETRIES", "USER"])
)
def test_no_text_of_a_variable_gives_anything_but_a_value_or_an_error(text: str, name: str) -> None:
    """Whatever the environment holds, the outcome is settings or a SettingsError."""
    try:
        settings, _ = found(environ={f"THINGJOBS_{name}": text})
    except SettingsError:
        return
    assert 1 <= settings.port <= 65535
    assert settings.ratio >= 0
    assert settings.level in {"debug", "info"}


def test_the_table_of_settings_has_everything_a_reader_asks() -> None:
    """Key, expectation, default, variable, option and meaning, in the order of declaration."""
    rows = {row.key: row for row in settings_table(Settings, env_prefix="THINGJOBS")}
    assert list(rows)[:2] == ["data_dir", "port"]
    assert rows["port"] == (
        "port",
        "a whole number from 1 to 65535",
        "1883",
        "THINGJOBS_PORT",
        "--port",
        "The port to listen on.",
    )
    assert rows["data_dir"].default == "required"
    assert rows["listeners"].default == "['127.0.0.1']"
    assert (rows["password"].default, rows["password"].flag) == ("none", "")
    assert rows["registry.auto_register"].environment == "THINGJOBS_REGISTRY_AUTO_REGISTER"
