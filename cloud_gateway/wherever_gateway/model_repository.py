"""The protocol's model repository and statistics: what is served, loaded, unloaded, and was asked.

See "Model Repository Extension" and "Statistics Extension" of the Open Inference Protocol v2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from wherever_contracts.wire import repository
from wherever_contracts.wire.repository import IndexEntry, ModelStatistics

if TYPE_CHECKING:
    from wherever_edge.host import LocalHost
    from wherever_edge.oip.admission import Caller
    from wherever_edge.oip.keys import KeyInfo
    from wherever_edge.packages.package import Package


class Rights(Protocol):
    """Who may do what apart from calls."""

    def check_admin(self, caller: Caller) -> None:
        """Let one pass who administers.

        Raises:
            ForbiddenError: the caller's key may not do that.
        """
        ...

    def may_see(self, key: KeyInfo | None, model: str) -> bool:
        """Whether a model is there for those who bring this key."""
        ...


class Counts(Protocol):
    """Knows what was asked of the models."""

    def of(self, model: str, version: str) -> Sequence[ModelStatistics]:
        """The statistics of a model and version; "" stands for all."""
        ...


class ModelRepository:
    """What a server says about its models and does with them. Safe to use from many threads.

    Args:
        host: where the models are.
        rights: who may do what.
        counts: what was asked of the models.
        reload: looks for packages again, and serves what is there then.
    """

    def __init__(
        self, host: LocalHost, rights: Rights, counts: Counts, reload: Callable[[], object]
    ) -> None:
        self._host = host
        self._rights = rights
        self._counts = counts
        self._reload = reload

    def index(self, caller: Caller, *, ready: bool = False) -> list[IndexEntry]:
        """Every version of every model that the caller may see; or those alone that are ready."""
        entries = [
            self._entry(package)
            for package in self._host.store.list()
            if self._rights.may_see(caller.key, package.name)
        ]
        return [entry for entry in entries if entry.state == "READY" or not ready]

    def load(self, caller: Caller, model: str) -> None:
        """Look for a model's packages again, and answer calls for it from now on.

        Raises:
            ForbiddenError: the caller's key may not do that.
            ModelNotFoundError: there is no such model.
            WhereverError: it cannot run here; the message says why.
        """
        self._rights.check_admin(caller)
        self._host.offer(model)
        self._reload()
        self._host.resolve(model)

    def unload(self, caller: Caller, model: str) -> None:
        """Answer no more calls for a model until it is loaded again; those that run end.

        Raises:
            ForbiddenError: the caller's key may not do that.
            ModelNotFoundError: there is no such model.
        """
        self._rights.check_admin(caller)
        self._host.store.get(model)
        self._host.withdraw(model)

    def statistics(
        self, caller: Caller, model: str = "", version: str = ""
    ) -> Sequence[ModelStatistics]:
        """What was asked of a model, or of all.

        Raises:
            ForbiddenError: the caller's key may not do that.
            ModelNotFoundError: there is no such model.
        """
        self._rights.check_admin(caller)
        if model:
            self._host.store.get(f"{model}@{version}" if version else model)
        return self._counts.of(model, version)

    def methods(self) -> Mapping[str, Callable[[bytes, Caller], bytes]]:
        """The same as methods of the protocol's gRPC service, by their names."""
        return {
            "RepositoryIndex": self._grpc_index,
            "RepositoryModelLoad": self._grpc_load,
            "RepositoryModelUnload": self._grpc_unload,
            "ModelStatistics": self._grpc_statistics,
        }

    def _entry(self, package: Package) -> IndexEntry:
        name, version = package.name, package.version
        if not self._host.offers(name):
            return IndexEntry(name, version, "UNAVAILABLE", "unloaded")
        unfit = {variant.id: why for variant, why in self._host.choices(package)}
        if "" in unfit.values():
            return IndexEntry(name, version, "READY")
        reasons = "; ".join(f"{variant}: {why}" for variant, why in unfit.items())
        return IndexEntry(name, version, "UNAVAILABLE", reasons)

    def _grpc_index(self, data: bytes, caller: Caller) -> bytes:
        ready = repository.decode_index_request(data)
        return repository.encode_index(self.index(caller, ready=ready))

    def _grpc_load(self, data: bytes, caller: Caller) -> bytes:
        self.load(caller, repository.decode_change("RepositoryModelLoadRequest", data))
        return b""

    def _grpc_unload(self, data: bytes, caller: Caller) -> bytes:
        self.unload(caller, repository.decode_change("RepositoryModelUnloadRequest", data))
        return b""

    def _grpc_statistics(self, data: bytes, caller: Caller) -> bytes:
        asked = repository.decode_statistics_request(data)
        return repository.encode_statistics(self.statistics(caller, *asked))
