"""The settings of the jobs service: one type for the command line, the environment, the TOML file and amqtt's YAML."""

import dataclasses

from thingjobs_protocol.settings import setting
from thingjobs_protocol.topics import DEFAULT_ROOT


@dataclasses.dataclass(frozen=True)
class RegistrySettings:
    """The registry of things."""

    auto_register: bool = setting("A device that speaks on its own job topics becomes a thing.", default=True)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What `thingjobs up` and the amqtt plugin take."""

    listen: list[str] = setting("Addresses of the MQTT listeners, as HOST:PORT.", default=["127.0.0.1:1883"])
    data_dir: str = setting("Directory of the journal; made with mode 0700.", default="thingjobs-data")
    anonymous: bool = setting("Any client may act for any thing; loopback only.", default=False)
    password_file: str = setting(
        "Users and password hashes, in the format of mosquitto_passwd; a user name is a thing name.", default=""
    )
    operators: list[str] = setting("User names that may use the control plane and see events.", default=[])
    topic_root: str = setting("First level of the reserved topics.", default=DEFAULT_ROOT)
    region: str = setting("The region in ARNs.", default="local")
    account: str = setting("The account in ARNs, twelve digits.", default="000000000000")
    log_level: str = setting("debug, info, warning or error.", default="info")
    json_logs: bool = setting("Log as JSON lines.", default=False)
    registry: RegistrySettings = dataclasses.field(default_factory=RegistrySettings)
