"""Settings, read once when a client is made.

A keyword argument wins over a `WHEREVER_*` environment variable, which wins over
`./wherever.toml`, which wins over `wherever.toml` in the user's configuration directory, which
wins over the default.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import (
    SettingsError as SourceError,
)

from wherever._escalation.words import AUDIT_SHARE, CONFIDENCE
from wherever_contracts.errors import SettingsError
from wherever_contracts.places import Boundary, Mode
from wherever_edge.configured import default_home, settings_files

_SWITCHES = {"true": 1.0, "yes": 1.0, "on": 1.0, "false": 0.0, "no": 0.0, "off": 0.0}


def _listed(value: object) -> object:
    """A comma-separated string as a list, so that lists fit into environment variables."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, Path) else value


def _share(value: object) -> object:
    """All or none of the calls may also be said in words, as switches are."""
    return _SWITCHES.get(value.strip().lower(), value) if isinstance(value, str) else value


class Settings(BaseSettings):
    """What can be set, with its defaults."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="WHEREVER_",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    gateways: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    """Gateways, as host:port, grpc(s)://host:port or http(s)://host:port."""

    api_key: SecretStr | None = None
    """The key that the gateways ask for; it is sent by TLS alone, or on this machine."""

    ca_file: Path | None = None
    """A PEM file: what the gateways' certificates are checked against, instead of the system's."""

    proxy: Annotated[str | None, Field(pattern=r"^http://")] = None
    """The HTTP proxy on the way to the gateways, as http://host:port; else the environment's."""

    packages: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_listed)] = ()
    """Directories that are model packages or hold some; they win over those that came along."""

    home: Path = Field(default_factory=default_home)
    """Where wherever keeps its state."""

    mode: Mode = "auto"
    """The mode of calls that name none."""

    boundary: Boundary = "anywhere"
    """How far data may travel at most; a package or a call can only be stricter."""

    deadline_s: Annotated[float | None, Field(gt=0)] = None
    """Seconds in which a call that names no deadline wants its answer; none by default."""

    remote_timeout_s: Annotated[float, Field(gt=0)] = 2.0
    """The longest that a box or gateway may take to answer, when the deadline leaves more."""

    probe_timeout_s: Annotated[float, Field(gt=0)] = 0.5
    """The longest that a health probe of a box or gateway may take."""

    threads: Annotated[int | None, Field(ge=1)] = None
    """Threads of one run on the device; by default what the device's profile says."""

    strict: bool = False
    """Whether an answer by another engine, precision or hardware than planned is an error."""

    isolation: Literal["none", "process"] = "none"
    """Where engines run: in this process, or each in one of its own, which may die alone."""

    memory_max_bytes: Annotated[int | None, Field(gt=0)] = None
    """The most memory that loaded models may take; by default what the device's profile says."""

    pinned: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    """Models that stay in memory once they were used, whatever is short."""

    batching: bool = True
    """Whether calls that wait for one model may share a run of its engine."""

    profile: str | None = None
    """The device's profile: a name such as "laptop", or a TOML file; by default what fits it."""

    registry: str | None = None
    """Where signed updates come from: the URL of a registry."""

    channel: Literal["stable", "canary"] = "stable"
    """Which versions of a registry this device follows."""

    cache: bool = False
    """Whether calls that do not say keep their answers, and take those that were kept."""

    cache_max_bytes: Annotated[int, Field(ge=4 * 1024 * 1024)] = 256 * 1024 * 1024
    """The most that kept answers may take on the disk, in bytes; 4 MiB or more."""

    cache_ttl_s: Annotated[float | None, Field(gt=0)] = None
    """How many seconds old a kept answer may be when it is given; by default any age will do."""

    max_disagreement: Annotated[float | None, Field(gt=0, lt=1)] = None
    """The share of calls whose answers may differ from the reference's; by default no promise."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = CONFIDENCE
    """How sure it is to hold what `max_disagreement` promises."""

    min_confidence: Annotated[float | None, Field(ge=0, le=1)] = None
    """Answers with less are asked of the reference; by default as the packages say."""

    budget_calls: Annotated[float | None, Field(gt=0)] = None
    """The most calls in an hour that unsure answers of a model may come to; by default any."""

    budget_bytes: Annotated[float | None, Field(gt=0)] = None
    """The most bytes in an hour that they may come to."""

    budget_cost: Annotated[float | None, Field(gt=0)] = None
    """The most cost in an hour that they may come to, by the two settings that follow."""

    cost_per_call: Annotated[float, Field(ge=0)] = 0.0
    """What a call to a gateway costs."""

    cost_per_gb: Annotated[float, Field(ge=0)] = 0.0
    """What 1e9 bytes to gateways and back cost."""

    audit_share: Annotated[float, Field(ge=0, lt=1)] = AUDIT_SHARE
    """The share of the other answers that are compared with the reference's, for the promise."""

    record: Annotated[float, Field(ge=0, le=1), BeforeValidator(_share)] = 0.0
    """The share of calls whose receipts are written to the disk, of those that do not say: 0 to 1,
    or true or false."""

    record_inputs: bool = False
    """Whether the inputs of recorded calls are written, too."""

    record_max_bytes: Annotated[int, Field(ge=1024 * 1024)] = 256 * 1024 * 1024
    """The most that recorded calls may take on the disk; the oldest go first."""

    tracing: bool = False
    """Whether calls are spans of OpenTelemetry; the program says what becomes of them."""

    outbox_max_bytes: Annotated[int, Field(ge=1024 * 1024)] = 256 * 1024 * 1024
    """The most that calls which wait for a later answer, and results, may take on the disk."""

    outbox_ttl_s: Annotated[float, Field(gt=0)] = 7 * 86400.0
    """Seconds for which a call waits for its later answer, and for which that is kept then."""

    outbox_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The share of the uplink that calls which waited may take when they are sent."""

    outbox_metered: bool = False
    """Whether calls that waited are also sent over a network that costs by the byte."""

    metered: Literal["auto", "yes", "no"] = "auto"
    """Whether the way to the gateways costs by the byte; by default as the system says."""

    nearby: bool = True
    """Whether the boxes that this device was paired with are asked."""

    mirror: Path | None = None
    """A directory that has the catalogue's files; then nothing is fetched from the network."""

    interface: str | None = None
    """The address of the network interface on which boxes are looked for; all by default."""

    max_message_bytes: Annotated[int, Field(gt=0)] = 64 * 1024 * 1024
    """The largest message sent to or taken from a gateway, in bytes."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keyword, environment, `./wherever.toml`, the user's `wherever.toml`."""
        tomls = tuple(TomlConfigSettingsSource(settings_cls, path) for path in settings_files())
        return (init_settings, env_settings, *tomls)


def load_settings(**given: Any) -> Settings:
    """Read the settings; arguments that are None count as not given.

    Raises:
        SettingsError: a setting is wrong; the message names it, and what was found.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        found = "" if _may_be_secret(name) else f", found {first['input']!r}"
        if first["type"] == "extra_forbidden":
            raise SettingsError(_unknown(name, found)) from error
        raise SettingsError(f"setting {name!r}: {first['msg']}{found}") from error
    except TOMLDecodeError as error:
        raise SettingsError(f"wherever.toml cannot be read as TOML: {error}") from error
    except (SourceError, OSError, ValueError) as error:
        raise SettingsError(f"the settings cannot be read: {error}") from error


def _unknown(name: str, found: str) -> str:
    near = get_close_matches(name, Settings.model_fields, n=1)
    hint = (
        f"; did you mean {near[0]!r}?"
        if near
        else f" (there are: {', '.join(Settings.model_fields)})"
    )
    return f"there is no setting {name!r}{found}{hint}"


def _may_be_secret(name: str) -> bool:
    """True also for what `api_key` was misspelled as, and for a proxy's password."""
    return "key" in name.lower() or "proxy" in name.lower()
