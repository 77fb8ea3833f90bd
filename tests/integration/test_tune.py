"""`wherever profile` for real: engines in their own processes, figures that outlive all of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import pytest

from wherever.cli import main
from wherever_contracts.errors import EngineCrashError, OverloadedError
from wherever_convert.builder import build_package
from wherever_devices.decision import decide
from wherever_devices.here import look_here
from wherever_devices.measured import Measurements
from wherever_devices.plans import RunPlan
from wherever_devices.profiles.files import load_profile
from wherever_edge import plugins
from wherever_edge.bare.opening import open_file
from wherever_edge.host import LocalHost
from wherever_edge.packages.store import Store
from wherever_edge.tune import kept as kept_files
from wherever_edge.tune.contest import Contest
from wherever_edge.tune.crew import Crew
from wherever_edge.tune.kept import KeptMeasurements
from wherever_edge.tune.race import FEWEST_TURNS, Contestant
from wherever_edge.tune.tuning import Tuner

PLANS_OF_DIGITS = 7


@pytest.fixture(scope="module")
def here():
    found = look_here("edge-pc")
    return found._replace(decision=replace(found.decision, threads=1, devices=("cpu",)))


def tuned(home, here, *packages, machine=None, budget_s=20.0, **options):
    machine = machine or here.machine
    kept = KeptMeasurements(home, machine)
    report = Tuner(kept, machine, here.decision, budget_s=budget_s).tune(packages, **options)
    return report, kept


def digits():
    return Store().get("digits")


@pytest.fixture(scope="module")
def tuned_home(tmp_path_factory, here, echo_package):
    """A home in which `digits` was measured, and a model of one plan."""
    home = tmp_path_factory.mktemp("tuned")
    tuned(home, here, digits(), echo_package)
    return home


@pytest.fixture
def copied(tuned_home, tmp_path):
    """A copy of that home, to change."""
    (tmp_path / "measured").mkdir()
    for path in (tuned_home / "measured").glob("*.json"):
        (tmp_path / "measured" / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_every_plan_of_a_model_is_measured_and_right(tuned_home, here, echo_package):
    everything = KeptMeasurements(tuned_home, here.machine).load()
    found = everything.without([echo_package.variant_digest("identity")])
    assert len(found) == PLANS_OF_DIGITS
    assert {each.plan.engine for each in found} == {"onnxruntime", "openvino", "litert"}
    assert all(each.usable for each in found), [(e.plan, e.wrong, e.failed) for e in found]
    assert all(0 < each.latency_s <= each.p90_s for each in found)
    assert all(each.cpu_s > 0 and each.load_s > 0 and each.rounds >= 3 for each in found)


def test_a_second_time_nothing_is_measured(copied, here):
    before = {path.name: path.read_bytes() for path in (copied / "measured").glob("*.json")}
    report, _ = tuned(copied, here, digits())
    assert (report.measured, report.known, report.left) == (0, PLANS_OF_DIGITS, 0)
    assert {p.name: p.read_bytes() for p in (copied / "measured").glob("*.json")} == before


def test_what_is_missing_is_measured_and_what_is_known_stays(copied, here):
    package = digits()
    gone = package.variant_digest("cnn")
    kept = KeptMeasurements(copied, here.machine)
    others = kept.load().without([gone])
    kept.save(others)
    report, kept = tuned(copied, here, package)
    assert (report.measured, report.known) == (2, PLANS_OF_DIGITS - 2)
    assert list(kept.load().without([gone])) == list(others)


def test_fresh_measures_anew(copied, here, echo_package):
    kept = KeptMeasurements(copied, here.machine)
    kept.save(Measurements(replace(each, latency_s=99.0) for each in kept.load()))
    report, kept = tuned(copied, here, echo_package, fresh=True)
    (plan,) = kept.load().of(echo_package.variant_digest("identity")).values()
    assert (report.measured, report.known) == (1, 0)
    assert plan.latency_s < 99
    assert sum(each.latency_s == 99 for each in kept.load()) == PLANS_OF_DIGITS


def test_a_damaged_file_is_said_and_replaced(copied, here, echo_package, caplog):
    kept = KeptMeasurements(copied, here.machine)
    kept.path.write_bytes(kept.path.read_bytes()[:200])
    assert len(kept.load()) == 0
    assert "is not used" in kept.trouble
    assert "wherever profile" in caplog.text
    report, kept = tuned(copied, here, echo_package)
    assert report.measured == len(kept.load()) == 1
    assert kept.trouble == ""


def test_where_a_file_is_in_the_way_nothing_is_known(tmp_path, here):
    (tmp_path / "home").write_bytes(b"")
    assert len(KeptMeasurements(tmp_path / "home", here.machine).load()) == 0


def test_a_variant_with_a_damaged_file_is_left_out_and_said(tmp_path, here, build_scales):
    package = build_scales(tmp_path / "scales")
    (package.root / "small.onnx").write_bytes(bytes((package.root / "small.onnx").stat().st_size))
    report, kept = tuned(tmp_path, here, package)
    (why,) = report.refused
    assert why.startswith("scales 1.0.0, small: ")
    assert (report.measured, report.left) == (1, 1)
    assert not kept.load().of(package.variant_digest("small"))


def test_however_short_the_time_something_is_measured(tmp_path, here, echo_package):
    report, _ = tuned(tmp_path, here, echo_package, digits(), budget_s=0.001)
    assert report.measured >= 1
    assert report.measured + report.left == PLANS_OF_DIGITS + 1


def test_two_do_not_measure_at_once(copied, here):
    with (
        KeptMeasurements(copied, here.machine).alone(),
        pytest.raises(OverloadedError, match="another process measures"),
    ):
        tuned(copied, here, digits())


def test_an_imitated_machine_has_figures_of_its_own(copied, here, echo_package):
    machine = look_here(imitate="raspberry-pi-5").machine
    assert len(KeptMeasurements(copied, machine).load()) == 0
    own = KeptMeasurements(copied, here.machine).path
    before = own.read_bytes()
    report, kept = tuned(copied, here, echo_package, machine=machine)
    assert report.measured == 1
    assert kept.path != own
    assert own.read_bytes() == before
    assert json.loads(kept.path.read_bytes())["machine"]["onednn_max_cpu_isa"] == "AVX2_VNNI"


def with_costs(home, here, package, costs):
    """Measurements that say of each engine of a variant what a run costs, in ms."""
    kept = KeptMeasurements(home, here.machine)
    by_digest = {
        (package.variant_digest(variant), engine): cost / 1e3
        for (variant, engine), cost in costs.items()
    }
    changed = [
        replace(each, latency_s=by_digest[key], cpu_s=by_digest[key])
        for each in kept.load()
        if (key := (each.variant_digest, each.plan.engine)) in by_digest
    ]
    kept.save(kept.load().with_these(changed))


def test_a_host_runs_what_was_measured_to_be_best(copied, here):
    package = digits()
    costs = {("mlp-int8", "onnxruntime"): 9.0, ("mlp-int8", "openvino"): 2.0}
    with_costs(copied, here, package, {**costs, ("mlp-litert", "litert"): 8.0})
    host = LocalHost(
        Store(), distance="device", machine=here.machine, home=copied, decision=here.decision
    )
    loaded = host.resolve("digits", variant="mlp-int8")
    assert loaded.ran.engine == "openvino"
    rows = host.table(package)
    assert [row.plan.engine for row in rows if row.variant == "mlp-int8"] == [
        "openvino",
        "onnxruntime",
    ]
    host.close()
    without = LocalHost(Store(), distance="device", machine=here.machine)
    assert without.resolve("digits").ran.engine == "onnxruntime"
    without.close()


def test_a_host_follows_new_figures_and_new_conditions(copied, here, monkeypatch):
    monkeypatch.setattr("wherever_edge.tune.guidance.EVERY_S", 0.0)
    now = [here.decision]
    host = LocalHost(
        Store(), distance="device", machine=here.machine, home=copied, decision=lambda: now[0]
    )
    package = digits()
    with_costs(copied, here, package, {("mlp-int8", "onnxruntime"): 0.0001})
    assert host.resolve("digits").variant.id == "mlp-int8"
    kept = host.resolve("digits")
    assert host.resolve("digits") is kept
    with_costs(copied, here, package, {("mlp-int8", "onnxruntime"): 99.0})
    assert host.resolve("digits").variant.id != "mlp-int8"
    with_costs(copied, here, package, {("mlp-int8", "onnxruntime"): 0.0001})
    assert host.resolve("digits").variant.id == "mlp-int8"
    with_costs(copied, here, package, {("mlp-openvino", "openvino"): 0.000097})
    assert host.resolve("digits").variant.id == "mlp-int8"
    now[0] = replace(here.decision, prefer_small=True)
    assert host.resolve("digits").variant.id == "mlp-openvino"
    host.close()


def test_on_battery_the_decision_spares_and_the_host_follows(copied, here):
    profile = load_profile("edge-pc")
    conditions = replace(here.conditions, on_battery=True, battery_share=0.2)
    sparing = decide(here.machine, profile, conditions)
    assert sparing.prefer_small
    host = LocalHost(
        Store(), distance="device", machine=here.machine, home=copied, decision=sparing
    )
    package = digits()
    with_costs(copied, here, package, {("mlp-openvino", "openvino"): 0.00001})
    first = next(option for option in host.options(package) if not option.unfit)
    assert first.variant.id == "mlp-openvino"
    assert first.why.startswith("the smallest variant is preferred now")
    host.close()


def test_threads_that_a_user_sets_are_kept_whatever_was_measured(copied, here):
    host = LocalHost(
        Store(),
        distance="device",
        machine=here.machine,
        threads=2,
        home=copied,
        decision=here.decision,
    )
    assert {o.plan.threads for o in host.options(digits()) if o.plan} == {2}
    assert host.resolve("digits").ran.threads == 2
    host.close()


def bare_package(root, path, **changes):
    """A package of a model file, as it is."""
    manifest = open_file(path, task="tensors").manifest.model_dump(mode="json", by_alias=True)
    (variant,) = manifest["variants"]
    root.mkdir()
    (root / variant["files"][0]["path"]).write_bytes(path.read_bytes())
    variant.update(changes)
    return build_package(root, manifest)


def test_a_model_without_samples_is_measured_on_made_up_numbers(test_data, tmp_path, here):
    path = test_data / "models" / "vww_96_int8.tflite"
    package = bare_package(tmp_path / "vww", path)
    report, kept = tuned(tmp_path, here, package)
    found = list(kept.load())
    assert report.measured == len(found) == 2
    assert all(each.usable for each in found), [(e.plan, e.wrong, e.failed) for e in found]


PLUGIN = '''
"""Engines that misbehave while they are measured."""
import os
import time

import numpy as np

from wherever_contracts.tensors import TensorSpec
from wherever_edge.engines.engine import Engine, EngineFacts, Session


class Echo(Session):
    def __init__(self, facts, spoil):
        x, y = TensorSpec("x", "float32", (-1, -1)), TensorSpec("y", "float32", (-1, -1))
        super().__init__((x,), (y,), facts)
        self._spoil = spoil

    def _run(self, feed):
        return {"y": self._spoil(feed["x"])}


class Misbehaving(Engine):
    formats = ("onnx",)

    def _open(self, files, *, file_format, plan, resources):
        facts = EngineFacts(self.name, "1", "CPU", plan.precision, plan.threads)
        return Echo(facts, self.spoil)


class Crashing(Misbehaving):
    name = "crashing"

    def spoil(self, array):
        os.abort()


class Lying(Misbehaving):
    name = "lying"

    def spoil(self, array):
        return array + 1


class Quick(Misbehaving):
    name = "quick"

    def spoil(self, array):
        return array.copy()


class Refusing(Misbehaving):
    name = "refusing"

    def _open(self, files, *, file_format, plan, resources):
        raise OSError("refusing says no")


class Honest(Misbehaving):
    name = "honest"

    def _open(self, files, *, file_format, plan, resources):
        facts = EngineFacts(self.name, "1", "CPU", "float16", plan.threads)
        return Echo(facts, lambda array: array.copy())
'''


@pytest.fixture
def plugins_path(tmp_path):
    """A directory with engines of others, as pip would install them."""
    folder = tmp_path / "site"
    info = folder / "misbehaving-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "misbehaving.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    names = ("Crashing", "Lying", "Quick", "Honest", "Refusing")
    lines = [f"{name.lower()} = misbehaving:{name}" for name in names]
    (info / "entry_points.txt").write_text("\n".join(["[wherever.engines]", *lines]) + "\n")
    return folder


@pytest.fixture
def misbehaving(plugins_path, monkeypatch):
    """Engines of others are installed, here and in processes that are started."""
    monkeypatch.syspath_prepend(plugins_path)
    monkeypatch.setenv("PYTHONPATH", str(plugins_path))
    plugins.entry_points.cache_clear()
    kept_files.engine_versions.cache_clear()
    yield
    plugins.entry_points.cache_clear()
    kept_files.engine_versions.cache_clear()


@pytest.mark.usefixtures("misbehaving")
def test_engines_that_crash_lie_or_do_otherwise_are_recorded_and_not_chosen(
    echo_package, tmp_path, answered, capsys
):
    manifest = json.loads((echo_package.root / "model.json").read_bytes())
    engines = ["onnxruntime", "crashing", "lying", "honest", "quick", "refusing"]
    manifest["variants"][0]["needs"]["engines"] = engines
    root = tmp_path / "echo"
    root.mkdir()
    (root / "identity.onnx").write_bytes((echo_package.root / "identity.onnx").read_bytes())
    build_package(root, manifest)
    arguments = ("profile", "echo", "--home", tmp_path / "home", "--packages", root)
    report = answered(*arguments, "--budget", 20)
    (model,) = report["models"]
    by_engine = {row["plan"]["engine"]: row for row in model["plans"]}
    assert by_engine["crashing"]["note"] == "crashing died (SIGABRT) while it was measured"
    assert by_engine["lying"]["note"].startswith("against onnxruntime, 'y' is ")
    assert by_engine["honest"]["note"] == "honest computes in float16 here, not in float32"
    assert by_engine["refusing"]["note"] == "refusing cannot load the model: refusing says no"
    assert by_engine["quick"]["measured"]["runs"] >= 1
    chosen = [name for name, row in by_engine.items() if row["chosen"]]
    assert chosen in (["quick"], ["onnxruntime"])
    with pytest.raises(SystemExit):
        main([*map(str, arguments), "--show"])
    printed = capsys.readouterr().out
    assert "crashing died (SIGABRT) while it was measured" in " ".join(printed.split())


@pytest.mark.usefixtures("misbehaving")
def test_an_engine_that_does_not_answer_is_ended(monkeypatch):
    with closing(Crew(1, {})) as crew:
        worker = crew.of("quick")
        with pytest.raises(EngineCrashError, match="did not answer within 0 s"):
            worker.ask({"do": "devices"}, {}, timeout_s=0.001)
        crew.bury(worker)
        assert crew.of("quick") is not worker
        assert crew.devices("quick") == ("cpu",)
        assert crew.devices("unknown-engine") == ("cpu",)


@pytest.mark.usefixtures("misbehaving")
def test_who_shares_a_worker_with_one_that_died_goes_on(echo_package):
    plan = RunPlan("quick", "cpu", "float32", 1)
    quick = Contestant(plan)
    with closing(Crew(1, {})) as crew:
        contest = Contest(echo_package, echo_package.manifest.variants[0], crew)
        contest.enter(quick)
        contest.take_turn(quick)
        crew.bury(crew.of("quick"))
        contest.take_turn(quick)
        contest.close()
    assert len(quick.turns) == 2
    assert quick.racing


def command(home, *arguments):
    """Start `wherever profile --json` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "wherever", "profile", "--json", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "WHEREVER_HOME": str(home)},
    )


