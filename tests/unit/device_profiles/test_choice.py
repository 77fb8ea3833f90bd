"""Which way of answering comes first: what the author said, corrected by what was measured."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.manifest import parse_manifest
from wherever_devices.choice import ABSENT, admits, order_options, table
from wherever_devices.decision import Decision
from wherever_devices.machine import EngineState, Machine
from wherever_devices.measured import Measurement
from wherever_devices.plans import RunPlan
from wherever_devices.weighing import BASELINE

MACHINE = Machine(
    os="linux",
    arch="x86_64",
    cpu_model="some processor",
    physical_cores=4,
    usable_cores=4,
    memory_bytes=2**32,
    memory_limit_bytes=None,
    cpu_features=frozenset({"avx2"}),
    python="3.13.0",
)
ENGINES = {
    "onnxruntime": EngineState(("onnx",)),
    "openvino": EngineState(("onnx", "tflite")),
    "litert": EngineState(("tflite",)),
    "absent": EngineState(("onnx",), "not installed: pip install it"),
}
DECISION = Decision(
    profile="edge-pc",
    threads=2,
    runs=2,
    memory_max_bytes=None,
    max_waiting=64,
    devices=("cpu",),
    precisions=("float32",),
    objective="latency",
    prefer_small=False,
    reasons=(),
)
EVERYWHERE = ["device", "nearby", "cloud"]


def decided(**changes):
    fields = {name: getattr(DECISION, name) for name in DECISION.__dataclass_fields__}
    return Decision(**{**fields, **changes})


def variant(
    name, *engines, quality=None, places=EVERYWHERE, size=1, precision="float32", metric="accuracy"
):
    tensor = {"name": "x", "dtype": "float32", "shape": [1]}
    return {
        "id": name,
        "format": "onnx",
        "precision": precision,
        "places": places,
        "files": [{"path": f"{name}.onnx", "sha256": "0" * 64, "bytes": size}],
        "tensors": {"inputs": [tensor], "outputs": [tensor]},
        "needs": {"engines": list(engines or ("onnxruntime",))},
        "quality": []
        if quality is None
        else [{"dataset": "held out", "metric": metric, "value": quality, "n": 100}],
    }


def manifest(*variants, reference=None):
    tensor = {"name": "x", "dtype": "float32", "shape": [1]}
    data = {
        "schema": "1.0",
        "name": "model",
        "version": "1.0.0",
        "boundary": "anywhere",
        "reference": reference or variants[-1]["id"],
        "signature": {
            "inputs": [{**tensor, "kind": "tensor"}],
            "outputs": [tensor],
            "value": {"kind": "tensors"},
        },
        "variants": list(variants),
    }
    return parse_manifest(json.dumps(data).encode())


def plan(engine="onnxruntime", threads=2, precision="float32", device="cpu"):
    return RunPlan(engine, device, precision, threads)


def measured(*rows, wrong="", failed=""):
    """(plan, latency in ms[, CPU time in ms]), each, of one variant."""
    found = {}
    for which, latency, *cpu in rows:
        found[which] = Measurement(
            "digest",
            which,
            latency_s=latency / 1e3,
            p90_s=latency / 1e3,
            cpu_s=(cpu[0] if cpu else latency) / 1e3,
            runs=9,
            rounds=9,
            wrong=wrong,
            failed=failed,
        )
    return found


def options(described, found=None, *, decision=DECISION, distance="device", present=None):
    ids = {each.id for each in described.variants}
    return order_options(
        described,
        present=ids if present is None else present,
        machine=MACHINE,
        engines=ENGINES,
        threads=decision.threads if decision else 2,
        distance=distance,
        measured=found,
        decision=decision,
    )


def ways(found):
    """(variant, engine, threads) of every option that may be tried."""
    return [(o.variant.id, o.plan.engine, o.plan.threads) for o in found if not o.unfit]


def test_without_measurements_the_order_is_the_authors():
    described = manifest(
        variant("far", places=["cloud"]),
        variant("first", "openvino", "absent", "onnxruntime"),
        variant("second"),
    )
    found = options(described)
    assert ways(found) == [
        ("first", "openvino", 2),
        ("first", "onnxruntime", 2),
        ("second", "onnxruntime", 2),
        ("far", "onnxruntime", 2),
    ]
    assert [o.unfit for o in found if o.unfit] == ["absent is not installed: pip install it"]
    assert {o.why for o in found} == {""}


def test_a_variant_that_no_engine_can_run_is_told_why():
    ordered = options(manifest(variant("first", "absent"), variant("second")))
    assert ordered[0].unfit == "it needs the engine absent, which is not installed: pip install it"
    assert ways(ordered) == [("second", "onnxruntime", 2)]


def test_a_gateway_keeps_the_reference_in_front_whatever_it_costs():
    described = manifest(variant("small", quality=0.9), variant("large", quality=0.9))
    found = {"small": measured((plan(), 1)), "large": measured((plan(), 50))}
    ordered = options(described, found, distance="cloud")
    assert [o.variant.id for o in ordered] == ["large", "small"]


def test_a_reference_that_is_not_meant_for_the_cloud_is_not_kept_in_front():
    described = manifest(
        variant("large", quality=0.9), variant("small", quality=0.9, places=["device"])
    )
    assert [o.variant.id for o in options(described, distance="cloud")] == ["large", "small"]


def test_the_engine_that_was_measured_to_be_faster_goes_first():
    described = manifest(variant("only", "openvino", "onnxruntime"))
    found = {"only": measured((plan("openvino"), 3.0), (plan(), 1.5))}
    ordered = options(described, found)
    assert ways(ordered) == [("only", "onnxruntime", 2), ("only", "openvino", 2)]
    assert ordered[0].why == "measured 1.5 ms, openvino takes 2.0 x that"
    assert ordered[1].why == "measured 3 ms, 2.0 x what onnxruntime takes"


def test_each_engine_runs_by_its_best_plan():
    described = manifest(variant("only", "onnxruntime", "openvino"))
    rows = [(plan(threads=1), 2.0), (plan(threads=2), 1.0), (plan("openvino", 1), 3.0)]
    found = {"only": measured(*rows, (plan("openvino", 2), 4.0))}
    assert ways(options(described, found)) == [("only", "onnxruntime", 2), ("only", "openvino", 1)]


def test_an_engine_that_is_named_first_stays_there_while_it_is_as_good():
    described = manifest(variant("only", "openvino", "litert"))
    found = {"only": measured((plan("openvino"), 1.04), (plan("litert"), 1.0))}
    engines = {**ENGINES, "litert": EngineState(("onnx",))}

    def first(found):
        return order_options(
            described,
            present={"only"},
            machine=MACHINE,
            engines=engines,
            threads=2,
            distance="device",
            measured=found,
        )[0]

    assert first(found).plan.engine == "openvino"
    assert first(found).why == "measured 1.04 ms, as good as litert"
    found = {"only": measured((plan("openvino"), 1.06), (plan("litert"), 1.0))}
    assert first(found).plan.engine == "litert"


def test_no_engine_is_preferred_that_is_slower_than_onnx_runtime():
    described = manifest(variant("only", "openvino", "onnxruntime"))
    found = {"only": measured((plan("openvino"), 1.001), (plan(), 1.0))}
    assert options(described, found)[0].plan.engine == BASELINE


def test_of_plans_about_as_fast_the_one_that_spares_the_cores_is_taken():
    described = manifest(variant("only", "openvino"))
    rows = [(plan("openvino", 1), 1.04, 1.0), (plan("openvino", 2), 1.0, 2.0)]
    assert ways(options(described, {"only": measured(*rows)})) == [("only", "openvino", 1)]


@pytest.mark.parametrize(("objective", "threads"), [("latency", 2), ("cpu_time", 1)])
def test_the_objective_decides_what_is_best(objective, threads):
    described = manifest(variant("only"))
    found = {"only": measured((plan(threads=1), 2.0, 2.0), (plan(threads=2), 1.2, 2.4))}
    ordered = options(described, found, decision=decided(objective=objective))
    assert ways(ordered) == [("only", "onnxruntime", threads)]


@pytest.mark.parametrize(
    "forbidden",
    [plan(threads=4), plan(device="gpu"), plan(precision="bfloat16")],
    ids=["threads", "device", "precision"],
)
def test_what_the_decision_does_not_allow_is_not_chosen(forbidden):
    described = manifest(variant("only"))
    found = {"only": measured((forbidden, 0.1), (plan(), 1.0))}
    assert ways(options(described, found)) == [("only", "onnxruntime", 2)]
    allowing = decided(threads=4, devices=("gpu", "cpu"), precisions=("float32", "bfloat16"))
    assert options(described, found, decision=allowing)[0].plan == forbidden


def test_another_precision_is_only_for_variants_of_float32():
    whole = manifest(variant("only", precision="int8")).variants[0]
    halves = decided(precisions=("float32", "bfloat16"))
    assert admits(halves, whole, plan(precision="int8"))
    assert not admits(halves, whole, plan(precision="bfloat16"))
    assert admits(None, whole, plan(threads=64))


def test_a_plan_that_computes_something_else_is_never_chosen():
    described = manifest(variant("only", "openvino", "onnxruntime"), variant("other"))
    wrong = measured((plan("openvino"), 0.1), wrong="'y' is 40% off")
    ordered = options(described, {"only": {**wrong, **measured((plan(), 9.0))}})
    assert ways(ordered)[0] == ("only", "onnxruntime", 2)
    assert [o.unfit for o in ordered if o.unfit] == [
        "openvino on cpu, float32, 2 threads gave other answers: 'y' is 40% off"
    ]


def test_a_variant_whose_plans_are_all_wrong_is_passed_over():
    described = manifest(variant("only"), variant("other"))
    ordered = options(described, {"only": measured((plan(), 0.1), wrong="'y' is 40% off")})
    assert ways(ordered) == [("other", "onnxruntime", 2)]


def test_an_engine_that_failed_is_the_last_to_be_tried():
    described = manifest(variant("only", "openvino", "onnxruntime"))
    failed = measured((plan("openvino"), 0.0), failed="openvino died (SIGSEGV)")
    ordered = options(described, {"only": failed})
    assert ways(ordered) == [("only", "onnxruntime", 2), ("only", "openvino", 2)]
    assert ordered[1].why == "openvino died (SIGSEGV)"


def test_variants_of_equal_quality_go_by_cost():
    described = manifest(
        variant("first", quality=0.90),
        variant("better", quality=0.95),
        variant("equal", quality=0.895),
        variant("reference", quality=1.0),
    )
    found = {
        "first": measured((plan(), 2.0)),
        "better": measured((plan(), 0.1)),
        "equal": measured((plan(), 1.0)),
    }
    ordered = options(described, found)
    assert [o.variant.id for o in ordered] == ["equal", "first", "better", "reference"]
    assert ordered[0].why == "as good as first; measured 1 ms"


def test_a_variant_keeps_its_place_against_one_that_is_hardly_cheaper():
    described = manifest(variant("first", quality=0.9), variant("equal", quality=0.9))
    found = {"first": measured((plan(), 1.04)), "equal": measured((plan(), 1.0))}
    assert [o.variant.id for o in options(described, found)] == ["first", "equal"]


def test_variants_without_figures_on_the_same_data_keep_their_order():
    described = manifest(
        variant("first", quality=0.9),
        variant("unstated"),
        variant("other", quality=0.9, metric="recall"),
    )
    found = {name: measured((plan(), 1.0)) for name in ("unstated", "other")}
    found["first"] = measured((plan(), 9.0))
    assert [o.variant.id for o in options(described, found)] == ["first", "unstated", "other"]


def test_where_small_is_preferred_the_cheapest_variant_meant_for_the_place_goes_first():
    described = manifest(
        variant("large", quality=0.95),
        variant("small", quality=0.8),
        variant("tiny", quality=0.1, places=["cloud"]),
    )
    found = {"large": measured((plan(), 9.0)), "small": measured((plan(), 1.0))}
    ordered = options(described, found, decision=decided(prefer_small=True))
    assert [o.variant.id for o in ordered] == ["small", "large", "tiny"]
    assert ordered[0].why.startswith("the smallest variant is preferred now; ")


def test_where_not_all_were_measured_the_smallest_has_the_fewest_bytes():
    described = manifest(variant("large", size=900), variant("small", size=90))
    found = {"large": measured((plan(), 0.1))}
    ordered = options(described, found, decision=decided(prefer_small=True))
    assert [o.variant.id for o in ordered] == ["small", "large"]


def test_what_is_absent_stays_in_front_of_what_is_worse():
    described = manifest(
        variant("best"), variant("first", quality=0.9), variant("equal", quality=0.9)
    )
    found = {"first": measured((plan(), 9.0)), "equal": measured((plan(), 1.0))}
    ordered = options(described, found, present={"first", "equal"})
    assert [(o.variant.id, o.unfit) for o in ordered] == [
        ("best", ABSENT),
        ("equal", ""),
        ("first", ""),
    ]


def test_the_table_shows_every_plan_and_marks_the_one_that_answers():
    described = manifest(variant("only", "openvino", "onnxruntime"), variant("gone"))
    found = {
        "only": {
            **measured((plan(threads=1), 2.0), (plan(), 1.0)),
            **measured((plan("openvino"), 0.0), failed="it hangs"),
        }
    }
    rows = table(options(described, found, present={"only"}), found)
    assert [(r.variant, r.plan and str(r.plan), r.chosen, r.note) for r in rows] == [
        ("only", "onnxruntime on cpu, float32, 2 threads", True, "measured 1 ms"),
        ("only", "onnxruntime on cpu, float32, 1 thread", False, ""),
        ("only", "openvino on cpu, float32, 2 threads", False, "it hangs"),
        ("gone", None, False, ABSENT),
    ]


LATENCY = st.floats(0.001, 1000.0)
PLANS = st.builds(plan, st.sampled_from(["onnxruntime", "openvino"]), st.sampled_from([1, 2, 4]))


@given(st.dictionaries(PLANS, st.tuples(LATENCY, LATENCY), min_size=1), st.booleans())
def test_the_first_is_never_slower_than_onnx_runtime_and_about_the_best(costs, by_cpu):
    described = manifest(variant("only", "openvino", "onnxruntime"))
    found = {"only": measured(*((which, *cost) for which, cost in costs.items()))}
    objective = "cpu_time" if by_cpu else "latency"
    first = options(described, found, decision=decided(threads=4, objective=objective))[0]
    best = min(each.cost_s(objective) for each in found["only"].values())
    chosen = found["only"][first.plan].cost_s(objective)
    baseline = [
        each.cost_s(objective) for which, each in found["only"].items() if which.engine == BASELINE
    ]
    assert chosen <= 1.05**2 * best
    assert not baseline or chosen <= min(baseline)


@given(
    st.lists(
        st.tuples(st.none() | st.floats(0, 1), st.sampled_from([["device"], EVERYWHERE]), LATENCY),
        min_size=1,
        max_size=5,
    ),
    st.booleans(),
)
def test_measuring_loses_no_way_to_answer(variants, small):
    described = manifest(
        *(variant(f"v{n}", quality=q, places=p) for n, (q, p, _) in enumerate(variants))
    )
    found = {f"v{n}": measured((plan(), cost)) for n, (_, _, cost) in enumerate(variants)}
    before = options(described)
    after = options(described, found, decision=decided(prefer_small=small))
    assert sorted(ways(before)) == sorted(ways(after))
    assert ("device" in after[0].variant.places) == ("device" in before[0].variant.places)
