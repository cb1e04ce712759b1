"""The settings of the jobs service, for the command line, the environment, the TOML file and amqtt's YAML."""

import dataclasses
from typing import Literal

from thingjobs_broker.core.quotas import Quotas
from thingjobs_protocol.settings import setting
from thingjobs_protocol.topics import DEFAULT_ROOT

_QUOTAS = Quotas()


@dataclasses.dataclass(frozen=True)
class RegistrySettings:
    """The registry of things."""

    auto_register: bool = setting("A device that speaks on its own job topics becomes a thing.", default=True)


@dataclasses.dataclass(frozen=True)
class SnapshotSettings:
    """When the state is written down as a whole, so that a start need not read all of the journal."""

    journal_bytes: int = setting(
        "A snapshot after so many bytes of journal, or half the size of the last one if that is more.",
        default=64 * 1024 * 1024,
        minimum=1024,
    )
    interval_seconds: float = setting(
        "A snapshot after so long, if anything has changed.", default=3600.0, minimum=1
    )


@dataclasses.dataclass(frozen=True)
class RetentionSettings:
    """How long the past is kept."""

    days: int = setting("Executions and jobs that ended so long ago are forgotten.", default=730, minimum=1)


@dataclasses.dataclass(frozen=True)
class LimitsSettings:
    """What one device may do."""

    requests_per_second: int = setting(
        "Requests of one thing in the long run; more are rejected with RequestThrottled. 0 for no limit.",
        default=50,
        minimum=0,
        maximum=1_000_000,
    )
    requests_burst: int = setting(
        "Requests of one thing at once, after a pause.", default=100, minimum=1, maximum=1_000_000
    )


@dataclasses.dataclass(frozen=True)
class JobsSettings:
    """What holds for all jobs. The defaults are those of AWS; 0 stands for none."""

    rollout_per_minute: int = setting(
        "Executions a minute of jobs that name no rate; 0 for as fast as possible.",
        default=1000,
        minimum=0,
        maximum=1_000_000,
    )
    windowed_cancel_at_limit: bool = setting(
        "A job whose window opens when so many are at work is canceled, as AWS does; else it waits.",
        default=True,
    )
    timeout_default_minutes: int = setting(
        "In-progress timeout of jobs that name none.", default=0, minimum=0, maximum=10_080
    )
    timeout_maximum_minutes: int = setting(
        "Longest in-progress timeout; more, or none, becomes this.", default=0, minimum=0, maximum=10_080
    )
    expiry_minutes: int = setting(
        "Executions that wait for so long are canceled; 43200 is 30 days.",
        default=0,
        minimum=0,
        maximum=43_200,
    )
    expiry_interval_minutes: int = setting(
        "How often they are looked for: they may wait so much longer.",
        default=60,
        minimum=1,
        maximum=60,
    )
    artifact_dir: str = setting(
        "Directory that documentSource and presigned URLs name: BUCKET/KEY is a file in it.", default=""
    )
    artifact_url: str = setting(
        "Where devices reach that directory, such as https://HOST:PORT/artifacts.", default=""
    )


@dataclasses.dataclass(frozen=True)
class QuotaSettings:
    """How much of everything there may be; the defaults are those of AWS, but for its rates of calls.

    The names are those of `core.quotas.Quotas`, which says what a request is refused with.
    """

    active_jobs_max: int = setting(
        "Jobs that are SCHEDULED or IN_PROGRESS.",
        default=_QUOTAS.active_jobs_max,
        minimum=1,
        maximum=10_000_000,
    )
    concurrent_jobs_max: int = setting(
        "Jobs that are rolled out or canceled at the same time.",
        default=_QUOTAS.concurrent_jobs_max,
        minimum=1,
        maximum=10_000_000,
    )
    deletions_max: int = setting(
        "Jobs that are being deleted at the same time.",
        default=_QUOTAS.deletions_max,
        minimum=1,
        maximum=10_000_000,
    )
    targets_max: int = setting(
        "Targets of a job.",
        default=_QUOTAS.targets_max,
        minimum=1,
        maximum=10_000_000,
    )
    templates_max: int = setting(
        "Job templates.",
        default=_QUOTAS.templates_max,
        minimum=1,
        maximum=10_000_000,
    )
    retries_max: int = setting(
        "Retries of an execution, for FAILED and TIMED_OUT together.",
        default=_QUOTAS.retries_max,
        minimum=1,
        maximum=10_000_000,
    )
    tags_max: int = setting(
        "Tags of a resource.",
        default=_QUOTAS.tags_max,
        minimum=1,
        maximum=10_000_000,
    )
    attributes_without_type_max: int = setting(
        "Attributes of a thing without a type.",
        default=_QUOTAS.attributes_without_type_max,
        minimum=1,
        maximum=10_000_000,
    )
    attributes_with_type_max: int = setting(
        "Attributes of a thing with a type.",
        default=_QUOTAS.attributes_with_type_max,
        minimum=1,
        maximum=10_000_000,
    )
    attributes_bytes_max: int = setting(
        "Bytes of a thing's attributes, names and values together.",
        default=_QUOTAS.attributes_bytes_max,
        minimum=1,
        maximum=10_000_000,
    )
    searchable_attributes_max: int = setting(
        "Searchable attributes of a thing type.",
        default=_QUOTAS.searchable_attributes_max,
        minimum=1,
        maximum=10_000_000,
    )
    groups_per_thing_max: int = setting(
        "Thing groups that a thing is directly in.",
        default=_QUOTAS.groups_per_thing_max,
        minimum=1,
        maximum=10_000_000,
    )
    group_depth_max: int = setting(
        "Levels of thing groups below each other.",
        default=_QUOTAS.group_depth_max,
        minimum=1,
        maximum=100,
    )
    group_children_max: int = setting(
        "Thing groups directly below another one.",
        default=_QUOTAS.group_children_max,
        minimum=1,
        maximum=10_000_000,
    )
    group_attributes_max: int = setting(
        "Attributes of a thing group.",
        default=_QUOTAS.group_attributes_max,
        minimum=1,
        maximum=10_000_000,
    )
    dynamic_groups_max: int = setting(
        "Dynamic thing groups.",
        default=_QUOTAS.dynamic_groups_max,
        minimum=1,
        maximum=10_000_000,
    )
    dynamic_group_terms_max: int = setting(
        "Terms of a dynamic group's query.",
        default=_QUOTAS.dynamic_group_terms_max,
        minimum=1,
        maximum=10_000_000,
    )
    search_terms_max: int = setting(
        "Terms of a search.",
        default=_QUOTAS.search_terms_max,
        minimum=1,
        maximum=10_000_000,
    )
    calls_per_second: int = setting(
        "Calls a second of each operation, with a burst of as many; 0 for no limit (AWS: 10).",
        default=_QUOTAS.calls_per_second,
        minimum=0,
        maximum=100_000,
    )
    searches_per_second: int = setting(
        "The same of SearchIndex alone (AWS: 15).",
        default=_QUOTAS.searches_per_second,
        minimum=0,
        maximum=100_000,
    )
    indexing_updates_per_second: int = setting(
        "The same of UpdateIndexingConfiguration alone (AWS: 1).",
        default=_QUOTAS.indexing_updates_per_second,
        minimum=0,
        maximum=100_000,
    )


