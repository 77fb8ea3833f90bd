"""Whether the plan that was chosen by measuring is the best one, for eight models of others.

Each model is tuned as `wherever profile` does it, all within its 30 s. Then every plan that is
allowed takes turns with every other one, and with ONNX Runtime as its makers set it up, in 7
rounds; what was chosen is compared with what was best, round by round.

The objective that has to meet the bar is CPU time: it is about the same on busy cores as on idle
ones. Latency is told beside it; a default session's threads spin between runs, which makes its
latency of 2 threads hard to reach for ours, which do not, and costs two to four times the CPU time.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from harness import Row

from wherever_convert.builder import build_package
from wherever_devices.choice import order_options
from wherever_devices.decision import Decision
from wherever_devices.here import Here, look_here
from wherever_devices.plans import RunPlan
from wherever_devices.profiles import Objective
from wherever_edge.bare.opening import open_file
from wherever_edge.engines.installed import InstalledEngines
from wherever_edge.packages.package import Package
from wherever_edge.tune.agreement import made_up
from wherever_edge.tune.candidates import candidates
from wherever_edge.tune.contest import Contest
from wherever_edge.tune.crew import Crew
from wherever_edge.tune.kept import KeptMeasurements
from wherever_edge.tune.race import Contestant, Turn
from wherever_edge.tune.tuning import Tuner

MODELS = (
    "FastestDet.onnx",
    "yolox_nano.onnx",
    "picodet_s_416_coco.onnx",
    "magika_fast_v2_1.onnx",
    "ultraface-slim-320.onnx",
    "mobilenet_v1_0.25_224_float.tflite",
    "vww_96_int8.tflite",
    "cifar10_resnet8_int8.tflite",
)
ROUNDS = 7
REST_S = 0.05  # the threads of a default session go on spinning for a while
DEFAULT = RunPlan("default ONNX Runtime", "cpu", "float32", 0)
OBJECTIVES: tuple[Objective, ...] = ("cpu_time", "latency")


class Outcome(NamedTuple):
    """What came of one model: medians over the rounds of the chosen plan's cost by another's."""

    model: str
    chosen: RunPlan
    best: RunPlan
    by_best: float
    by_default: float | None


def rows() -> list[Row]:
    """By each objective: against the best plan, and against default ONNX Runtime."""
    data = os.environ.get("WHEREVER_TEST_DATA")
    if not data:
        return [
            Row("best engine of 8 models", "not run: WHEREVER_TEST_DATA is not set", "", "", None)
        ]
    with TemporaryDirectory() as folder:
        outcomes = measured(Path(data) / "models", Path(folder))
    return [row for objective in OBJECTIVES for row in _rows(objective, outcomes[objective])]


def measured(models: Path, folder: Path) -> dict[Objective, list[Outcome]]:
    """Tune, then compare with everything."""
    here = look_here()
    decision = replace(here.decision, threads=here.machine.usable_cores)
    packages = {name: _built(models / name, folder / name) for name in MODELS}
    kept = KeptMeasurements(folder, here.machine)
    Tuner(kept, here.machine, decision).tune(list(packages.values()))
    outcomes: dict[Objective, list[Outcome]] = {goal: [] for goal in OBJECTIVES}
    for name, package in packages.items():
        field = _exhaustive(package, decision, here, models / name)
        for goal in OBJECTIVES:
            chosen = _chosen(package, replace(decision, objective=goal), here, kept)
            outcomes[goal].append(_outcome(name, chosen, field, goal))
    return outcomes


def _built(path: Path, root: Path) -> Package:
    """A package of a bare file, for every engine that reads it."""
    manifest = open_file(path, task="tensors").manifest.model_dump(mode="json", by_alias=True)
    root.mkdir()
    (root / manifest["variants"][0]["files"][0]["path"]).write_bytes(path.read_bytes())
    return build_package(root, manifest)


def _states(package: Package) -> dict[str, Any]:
    return InstalledEngines().states(package.manifest.variants[0].needs.engines)


def _chosen(package: Package, decision: Decision, here: Here, kept: KeptMeasurements) -> RunPlan:
    (variant,) = package.manifest.variants
    first = order_options(
        package.manifest,
        present={variant.id},
        machine=here.machine,
        engines=_states(package),
        threads=decision.threads,
        distance="device",
        measured={variant.id: kept.load().of(package.variant_digest(variant.id))},
        decision=decision,
    )[0]
    assert first.plan is not None
    return first.plan


def _exhaustive(
    package: Package, decision: Decision, here: Here, path: Path
) -> dict[RunPlan, list[Turn]]:
    """Every plan's turns, round by round."""
    (variant,) = package.manifest.variants
    states = _states(package)
    devices = dict.fromkeys(states, ("cpu",))
    field = [Contestant(plan) for plan in candidates(variant, states, devices, decision)]
    with (
        closing(Crew(here.machine.usable_cores, {})) as crew,
        closing(Contest(package, variant, crew)) as contest,
    ):
        for each in field:
            contest.enter(each)
        able = [each for each in field if each.racing]
        default = _default(path) if path.suffix == ".onnx" else None
        turns: dict[RunPlan, list[Turn]] = {DEFAULT: []} if default else {}
        for number in range(ROUNDS):
            for each in able[number % len(able) :] + able[: number % len(able)]:
                contest.take_turn(each)
            if default:
                turns[DEFAULT].append(default(able[0].next_runs()))
                time.sleep(REST_S)
    return turns | {each.plan: each.turns for each in able}


