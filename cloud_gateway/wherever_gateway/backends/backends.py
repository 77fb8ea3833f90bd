"""All backends of a gateway: which of them answers for a model, and new ones without a restart."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from wherever_contracts.errors import SettingsError
from wherever_edge.oip.client import MAX_BYTES, RemoteHost
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.security import ClientSecurity
from wherever_gateway.backends.backend import Backend, Standing
from wherever_gateway.backends.doors import Doors
from wherever_gateway.backends.names import Named, Names
from wherever_gateway.backends.replica import Replica

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_contracts.wire.metadata import ModelMetadata
    from wherever_contracts.wire.tensors import InferRequest
    from wherever_edge.oip.admission import Grant
    from wherever_edge.oip.elsewhere import Forwarded

MOST_AT_ONCE = 256
_MOST_REMEMBERED = 4096


class Settings(Protocol):
    """What a gateway's configuration says of one backend."""

    @property
    def endpoints(self) -> Sequence[str]:
        """Addresses of its servers, as `Endpoint.parse` reads them."""
        ...

    @property
    def models(self) -> Mapping[str, str | None]:
        """The models that it answers for -> what they are called there; see `Names`."""
        ...

    @property
    def place(self) -> Place:
        """Its distance from the callers."""
        ...

    @property
    def api_key_file(self) -> Path | None:
        """Has the key of this gateway there; None: none is needed."""
        ...

    @property
    def ca_file(self) -> Path | None:
        """What its certificates are checked against; None: the system's roots."""
        ...

    @property
    def timeout_s(self) -> float:
        """The most that a call without a deadline may take."""
        ...


class Backends:
    """The servers behind a gateway. Safe to use from many threads.

    Args:
        settings: what each backend consists of, by its name.
        max_bytes: the largest message in either direction.
        most: calls that may be on their way to all backends at a time, each of which holds a
            thread of the gateway.

    Raises:
        SettingsError: as `reconfigure`.
    """

    def __init__(
        self,
        settings: Mapping[str, Settings],
        *,
        max_bytes: int = MAX_BYTES,
        most: int = MOST_AT_ONCE,
    ) -> None:
        self._max_bytes = max_bytes
        self._doors = Doors(most)
        self._changing = threading.Lock()
        self._closing = threading.Event()
        self._helpers: list[threading.Thread] = []
        self._replicas: dict[_Key, Replica] = {}
        self._table = _Table(Names({}), {}, {})
        self.reconfigure(settings)

    def __bool__(self) -> bool:
        """Whether there is any backend now."""
        return bool(self._table.backends)

    def find(self, model: str) -> Behind | None:
        """The backend that answers for a model; None: none does."""
        table = self._table
        try:
            return table.found[model]
        except KeyError:
            return table.look_up(model)

    # so they are a `wherever_edge.oip.elsewhere.Finder`
    __call__ = find

    @property
    def models(self) -> dict[str, Named]:
        """The models that are named in full, and where they are answered for."""
        return self._table.names.known

    def status(self) -> dict[str, Any]:
        """How each backend does, as plain data."""
        return {name: each.facts() for name, each in self._table.backends.items()}

    def reconfigure(self, settings: Mapping[str, Settings]) -> None:
        """Have these backends from now on; calls that run end where they began.

        A server that stays is not connected to anew, and what is known of it stays known.

        Raises:
            SettingsError: a backend's address, key or certificate is wrong; nothing has changed.
        """
        with self._changing:
            before = self._table.backends
            backends = {name: before.get(name) or Backend(name, self._doors) for name in settings}
            made: dict[_Key, Replica] = {}
            try:
                for name, each in settings.items():
                    self._make(made, name, backends[name], each)
            except BaseException:
                self._discard(made)
                raise
            for name, each in settings.items():
                own = tuple(replica for key, replica in made.items() if key.backend == name)
                backends[name].standing = Standing(own, each.place, each.timeout_s)
            names = Names({name: each.models for name, each in settings.items()})
            self._table = _Table(names, backends, {})
            self._let_go({k: r for k, r in self._replicas.items() if k not in made}, before)
            new = [replica for key, replica in made.items() if key not in self._replicas]
            self._replicas = made
            for replica in new:
                self._beside(f"wherever-meet-{replica.name}", replica.meet)

    def close(self) -> None:
        """Stop probing and close all connections; calls that run end with an error."""
        self._closing.set()
        with self._changing:
            replicas, self._replicas = self._replicas, {}
            helpers, self._helpers = self._helpers, []
        for backend in self._table.backends.values():
            backend.watch.close()
        for replica in replicas.values():
            replica.close()
        for helper in helpers:
            helper.join(1.0)

    def _make(
        self, made: dict[_Key, Replica], name: str, backend: Backend, settings: Settings
    ) -> None:
        """The servers of a backend, those that are there already and new ones."""
        for key in _keys(name, settings):
            known = self._replicas.get(key)
            if known is None:
                host = RemoteHost(
                    key.endpoint,
                    max_bytes=self._max_bytes,
                    place=key.place,
                    security=key.security,
                )
                known = Replica(host, key.place, backend.watch)
            made[key] = known

    def _discard(self, made: Mapping[_Key, Replica]) -> None:
        for key, replica in made.items():
            if key not in self._replicas:
                replica.close()

    def _let_go(self, gone: Mapping[_Key, Replica], before: Mapping[str, Backend]) -> None:
        """Close what is used no more, when the calls there have ended."""
        for key, replica in gone.items():
            backend = before[key.backend]
            backend.watch.leave(replica)
            grace_s = backend.standing.timeout_s

            def retire(replica: Replica = replica, grace_s: float = grace_s) -> None:
                replica.retire(grace_s, self._closing)

            self._beside(f"wherever-retire-{replica.name}", retire)

    def _beside(self, name: str, function: Callable[[], object]) -> None:
        self._helpers = [each for each in self._helpers if each.is_alive()]
        thread = threading.Thread(target=function, name=name, daemon=True)
        thread.start()
        self._helpers.append(thread)


