"""The settings of the jobs service, for the command line, the environment, the TOML file and amqtt's YAML."""

import dataclasses
from typing import Literal

from thingjobs_protocol.settings import setting
from thingjobs_protocol.topics import DEFAULT_ROOT


@dataclasses.dataclass(frozen=True)
class RegistrySettings:
    """The registry of things."""

    auto_register: bool = setting("A device that speaks on its own job topics becomes a thing.", default=True)


@dataclasses.dataclass(frozen=True)
class ServiceSettings:
    """What the service takes wherever it runs."""

    data_dir: str = setting("Directory of the journal; made with mode 0700.", default="thingjobs-data")
    topic_root: str = setting("First level of the reserved topics.", default=DEFAULT_ROOT)
    region: str = setting("The region in ARNs.", default="local")
    account: str = setting("The account in ARNs, twelve digits.", default="000000000000")
    log_level: str = setting("debug, info, warning or error.", default="info")
    json_logs: bool = setting("Log as JSON lines.", default=False)
    registry: RegistrySettings = dataclasses.field(default_factory=RegistrySettings)


@dataclasses.dataclass(frozen=True)
class Settings(ServiceSettings):
    """What `thingjobs up` and the amqtt plugin take."""

    listen: list[str] = setting("Addresses of the MQTT listeners, as HOST:PORT.", default=["127.0.0.1:1883"])
    anonymous: bool = setting("Any client may act for any thing; loopback only.", default=False)
    password_file: str = setting(
        "Users and password hashes, in the format of mosquitto_passwd; a user name is a thing name.",
        default="",
    )
    operators: list[str] = setting("User names that may use the control plane and see events.", default=[])


@dataclasses.dataclass(frozen=True)
class SidecarSettings(ServiceSettings):
    """What `thingjobs serve` takes: the service beside a broker of your own."""

    broker: str = setting(
        "The broker, as mqtt[s]://[USER@]HOST[:PORT]; the password stands elsewhere.",
        default="mqtt://127.0.0.1:1883",
    )
    password: str = setting("Password of USER.", default="", secret=True)
    ca_file: str = setting("Certificates to trust instead of the system's, for mqtts.", default="")
    certificate_file: str = setting("Certificate of the service, where the broker asks for one.", default="")
    key_file: str = setting("Private key of the certificate.", default="")
    client_id: str = setting(
        "The MQTT client id, under which the broker keeps requests while the service is away.",
        default="thingjobs-service",
    )
    mqtt_version: Literal["5", "3.1.1"] = setting(
        "The version of MQTT to speak; 3.1.1 for brokers that know no other.", default="5"
    )
    insecure: bool = setting(
        "Also serve where others could read the password or forge the service's messages.", default=False
    )