def _default(path: Path) -> Callable[[int], Turn]:
    """Turns of a session that nobody configured."""
    import onnxruntime

    from wherever_edge.engines.onnxruntime import OnnxRuntimeEngine

    onnxruntime.set_default_logger_severity(3)
    plan = RunPlan("onnxruntime", "cpu", "float32", 0)
    specs = OnnxRuntimeEngine().open([path.read_bytes()], file_format="onnx", plan=plan).inputs
    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed: dict[str, np.ndarray] = made_up(specs)
    for _ in range(3):
        session.run(None, feed)

    def turn(runs: int) -> Turn:
        session.run(None, feed)
        samples: list[float] = []
        cpu_started = time.process_time()
        for _ in range(runs):
            started = time.perf_counter()
            session.run(None, feed)
            samples.append(time.perf_counter() - started)
        return Turn(tuple(samples), time.process_time() - cpu_started)

    return turn


def _outcome(
    name: str, chosen: RunPlan, field: dict[RunPlan, list[Turn]], goal: Objective
) -> Outcome:
    costs = {plan: [turn.cost_s(goal) for turn in turns] for plan, turns in field.items()}
    ours = {plan: each for plan, each in costs.items() if plan != DEFAULT}
    best = min(ours, key=lambda plan: median(ours[plan]))

    def against(plan: RunPlan) -> float:
        return median(a / b for a, b in zip(costs[chosen], costs[plan], strict=True))

    by_default = against(DEFAULT) if DEFAULT in costs else None
    return Outcome(Path(name).stem, chosen, best, against(best), by_default)


def _rows(goal: Objective, outcomes: list[Outcome]) -> list[Row]:
    words = goal.replace("_", " ")
    counts = goal == "cpu_time"
    worst = max(outcomes, key=lambda each: each.by_best)
    compared = [(each.by_default, each.model) for each in outcomes if each.by_default is not None]
    slowest, model = max(compared)
    picked = ", ".join(
        f"{name} {count}" for name, count in Counter(o.chosen.engine for o in outcomes).items()
    )
    return [
        Row(
            f"best engine of {len(outcomes)} models, by {words}: chosen / best plan",
            f"at most {worst.by_best:.2f} x ({worst.model}); {picked}",
            f"every plan, {ROUNDS} rounds",
            "<= 1.10 x" if counts else "",
            worst.by_best <= 1.10 if counts else None,
        ),
        Row(
            f"the same {len(compared)} ONNX models, by {words}: chosen / default ONNX Runtime",
            f"at most {slowest:.2f} x ({model}), median {median(r for r, _ in compared):.2f} x",
            "InferenceSession without options",
            "<= 1.00 x" if counts else "",
            slowest <= 1.0 if counts else None,
        ),
    ]


if __name__ == "__main__":
    with TemporaryDirectory() as scratch:
        found = measured(Path(os.environ["WHEREVER_TEST_DATA"]) / "models", Path(scratch))
    for objective, outcomes in found.items():
        for each in outcomes:
            ratio = "" if each.by_default is None else f"{each.by_default:.2f} x default"
            picked = f"{each.chosen} (best: {each.best})"
            print(f"{objective:8} {each.model:28} {each.by_best:.3f} {ratio:14} {picked}")
