"""Crops and tiles: which pixels they are, and where what is found in them is in the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import InputError, ManifestError
from wherever_contracts.manifest import Signature, StepEntry, Variant
from wherever_edge.images import Image
from wherever_edge.pipelines.pipeline import StepContext, compile_steps
from wherever_edge.pipelines.placement import Placement, starts
from wherever_edge.pipelines.rows import IN_TURN, run_in_turn
from wherever_edge.resident import Ran

PIXELS = np.random.default_rng(3).integers(0, 256, (60, 100, 3), dtype=np.uint8)


def context(rows: int = -1) -> StepContext:
    signature = {
        "inputs": [{"name": "image", "kind": "image"}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [1]}],
        "value": {"kind": "tensors"},
    }
    tensor = {"name": "x", "dtype": "float32", "shape": [rows, 3, -1, -1]}
    variant = {
        "id": "v",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "v.onnx", "sha256": "0" * 64, "bytes": 0}],
        "tensors": {"inputs": [tensor], "outputs": [tensor]},
    }
    return StepContext(Signature.model_validate(signature), Variant.model_validate(variant), bytes)


def run(*steps: dict[str, Any], pixels: Any = PIXELS, rows: int = -1) -> dict[str, Any]:
    entries = [StepEntry(**step) for step in steps]
    state: dict[str, Any] = {"image": Image.from_pixels(pixels, "image"), "options": {}}
    for step in compile_steps(entries, context(rows), "pre"):
        step(state)
    return state


def crop(**parameters: Any) -> dict[str, Any]:
    return {"op": "crop", "name": "image", "to": "part", **parameters}


def tensor(size: list[int], name: str = "part", **parameters: Any) -> dict[str, Any]:
    return {"op": "image_tensor", "name": name, "to": "x", "size": size, **parameters}


@pytest.mark.parametrize(
    ("parameters", "rows", "columns"),
    [
        ({"box": [10, 20, 40, 50]}, slice(20, 50), slice(10, 40)),
        ({"box": [90, 50, 400, 300]}, slice(50, 60), slice(90, 100)),
        ({"shares": [0, 0.5, 0.5, 1]}, slice(30, 60), slice(0, 50)),
        ({"shares": [0.333, 0, 0.334, 0.001]}, slice(0, 1), slice(33, 34)),
        ({"middle": [20, 30]}, slice(20, 40), slice(35, 65)),
        ({"middle": [21, 31]}, slice(19, 40), slice(34, 65)),
        ({"middle": [600, 30]}, slice(0, 60), slice(35, 65)),
    ],
)
def test_a_crop_is_a_rectangle_of_the_pixels_without_a_copy(
    parameters: dict[str, Any], rows: slice, columns: slice
) -> None:
    part = run(crop(**parameters))["part"]
    np.testing.assert_array_equal(part.rgb(), PIXELS[rows, columns])
    assert np.shares_memory(part.rgb(), PIXELS)
    assert (part.left, part.top, part.width, part.height) == (columns.start, rows.start, 100, 60)


def test_a_crop_of_a_crop_still_knows_the_whole() -> None:
    inner = {"op": "crop", "name": "part", "box": [5, 6, 15, 16]}
    state = run(crop(box=[10, 20, 60, 50]), inner, tensor([10, 10]))
    np.testing.assert_array_equal(state["x"][0].transpose(1, 2, 0), PIXELS[26:36, 15:25])
    assert state["placement"] == (Placement(100, 60, 1, 1, -15, -26),)


def test_what_is_found_in_a_crop_comes_back_in_pixels_of_the_whole() -> None:
    state = run(crop(box=[20, 10, 60, 40]), tensor([60, 80]))
    (placement,) = state["placement"]
    found = placement.to_image(np.array([[20, 10, 40, 30]], np.float32))
    np.testing.assert_allclose(found, [[30, 15, 40, 25]])


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "letterbox_top_left"])
@pytest.mark.parametrize("keep", [1.0, 0.7])
def test_a_rectangle_painted_in_a_crop_is_found_where_it_was_painted(fit: str, keep: float) -> None:
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[90:110, 130:170] = 255
    part = crop(box=[80, 60, 220, 150])
    state = run(part, tensor([96, 120], fit=fit, keep=keep), pixels=pixels)
    rows, columns = (state["x"][0, 0] > 127).nonzero()
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    (placement,) = state["placement"]
    np.testing.assert_allclose(
        placement.to_image(np.array([seen], np.float32))[0], [130, 90, 170, 110], atol=1.5
    )


def test_an_image_with_nothing_in_the_box_is_the_callers_mistake() -> None:
    with pytest.raises(InputError, match=r"\[100, 0, 200, 10\].* found 100x60 pixels"):
        run(crop(box=[100, 0, 200, 10]))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"box": [0, 0, 1, 1], "shares": [0, 0, 1, 1]},
        {"box": [5, 0, 5, 9]},
        {"box": [-1, 0, 5, 9]},
        {"box": [0, 0, 5]},
        {"middle": [0, 5]},
        {"shares": [0.5, 0, 0.4, 1]},
    ],
)
def test_a_crop_that_is_no_rectangle_is_refused_when_the_package_is_loaded(
    parameters: dict[str, Any],
) -> None:
    with pytest.raises(ManifestError):
        compile_steps([StepEntry(**crop(**parameters))], context(), "pre")


def tiles(**parameters: Any) -> dict[str, Any]:
    return {"op": "tiles", "name": "image", "to": "part", "size": [40, 40], **parameters}


def test_tiles_become_rows_each_with_its_place_in_the_whole() -> None:
    state = run(tiles(overlap=0.25, whole=False), tensor([40, 40]))
    corners = [(left, top) for top in (0, 20) for left in (0, 30, 60)]
    assert state["x"].shape == (6, 3, 40, 40)
    for row, placement, (left, top) in zip(state["x"], state["placement"], corners, strict=True):
        pixels = PIXELS[top : top + 40, left : left + 40]
        np.testing.assert_array_equal(row.transpose(1, 2, 0), pixels)
        assert placement == Placement(100, 60, 1, 1, -left, -top)


def test_all_of_the_image_comes_first_unless_it_is_the_only_tile() -> None:
    state = run(tiles(), tensor([40, 40]))
    assert len(state["x"]) == 7
    assert state["placement"][0] == Placement(100, 60, 0.4, 40 / 60)
    assert len(run(tiles(size=[60, 100]), tensor([40, 40]))["x"]) == 1


def test_rows_go_in_turn_through_a_variant_that_takes_one() -> None:
    assert run(tiles(), tensor([40, 40]), rows=1)[IN_TURN] == "x"
    assert IN_TURN not in run(tiles(), tensor([40, 40]), rows=-1)
    assert IN_TURN not in run(tensor([40, 40], name="image"), rows=1)


def test_each_row_meets_the_engine_alone_and_what_it_gives_is_joined() -> None:
    state = {IN_TURN: "x", "x": np.arange(3.0)[:, None], "size": np.array([7])}

    def engine(tensors: Mapping[str, Any]) -> Ran:
        assert (tensors["x"].shape, tensors["size"]) == ((1, 1), 7)
        return Ran({"y": tensors["x"] * 2}, engine_s=0.5, queue_s=0.25)

    ran = run_in_turn(engine, state)
    assert ran.outputs["y"].tolist() == [[0], [2], [4]]
    assert (ran.engine_s, ran.queue_s) == (1.5, 0.75)


def test_an_image_that_would_become_far_too_many_tiles_is_refused_at_once() -> None:
    with pytest.raises(InputError, match=r"585682 tiles of 1x1"):
        run(tiles(size=[1, 1], overlap=0.9))


def test_an_image_that_would_become_too_many_tiles_is_refused() -> None:
    with pytest.raises(InputError, match=r"at most 6 tiles.*100x60 pixels: 7 tiles of 40x40"):
        run(tiles(most=6))


@pytest.mark.parametrize(
    "parameters", [{"overlap": 0.95}, {"overlap": -0.1}, {"size": [0, 4]}, {"most": 0}]
)
def test_tiles_that_would_never_end_are_refused_when_the_package_is_loaded(
    parameters: dict[str, Any],
) -> None:
    with pytest.raises(ManifestError, match="overlap from 0"):
        compile_steps([StepEntry(**tiles(**parameters))], context(), "pre")


@given(
    length=st.integers(1, 3000),
    piece=st.integers(1, 700),
    overlap=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]),
)
def test_pieces_cover_a_line_overlap_enough_and_are_no_more_than_needed(
    length: int, piece: int, overlap: float
) -> None:
    found = starts(length, piece, overlap)
    assert found[0] == 0
    assert found[-1] == max(0, length - piece)
    steps = np.diff(found)
    # starts are whole pixels: a pixel may be missing
    assert (steps <= max(1, piece * (1 - overlap) + 1)).all()
    assert (steps >= 0).all()
    if len(found) > 2:
        fewer = (length - piece) / (len(found) - 2)
        assert fewer > piece * (1 - overlap) - 1e-6
