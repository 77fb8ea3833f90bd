"""What `wherever doctor` looks at; each look gives findings, and none of them fails."""

from __future__ import annotations

import difflib
import os
import platform
import shutil
import tempfile
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from wherever._access import box_targets, gateway_targets
from wherever._settings import Settings
from wherever._status import NetworkStatus
from wherever_contracts.durations import duration
from wherever_contracts.errors import SettingsError, WhereverError
from wherever_devices.here import look_here
from wherever_devices.plans import RunPlan
from wherever_edge import plugins
from wherever_edge.builtin import digits_test_split
from wherever_edge.configured import settings_files
from wherever_edge.engines.installed import GROUP
from wherever_edge.host import LoadedVariant, LocalHost
from wherever_edge.inputs import InputChecker
from wherever_edge.packages.store import Store
from wherever_edge.resident import Resident

if TYPE_CHECKING:
    from wherever._access import Target
    from wherever._routing.hints import Hints
    from wherever_contracts.manifest import Variant
    from wherever_edge.engines.engine import Engine
    from wherever_edge.packages.store import Package

State: TypeAlias = Literal["ok", "warn", "fail"]

# Extra -> the modules it brings; a test compares the extras with those of the distribution. Those
# that bring an engine are looked at with the engines.
EXTRAS: Mapping[str, Mapping[str, str]] = {
    "image": {"PIL": "Pillow", "cv2": "OpenCV"},
    "gateway": {"starlette": "starlette", "uvicorn": "uvicorn"},
    "plot": {"matplotlib": "matplotlib"},
    "convert": {"onnx": "onnx", "skl2onnx": "skl2onnx"},
    "parquet": {"pyarrow": "pyarrow"},
    "text": {"tokenizers": "tokenizers"},
    "telemetry": {"opentelemetry": "OpenTelemetry"},
}
_FOR: Mapping[str, str] = {
    "image": "reading, sending and drawing images",
    "gateway": "`wherever gateway` over HTTP",
    "plot": "`wherever demo --save`",
    "convert": "`wherever convert`",
    "parquet": "samples in a .parquet table",
    "text": "models that bring a tokenizer.json",
    "telemetry": "traces",
}
_BASE = ("numpy", "onnxruntime", "grpcio", "protobuf", "pydantic")
_PREFIX = "WHEREVER_"
_LITTLE_DISK = 500_000_000
_TRIED = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        area: what was looked at.
        state: "ok"; "warn": something optional is amiss; "fail": something needed is.
        text: what was found.
        mend: what to do about it, or "".
    """

    area: str
    state: State
    text: str
    mend: str = ""

    def to_dict(self) -> dict[str, str]:
        """The same as plain data."""
        return asdict(self)


def look_at_machine(settings: Settings) -> Iterator[Finding]:
    """What this machine is, how things stand, and how it is used."""
    try:
        here = look_here(settings.profile, home=settings.home)
    except SettingsError as error:
        yield Finding("machine", "fail", str(error), "correct the profile, or name another one")
        here = look_here()
    machine, decision = here.machine, here.decision
    memory = f"{machine.usable_memory_bytes / 2**30:.1f} GiB" if machine.memory_bytes else "unknown"
    features = ", ".join(sorted(machine.cpu_features or ())) or "none known"
    found = ", ".join(f"{one.kind} ({one.vendor})" for one in machine.accelerators or ())
    name = machine.board or machine.cpu_model or "CPU"
    yield Finding("machine", "ok", f"{machine.os} {machine.arch}, {name}")
    yield Finding(
        "machine",
        "ok",
        f"{machine.usable_cores} cores and {memory} of memory for this process; "
        f"instructions: {features}; accelerators: {found or 'none known'}",
    )
    yield Finding("machine", "ok", f"conditions: {here.conditions}")
    yield Finding("machine", "ok", f"profile {decision.profile} ({here.why}): {decision}")
    for reason in decision.reasons:
        yield Finding("machine", "ok", f"{reason.name}: {reason.words}")


def look_at_installation() -> Iterator[Finding]:
    """Versions, and which extras are there."""
    python = f"Python {platform.python_version()}"
    base = ", ".join(f"{name} {metadata.version(name)}" for name in _BASE)
    yield Finding("installed", "ok", f"wherever {metadata.version('wherever')}, {python}; {base}")
    for extra, modules in EXTRAS.items():
        yield _extra(extra, modules)


def look_at_engines() -> Iterator[Finding]:
    """Each engine that is registered: does it load the built-in model, and does it read digits?"""
    looks = [_engine(name) for name in sorted(plugins.entry_points(GROUP))]
    if not any(works for works, _ in looks):
        yield Finding("engines", "fail", "no engine works", "pip install --upgrade onnxruntime")
    yield from (finding for _, finding in looks)


def look_at_packages(store: Store) -> Iterator[Finding]:
    """Each package: whole, undamaged, and able to run here?"""
    host = LocalHost(store, distance="device")
    for package in store.list():
        yield _package(package, host)
    for path, error in store.refused():
        mend = "put a whole package there, or take the path out of the setting 'packages'"
        yield Finding("packages", "fail", f"{path} is refused: {error}", mend)


def look_at_settings(settings: Settings, given: Collection[str] = ()) -> Iterator[Finding]:
    """Each setting in force, and where it comes from; `given` are those of the command line."""
    files = [_toml(path) for path in settings_files()]
    for name in Settings.model_fields:
        source = "command line" if name in given else _source(name, files)
        yield Finding("settings", "ok", f"{name} = {_shown(getattr(settings, name))} ({source})")
    known = [_PREFIX + name.upper() for name in Settings.model_fields]
    for variable in sorted(os.environ):
        near = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.85)
        if near and variable.upper() not in known:
            text = f"the environment sets {variable}, which is no setting"
            yield Finding("settings", "warn", text, f"did you mean {near[0]}?")


def look_at_home(home: Path) -> Iterator[Finding]:
    """Can state be written, and is there room for it?"""
    folder = next(path for path in (home, *home.absolute().parents) if path.exists())
    mend = "make it writable, or name another directory: WHEREVER_HOME"
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        text = f"{home} cannot be written ({error.strerror}): archives cannot be unpacked"
        yield Finding("state", "warn", text, mend)
    else:
        yield Finding("state", "ok", f"{home} can be written")
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:,.1f} GB free there"
    if free < _LITTLE_DISK:
        yield Finding("state", "warn", text, "make room: archives are unpacked there")
    else:
        yield Finding("state", "ok", text)


def look_at_network(settings: Settings, network: Hints) -> Finding:
    """Is this device connected, where calls may leave it, and does that cost?"""
    text = str(NetworkStatus(*network))
    if network.offline and settings.gateways:
        mend = "connect it; calls stay on this device, and on hosts that run on it"
        return Finding("network", "warn", text, mend)
    return Finding("network", "ok", text)


def look_at_hosts(settings: Settings, models: Sequence[str], timeout_s: float) -> Iterator[Finding]:
    """Is each box and gateway there, and does it serve the models that are known here?"""
    try:
        yield from _reached([*box_targets(settings), *gateway_targets(settings)], models, timeout_s)
    except WhereverError as error:
        yield Finding("gateways", "fail", str(error), "correct the setting, or delete the file")


def _reached(
    targets: Sequence[Target], models: Sequence[str], timeout_s: float
) -> Iterator[Finding]:
    if not targets:
        yield Finding(
            "gateways",
            "ok",
            "none is set, so calls stay on this device (WHEREVER_GATEWAYS sets some)",
        )
        return
    from wherever.cli._reach import reach_all  # noqa: PLC0415 (grpc: 100 ms)

    for found in reach_all(targets, timeout_s, models):
        if not found.ok:
            yield Finding("gateways", "fail", found.why, found.mend)
            continue
        took = duration(found.elapsed_s)
        yield Finding(
            "gateways", "ok", f"{found.address} ({found.server}) is ready, asked in {took}"
        )
        if found.lacks:
            text = f"{found.address} does not serve {', '.join(found.lacks)}: calls stay here"
            mend = "give it the packages: wherever gateway --packages DIR"
            yield Finding("gateways", "warn", text, mend)


def _extra(extra: str, modules: Mapping[str, str]) -> Finding:
    found: list[str] = []
    try:
        for module, name in modules.items():
            found.append(f"{name} {getattr(import_module(module), '__version__', '')}".strip())
    except Exception as error:  # noqa: BLE001 (a broken install raises anything when imported)
        text = f"extra {extra}, for {_FOR[extra]}: {error}"
        return Finding("installed", "warn", text, f"pip install 'wherever[{extra}]'")
    return Finding("installed", "ok", f"extra {extra}: {', '.join(found)}")


def _engine(name: str) -> tuple[bool, Finding]:
    """Does the engine work, and what is to be said of it?"""
    try:
        engine: Engine = plugins.load(GROUP, name)()
        missing = engine.missing()
        if missing:  # another engine runs the variants: no reason to worry
            return False, Finding("engines", "ok", f"{name}, which is optional, is {missing}")
        found = _tried(name, engine)
    except Exception as error:  # noqa: BLE001 (the named boundary: plug-ins raise anything)
        text = f"{name} does not work: {error}"
        mend = f"install it again, or remove the plug-in {name!r}"
        return False, Finding("engines", "warn", text, mend)
    return found.state == "ok", found


def _tried(name: str, engine: Engine) -> Finding:
    """Read some digits whose labels are known."""
    package = Store().get("digits")
    variant = next((v for v in package.present() if _reads(name, engine, v)), None)
    if variant is None:
        text = f"{name} reads {', '.join(engine.formats)}: not tried, no built-in model is of these"
        return Finding("engines", "warn", text)
    plan = RunPlan(name, "cpu", variant.precision, 1)
    session = engine.open(
        [package.read(entry) for entry in variant.files],
        file_format=variant.format,
        plan=plan,
    )
    loaded = LoadedVariant(package, variant, Resident.of(plan, session))
    check = InputChecker(package.manifest.signature).check
    images, labels = (split[:_TRIED] for split in digits_test_split())
    answers = [loaded.answer(check(image), {}).outputs["scores"].argmax() for image in images]
    right = sum(int(answer == label) for answer, label in zip(answers, labels, strict=True))
    facts = session.facts
    session.close()
    text = (
        f"{name} {facts.version} on {facts.provider}, {variant.id} in {facts.precision}: "
        f"{right} of {_TRIED} digits read right"
    )
    if right < _TRIED * 0.8:
        return Finding("engines", "warn", text, "it computes wrongly here: install another version")
    return Finding("engines", "ok", text)


def _reads(name: str, engine: Engine, variant: Variant) -> bool:
    """True for a variant that is meant for this engine before any other."""
    return variant.format in engine.formats and variant.needs.engines[:1] == (name,)


def _package(package: Package, host: LocalHost) -> Finding:
    name = f"{package.name} {package.version} ({package.trust})"
    try:
        package.verify()
    except WhereverError as error:
        return Finding("packages", "fail", f"{name} is damaged: {error}", "install it again")
    choices = host.choices(package)
    runs = next((variant for variant, reason in choices if not reason), None)
    if runs is None:
        reasons = "; ".join(f"{variant.id}: {reason}" for variant, reason in choices)
        text = f"{name} cannot run on this device ({reasons})"
        return Finding(
            "packages", "warn", text, "let a gateway answer: WHEREVER_GATEWAYS=host:port"
        )
    return Finding("packages", "ok", f"{name} runs here as variant {runs.id}")


def _source(name: str, files: Sequence[tuple[Path, Mapping[str, Any]]]) -> str:
    """Where a setting comes from, by the order in which the sources win."""
    for variable, value in os.environ.items():
        if variable.upper() == _PREFIX + name.upper() and value:
            return variable
    return next((str(path) for path, found in files if name in found), "default")


def _toml(path: Path) -> tuple[Path, Mapping[str, Any]]:
    try:
        return path, tomllib.loads(path.read_text())
    except (OSError, ValueError):
        return path, {}


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, cast("tuple[object, ...]", value))) or "none"
    return "none" if value is None else str(value)
