"""The update agent of a device: one round of refreshing and installing, and its way back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from wherever_contracts.errors import (
    DigestError,
    DownloadError,
    GoldenError,
    PackageError,
    UpdateError,
    WhereverError,
)
from wherever_contracts.places import Place
from wherever_edge.downloads import Progress
from wherever_edge.packages.package import open_directory
from wherever_edge.transfer import Patience
from wherever_edge.updates.disk import locked, read_state, sweep, write_state
from wherever_edge.updates.installing import Installer, Proof, golden_proof
from wherever_edge.updates.layout import Channels
from wherever_edge.updates.registry import Registry, as_update_error
from wherever_edge.updates.state import (
    CHANNELS,
    Channel,
    Installed,
    ModelState,
    State,
    activated,
    failed,
    refreshed,
    rolled_back,
    serving,
)

Outcome: TypeAlias = Literal["updated", "current", "held", "refused"]

# metadata is small: it has 30 s in all, and a server that drips is slow
METADATA_PATIENCE = Patience(connect_s=5.0, read_s=10.0, total_s=30.0, attempts=3, backoff_s=0.2)


@dataclass(frozen=True, slots=True)
class ModelUpdate:
    """What became of one model.

    Attributes:
        before: the version that served until now, or "".
        version: the version that the channel names, or "" when it names none.
        outcome: "updated", "current" (nothing to do), "held" (a person rolled back from it here)
            or "refused".
        why: the reason, in words, where there is one; kind: the same as a word for programs.
        bytes: the archive's size, when one was installed.
        elapsed_s: how long it took.
    """

    name: str
    channel: Channel
    before: str
    version: str
    outcome: Outcome
    why: str = ""
    kind: str = ""
    trust: str = "signed"
    bytes: int = 0
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """One round: what became of each model."""

    registry: str
    models: tuple[ModelUpdate, ...]

    @property
    def refused(self) -> tuple[ModelUpdate, ...]:
        """The models whose update was refused."""
        return tuple(model for model in self.models if model.outcome == "refused")


class _Wanted(NamedTuple):
    name: str
    channel: Channel


class UpdateAgent:
    """Keeps the signed packages of a device up to date.

    Whatever happens in a round, what served before it goes on serving; a version serves only
    after its signature, its digests and its golden samples passed on this machine. One agent at
    a time works on a home.

    Args:
        home: the device's state.
        url: the registry's address; the one of the last round by default.
        root: the registry's root, when the device has none yet.
        root_sha256: the digest of its root, to take the root from the registry itself.
        channel: the channel that a bare model name means; as before by default.
        distance: where this machine stands as its callers see it: the variant that it would run
            there is the one that has to prove itself.
        patience: how long a download waits, and how often it tries.
        metadata_patience: the same for the registry's small files.
    """

    def __init__(
        self,
        home: Path,
        url: str | None = None,
        *,
        root: bytes | None = None,
        root_sha256: str | None = None,
        channel: Channel | None = None,
        distance: Place = "device",
        patience: Patience | None = None,
        metadata_patience: Patience = METADATA_PATIENCE,
    ) -> None:
        self._folder = home / "signed"
        self._url = url
        self._root = root
        self._root_sha256 = root_sha256
        self._channel: Channel | None = channel
        self._metadata_patience = metadata_patience
        proof: Proof = golden_proof(distance, home)
        self._installer = Installer(self._folder, proof, patience or Patience())

    def update(
        self,
        names: Sequence[str] | None = None,
        *,
        everything: bool = False,
        thorough: bool = True,
        progress: Progress | None = None,
    ) -> UpdateReport:
        """Refresh, and bring models to what their channels name.

        Args:
            names: models, as "people" or "people@canary", besides those that are installed; None
                for those alone.
            everything: every model that the registry has.
            thorough: read every byte of what is installed, to find what was damaged, and try again
                what this agent has refused before.
            progress: called with the bytes of an archive that are here, and the bytes in all.

        Returns:
            What became of each model; one that was refused hinders no other.

        Raises:
            UpdateError: the registry cannot be reached or must not be believed, or another
                update is under way; the message says what goes on serving.
        """
        with self._alone():
            sweep(self._folder)
            state = self._state()
            url = self._url or state.registry
            if not url:
                raise UpdateError("no registry is known: give --registry URL once", "no_registry")
            with closing(Registry(self._folder, url, self._metadata_patience)) as registry:
                channels = self._refresh(registry, state)
                state = refreshed(state, url, self._channel or state.channel, time.time())
                self._keep(state)
                wanted = _wanted(state, channels, names, everything=everything)
                round_ = _Round(self._installer, registry, channels, thorough, progress)
                return UpdateReport(url, tuple(self._bring_all(round_, state, wanted)))

    def rollback(self, name: str) -> ModelUpdate:
        """Let the version before serve again; the one that was left is not taken up by itself.

        Rolling back once more returns to it.

        Args:
            name: a model, as "people" or "people@canary".

        Raises:
            UpdateError: there is no version to go back to, or it is damaged.
        """
        started = time.perf_counter()
        model, channel = _split(name)
        with self._alone():
            state = read_state(self._folder)
            before = state.followed(model, channel)
            after = rolled_back(state, model, channel)
            version = before.previous if before else ""
            self._check_previous(state, model, version)
            self._keep(after)
        elapsed_s = time.perf_counter() - started
        return ModelUpdate(
            model,
            channel or state.channel,
            before.active if before else "",
            version,
            "updated",
            elapsed_s=elapsed_s,
        )

    def _refresh(self, registry: Registry, state: State) -> Channels:
        try:
            registry.refresh(self._root, self._root_sha256)
            return registry.channels()
        except UpdateError as error:
            kept = serving(state)
            tail = f"; {kept}, goes on serving" if kept else ""
            told = UpdateError(f"cannot refresh: {error}{tail}", error.kind)
            self._keep(failed(state, told, time.time()))
            raise told from error

    def _bring_all(
        self, round_: _Round, state: State, wanted: Sequence[_Wanted]
    ) -> list[ModelUpdate]:
        results: list[ModelUpdate] = []
        for each in wanted:
            state, result = round_.bring(state, each)
            results.append(result)
            if result.outcome == "updated":
                self._keep(state)
        refused = [result for result in results if result.outcome == "refused"]
        if not refused:
            self._installer.tidy(state.folders())
        elif any(result.kind != "unknown_model" for result in refused):
            why = "; ".join(result.why for result in refused)
            state = failed(state, UpdateError(why, refused[0].kind), time.time())
            self._keep(state)
        return results

    def _check_previous(self, state: State, model: str, version: str) -> None:
        installed = state.installed(model, version)
        if installed is None:
            return
        try:
            package = open_directory(self._installer.packages / installed.folder, trust="signed")
            package.verify()
        except PackageError as error:
            message = f"{model} {version}, the version before, is damaged: {error}"
            raise UpdateError(message, "rollback") from error

    def _state(self) -> State:
        """What is installed; what lies there, when the list of it is damaged."""
        try:
            return read_state(self._folder)
        except UpdateError:
            found: dict[str, ModelState] = {}
            for child in self._installer.packages.glob("*"):
                try:
                    found[open_directory(child).name] = ModelState()
                except PackageError:
                    shutil.rmtree(child, ignore_errors=True)
            return State(models=found, generation=int(time.time()))

    def _keep(self, state: State) -> None:
        try:
            write_state(self._folder, state)
        except OSError as error:
            raise UpdateError(
                f"the list of what is installed cannot be kept: {error}", "disk"
            ) from error

    @contextmanager
    def _alone(self) -> Generator[None]:
        with locked(self._folder / "lock", "an update of this device"):
            yield


class _Round:
    """One round's way from a wanted model to its result."""

    def __init__(
        self,
        installer: Installer,
        registry: Registry,
        channels: Channels,
        thorough: bool,  # noqa: FBT001 (passed through)
        progress: Progress | None,
    ) -> None:
        self._installer = installer
        self._registry = registry
        self._channels = channels
        self._thorough = thorough
        self._progress = progress

    def bring(self, state: State, wanted: _Wanted) -> tuple[State, ModelUpdate]:
        """Bring one model to what its channel names; a refusal is a result too."""
        started = time.perf_counter()
        result = self._begin(state, wanted)
        if result.outcome == "current":
            state, result = self._end(state, result)
        return state, replace(result, elapsed_s=time.perf_counter() - started)

    def _begin(self, state: State, wanted: _Wanted) -> ModelUpdate:
        """What can be said of a model without looking at its files."""
        followed = state.followed(*wanted)
        named = self._channels.get(wanted.name, {})
        version = named.get(wanted.channel) or named.get("stable", "")
        before = followed.active if followed else ""
        result = ModelUpdate(*wanted, before, version, "current")
        if not version:
            why, kind = self._unknown(wanted), "unknown_model"
            return replace(result, outcome="refused", why=why, kind=kind)
        if followed and followed.left == version:
            why = f"a person rolled back from {version} here; the next version is taken"
            return replace(result, outcome="held", why=why)
        return result

    def _end(self, state: State, result: ModelUpdate) -> tuple[State, ModelUpdate]:
        name, channel, before, version = result.name, result.channel, result.before, result.version
        try:
            installed, fresh = self._installed(state, name, version)
        except (WhereverError, OSError) as error:
            kept = f"; {before} goes on serving" if before else ""
            why = f"{name} {version} was refused: {error}{kept}"
            return state, replace(result, outcome="refused", why=why, kind=_kind(error))
        if before == version and not fresh:
            return state, result
        state = activated(state, name, channel, version, installed)
        return state, replace(result, outcome="updated", bytes=installed.archive_bytes)

    def _installed(self, state: State, name: str, version: str) -> tuple[Installed, bool]:
        """A version in its place, and whether it is there only since now."""
        release = self._registry.release(name, version)
        known = state.installed(name, version)
        if known and self._installer.stands(release, known, thorough=self._thorough):
            return known, False
        return self._installer.install(release, self._progress, again=self._thorough), True

    def _unknown(self, wanted: _Wanted) -> str:
        known = ", ".join(sorted(self._channels)) or "none"
        return f"the registry has no model {wanted.name!r} (it has: {known})"