class Behind(NamedTuple):
    """A model that a backend answers for; see `wherever_edge.oip.elsewhere.Elsewhere`.

    Attributes:
        backend: who answers.
        name: what callers call it.
        model: what it is called there.
    """

    backend: Backend
    name: str
    model: str

    def infer(self, request: InferRequest, grant: Grant) -> Forwarded:
        """Have a server answer a call; see `Backend.infer`."""
        return self.backend.infer(request, self.model, grant)

    def ready(self, model: str, version: str) -> bool:
        """Whether a server says that it answers calls for the model."""
        return self.backend.ready(self.model, version)

    def metadata(self, model: str, version: str) -> ModelMetadata:
        """What the servers say about the model; see `Backend.metadata`."""
        return self.backend.metadata(self.model, version)._replace(name=model)


class _Key(NamedTuple):
    """What makes a server the same one as before."""

    backend: str
    endpoint: Endpoint
    place: Place
    security: ClientSecurity


class _Table(NamedTuple):
    """Who answers for what."""

    names: Names
    backends: dict[str, Backend]
    found: dict[str, Behind | None]

    def look_up(self, model: str) -> Behind | None:
        """Who answers for a model, which is remembered."""
        named = self.names.find(model)
        behind = None if named is None else Behind(self.backends[named.backend], model, named.model)
        if len(self.found) >= _MOST_REMEMBERED:  # names come from callers
            self.found.clear()
        self.found[model] = behind
        return behind


def _keys(name: str, settings: Settings) -> Iterator[_Key]:
    security = ClientSecurity(
        api_key=_read(name, "api_key_file", settings.api_key_file),
        ca_pem=_read_bytes(name, "ca_file", settings.ca_file),
    )
    for address in dict.fromkeys(settings.endpoints):
        yield _Key(name, Endpoint.parse(address), settings.place, security)


def _read(name: str, what: str, file: Path | None) -> str | None:
    """The one line of a file."""
    said = _read_bytes(name, what, file)
    return None if said is None else said.decode("ascii", "replace").strip()


def _read_bytes(name: str, what: str, file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return file.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"backends.{name}.{what}: {file} cannot be read ({error.strerror}); give the path of "
            "a file that this process may read"
        ) from error
