"""A client: settings, packages, this device's host, and the gateways it may ask."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from wherever._access import gateway_security, open_store
from wherever._handle import Model
from wherever._nearby import Nearby
from wherever._own_device import OwnDevice
from wherever._planning import plan_of, sendable, wire_version
from wherever._remotes import Remote
from wherever._route import DEVICE, Route
from wherever._routing.plan import MODES, Candidate
from wherever._settings import Settings, load_settings
from wherever._status import Status, make_status
from wherever._surroundings import Surroundings
from wherever._threads import Threads
from wherever._tracing import Tracing
from wherever._watch import Watch
from wherever._witness import Witness
from wherever_contracts.errors import (
    ClosedError,
    InputError,
    ModelNotFoundError,
    WhereverError,
)
from wherever_contracts.manifest import signature_digest
from wherever_edge.forking import loading
from wherever_edge.host import LoadedVariant
from wherever_edge.host_health.tokens import RetryTokens
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint

if TYPE_CHECKING:
    from wherever._cache import ResultCache
    from wherever._escalation.words import Aim
    from wherever._kept import KeptAnswers
    from wherever._outbox.opening import OnUpgrade
    from wherever._outbox.outbox import Outbox
    from wherever._prediction import Prediction
    from wherever_contracts.places import Boundary, Mode, Place
    from wherever_edge.bare.manifest import Task
    from wherever_edge.packages.store import Package, Store
    from wherever_edge.updates.watching import Watcher

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Client:
    """Predicts on this device and, when there are any, on gateways.

    Cheap to make: nothing is loaded or connected before it is needed. Use it as a context manager,
    or call `close()`. It may be shared by threads and tasks.

    Args:
        gateways: gateways, as "host:port", "grpc://host:port" or "grpcs://host:port"; for REST
            alone "http://host:port" or "https://host:port". Where gRPC does not pass, REST is
            asked at the port before gRPC's; "?rest=PORT" names another one, "?rest=off" none.
        packages: directories that are model packages or hold some.
        settings: all settings at once; arguments given beside it win.
        on_upgrade: called with a call's id and what came of it (a `Prediction`, or the
            `UpgradeError` that says why there is none) for each call with `later=True`; at least
            once, also for calls of earlier processes, one at a time in a thread of its own.
        arguments: any other setting by its name, for example `remote_timeout_s=1.0`.

    Raises:
        SettingsError: a setting is wrong.
    """

    def __init__(
        self,
        gateways: Iterable[str] | None = None,
        *,
        packages: Iterable[str | os.PathLike[str]] | None = None,
        settings: Settings | None = None,
        on_upgrade: OnUpgrade | None = None,
        **arguments: Any,
    ) -> None:
        if isinstance(gateways, str):
            gateways = [part.strip() for part in gateways.split(",") if part.strip()]
        given: dict[str, Any] = {
            **(
                {name: getattr(settings, name) for name in settings.model_fields_set}
                if settings
                else {}
            ),
            **arguments,
        }
        if gateways is not None:
            given["gateways"] = tuple(gateways)
        if packages is not None:
            given["packages"] = tuple(Path(path) for path in packages)
        self.settings: Settings = load_settings(**given)
        endpoints = [Endpoint.parse(text) for text in self.settings.gateways]
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._security = gateway_security(self.settings)
        self._closed = False
        if on_upgrade is not None and not callable(on_upgrade):
            found = f"{on_upgrade!r:.100}"
            raise InputError("on_upgrade", "a function of (id, end)", found, kind="argument")
        self._on_upgrade = on_upgrade
        self._start()
        _clients.add(self)
        if on_upgrade is not None:
            self._resume()

    def _start(self) -> None:
        """Make everything that holds threads, locks or connections; again after a fork."""
        settings = self.settings
        self._lock = threading.RLock()
        self._models: dict[str, Model] = {}
        self._own = OwnDevice(settings, lambda: self.store)
        self._store: Store | None = None
        self._threads = Threads()
        self._tokens = RetryTokens()
        self._surroundings = Surroundings(settings.metered)
        send_soon = weakref.WeakMethod(self._send_soon)
        self._beside_calls = Watch(
            self._tokens, self._surroundings, on_back=lambda: _if_alive(send_soon)
        )
        self._watcher: Watcher | None = None
        self._cache: ResultCache | None = None
        self._outbox: Outbox | None = None
        self._witness = Witness(settings, self._threads.behind, lambda: self.store)
        self._tracing = Tracing() if settings.tracing else None
        self._resumed = False
        self.standing: int = 0
        self._nearby = Nearby(
            settings.home,
            enabled=settings.nearby,
            interface=settings.interface,
            max_bytes=settings.max_message_bytes,
            probe_timeout_s=settings.probe_timeout_s,
            watch=self._beside_calls,
        )
        self._remotes = {**self._nearby.remotes, **self._gateways()}

    def _gateways(self) -> dict[str, Remote]:
        settings = self.settings
        hosts = {
            name: RemoteHost(
                endpoint, max_bytes=settings.max_message_bytes, security=self._security
            )
            for name, endpoint in self._endpoints.items()
        }
        timeout_s = settings.probe_timeout_s
        watch = self._beside_calls
        return {name: Remote(host, "cloud", timeout_s, watch=watch) for name, host in hosts.items()}

    def model(self, name: str) -> Model:
        """The handle of a model: "people", or with a version "people@2.1".

        Raises:
            ModelNotFoundError: no such model is known here; the message lists those that are.
            ClosedError: the client was closed.
        """
        model = self._models.get(name)
        if model is None:
            self._refuse_closed()
            with loading():
                package = self._find(name)
            with self._lock:
                model = self._models.setdefault(name, Model(self, name, package))
        return model

    def open(
        self,
        path: str | os.PathLike[str],
        *,
        task: Task,
        labels: Sequence[str] | str | os.PathLike[str] | None = None,
        name: str | None = None,
        boundary: Boundary = "device",
        **pixels: Any,
    ) -> Model:
        """The handle of a bare model file; it is answered by this device alone.

        Args:
            path: a `.onnx` or `.tflite` file, or the `.xml` of OpenVINO's IR with its `.bin`.
            task: "classify", "detect", "embed", or "tensors" for the file's own tensors.
            labels: names of the classes, a file with one in each line, or "coco80".
            name: what to call the model; the file's name by default.
            boundary: how far the data may travel.
            pixels: how images are prepared, where the usual way is not right: `size=(height,
                width)`, `scale`, `mean`, `std` (a value v becomes (v * scale - mean) / std),
                `colour` ("rgb", "bgr", "grey"), `fit` ("stretch", "letterbox"), `resize`
                ("linear", "antialias", ...), `keep` (the share of the middle that is used).

        Raises:
            InputError: the file, the labels or the task do not fit; the message says what would.
            EngineError: no engine here can read the file.
            OSError: a file cannot be read.
        """
        from wherever_edge.bare.manifest import Pixels  # noqa: PLC0415 (seldom needed)
        from wherever_edge.bare.opening import open_file  # noqa: PLC0415 (likewise)

        self._refuse_closed()
        unknown = sorted(pixels.keys() - Pixels.__dataclass_fields__.keys())
        if unknown:
            known = ", ".join(Pixels.__dataclass_fields__)
            raise InputError(unknown[0], f"one of {known}", "an unknown name", kind="argument")
        if self.settings.memory_max_bytes:
            self._own.open()  # counts the engines that are loaded to read the file, too
        package = open_file(
            path,
            task=task,
            labels=labels,
            name=name,
            pixels=Pixels(**pixels),
            boundary=boundary,
            isolation=self.settings.isolation,
        )
        return Model(self, package.name, package)

    def refresh(self) -> list[tuple[str, WhereverError]]:
        """Look for packages again, and let the handles in use go over to newer ones.

        Calls that run end with the package that they began with.

        Returns:
            (model, why it goes on with the package that it has), for each that could not.
        """
        self._refuse_closed()
        self.store.rescan()
        kept: list[tuple[str, WhereverError]] = []
        for name, model in list(self._models.items()):
            try:
                package = self.store.get(name)
                if package.digest != model.digest:
                    model.renew(package)
            except WhereverError as error:
                kept.append((name, error))
        self._own.release({model.digest for model in self._models.values()})
        return kept

    def predict(self, model: str, value: Any, /, **arguments: Any) -> Prediction:
        """Answer for one input; `client.model(model)(value, ...)` in one call."""
        return self.model(model)(value, **arguments)

    async def apredict(self, model: str, value: Any, /, **arguments: Any) -> Prediction:
        """The same as a coroutine."""
        handle = await self.in_thread(self.model, model)
        return await handle.aio(value, **arguments)

    def upgrade(self, id: str, timeout_s: float | None = None) -> Prediction | None:  # noqa: A002
        """The later answer to a call with `later=True`, of this process or an earlier one.

        Args:
            id: the prediction's `id`.
            timeout_s: how long to wait for it, in seconds; None: not at all.

        Returns:
            The reference's answer; None when it is not there yet.

        Raises:
            UpgradeError: it will not come, or no such call is known; the message says why.
            InputError: the id or the timeout is no such thing.
        """
        from wherever._outbox.later import upgraded  # noqa: PLC0415 (not every client needs it)

        outbox = self.outbox()
        outbox.start()
        result = outbox.result(id, timeout_s)
        return None if result is None else upgraded(result)

    def feedback(
        self,
        id: str,  # noqa: A002 (as p.id)
        *,
        label: Any = None,
        accepted: bool | None = None,
    ) -> None:
        """Say how right the answer to a recorded call is, of this process or an earlier one.

        Args:
            id: the prediction's `id`.
            label: the right label; of a model that detects, a list of all that there is in the
                image, each with its label and box.
            accepted: whether the answer is right.

        Raises:
            InputError: no such call was recorded; it is not exactly one of label and accepted, or
                not what this model can be told.
            ModelNotFoundError: the label cannot be checked, as the model is not here any more.
        """
        self._refuse_closed()
        self._witness.opinions().feedback_by_id(id, label=label, accepted=accepted)

    def outbox(self) -> Outbox:
        """Where calls wait for a later answer."""
        with loading(), self._lock:
            self._refuse_closed()
            if self._outbox is None:
                from wherever._outbox.opening import open_outbox  # noqa: PLC0415 (likewise)

                self._outbox = open_outbox(
                    self.settings, self._remotes, self._nearby.start, self._on_upgrade
                )
            return self._outbox

    def status(self) -> Status:
        """Models, places and their health, as known without asking anyone. Never raises."""
        problems = (*self._nearby.problems, *self._witness.problems)
        loaded = self._own.loaded()
        return make_status(
            self.settings,
            self._store_or_error(),
            self._remotes,
            self._surroundings.network(),
            problems,
            loaded,
            self._witness.standing(),
        )

    @property
    def store(self) -> Store:
        """The packages that this client knows."""
        with self._lock:
            if self._store is None:
                self._store = open_store(self.settings)
            return self._store

    def close(self) -> None:
        """Close connections and sessions; calls that follow raise `ClosedError`."""
        with self._lock:
            self._closed = True
            handles, self._models = self._models, {}
            watcher, self._watcher = self._watcher, None
        self._threads.close()
        if watcher is not None:
            watcher.close()
        for model in handles.values():
            model.forget()
        if self._outbox is not None:
            self._outbox.close(0.0)
        self._beside_calls.close()
        self._witness.close()
        self._nearby.close()
        for remote in self._remotes.values():
            remote.close()
        if self._outbox is not None:
            self._outbox.close()  # what was on its way has ended with the connections
        if self._cache is not None:
            self._cache.close()
        self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def make_route(
        self,
        name: str,
        package: Package,
        mode: Mode | None,
        boundary: Boundary | None,
        places: Collection[Place] | None,
        aim: Aim | None,
    ) -> Route:
        """Plan calls of a model under these options, and load what the plan needs."""
        self._refuse_closed()
        self._watch()
        self._resume()
        with loading():
            loaded = self._own.load(package, mode or self.settings.mode, places)
            for remote in self._remotes.values():
                remote.host.prepare()  # 75 ms, not within a deadline
        manifest = package.manifest
        plan = plan_of(
            manifest,
            mode or self.settings.mode,
            limits=(self.settings.boundary, boundary),
            places=places,
            candidates=[
                Candidate(DEVICE, "device", loaded.unfit),
                *(Candidate(remote.name, remote.place) for remote in self._remotes.values()),
            ],
            aim=aim,
        )
        if any(candidate.place == "nearby" for candidate in plan.attempts):
            self._nearby.start()
        here = None if loaded.device is None else loaded.device.variant.id
        return Route(
            plan=plan,
            releases=sendable(manifest),
            signature=manifest.signature,
            signature_digest=signature_digest(manifest.signature),
            wire_name=manifest.name,
            wire_version=wire_version(name, package.version),
            device=loaded.device,
            device_failed=loaded.failed,
            views=loaded.views,
            remotes=self._remotes,
            remote_timeout_s=self.settings.remote_timeout_s,
            tokens=self._tokens,
            saving=self._surroundings.on_battery,
            in_thread=self.in_thread,
            spare=self._threads.race,
            kept=lambda: self._kept(package, loaded.device),
            witness=self._witness,
            tracing=self._tracing,
            escalation=self._witness.escalation(package, plan.thresholds, aim, here),
        )

    @property
    def uses_device(self) -> bool:
        """Whether calls that name no mode may be answered by this device."""
        return "device" in MODES[self.settings.mode].order

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking function beside the running event loop."""
        return await self._threads.run(function, *arguments)

    def beside(self, function: Callable[..., object], *arguments: Any) -> bool:
        """Run a function in a thread of this client's; see `Threads.beside`."""
        return self._threads.beside(function, *arguments)

    def look_again(self) -> int:
        """Look whether this machine is to be used otherwise now.

        Returns:
            A number that is another one than before when it is.
        """
        if self._own.changed():
            self.standing += 1
        return self.standing

    def fetch(self, package: Package, progress: Callable[[int, int | None], None]) -> Package:
        """The same package with its files on this machine; brings them from the catalogue's pages.

        Raises:
            DownloadError: a file could not be had; what came of it is kept for the next try.
            PackageError: what came is not what the catalogue promises.
        """
        from wherever_edge.packages.install import Installer  # noqa: PLC0415 (seldom needed)

        installer = Installer(self.settings.home, mirror=self.settings.mirror, progress=progress)
        fetched = installer.fetch(f"{package.name}@{package.version}")
        self.store.rescan()
        return fetched

    def _find(self, name: str) -> Package:
        """A package of this machine, or one of the catalogue that nobody has fetched yet."""
        try:
            return self.store.get(name)
        except ModelNotFoundError:
            from wherever_edge.packages.catalogue import handle_package  # noqa: PLC0415

            package = handle_package(name, self.settings.home)
            if package is None:
                raise
            return package

    def _kept(self, package: Package, device: LoadedVariant | None) -> KeptAnswers:
        """The result cache, for calls of a package."""
        from wherever._cache import ResultCache  # noqa: PLC0415 (not every client keeps answers)
        from wherever._kept import KeptAnswers  # noqa: PLC0415

        with loading(), self._lock:
            if self._cache is None:
                settings = self.settings
                self._cache = ResultCache.in_home(
                    settings.home, max_bytes=settings.cache_max_bytes, ttl_s=settings.cache_ttl_s
                )
        digest = signature_digest(package.manifest.signature)
        return KeptAnswers(self._cache, package, digest, device)

    def _send_soon(self) -> None:
        """A host was found well again: send soon what waits in the outbox."""
        if self._outbox is not None:
            self._outbox.hurry()

    def _resume(self) -> None:
        """See to the calls that wait from before, once."""
        if not self._resumed:
            self._resumed = True
            if (self.settings.home / "outbox").is_dir():
                self.outbox().start()

    def _watch(self) -> None:
        """Notice signed updates from now on, on a device that has some or follows a registry."""
        home = self.settings.home
        if self._watcher is None and (self.settings.registry or (home / "signed").is_dir()):
            from wherever_edge.updates.watching import Watcher  # noqa: PLC0415 (seldom needed)

            seen = self.store.generation
            with self._lock:
                if self._watcher is None and not self._closed:
                    self._watcher = Watcher(home, self._updated, seen=seen)

    def _updated(self) -> None:
        for name, error in self.refresh():
            _log.warning("%s goes on with the version that it has: %s", name, error)

    def _store_or_error(self) -> Store | WhereverError:
        try:
            return self.store
        except (WhereverError, OSError) as error:
            return error if isinstance(error, WhereverError) else WhereverError(str(error))

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClosedError("this client was closed; make a new one with wherever.Client(...)")

    def after_fork(self) -> None:
        """Drop what does not survive a fork; called in the child."""
        handles = self._models
        self._start()
        for name, model in handles.items():
            model.forget()
            self._models[name] = model


def _if_alive(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    """Call a method of an object that must not be kept alive for it."""
    alive = method()
    if alive is not None:
        alive()


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
