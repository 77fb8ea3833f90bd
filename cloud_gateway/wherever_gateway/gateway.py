"""The gateway as one thing: packages, host, gRPC and REST, from start to graceful end."""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import ModelNotFoundError, WhereverError
from wherever_edge.cli import error_data
from wherever_edge.counters import COUNTERS
from wherever_edge.hosting import open_host
from wherever_edge.oip.server import InferenceServer
from wherever_edge.oip.serving import joined, load_models, serve_until_told
from wherever_edge.updates.watching import Watcher
from wherever_gateway.config.changes import Changes, changes, with_live
from wherever_gateway.model_rules import Pins, sharing_of
from wherever_gateway.notifying import tell_ready, tell_stopping
from wherever_gateway.options import GatewayOptions
from wherever_gateway.packages import store_of
from wherever_gateway.parts import open_parts
from wherever_gateway.securing import secure

if TYPE_CHECKING:
    import grpc

    from wherever_edge.host import LoadedVariant
    from wherever_gateway.config.schema import GatewayConfig
    from wherever_gateway.rest.front import RestFront

__all__ = ["Gateway", "GatewayOptions", "run"]

RELOADS = "wherever_gateway_reloads_total"

_LOG = logging.getLogger(__name__)


class Gateway:
    """Serves every model of its packages, and those of its backends.

    Raises:
        SettingsError: it may not listen there as its options say, or something that they name
            cannot be used.

    Attributes:
        secured: its certificate and keys.
        models: what is served, loaded: the reference variant of each package if it can run here.
        refused: what is not served, and why.
        config: the configuration that holds; a reload may change it.
    """

    def __init__(self, options: GatewayOptions) -> None:
        self.options = options
        self.config = options.config
        self.secured = secure([options.address], options.security)
        self.host = open_host(
            store_of(options.packages, options.home),
            distance=options.place,
            home=options.home,
            options=options.host,
        )
        self._share()
        self.models: list[LoadedVariant] = []
        self.refused: list[tuple[str, WhereverError]] = []
        self._parts = open_parts(options, self.host, self.secured, self.refresh)
        self.server = InferenceServer(
            self.host,
            address=options.address,
            port=options.grpc_port,
            max_bytes=options.max_bytes,
            identity=self.secured.identity,
            keys=self.secured.keys,
            keys_needed=self.secured.protection.keys,
            methods=self._parts.methods,
            handlers=_reflection(),
            admission=self._parts.admission,
            elsewhere=self._parts.elsewhere,
        )
        self._pins = Pins(self.host)
        self._reloading = threading.RLock()
        self._watcher: Watcher | None = None
        self._http: RestFront | None = None

    def start(self) -> None:
        """Load the models, then listen.

        Raises:
            WhereverError: there is no model to serve, or a port cannot be listened on.
        """
        self._load()
        self._parts.start()
        self.server.start()
        if self.options.home is not None:
            seen = self.host.store.generation
            self._watcher = Watcher(self.options.home, self.refresh, seen=seen)
        if self.options.http_port is not None:
            self._http = self._start_http(self.options.http_port)

    @property
    def grpc(self) -> str:
        """Where gRPC is served, "host:port"."""
        return joined(self.options.address, self.server.port)

    @property
    def http(self) -> str | None:
        """Where HTTP is served, "host:port"; None when it is not."""
        return joined(self.options.address, self._http.port) if self._http is not None else None

    @property
    def metrics(self) -> str | None:
        """Where metrics are told, "host:port"; None when they are not."""
        port = self._parts.watch.port
        return None if port is None else joined(self.options.metrics_address, port)

    def status(self) -> dict[str, Any]:
        """What is served and how busy it is, as plain data."""
        queue = self.host.queue
        return {
            **self.served(),
            "tls": self.secured.protection.tls,
            "keys": self.secured.protection.keys,
            "calls": {
                "working": queue.working,
                "waiting": queue.waiting,
                "refused": queue.refused,
                "dropped": queue.dropped,
            },
            "loaded": [
                {**loaded._asdict(), "plan": str(loaded.plan)} for loaded in self.host.loaded()
            ],
            **self._parts.status(),
            "counts": COUNTERS.snapshot(),
            "pid": os.getpid(),
        }

    def reload(self) -> dict[str, Any]:
        """Read the configuration again, look for packages again, and go on with what is there now.

        Calls that run are not disturbed. What cannot be used changes nothing.

        Returns:
            What is served, as plain data, and the keys of the configuration that changed: those
            that hold from now on, and those that hold at the next start.

        Raises:
            ConfigError: the configuration is wrong; the one before it holds.
            ModelNotFoundError: there is nothing to serve any more.
        """
        try:
            with self._reloading:
                changed = self._reload()
        except WhereverError:
            COUNTERS.add(RELOADS, result="refused")
            raise
        COUNTERS.add(RELOADS, result="followed")
        return {**self.served(), "changed": changed.now, "at_restart": changed.at_restart}

    def refresh(self) -> dict[str, Any]:
        """Look for packages again, and serve what is there now; calls that run are not disturbed.

        Returns:
            What is served, as plain data.

        Raises:
            ModelNotFoundError: there is nothing to serve any more.
        """
        with self._reloading:
            self._look_again()
        return self.served()

    def served(self) -> dict[str, Any]:
        """The models, and what is not served and why, as plain data."""
        models = [
            {"name": m.ran.model, "version": m.ran.version, "variant": m.ran.variant}
            for m in self.models
        ]
        refused = [{"what": what, **error_data(error)} for what, error in self.refused]
        return {"models": models, "refused": refused}

    def drain(self) -> bool:
        """Take no more calls, let those that run end, and stop; True when all ended in time.

        What was counted of them is written down after the last has ended. What fails in one
        front is logged, and keeps neither the other nor what comes after from its end.
        """
        if self._watcher is not None:
            self._watcher.close()
        with ThreadPoolExecutor(1) as pool:
            fronts = [pool.submit(self._drained, self._http)] if self._http is not None else []
            well = self._drained(self.server)
        well = well and all(front.result() for front in fronts)
        # asked when all have stopped, because the calls of all pass the same queue
        done = self.host.queue.inside == 0
        self._parts.close()
        if done:
            self.host.close()
        return well and done

    def _drained(self, front: InferenceServer | RestFront) -> bool:
        """Have a front end its calls and stop; False, and a line in the log, when it fails."""
        try:
            front.drain(self.options.grace_s)
        except Exception:  # noqa: BLE001 (logged; the rest is to be drained)
            _LOG.exception("%s failed while it was drained", type(front).__name__)
            return False
        return True

    def _reload(self) -> Changes:
        if self.options.reread is not None:
            return self._follow(self.options.reread())
        self.refresh()
        return Changes((), ())

    def _follow(self, config: GatewayConfig) -> Changes:
        """Go on with another configuration; with the one that holds when it cannot be used."""
        found, before = changes(self.config, config), self.config
        self.config = with_live(before, config)
        moved = self.config.serving.packages != before.serving.packages
        try:
            self._look_in(self.config.serving.packages, moved=moved)
            self._parts.apply(self.config)
        except WhereverError:
            self.config = before
            self._look_in(before.serving.packages)
            raise
        self._share()
        if moved:
            self.host.drop_missing()
        return found

    def _look_in(self, packages: tuple[Path, ...], *, moved: bool = False) -> None:
        self.host.store.look_in(packages, builtin=not packages)
        self._look_again(moved=moved)

    def _look_again(self, *, moved: bool = False) -> None:
        """Serve what is there now.

        Args:
            moved: packages lie elsewhere now, so that one that is gone is meant to be.
        """
        for name, error in self.host.refresh():
            if not (moved and isinstance(error, ModelNotFoundError)):
                _LOG.warning("%s goes on with the version that it has: %s", name, error)
        self._load()

    def _share(self) -> None:
        config = self.config
        self.host.share_by(lambda model: sharing_of(config, model))

    def _load(self) -> None:
        try:
            self.models, self.refused = load_models(self.host)
        except ModelNotFoundError:
            if not self.config.backends:
                raise
            self.models = []  # those of backends are served
        names = {each.ran.model for each in self.models}
        self._pins.keep(self.config, names)

    def _start_http(self, port: int) -> RestFront:
        from wherever_gateway.rest.front import RestFront  # noqa: PLC0415 (not all have HTTP)

        http = RestFront(
            self.server.service,
            lambda: self.server.ready,
            address=self.options.address,
            port=port,
            max_bytes=self.options.max_bytes,
            identity=self.secured.identity,
            keys=self.secured.keys,
            keys_needed=self.secured.protection.keys,
            admin=None if self.secured.protection.exposed else self,
            repository=self._parts.repository,
            others=self._parts.named_elsewhere,
        )
        http.start()
        return http


def _reflection() -> Sequence[grpc.GenericRpcHandler]:
    """What tells tools of the server's methods; nothing without the extra that it takes."""
    if not importlib.util.find_spec("grpc_reflection"):
        return ()
    from wherever_edge.oip.reflection import reflection_handlers  # noqa: PLC0415 (an extra)

    return reflection_handlers()


def run(
    options: GatewayOptions,
    ready: Callable[[Gateway], None],
    again: Callable[[Gateway], None] | None = None,
) -> bool:
    """Serve until the process is told to end (SIGTERM or Ctrl-C), then drain.

    A second signal ends the process at once.

    Args:
        options: how to run.
        ready: called once everything is loaded and listens.
        again: called after each SIGHUP; None leaves that signal alone.

    Returns:
        True when every call that was running ended in time.

    Raises:
        WhereverError: there is no model to serve, or a port cannot be listened on.
    """

    def tell(gateway: Gateway) -> None:
        ready(gateway)
        tell_ready(f"serving on {gateway.grpc}")

    return serve_until_told(lambda: Gateway(options), tell, again=again, ending=tell_stopping)
