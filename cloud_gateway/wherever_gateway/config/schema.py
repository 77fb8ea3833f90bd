"""What a `gateway.toml` may say. Each key has its meaning below it; units are in the names."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationInfo,
    model_validator,
)

from wherever_contracts.errors import SettingsError
from wherever_contracts.places import Boundary, Place, Priority
from wherever_edge.oip.endpoints import Endpoint
from wherever_gateway.config.amounts import parse_bytes_rate, parse_requests, parse_size

OFF = "off"
_MAX_PORT = 65_535


def _port(value: object) -> object:
    if type(value) is int and 0 <= value <= _MAX_PORT:
        return value
    raise ValueError(f"expected a port from 0 (any free one) to {_MAX_PORT}")


def _port_or_off(value: object) -> object:
    if value == OFF or (type(value) is int and 0 <= value <= _MAX_PORT):
        return value
    raise ValueError(f'expected a port from 0 (any free one) to {_MAX_PORT}, or "{OFF}"')


def _named_models(value: object) -> object:
    """Names here -> names there; None where they are called the same."""
    named: dict[object, object] = {}
    if isinstance(value, list):
        named |= dict.fromkeys(cast("list[object]", value))
    elif isinstance(value, dict):
        named = cast("dict[object, object]", value)
    names = named if isinstance(value, list) else named.values()
    if named and all(isinstance(name, str) for name in names):
        return named
    raise ValueError('expected a list of patterns like ["ocr-*"], or a table: name here = "there"')


def _size(value: object) -> int:
    if isinstance(value, str):
        return parse_size(value)
    if type(value) is int and value > 0:
        return value
    raise ValueError('expected a number of bytes, or a size like "64MiB"')


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError("expected a path, as text")
    context: dict[str, Path] = info.context or {}
    return context.get("base", Path()) / Path(value).expanduser()


def _pattern(value: str) -> str:
    if not value.strip():
        raise ValueError('expected a pattern like "shop-*"')
    return value


def _endpoint(value: str) -> str:
    try:
        Endpoint.parse(value)
    except SettingsError as error:
        raise ValueError(str(error)) from error
    return value


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("expected at least one address")
    return value


def _network(value: str) -> str:
    try:
        ip_network(value, strict=False)
    except ValueError as error:
        raise ValueError('expected an address or a network like "10.0.0.0/8"') from error
    return value


def _rate(value: str) -> str:
    parse_requests(value)
    return value


def _bytes_rate(value: str) -> str:
    parse_bytes_rate(value)
    return value


Port: TypeAlias = Annotated[int, BeforeValidator(_port)]
PortOrOff: TypeAlias = Annotated[int | Literal["off"], BeforeValidator(_port_or_off)]
Size: TypeAlias = Annotated[int, BeforeValidator(_size)]
FilePath: TypeAlias = Annotated[Path, BeforeValidator(_path)]
Address: TypeAlias = Annotated[StrictStr, AfterValidator(_endpoint)]
Pattern: TypeAlias = Annotated[StrictStr, AfterValidator(_pattern)]
Seconds: TypeAlias = Annotated[StrictFloat, Field(ge=0, allow_inf_nan=False)]
Positive: TypeAlias = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]
Count: TypeAlias = Annotated[StrictInt, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Listen(_Part):
    """Where it listens, and how it ends."""

    address: StrictStr = "127.0.0.1"
    """The address of gRPC and HTTP; others than loopback need TLS and keys."""

    grpc_port: Port = 8001
    """The port of gRPC; 0 takes any free one."""

    http_port: PortOrOff = 8000
    """The port of HTTP; 0 takes any free one, "off" serves none."""

    metrics_port: PortOrOff = 8002
    """The port of Prometheus' metrics; 0 takes any free one, "off" serves none."""

    metrics_address: StrictStr = "127.0.0.1"
    """The address of metrics, which name models and tenants and need no key."""

    max_bytes: Size = 64 * 2**20
    """The largest message, also after decompression: bytes, or a size like "64MiB"."""

    grace_s: Seconds = 10.0
    """Seconds that running calls have to end when the gateway is told to."""

    trusted_proxies: tuple[Annotated[StrictStr, AfterValidator(_network)], ...] = ()
    """Addresses and networks of proxies before it; behind one, loopback is no protection."""

    insecure: StrictBool = False
    """Allow calls without TLS or without keys where others could reach it."""


class Tls(_Part):
    """Encryption."""

    enabled: StrictBool | None = None
    """Whether TLS is spoken; by default off loopback, and where a certificate is given."""

    certificate_file: FilePath | None = None
    """A certificate (PEM), with those between it and its root; else one is made and kept."""

    key_file: FilePath | None = None
    """Its private key (PEM)."""


class Keys(_Part):
    """API keys; `wherever gateway keys` makes them."""

    needed: StrictBool | None = None
    """Whether calls need a key; by default off loopback, or behind a trusted proxy."""


