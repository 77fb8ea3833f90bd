"""Two models called as one: a gate on this device, and another that is asked what it found."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import wherever
from wherever import chain
from wherever._own_device import Here
from wherever._route import NO_VIEWS
from wherever_contracts.errors import InputError, NoRouteError, SettingsError
from wherever_convert.builder import build_package

EXAMPLE = Path(__file__).parents[2] / "examples" / "people"
CELLS = 4
RED, GREEN, BLUE = (250, 20, 20), (20, 200, 20), (20, 20, 150)


def save(root, name, nodes, inputs, outputs, constants):
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, shape) for each, shape in inputs],
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, shape) for each, shape in outputs],
        [numpy_helper.from_array(array, each) for each, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    root.mkdir(parents=True, exist_ok=True)
    (root / f"{name}.onnx").write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)
    return {"path": f"{name}.onnx"}


def image_step(size):
    return {
        "op": "image_tensor",
        "name": "image",
        "to": "pixels",
        "size": [size, size],
        "resize": "area",
        "scale": 1 / 255,
    }


def package(root, name, file, tensors, pre, post, outputs, value, **changes):
    return build_package(
        root,
        {
            "schema": "1.4",
            "name": name,
            "version": "1.0.0",
            "boundary": "anywhere",
            "reference": "only",
            "signature": {
                "inputs": [{"name": "image", "kind": "image"}],
                "outputs": outputs,
                "value": value,
                "options": [{"name": "min_score", "default": 0.3, "min": 0.0, "max": 1.0}],
            },
            "variants": [
                {
                    "id": "only",
                    "format": "onnx",
                    "precision": "float32",
                    "files": [file],
                    "tensors": tensors,
                    "pipeline": {"pre": [pre], "post": post},
                }
            ],
            **changes,
        },
    )


def build_spots(root, **changes):
    """Finds what is bright in any colour: one box for each of 4 x 4 cells of the image."""
    corners = np.array(
        [[x, y, x + 1, y + 1] for y in range(CELLS) for x in range(CELLS)], np.float32
    )
    file = save(
        root,
        "spots",
        [
            helper.make_node("ReduceMax", ["pixels"], ["brightest"], axes=[1], keepdims=0),
            helper.make_node("Reshape", ["brightest", "shape"], ["scores"]),
            helper.make_node("Identity", ["corners"], ["boxes"]),
        ],
        [("pixels", [1, 3, CELLS, CELLS])],
        [("scores", [1, CELLS**2, 1]), ("boxes", [1, CELLS**2, 4])],
        {"shape": np.array([1, CELLS**2, 1]), "corners": corners[None] / CELLS},
    )
    tensors = {
        "inputs": [{"name": "pixels", "dtype": "float32", "shape": [1, 3, CELLS, CELLS]}],
        "outputs": [
            {"name": "scores", "dtype": "float32", "shape": [1, CELLS**2, 1]},
            {"name": "boxes", "dtype": "float32", "shape": [1, CELLS**2, 4]},
        ],
    }
    post = [
        {"op": "fraction_boxes", "boxes": "boxes", "scores": "scores", "size": [CELLS, CELLS]},
        {"op": "class_nms"},
        {"op": "detection_confidence"},
        {"op": "best_detections"},
    ]
    outputs = [
        {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
        {"name": "scores", "dtype": "float32", "shape": [-1]},
        {"name": "classes", "dtype": "int64", "shape": [-1]},
    ]
    value = {
        "kind": "detections",
        "boxes": "boxes",
        "scores": "scores",
        "classes": "classes",
        "labels": ["spot"],
    }
    return package(root, "spots", file, tensors, image_step(CELLS), post, outputs, value, **changes)


def build_tint(root, **changes):
    """Says which colour is the strongest in an image."""
    file = save(
        root,
        "tint",
        [
            helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[2, 3], keepdims=0),
            helper.make_node("Mul", ["means", "factor"], ["scaled"]),
            helper.make_node("Softmax", ["scaled"], ["probabilities"]),
        ],
        [("pixels", ["rows", 3, 8, 8])],
        [("probabilities", ["rows", 3])],
        {"factor": np.float32(20)},
    )
    tensors = {
        "inputs": [{"name": "pixels", "dtype": "float32", "shape": [-1, 3, 8, 8]}],
        "outputs": [{"name": "probabilities", "dtype": "float32", "shape": [-1, 3]}],
        "batch": True,
    }
    post = [
        {"op": "first_row", "name": "probabilities", "to": "scores"},
        {"op": "max_confidence", "name": "scores"},
    ]
    outputs = [{"name": "scores", "dtype": "float32", "shape": [3]}]
    value = {"kind": "label", "scores": "scores", "labels": ["red", "green", "blue"]}
    return package(root, "tint", file, tensors, image_step(8), post, outputs, value, **changes)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    root = tmp_path_factory.mktemp("packages")
    return [build_spots(root / "spots"), build_tint(root / "tint")]


@pytest.fixture
def client(packages):
    with wherever.Client(packages=[each.root for each in packages]) as client:
        yield client


@pytest.fixture
def spots(client):
    return chain(client.model("spots"), client.model("tint"), margin=0.0)


def picture(**cells):
    """Black, with cells ("x_y" is a cell's column and row) of a colour; 160 x 80 pixels."""
    image = np.zeros((80, 160, 3), np.uint8)
    for cell, colour in cells.items():
        x, y = int(cell[1]), int(cell[2])
        image[20 * y : 20 * y + 20, 40 * x : 40 * x + 40] = colour
    return image


THREE = picture(c00=GREEN, c21=RED, c33=BLUE)


def told(answer):
    return [(found.box.left, found.box.top, value) for found, value in answer.value]


EXPECTED = [(80, 20, "red"), (0, 0, "green"), (120, 60, "blue")]


def test_each_thing_that_the_gate_finds_is_cut_out_and_told_by_the_other_model(spots):
    answer = spots(THREE)
    assert told(answer) == EXPECTED
    assert (answer.place, answer.degraded) == ("device", False)
    receipt = answer.receipt
    assert (receipt.gate.model, [part.model for part in receipt.parts]) == ("spots", ["tint"] * 3)
    assert receipt.id == answer.id == receipt.gate.id
    assert receipt.reason == "spots let 3 pass, and tint answered"
    assert receipt.total_s >= receipt.gate.total_s
    assert answer.confidence <= min(part.end.confidence for part in answer.parts)
    assert json.loads(json.dumps(answer.to_dict()))["value"][0]["value"]["label"] == "red"
    assert "3 of 3: spot" in answer.explain()


def test_who_finds_nothing_asks_nobody(spots):
    answer = spots(picture())
    assert (answer.value, answer.parts, answer.degraded) == ([], (), False)
    assert answer.receipt.reason == "spots found nothing to ask tint about"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"top": 2}, EXPECTED[:2]),
        ({"min_score": 0.7}, EXPECTED[:2]),
        ({"when": lambda found: found.box.top > 10}, [EXPECTED[0], EXPECTED[2]]),
        ({"when": lambda found: found.score > 2}, []),
    ],
)
def test_the_gate_lets_pass_what_it_is_told_to(client, rule, expected):
    made = chain(client.model("spots"), client.model("tint"), margin=0.0, **rule)
    assert told(made(THREE)) == expected


