"""What `wherever profile` shows: the machine, the decision, and a table of plans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

from wherever_contracts.durations import duration
from wherever_edge.cli import human_size, printable

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from wherever_devices.choice import Row
    from wherever_devices.here import Here
    from wherever_devices.machine import Machine
    from wherever_devices.plans import RunPlan
    from wherever_edge.packages.package import Package
    from wherever_edge.tune.tuning import Tuned

Tables: TypeAlias = "Sequence[tuple[Package, Sequence[Row]]]"

_NOT_LIMITED = (
    "{isa} limits OpenVINO alone: ONNX Runtime and LiteRT use every instruction that this "
    "processor has, and so look better here than on such a machine."
)
_NOTHING = "nothing is measured yet: without --show it is"
_OBJECTIVES = {"latency": "latency", "cpu_time": "CPU time"}
_NUMBERS = ("median", "p90", "CPU", "memory", "load")
_NUMBER_CHARS = 7  # "19.9 us"


def as_data(
    here: Here, tables: Tables, done: Tuned | None, path: Path, trouble: str
) -> dict[str, Any]:
    """All of it as plain data."""
    machine = asdict(here.machine)
    machine["cpu_features"] = _features(here.machine)
    return {
        "machine": machine,
        "profile": here.profile.name,
        "why": here.why,
        "conditions": asdict(here.conditions),
        "decision": {
            **asdict(here.decision),
            "reasons": [reason._asdict() for reason in here.decision.reasons],
        },
        "measured": asdict(done) if done else None,
        "kept_in": str(path),
        "trouble": trouble,
        "models": [
            {
                "name": package.name,
                "version": package.version,
                "plans": [_row_data(row) for row in rows],
            }
            for package, rows in tables
        ],
    }


def as_text(here: Here, tables: Tables, done: Tuned | None, trouble: str) -> RenderableType:
    """All of it for a person."""
    from rich.console import Group  # noqa: PLC0415 (60 ms)

    parts: list[RenderableType] = [_sheet(_head(here))]
    for package, rows in tables:
        parts += ["", _table(package, rows), *map(_indented, _notes(rows))]
    parts += ["", *_tail(here, done, trouble)]
    if done is None and not any(row.found for _, rows in tables for row in rows):
        parts.append(_NOTHING)
    return Group(*parts)


def _sheet(facts: Iterable[tuple[str, str]]) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415 (60 ms)

    sheet = Table.grid(padding=(0, 1, 0, 0))
    for name, fact in facts:
        sheet.add_row(name, fact)
    return sheet


def _indented(note: str) -> RenderableType:
    from rich.padding import Padding  # noqa: PLC0415 (60 ms)

    return Padding(note, (0, 0, 0, 2))


def _head(here: Here) -> Iterator[tuple[str, str]]:
    machine, decision = here.machine, here.decision
    memory = human_size(machine.usable_memory_bytes) if machine.usable_memory_bytes else "?"
    name = printable(machine.cpu_model or machine.arch)
    cores = _counted(machine.usable_cores, "core")
    yield "machine", f"{name}, {cores} usable, {memory} of memory"
    yield "", ", ".join(_features(machine)) or "no special instructions known"
    for device in machine.accelerators or ():
        yield "", f"{device.kind}: {printable(device.vendor)}"
    yield "profile", f"{here.profile.name}: {here.why}"
    yield "conditions", ", ".join(_conditions(here))
    how = (
        f"at most {_counted(decision.threads, 'thread')} a run, "
        f"{_counted(decision.runs, 'run')} at once, on {', '.join(decision.devices)}, "
        f"in {', '.join(decision.precisions)}, by {_OBJECTIVES[decision.objective]}"
    )
    yield "decision", how
    for reason in decision.reasons:
        yield "", reason.words


def _conditions(here: Here) -> Iterator[str]:
    now = here.conditions
    left = "" if now.battery_share is None else f" ({now.battery_share:.0%} left)"
    power = {None: "power not known", True: f"on battery{left}", False: "on mains"}
    network = {None: "network not known to be metered", True: "metered network", False: ""}
    yield power[now.on_battery]
    yield f"heat {now.thermal or 'not known'}"
    if now.offline or network[now.metered]:
        yield "offline" if now.offline else network[now.metered]
    if now.available_memory_bytes is not None:
        yield f"{human_size(now.available_memory_bytes)} of memory free"


def _table(package: Package, rows: Sequence[Row]) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415 (60 ms)

    title = f"{package.name} {package.version}"
    shown = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    shown.add_column("", min_width=1)
    shown.add_column("variant", overflow="fold")
    shown.add_column("plan", overflow="fold")
    for heading in _NUMBERS:
        shown.add_column(heading, justify="right", no_wrap=True, min_width=_NUMBER_CHARS)
    for row in rows:
        shown.add_row(*_cells(row))
    return shown


def _cells(row: Row) -> tuple[str, ...]:
    found = row.found
    head = ("*" if row.chosen else "", row.variant, _plan(row.plan) if row.plan else "")
    if found is None or not found.runs:
        return head
    return (
        *head,
        duration(found.latency_s),
        duration(found.p90_s),
        duration(found.cpu_s),
        human_size(found.memory_bytes),
        duration(found.load_s),
    )


def _plan(plan: RunPlan) -> str:
    device = "" if plan.device == "cpu" else f" on {plan.device}"
    threads = f" x {plan.threads}" if plan.threads else ""
    return f"{plan.engine}{device} {plan.precision}{threads}"


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    """Why the best plan of each variant is the best one, and why others cannot be."""
    explained: set[str] = set()
    for row in rows:
        usable = row.found is not None and row.found.usable
        if not row.note or (usable and row.variant in explained):
            continue
        explained.add(row.variant)
        what = row.variant if usable or row.plan is None else f"{row.variant}, {row.plan}"
        yield printable(f"{what}: {row.note}")


def _tail(here: Here, done: Tuned | None, trouble: str) -> Iterator[str]:
    yield "* answers first on this machine; x 2: on two threads"
    if here.machine.imitates and here.machine.onednn_max_cpu_isa:
        yield _NOT_LIMITED.format(isa=f"ONEDNN_MAX_CPU_ISA={here.machine.onednn_max_cpu_isa}")
    if trouble:
        yield printable(trouble)
    if done is not None:
        yield (
            f"{_counted(done.measured, 'plan')} measured in {done.elapsed_s:.1f} s, "
            f"{done.known} known from before"
        )
        yield from (printable(f"not measured: {why}") for why in done.refused)
        if done.left:
            yield f"{done.left} left: run it again to go on, or give it a larger --budget"


def _row_data(row: Row) -> dict[str, Any]:
    found = row.found
    return {
        "variant": row.variant,
        "plan": asdict(row.plan) if row.plan else None,
        "chosen": row.chosen,
        "note": row.note,
        "measured": None
        if found is None
        else {name: value for name, value in asdict(found).items() if name != "plan"},
    }


def _features(machine: Machine) -> list[str]:
    return sorted(machine.cpu_features or ())


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
