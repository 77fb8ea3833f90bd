"""PicoDet's and YOLOv5's tensors, many rows, and suppression over the smaller box."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import Signature, StepEntry, Variant
from wherever_edge.pipelines.pipeline import StepContext, compile_steps
from wherever_edge.pipelines.placement import Placement

LABELS = ["person", "dog", "cup"]
NAMES = ("boxes", "scores", "classes")
PICODET = {
    "op": "picodet_boxes",
    "scores": ["s8", "s16"],
    "sides": ["d8", "d16"],
    "size": [40, 24],
    "strides": [8, 16],
    "floor": 0.0,
}
YOLOV5 = {"op": "yolov5_boxes", "name": "rows", "floor": 0.0}
# cells of a tensor of 40 x 24: 5 x 3, and 3 x 2 with what hangs over the edges
CELLS = {8: (5, 3), 16: (3, 2)}
BINS = 8
Row = tuple[float, int, list[float]]


def shapes() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {"rows": [-1, -1, 5 + len(LABELS)]}
    for stride, (rows, columns) in CELLS.items():
        found[f"s{stride}"] = [-1, rows * columns, len(LABELS)]
        found[f"d{stride}"] = [-1, rows * columns, 4 * BINS]
    return found


def context(**changed: list[int]) -> StepContext:
    signature = {
        "inputs": [{"name": "image", "kind": "image"}],
        "outputs": [
            {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
            {"name": "scores", "dtype": "float32", "shape": [-1]},
            {"name": "classes", "dtype": "int64", "shape": [-1]},
        ],
        "value": {"kind": "detections", "labels": LABELS, **{n: n for n in NAMES}},
        "options": [{"name": "min_score", "default": 0.3, "min": 0, "max": 1}],
    }
    tensors = [
        {"name": name, "dtype": "float32", "shape": shape}
        for name, shape in {**shapes(), **changed}.items()
    ]
    variant = {
        "id": "v",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "v.onnx", "sha256": "0" * 64, "bytes": 0}],
        "tensors": {"inputs": tensors, "outputs": tensors},
    }
    return StepContext(Signature.model_validate(signature), Variant.model_validate(variant), bytes)


def run(state: dict[str, Any], step: dict[str, Any], min_score: float = 0.0) -> list[Row]:
    (compiled,) = compile_steps([StepEntry(**step)], context(), "post")
    state["options"] = {"min_score": min_score}
    compiled(state)
    assert [state[name].dtype for name in NAMES] == [np.float32, np.float32, np.int64]
    columns = (state[name].tolist() for name in ("scores", "classes", "boxes"))
    return list(zip(*columns, strict=True))


def same(found: list[Row], expected: list[Row]) -> None:
    found, expected = sorted(found), sorted(expected)
    assert [row[1] for row in found] == [row[1] for row in expected]
    np.testing.assert_allclose([r[0] for r in found], [r[0] for r in expected], rtol=1e-5)
    boxes = [np.reshape([row[2] for row in rows], (-1, 4)) for rows in (found, expected)]
    np.testing.assert_allclose(*boxes, rtol=1e-4, atol=1e-3)


def in_image(placement: Placement, box: list[float]) -> list[float]:
    x = [(value - placement.left) / placement.scale_x for value in box[::2]]
    y = [(value - placement.top) / placement.scale_y for value in box[1::2]]
    x = [min(max(value, 0), placement.width) for value in x]
    y = [min(max(value, 0), placement.height) for value in y]
    return [x[0], y[0], x[1], y[1]]


def random_tensors(seed: int, rows: int = 1) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    state: dict[str, Any] = {}
    for name, (_, cells, depth) in shapes().items():
        shape = (rows, 12 if name == "rows" else cells, depth)
        draw = random.random(shape) if name[0] == "s" else random.normal(0, 3, shape)
        state[name] = draw.astype(np.float32)
    state["rows"][..., :4] = random.uniform(1, 40, (rows, 12, 4))
    state["rows"][..., 4:] = random.random((rows, 12, 1 + len(LABELS)))
    return state


def plain_picodet(state: dict[str, Any], row: int, placement: Placement) -> list[Row]:
    """The formulas, cell by cell, in Python's own numbers."""
    found: list[Row] = []
    for stride, (rows, columns) in CELLS.items():
        for cell in range(rows * columns):
            chances = state[f"s{stride}"][row, cell].tolist()
            kind = max(range(len(LABELS)), key=lambda label: chances[label])
            logits = state[f"d{stride}"][row, cell].tolist()
            away = [expected(logits[k * BINS : (k + 1) * BINS]) * stride for k in range(4)]
            x, y = (cell % columns + 0.5) * stride, (cell // columns + 0.5) * stride
            box = [x - away[0], y - away[1], x + away[2], y + away[3]]
            box = in_image(placement, box)
            if box[0] < box[2] and box[1] < box[3]:
                found.append((chances[kind], kind, box))
    return found


def expected(logits: list[float]) -> float:
    powers = [math.exp(logit) for logit in logits]
    return sum(k * power for k, power in enumerate(powers)) / sum(powers)


def plain_yolov5(state: dict[str, Any], row: int, placement: Placement) -> list[Row]:
    found: list[Row] = []
    for x, y, width, height, objectness, *chances in state["rows"][row].tolist():
        kind = max(range(len(LABELS)), key=lambda label: chances[label])
        box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        box = in_image(placement, box)
        if box[0] < box[2] and box[1] < box[3]:
            found.append((objectness * chances[kind], kind, box))
    return found


placements = st.builds(
    Placement,
    width=st.integers(20, 300),
    height=st.integers(20, 300),
    scale_x=st.floats(0.2, 3),
    scale_y=st.floats(0.2, 3),
    left=st.integers(-200, 20),
    top=st.integers(-200, 20),
)
seeds = st.integers(0, 2**32 - 1)
DECODERS = [(PICODET, plain_picodet), (YOLOV5, plain_yolov5)]


@pytest.mark.parametrize(("step", "plain"), DECODERS)
@settings(max_examples=30, deadline=None)
@given(seed=seeds, where=st.lists(placements, min_size=1, max_size=3))
def test_every_row_is_decoded_as_the_formulas_say_and_moved_by_its_own_placement(
    step: dict[str, Any], plain: Any, seed: int, where: list[Placement]
) -> None:
    state = random_tensors(seed, len(where))
    expected = [row for n, placement in enumerate(where) for row in plain(state, n, placement)]
    same(run({**state, "placement": tuple(where)}, step), expected)


@pytest.mark.parametrize(("step", "plain"), DECODERS)
def test_candidates_below_the_score_asked_for_and_the_floor_are_left_out(
    step: dict[str, Any], plain: Any
) -> None:
    state, placement = random_tensors(1), Placement(24, 40, 1, 1)
    found = run({**state, "placement": (placement,)}, {**step, "floor": 0.4}, min_score=0.9)
    same(found, [row for row in plain(state, 0, placement) if row[0] >= 0.4])


@pytest.mark.parametrize(("step", "plain"), DECODERS)
def test_where_nothing_is_seen_nothing_is_found(step: dict[str, Any], plain: Any) -> None:
    state, placement = random_tensors(3), Placement(24, 40, 1, 1)
    state["s8"][:] = state["rows"][..., 4] = 0.01  # one grid is empty, the other is not
    found = run({**state, "placement": (placement,)}, {**step, "floor": 0.05}, min_score=0.9)
    same(found, [row for row in plain(state, 0, placement) if row[0] >= 0.05])
    assert bool(found) == (step is PICODET)


@pytest.mark.parametrize(("step", "plain"), DECODERS)
def test_damaged_numbers_neither_fail_nor_reach_the_answer(
    step: dict[str, Any], plain: Any
) -> None:
    state = random_tensors(2)
    for array in state.values():
        array[np.random.default_rng(1).random(array.shape) < 0.1] = np.nan
        array[np.random.default_rng(2).random(array.shape) < 0.05] = np.inf
    found = run({**state, "placement": (Placement(24, 40, 1, 1),)}, step)
    assert all(0 <= score <= 1 and np.isfinite(box).all() for score, _, box in found)


@pytest.mark.parametrize(
    "change",
    [
        {"strides": [8, 16, 32]},
        {"scores": ["s8"]},
        {"scores": ["d8", "d16"]},
        {"sides": ["s8", "nothing"]},
        {"size": [41, 24]},
        {"slope": 0.0},
    ],
)
def test_tensors_that_are_not_picodets_are_refused_when_the_package_is_loaded(
    change: dict[str, Any],
) -> None:
    with pytest.raises(ManifestError):
        compile_steps([StepEntry(**{**PICODET, **change})], context(), "post")


def test_rows_that_are_not_yolov5s_are_refused_when_the_package_is_loaded() -> None:
    with pytest.raises(ManifestError, match="'rows' of shape"):
        compile_steps([StepEntry(**YOLOV5)], context(rows=[1, -1, 85]), "post")


def candidates(*rows: Row) -> dict[str, Any]:
    scores, classes, boxes = zip(*rows, strict=True)
    return {
        "scores": np.array(scores, np.float32),
        "classes": np.array(classes, np.int64),
        "boxes": np.array(boxes, np.float32),
    }


HALF_OF_A_THING = candidates(
    (0.9, 0, [0, 0, 100, 100]), (0.8, 0, [50, 0, 100, 100]), (0.7, 1, [0, 0, 40, 100])
)


def test_a_part_within_a_better_box_is_dropped_when_the_smaller_box_counts() -> None:
    nms = {"op": "class_nms", "iou": 0.6}
    assert len(run(dict(HALF_OF_A_THING), nms)) == 3
    kept = run(dict(HALF_OF_A_THING), {**nms, "over": "smaller"})
    assert [row[1] for row in kept] == [0, 1]


@pytest.mark.parametrize("over", ["union", "smaller"])
def test_boxes_of_other_classes_count_only_when_asked_for(over: str) -> None:
    state = candidates((0.5, 0, [0, 0, 10, 10]), (0.9, 1, [0, 0, 10, 9]), (0.7, 2, [20, 0, 30, 9]))
    nms = {"op": "class_nms", "over": over}
    assert [row[1] for row in run(dict(state), nms)] == [1, 2, 0]
    assert [row[1] for row in run(dict(state), {**nms, "within_class": False})] == [1, 2]


def plain_nms(rows: list[Row], limit: float, *, smaller: bool, within_class: bool) -> list[Row]:
    kept: list[Row] = []
    for row in sorted(rows, key=lambda row: -row[0]):
        rivals = [k for k in kept if k[1] == row[1] or not within_class]
        if all(overlap(row[2], k[2], smaller=smaller) <= limit for k in rivals):
            kept.append(row)
    return kept


def overlap(one: list[float], other: list[float], *, smaller: bool) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (min(areas) if smaller else sum(areas) - both)


@given(
    seed=seeds,
    count=st.integers(0, 30),
    limit=st.sampled_from([0.0, 0.3, 0.7]),
    over=st.sampled_from(["union", "smaller"]),
    within_class=st.booleans(),
)
def test_suppression_keeps_what_a_plain_greedy_loop_keeps(
    seed: int, count: int, limit: float, over: str, *, within_class: bool
) -> None:
    random = np.random.default_rng(seed)
    corners = random.integers(0, 60, (count, 2))
    boxes = np.hstack([corners, corners + random.integers(5, 40, (count, 2))])
    state = {
        "scores": (random.permutation(count) / (count + 1)).astype(np.float32),
        "classes": random.integers(0, 3, count),
        "boxes": boxes.astype(np.float32),
    }
    rows = list(zip(*(state[n].tolist() for n in ("scores", "classes", "boxes")), strict=True))
    step = {"op": "class_nms", "iou": limit, "over": over, "within_class": within_class}
    plain = plain_nms(rows, limit, smaller=over == "smaller", within_class=within_class)
    assert run(state, step) == plain


def test_overlap_is_measured_as_cocos_tools_measure_it() -> None:
    mask = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(4)
    corners = random.uniform(0, 60, (40, 2))
    boxes = np.hstack([corners, random.uniform(5, 40, (40, 2))])
    shares: npt.NDArray[Any] = mask.iou(boxes, boxes, [0] * 40)
    boxes[:, 2:] += boxes[:, :2]
    for one, other, share in zip(boxes[:-1], boxes[1:], np.diagonal(shares, 1), strict=True):
        state = candidates((0.9, 0, one.tolist()), (0.8, 0, other.tolist()))
        below = run(dict(state), {"op": "class_nms", "iou": max(0.0, share - 1e-4)})
        above = run(dict(state), {"op": "class_nms", "iou": share + 1e-4})
        assert (len(below), len(above)) == (2 if share < 1e-4 else 1, 2)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"over": "larger"}, "one of union, smaller"),
        ({"iou": -0.1}, "0 to 1"),
        ({"iou": 2}, "0 to 1"),
    ],
)
def test_another_measure_of_overlap_is_refused_when_the_package_is_loaded(
    wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(ManifestError, match=says):
        compile_steps([StepEntry(op="class_nms", **wrong)], context(), "post")