def test_a_margin_shows_what_is_around_as_far_as_there_is_any(client):
    image = picture(c00=GREEN)
    image[20:, :] = (120, 0, 0)
    models = client.model("spots"), client.model("tint")
    (tight,) = chain(*models, margin=0.0, min_score=0.7)(image).value
    (wide,) = chain(*models, margin=9.0, min_score=0.7)(image).value
    assert (tight[1], wide[1]) == ("green", "red")


def test_coroutines_and_batches_answer_alike(spots):
    images = [THREE, picture(), picture(c11=BLUE), THREE]
    expected = [told(spots(image)) for image in images]
    assert [told(each) for each in spots.map(images, batch=3)] == expected

    async def calls():
        one = await spots.aio(THREE)
        return told(one), [told(each) async for each in spots.amap(images, batch=2)]

    assert asyncio.run(calls()) == (expected[0], expected)


def test_an_input_that_does_not_fit_is_said_at_its_place(spots):
    answers = spots.map([THREE, "no such file.png", THREE])
    assert told(next(answers)) == EXPECTED
    with pytest.raises(InputError):
        next(answers)
    with pytest.raises(InputError, match="batch"):
        spots.map([THREE], batch=0)


def test_a_gate_that_labels_lets_the_whole_input_pass_or_not(client):
    made = chain(
        client.model("tint"), client.model("spots"), send="input", when=lambda it: it == "red"
    )
    passed, stopped = made(picture(c21=RED)), made(picture(c21=BLUE))
    assert [found.box.left for found in passed.value] == [80]
    assert stopped.value is None
    assert passed.to_dict()["value"][0]["label"] == "spot"
    assert stopped.to_dict()["value"] is None