class Serving(_Part):
    """What is served, and how this machine is used for it."""

    packages: tuple[FilePath, ...] = ()
    """Directories of packages, packages, or archives; by default the model of the wheel."""

    home: FilePath | None = None
    """Where state, keys and signed updates are; by default as for every command."""

    place: Place = "cloud"
    """Where it stands as its callers see it: how far data that it gets has travelled."""

    profile: StrictStr | None = None
    """The machine's profile: a name, or a file."""

    runs: Count | None = None
    """Runs of engines at a time."""

    threads: Count | None = None
    """Threads of one run."""

    max_waiting: Annotated[StrictInt, Field(ge=0)] | None = None
    """Calls that may wait; more are refused at once."""

    memory_max_mib: Count | None = None
    """The most memory that loaded models may take."""

    isolation: Literal["none", "process"] | None = None
    """"process" runs each engine in a process of its own, which may die alone."""

    batching: StrictBool = True
    """Whether calls that wait for a model may share a run."""

    pinned: tuple[Pattern, ...] = ()
    """Models that stay in memory once they were used."""


class ModelRules(_Part):
    """How models are run whose name fits the pattern; the first pattern that fits counts."""

    max_queue_delay_ms: Annotated[StrictFloat, Field(ge=0, le=10_000)] | None = None
    """How long a call may wait for others to share its run; by default none waits for that."""

    max_batch: Count | None = None
    """The most rows of one run; 1 runs every call alone."""

    pinned: StrictBool = False
    """Whether they stay in memory once they were used."""


class Quota(_Part):
    """What may be used in a span of time, or at a time."""

    requests: Annotated[StrictStr, AfterValidator(_rate)] | None = None
    """Calls, as in "100/second" (second, minute, hour, day)."""

    bytes: Annotated[StrictStr, AfterValidator(_bytes_rate)] | None = None
    """Bytes of requests, as in "1GB/hour"."""

    concurrency: Count | None = None
    """Calls at a time."""

    per: Literal["tenant", "model"] = "tenant"
    """Whether a tenant has it for all models together, or for each."""

    @model_validator(mode="after")
    def _limits_something(self) -> Quota:
        if self.requests is None and self.bytes is None and self.concurrency is None:
            raise ValueError("expected at least one of requests, bytes and concurrency")
        return self


class Tenant(_Part):
    """What callers may do whose key's name fits the pattern; the first pattern that fits counts.

    The pattern "default" is for those that fit no other; without it they may use everything.
    """

    models: tuple[Pattern, ...] = ("*",)
    """Patterns of the models that they may use, and see."""

    boundary: Boundary = "anywhere"
    """How far their calls may travel: answered only by what stands within."""

    priority: Priority = "interactive"
    """The most urgent that their calls may be; those that ask for more are lowered."""

    weight: Positive = 1.0
    """How large their share is, beside the others', where calls have to wait."""

    quotas: tuple[Quota, ...] = ()
    """What they may use; a call has to fit all of them."""


class Backend(_Part):
    """Servers of the protocol behind this one that answer for some models."""

    endpoints: Annotated[tuple[Address, ...], AfterValidator(_some)]
    """Addresses of its replicas, as "grpc://host:port", "grpcs://..." or "http://..."."""

    models: Annotated[dict[Pattern, StrictStr | None], BeforeValidator(_named_models)]
    """Patterns of the models that it answers for; or a table: name here = name there."""

    place: Place = "cloud"
    """Where it stands as callers see it; a tenant's boundary may rule it out."""

    api_key_file: FilePath | None = None
    """A file that holds the key for it; a caller's own key never travels on."""

    ca_file: FilePath | None = None
    """The certificate (PEM) of the authority that it is known by."""

    timeout_s: Positive = 60.0
    """The longest that a call without a deadline may take there."""


class State(_Part):
    """Where usage and kept answers are written down."""

    url: SecretStr | None = None
    """A URL of SQLAlchemy; by default a SQLite file in the home. May hold a password."""

    usage_every_s: Positive = 5.0
    """Seconds between two writes of usage."""


class Telemetry(_Part):
    """What is told of calls; never their inputs or outputs."""

    log: Literal["off", "refused", "calls"] = "refused"
    """JSON lines on standard error: none, of refused calls (sampled), or of every call."""

    traces: StrictBool = False
    """Whether calls are traced by OpenTelemetry."""

    otlp_endpoint: StrictStr | None = None
    """Where traces are sent (OTLP over HTTP); by default as OpenTelemetry's environment says."""


class GatewayConfig(_Part):
    """A whole `gateway.toml`; every table may be left out."""

    listen: Listen = Listen()
    tls: Tls = Tls()
    keys: Keys = Keys()
    serving: Serving = Serving()
    models: dict[Pattern, ModelRules] = {}
    tenants: dict[Pattern, Tenant] = {}
    backends: dict[Pattern, Backend] = {}
    state: State = State()
    telemetry: Telemetry = Telemetry()


def parse(said: dict[str, Any], base: Path) -> GatewayConfig:
    """The configuration that a parsed file says.

    Args:
        said: the file's tables.
        base: the directory that its paths are relative to.

    Raises:
        pydantic.ValidationError: something in it is wrong; it tells everything.
    """
    return GatewayConfig.model_validate(said, context={"base": base})
