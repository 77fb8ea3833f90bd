"""Release rules from the package to the wire and back."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from time import perf_counter

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image as Pillow

import wherever
from wherever_contracts.values import Box
from wherever_contracts.wire.messages import decode_request, encode_response
from wherever_contracts.wire.tensors import InferResponse, from_array, to_array
from wherever_convert.builder import build_package
from wherever_edge.counters import COUNTERS
from wherever_edge.egress import guard
from wherever_edge.egress.release import released
from wherever_edge.images import Image
from wherever_edge.packages.store import open_package

CANARY = b"canary-77e0a1"
SIZE = (40, 20)
RIGHT_HALF = Box(20, 0, 40, 20)
SMALL_RIGHT_HALF = {
    "name": "right-half",
    "input": "image",
    "steps": [{"op": "crop", "region": [0.5, 0, 1, 1]}, {"op": "downscale", "max_side": 10}],
    "boundary": "anywhere",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A detector that the device finds nothing with, and that a gateway may be asked for."""
    root = tmp_path_factory.mktemp("packages") / "things"
    root.mkdir()
    names = {"boxes": [1, 4], "scores": [1], "classes": [1]}
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        helper.make_node("Constant", [], ["four"], value_ints=[1, 4]),
        helper.make_node("Expand", ["mean", "four"], ["boxes"]),
        helper.make_node("Constant", [], ["one"], value_ints=[1]),
        helper.make_node("Expand", ["mean", "one"], ["scores"]),
        helper.make_node("Cast", ["scores"], ["classes"], to=TensorProto.INT64),
    ]
    kinds = {"boxes": TensorProto.FLOAT, "scores": TensorProto.FLOAT, "classes": TensorProto.INT64}
    graph = helper.make_graph(
        nodes,
        "things",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info(name, kinds[name], names[name]) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (root / "things.onnx").write_bytes(model.SerializeToString())
    outputs = [
        {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
        {"name": "scores", "dtype": "float32", "shape": [-1]},
        {"name": "classes", "dtype": "int64", "shape": [-1]},
    ]
    return build_package(
        root,
        {
            "name": "things",
            "version": "1.0.0",
            "boundary": "device",
            "release": [SMALL_RIGHT_HALF],
            "reference": "only",
            "signature": {
                "inputs": [{"name": "image", "kind": "image"}],
                "outputs": outputs,
                "value": {
                    "kind": "detections",
                    "boxes": "boxes",
                    "scores": "scores",
                    "classes": "classes",
                    "labels": ["thing"],
                },
            },
            "variants": [
                {
                    "id": "only",
                    "format": "onnx",
                    "precision": "float32",
                    "files": [{"path": "things.onnx"}],
                    "tensors": {
                        "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 3, 4, 4]}],
                        "outputs": [
                            {"name": name, "dtype": entry["dtype"], "shape": names[name]}
                            for name, entry in zip(names, outputs, strict=True)
                        ],
                    },
                    "pipeline": {
                        "pre": [{"op": "image_tensor", "name": "image", "to": "x", "size": [4, 4]}]
                    },
                }
            ],
        },
    )


@pytest.fixture(scope="module")
def slow_package(package, tmp_path_factory):
    """The same with a rule that takes far longer than the device."""
    root = tmp_path_factory.mktemp("slow") / "things"
    shutil.copytree(package.root, root)
    manifest = json.loads((root / "model.json").read_text())
    manifest["release"] = [{**SMALL_RIGHT_HALF, "steps": [{"op": "blur", "radius": 30}] * 3}]
    (root / "model.json").write_text(json.dumps(manifest))
    return open_package(root)


def photo() -> bytes:
    exif = Pillow.Exif()
    exif[0x010E] = CANARY.decode()
    buffer = io.BytesIO()
    Pillow.new("RGB", SIZE, (9, 9, 9)).save(buffer, "JPEG", exif=exif, comment=CANARY)
    return buffer.getvalue()


@pytest.fixture
def asked() -> list[bytes]:
    return []


@pytest.fixture
def gateway(serve_infer, asked):
    """A gateway that finds one thing, which fills the image that it was sent."""

    def infer(data, _context):
        asked.append(data)
        request = decode_request(data)
        (file,) = to_array(request.inputs[0])
        width, height = Pillow.open(io.BytesIO(file)).size
        outputs = (
            from_array("boxes", np.float32([[0, 0, width, height]])),
            from_array("scores", np.float32([0.9])),
            from_array("classes", np.int64([0])),
        )
        return encode_response(InferResponse("things", "1.0.0", request.id, {}, outputs))

    return serve_infer(infer)


@pytest.fixture
def client(package, gateway):
    with wherever.Client(gateways=[f"grpc://{gateway}?rest=off"], packages=[package.root]) as made:
        yield made


def blocked() -> dict[str, int]:
    counts = COUNTERS.snapshot()
    return {name: count for name, count in counts.items() if name.startswith(guard.BLOCKED)}


def ask(model, value, **arguments):
    return model(value, **arguments)


def ask_async(model, value, **arguments):
    return asyncio.run(model.aio(value, **arguments))


def ask_many(model, value, **arguments):
    return list(model.map([value, value], progress=False, **arguments))[1]


@pytest.mark.parametrize("way", [ask, ask_async, ask_many])
@pytest.mark.parametrize("cache", [False, True])
def test_what_the_rule_makes_travels_and_the_boxes_come_back_as_those_of_the_original(
    client, asked, way, cache
):
    before = blocked()
    things = client.model("things")
    found = way(things, photo(), mode="only_in_cloud", cache=cache)
    assert found.place == "cloud"
    (thing,) = found.value
    assert thing.box == RIGHT_HALF
    assert asked
    for data in asked:
        assert CANARY not in data
        (file,) = to_array(decode_request(data).inputs[0])
        assert Pillow.open(io.BytesIO(file)).size == (10, 10)
    assert found.receipt.released == "right-half"
    assert found.receipt.boundary == "device"
    assert "'right-half'" in found.explain()
    assert blocked() == before


def test_an_answer_of_the_device_was_released_by_nothing(client, asked):
    found = client.predict("things", photo(), mode="prefer_on_device")
    assert (found.place, found.receipt.released, asked) == ("device", "", [])


@pytest.mark.parametrize("boundary", ["device", "site"])
def test_the_boundary_of_a_call_holds_for_what_a_rule_makes_too(client, asked, boundary):
    with pytest.raises(wherever.NoRouteError, match="keeps the data from going there"):
        client.predict("things", photo(), mode="only_in_cloud", boundary=boundary)
    assert asked == []


def test_the_boundary_of_the_settings_likewise(package, gateway, asked):
    with wherever.Client(gateways=[gateway], packages=[package.root], boundary="site") as client:
        assert client.predict("things", photo(), mode="prefer_in_cloud").place == "device"
    assert asked == []


def test_a_kept_answer_to_what_a_rule_makes_is_moved_once(client, asked):
    things = client.model("things")
    for _ in range(2):
        found = things(photo(), mode="only_in_cloud", cache=True)
        assert found.value[0].box == RIGHT_HALF


@pytest.mark.parametrize("way", [ask, ask_many])
def test_the_device_does_not_wait_for_what_a_rule_takes_long_to_make(slow_package, gateway, way):
    frame = np.zeros((2000, 3000, 3), np.uint8)
    with wherever.Client(gateways=[gateway], packages=[slow_package.root]) as client:
        things = client.model("things")
        device = things(frame, mode="only_on_device")
        began = perf_counter()
        (rule,) = slow_package.manifest.release
        released(rule, {"image": Image.from_pixels(frame, "image")})
        release_s = perf_counter() - began
        deadline_s = 0.25 * release_s
        assert device.receipt.total_s < deadline_s
        found = way(things, frame, mode="prefer_in_cloud", deadline_s=deadline_s)
    assert (found.place, found.degraded) == ("device", True)
    # what was sent, if anything was, and to whom, is told although another answered
    assert {each.place: each.released for each in found.receipt.attempts} in (
        {"device": "", "cloud": "right-half"},
        {"device": ""},
    )
    assert found.receipt.total_s < 0.75 * release_s