def test_a_gate_that_finds_something_may_send_the_whole_input_once(client):
    made = chain(client.model("spots"), client.model("tint"), send="input")
    answer = made(THREE)
    assert (len(answer.parts), str(answer.value)) == (1, "red")


def test_models_that_do_not_fit_together_are_refused(client):
    spots, tint, digits = (client.model(name) for name in ("spots", "tint", "digits"))
    for first, then, changes, why in [
        (tint, spots, {}, "send='input'"),
        (spots, tint, {"send": "frame"}, "crop, input"),
        (spots, tint, {"top": 0}, "top of 1"),
        (spots, tint, {"margin": -1}, "margin of 0"),
    ]:
        with pytest.raises(SettingsError, match=why):
            chain(first, then, **changes)
    assert "then" in repr(chain(spots, tint))
    assert digits.name == "digits"


# Boundary, deadline, and a second model elsewhere.


def elsewhere(packages, address, **arguments):
    return wherever.Client([address], packages=[each.root for each in packages], **arguments)


def test_the_second_model_answers_where_its_plan_says_and_within_one_deadline(
    packages, start_gateway
):
    gateway = start_gateway(packages[1].root)
    with elsewhere(packages, gateway.address, remote_timeout_s=20.0) as client:
        made = chain(client.model("spots"), client.model("tint"), margin=0.0)
        answer = made(THREE, mode="only_in_cloud")
        assert told(answer) == EXPECTED
        assert (answer.place, answer.gate.place) == ("cloud", "device")
        assert {part.place for part in answer.receipt.parts} == {"cloud"}
        gateway.send(19)  # SIGSTOP
        started = perf_counter()
        answer = made(THREE, mode="only_in_cloud", deadline_s=0.3)
        took_s = perf_counter() - started
        gateway.send(18)
        assert answer.degraded
        assert took_s < 5
        late = made(THREE, deadline_s=1e-9)
        assert "left no time of the deadline" in late.receipt.reason


def test_without_the_second_model_the_gates_answer_is_given_and_says_so(packages, unused_address):
    with elsewhere(packages, unused_address) as client:
        made = chain(client.model("spots"), client.model("tint"))
        answer = made(THREE, mode="only_in_cloud")
        assert [value for _, value in answer.value] == [None] * 3
        assert (answer.degraded, answer.place) == (True, "device")
        assert answer.receipt.reason.startswith("spots let 3 pass, and tint could not answer 3")
        assert "no place could answer 'tint'" in answer.explain()
        assert answer.to_dict()["value"][0]["value"] is None


