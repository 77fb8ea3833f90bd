"""What a device knows of its signed packages, and how that changes. Pure.

`state.json` is the list of what was verified on this machine: a directory that it does not name is
not served as signed, whatever lies in it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wherever_contracts.errors import UpdateError

Channel: TypeAlias = Literal["stable", "canary"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)

MAX_STATE_BYTES = 4 * 1024 * 1024

_Folder = Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._+-]*$", max_length=240)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, allow_inf_nan=False)


class Installed(_Record):
    """A version whose signature, digests and golden samples passed on this machine.

    Attributes:
        folder: the name of its directory.
        digest: the package's digest, as it was signed.
        archive_sha256: the digest of the archive that it came in.
        archive_bytes: the size of that archive.
        verified_at: when it passed, in seconds since 1970.
    """

    folder: _Folder
    digest: _Sha256
    archive_sha256: _Sha256
    archive_bytes: int = Field(ge=0)
    verified_at: float


class Followed(_Record):
    """What a channel of a model means here.

    Attributes:
        active: the version that serves.
        previous: the one that served before, or "".
        left: the version that a person rolled back from, or ""; it is not installed again until
            the channel has named another one.
    """

    active: str
    previous: str = ""
    left: str = ""


class ModelState(_Record):
    """A model's channels and versions on this machine."""

    channels: Mapping[Channel, Followed] = {}
    versions: Mapping[str, Installed] = {}


class Problem(_Record):
    """Why the last try to update failed: a word for programs, a sentence for people."""

    kind: str
    message: str
    at: float


class State(_Record):
    """Everything that is remembered between two updates.

    Attributes:
        generation: grows whenever another version shall serve.
        registry: the address of the registry.
        channel: the one that a bare model name means.
        refreshed_at: when the registry's signed state was last seen and right; 0: never.
        problem: what the last try failed of; None when it did not.
        models: by name.
    """

    generation: int = Field(default=0, ge=0)
    registry: str = ""
    channel: Channel = "stable"
    refreshed_at: float = 0.0
    problem: Problem | None = None
    models: Mapping[str, ModelState] = {}

    def followed(self, model: str, channel: Channel | None = None) -> Followed | None:
        """What a channel of a model means; by default that of a bare name."""
        channels = self.models.get(model, ModelState()).channels
        if channel is not None:
            return channels.get(channel)
        return next((channels[c] for c in (self.channel, *CHANNELS) if c in channels), None)

    def installed(self, model: str, version: str) -> Installed | None:
        """A version of a model, when it is installed."""
        known = self.models.get(model)
        return known.versions.get(version) if known else None

    def folders(self) -> set[str]:
        """The directories that belong to installed versions."""
        return {one.folder for model in self.models.values() for one in model.versions.values()}


def parse_state(data: bytes) -> State:
    """Read `state.json`.

    Raises:
        UpdateError: it is damaged.
    """
    try:
        return State.model_validate_json(data)
    except (ValidationError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise UpdateError(f"state.json is damaged ({first})", "state") from error


def refreshed(state: State, registry: str, channel: Channel, now: float) -> State:
    """The registry's signed state was seen and is right."""
    moved = state.channel != channel
    return state.model_copy(
        update={
            "registry": registry,
            "channel": channel,
            "refreshed_at": now,
            "problem": None,
            "generation": state.generation + moved,
        }
    )


def failed(state: State, error: UpdateError, now: float) -> State:
    """The last try failed; what is installed stays."""
    problem = Problem(kind=error.kind, message=str(error), at=now)
    return state.model_copy(update={"problem": problem})


def activated(
    state: State, model: str, channel: Channel, version: str, installed: Installed
) -> State:
    """A version passed and serves from now on; versions that nobody can want any more are gone."""
    known = state.models.get(model, ModelState())
    before = known.channels.get(channel)
    if before is None or before.active == version:
        previous = before.previous if before else ""
    else:
        previous = before.active
    channels = dict(known.channels)
    channels[channel] = Followed(active=version, previous=previous)
    return _with_model(state, model, channels, {**known.versions, version: installed})


def rolled_back(state: State, model: str, channel: Channel | None = None) -> State:
    """The version before serves again, and the one that was left is not taken up by itself.

    Raises:
        UpdateError: there is no version to go back to.
    """
    followed = state.followed(model, channel)
    if followed is None:
        raise UpdateError(f"no signed version of {model!r} is installed here", "rollback")
    if state.installed(model, followed.previous) is None:
        raise UpdateError(
            f"{model} {followed.active} has no earlier version on this device to go back to",
            "rollback",
        )
    known = state.models[model]
    back = Followed(active=followed.previous, previous=followed.active, left=followed.active)
    channels: dict[Channel, Followed] = {
        c: back if f is followed else f for c, f in known.channels.items()
    }
    return _with_model(state, model, channels, known.versions)


def serving(state: State) -> str:
    """What goes on serving, in words: "people 2.1.0, verified on 2026-01-31"."""
    parts: list[str] = []
    for model in sorted(state.models):
        followed = state.followed(model)
        installed = state.installed(model, followed.active) if followed else None
        if followed and installed:
            parts.append(f"{model} {followed.active}, verified on {day(installed.verified_at)}")
    return "; ".join(parts)


def day(at: float) -> str:
    """A time as a date, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(at))


def _with_model(
    state: State,
    model: str,
    channels: Mapping[Channel, Followed],
    versions: Mapping[str, Installed],
) -> State:
    """The state with a model changed, and without the versions that no channel names."""
    named = {v for f in channels.values() for v in (f.active, f.previous)}
    kept = {version: one for version, one in versions.items() if version in named}
    changed = ModelState(channels=dict(channels), versions=kept)
    return state.model_copy(
        update={
            "generation": state.generation + 1,
            "models": {**state.models, model: changed},
        }
    )