def finished(process, code=0):
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, (out, err)
    return json.loads(out) if out else {}


def wait_for_figures(home):
    """Wait until it was saved what enough rounds gave."""
    while not any(
        each["rounds"] >= FEWEST_TURNS
        for path in home.glob("measured/*.json")
        for each in json.loads(path.read_bytes())["measurements"]
    ):
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_what_was_measured_outlives_the_process(number, code, tmp_path):
    process = command(tmp_path, "digits", "--budget", 60)
    wait_for_figures(tmp_path)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code, told
    assert ("what was measured so far is kept" in told) == (number == signal.SIGINT)
    again = finished(command(tmp_path, "digits", "--budget", 1))["measured"]
    assert again["known"] >= 1
    assert again["measured"] >= 1
    assert again["known"] + again["measured"] + again["left"] == PLANS_OF_DIGITS


def test_the_command_tells_machine_decision_and_table(copied, answered):
    said = answered("profile", "digits", "--home", copied, "--show", "--profile", "edge-pc")
    assert said["measured"] is None
    assert said["profile"] == "edge-pc"
    assert said["decision"]["threads"] >= 1
    assert said["machine"]["usable_cores"] >= 1
    (model,) = said["models"]
    assert sum(row["chosen"] for row in model["plans"]) == 1
    assert {row["variant"] for row in model["plans"]} >= {"mlp-int8", "cnn"}