def _wanted(
    state: State, channels: Channels, names: Sequence[str] | None, *, everything: bool
) -> list[_Wanted]:
    """What a round is to bring up to date: each once, in order of name."""
    wanted = {_Wanted(m, c) for m, known in state.models.items() for c in known.channels}
    wanted |= {_Wanted(m, state.channel) for m in state.models}
    if everything:
        wanted |= {_Wanted(m, state.channel) for m in channels}
    for name in names or ():
        model, channel = _split(name)
        wanted.add(_Wanted(model, channel or state.channel))
    return sorted(wanted)


def _split(name: str) -> tuple[str, Channel | None]:
    model, at, word = name.partition("@")
    if not at:
        return model, None
    for channel in CHANNELS:
        if channel == word:
            return model, channel
    known = " or ".join(f"{model}@{channel}" for channel in CHANNELS)
    raise UpdateError(
        f"{name!r} names no channel; say {model}, {known} (a version is named where it is used, as "
        f"in `wherever predict {name}`)",
        "usage",
    )


def _kind(error: WhereverError | OSError) -> str:
    if isinstance(error, UpdateError):
        return error.kind
    if isinstance(error, GoldenError):
        return error.code
    if isinstance(error, DigestError | DownloadError):
        return as_update_error(error).kind
    return error.code if isinstance(error, WhereverError) else "disk"