@dataclasses.dataclass(frozen=True)
class HttpSettings:
    """The HTTP API of AWS IoT, for boto3, the aws command and every other SDK."""

    listen: str = setting("Address of the HTTP listener, as HOST:PORT; empty for none.", default="")
    access_keys: str = setting("Access keys of the operators, as thingjobs init writes them.", default="")
    anonymous: bool = setting("Any client may do anything, signed or not; loopback only.", default=False)
    tls: bool = setting("Speak HTTPS.", default=False)
    tls_certificate: str = setting(
        "Certificate of the HTTPS listener; without one, the embedded broker's own.", default=""
    )
    tls_key: str = setting("Private key of the certificate.", default="")
    connections_max: int = setting("HTTP connections at once.", default=128, minimum=1, maximum=10_000)
    requests_per_second: int = setting(
        "Requests a second that one access key may make, with a burst of as many; 0 for no limit.",
        default=0,
        minimum=0,
        maximum=100_000,
    )
    moto_compat: bool = setting(
        "Stand in for moto's server in tests: any credentials, account 123456789012, the region of the"
        " signature, POST /moto-api/reset, and fewer rules; loopback only.",
        default=False,
    )


@dataclasses.dataclass(frozen=True)
class ServiceSettings:
    """What the service takes wherever it runs."""

    data_dir: str = setting("Directory of the journal; made with mode 0700.", default="thingjobs-data")
    topic_root: str = setting("First level of the reserved topics.", default=DEFAULT_ROOT)
    region: str = setting("The region in ARNs.", default="local")
    account: str = setting("The account in ARNs, twelve digits.", default="000000000000")
    public_host: str = setting(
        "Name or address by which clients find the service, as behind NAT; DescribeEndpoint tells it.",
        default="",
    )
    log_level: str = setting("debug, info, warning or error.", default="info")
    json_logs: bool = setting("Log as JSON lines.", default=False)
    disk_reserve_bytes: int = setting(
        "With less free space changes are refused, while reads go on.",
        default=64 * 1024 * 1024,
        minimum=0,
    )
    test_clock: bool = setting(
        "Time stands still but for the operation AdvanceClock; for tests of schedules and timeouts.",
        default=False,
    )
    registry: RegistrySettings = dataclasses.field(default_factory=RegistrySettings)
    snapshot: SnapshotSettings = dataclasses.field(default_factory=SnapshotSettings)
    retention: RetentionSettings = dataclasses.field(default_factory=RetentionSettings)
    limits: LimitsSettings = dataclasses.field(default_factory=LimitsSettings)
    jobs: JobsSettings = dataclasses.field(default_factory=JobsSettings)
    quotas: QuotaSettings = dataclasses.field(default_factory=QuotaSettings)
    http: HttpSettings = dataclasses.field(default_factory=HttpSettings)


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
    plain_topics: Literal["allow", "deny"] = setting(
        "Whether clients may also use topics outside the topic root, which are none of the service's.",
        default="allow",
    )
    tls_listen: list[str] = setting("Addresses of the MQTT listeners with TLS, as HOST:PORT.", default=[])
    tls_certificate: str = setting("Certificate of the broker, with its chain.", default="")
    tls_key: str = setting("Private key of the certificate.", default="")
    tls_ca: str = setting(
        "Certificates of who vouches for devices, whose own certificates then stand for a password.",
        default="",
    )
    tls_crl: str = setting("Revoked certificates, as a list signed by tls_ca.", default="")
    tls_require_certificate: bool = setting(
        "Refuse clients that show no certificate, also those with a password.", default=False
    )


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
        "The MQTT client id, under which the broker keeps requests while the service is away."
        " A second connection, with -answers behind it, carries the answers.",
        default="thingjobs-service",
    )
    mqtt_version: Literal["5", "3.1.1"] = setting(
        "The version of MQTT to speak; 3.1.1 for brokers that know no other.", default="5"
    )
    check_user: str = setting(
        "A device's user name, with which the service finds out at its start what devices could forge.",
        default="",
    )
    check_password: str = setting("Password of check_user.", default="", secret=True)
    insecure: bool = setting(
        "Also serve where others could read the password or forge the service's messages.", default=False
    )