def test_the_command_imitates_another_machine(tmp_path, answered):
    said = answered("profile", "--home", tmp_path, "--as", "raspberry-pi-5", "--show")
    assert said["machine"]["imitates"] == "raspberry-pi-5"
    assert said["machine"]["onednn_max_cpu_isa"] == "AVX2_VNNI"
    assert said["machine"]["cpu_features"] == []


def test_the_command_speaks_to_people(copied, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as caught:
        main(["profile", "digits", "--home", str(copied), "--as", "raspberry-pi-5", "--show"])
    printed = capsys.readouterr().out
    assert caught.value.code in (None, 0)
    assert "raspberry-pi-5" in printed
    assert "ONNX Runtime and LiteRT use every instruction" in printed
    assert "nothing is measured yet" in printed


def test_facts_that_need_two_lines_stay_in_their_column(copied, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        main(["profile", "digits", "--home", str(copied), "--show"])
    facts = capsys.readouterr().out.partition("digits 1.0.0")[0]
    names = [line[:11].strip() for line in facts.splitlines()]
    assert [name for name in names if name] == ["machine", "profile", "conditions", "decision"]


def test_an_unknown_place_or_model_is_said(answered):
    assert "--place" in answered("profile", "--place", "moon", "--show", code=1)["error"]["message"]
    assert answered("profile", "nothing", "--show", code=1)["error"]["code"] == "model_not_found"