@pytest.mark.parametrize("strictest", ["gate", "call", "client", "second"])
def test_what_is_cut_out_travels_no_further_than_the_strictest_lets_it(
    tmp_path, silent_listener, strictest
):
    spots = build_spots(tmp_path / "spots", boundary="site" if strictest == "gate" else "anywhere")
    tint = build_tint(tmp_path / "tint", boundary="site" if strictest == "second" else "anywhere")
    limits = {"boundary": "site"} if strictest == "client" else {}
    with elsewhere([spots, tint], silent_listener.address, **limits) as client:
        made = chain(client.model("spots"), client.model("tint"))
        asked = {"boundary": "site"} if strictest == "call" else {}
        answer = made(THREE, mode="only_in_cloud", **asked)
    assert answer.degraded
    assert "boundary" in answer.receipt.reason
    assert silent_listener.received == 0


def released(root, steps):
    rule = {"name": "faces", "input": "image", "steps": steps, "boundary": "anywhere"}
    return build_spots(root, boundary="device", release=[rule])


def test_a_release_rule_of_the_gate_lets_what_it_cuts_out_travel_further(
    tmp_path, packages, start_gateway
):
    spots = released(tmp_path / "spots", [{"op": "crop", "region": "box"}])
    gateway = start_gateway(packages[1].root)
    with elsewhere([spots, packages[1]], gateway.address) as client:
        made = chain(client.model("spots"), client.model("tint"))
        answer = made(THREE, mode="only_in_cloud")
        assert told(answer) == EXPECTED
        assert (answer.receipt.released, answer.receipt.boundary) == ("faces", "anywhere")
        kept = made(THREE, mode="only_in_cloud", boundary="site")
        assert (kept.degraded, kept.receipt.released) == (True, "faces")
        whole = chain(client.model("spots"), client.model("tint"), send="input")
        stopped = whole(THREE, mode="only_in_cloud")
        assert (stopped.degraded, stopped.receipt.released) == (True, "")
        assert stopped.receipt.boundary == "device"


def test_what_a_rule_changes_is_what_the_second_model_sees(tmp_path, packages):
    spots = released(
        tmp_path / "spots",
        [{"op": "crop", "region": "box"}, {"op": "crop", "region": [0.75, 0, 1, 1]}],
    )
    image = picture(c00=GREEN)
    image[:20, 30:40] = RED
    with wherever.Client(packages=[spots.root, packages[1].root]) as client:
        made = chain(client.model("spots"), client.model("tint"))
        assert [value for _, value in made(image).value] == ["red"]
        assert [value for _, value in made(image, boundary="device").value] == ["green"]


def test_a_gate_that_cannot_run_here_is_an_error(packages, monkeypatch):
    with wherever.Client(packages=[packages[1].root], gateways=["127.0.0.1:1"]) as client:
        made = chain(client.model("tint"), client.model("tint"), send="input")
        packages_gone = client.model("tint")
        packages_gone.forget()
        gone = Here(None, "it is gone", failed=True, views=NO_VIEWS)
        monkeypatch.setattr(client._own, "load", lambda *_: gone)
        with pytest.raises(NoRouteError, match="it is gone"):
            made(THREE)


@pytest.mark.parametrize("wrong", [None, 5, ["tint"]])
def test_what_is_no_model_is_refused_by_the_name_of_its_argument(packages, wrong):
    with wherever.Client(packages=[packages[1].root]) as client:
        tint = client.model("tint")
        with pytest.raises(wherever.InputError, match="argument 'then': expected a model, or the"):
            chain(tint, then=wrong, send="input")
        with pytest.raises(wherever.InputError, match="argument 'first'"):
            chain(wrong, then=tint, send="input")
        with pytest.raises(wherever.InputError, match="argument 'first'"):
            chain(chain(tint, then=tint, send="input"), then=tint, send="input")


def test_a_chain_has_no_later_answers_and_the_error_says_so(spots):
    with pytest.raises(InputError, match="argument 'later': expected a call of one model, found a"):
        spots(THREE, later=True)


def test_a_when_that_cannot_be_called_is_refused(packages):
    with wherever.Client(packages=[packages[1].root]) as client:
        tint = client.model("tint")
        with pytest.raises(wherever.SettingsError, match="when: expected a function"):
            chain(tint, then=tint, send="input", when=0.5)


def test_the_second_models_answer_to_the_whole_input_is_as_sure_as_that_model(packages):
    with wherever.Client(packages=[packages[1].root]) as client:
        tint = client.model("tint")
        asked = chain(tint, then=tint, send="input")(THREE)
        assert asked.confidence == asked.parts[0].end.confidence
        alone = chain(tint, then=tint, send="input", when=lambda _: False)(THREE)
        assert alone.confidence == alone.gate.confidence
        assert alone.receipt.reason == "tint let nothing pass, so tint was not asked"


# Kept answers.


def test_chains_keep_the_answers_of_both_models(spots):
    assert [part.end.receipt.cache for part in spots(THREE, cache=True).parts] == ["miss"] * 3
    again = spots(THREE, cache=True)
    assert again.receipt.gate.cache == "hit"
    assert [part.end.receipt.cache for part in again.parts] == ["hit"] * 3
    assert told(again) == EXPECTED


def tint_of_the_right(root, share):
    rule = {
        "name": "part",
        "input": "image",
        "steps": [{"op": "crop", "region": [share, 0, 1, 1]}],
        "boundary": "anywhere",
    }
    return build_tint(root, boundary="device", release=[rule])


def test_an_answer_to_what_a_rule_made_is_never_taken_for_one_to_the_image(tmp_path, start_gateway):
    image = np.full((40, 40, 3), GREEN, np.uint8)
    image[:, 30:] = RED
    package = tint_of_the_right(tmp_path / "one", 0.75)
    gateway = start_gateway(package.root)

    def ask(package, **arguments):
        with elsewhere([package], gateway.address, cache=True) as client:
            answer = client.predict("tint", image, **arguments)
            return str(answer.value), answer.receipt.cache, answer.receipt.released

    far, here = {"mode": "only_in_cloud"}, {"mode": "only_on_device"}
    assert [ask(package, **far) for _ in range(2)] == [("red", w, "part") for w in ("miss", "hit")]
    assert [ask(package, **here) for _ in range(2)] == [("green", w, "") for w in ("miss", "hit")]
    assert ask(package, mode="prefer_in_cloud") == ("green", "hit", "")  # the image's is better
    other = tint_of_the_right(tmp_path / "two", 0.0)
    assert ask(other, **far) == ("green", "miss", "part")  # a rule of that name, but another one


# Real models.


def test_what_a_real_detector_finds_is_cut_out_of_a_real_photograph(test_data, packages, tmp_path):
    models = test_data / "models"
    command = [sys.executable, str(EXAMPLE / "build.py"), "-o", str(tmp_path / "people")]
    for option, name in (
        ("--fastestdet", "FastestDet.onnx"),
        ("--yolox", "yolox_nano.onnx"),
        ("--labels", "coco80.names"),
    ):
        command += [option, str(models / name)]
    subprocess.run(command, check=True, capture_output=True)
    photo = test_data / "images" / "coco_val2017" / "images" / "000000000139.jpg"
    with wherever.Client(packages=[tmp_path / "people", packages[1].root]) as client:
        people = client.model("people")
        made = chain(people, client.model("tint"), when=lambda found: found.label != "cup")
        answer = made(photo)
        alone = people(photo, mode="only_on_device").value
    expected = sorted((e for e in alone if e.label != "cup"), key=lambda e: -e.score)
    assert [found for found, _ in answer.value] == expected
    assert expected
    assert all(value in ("red", "green", "blue") for _, value in answer.value)
