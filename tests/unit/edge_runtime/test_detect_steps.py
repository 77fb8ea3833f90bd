"""From a detector's raw tensors to detections."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherever_contracts.errors import ManifestError, MissingExtraError
from wherever_contracts.manifest import Signature, StepEntry, Variant
from wherever_edge.pipelines.candidates import Calibration
from wherever_edge.pipelines.pipeline import StepContext, compile_steps
from wherever_edge.pipelines.placement import Placement

LABELS = ["person", "dog", "cup"]
CHANNELS = 5 + len(LABELS)
OUTPUTS = ("boxes", "scores", "classes")


def no_files(path):
    raise KeyError(path)


def context(outputs=None, value=None, options=("min_score",)):
    signature = {
        "inputs": [{"name": "image", "kind": "image"}],
        "outputs": [
            {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
            {"name": "scores", "dtype": "float32", "shape": [-1]},
            {"name": "classes", "dtype": "int64", "shape": [-1]},
        ],
        "value": value or {"kind": "detections", "labels": LABELS, **{o: o for o in OUTPUTS}},
        "options": [{"name": name, "default": 0.3, "min": 0, "max": 1} for name in options],
    }
    shapes = outputs or {"grid": [1, CHANNELS, -1, -1], "rows": [1, 84, CHANNELS]}
    tensors = [{"name": n, "dtype": "float32", "shape": s} for n, s in shapes.items()]
    variant = {
        "id": "v",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "v.onnx", "sha256": "0" * 64, "bytes": 0}],
        "tensors": {"inputs": tensors, "outputs": tensors},
    }
    return StepContext(
        Signature.model_validate(signature), Variant.model_validate(variant), no_files
    )


def run(state, *steps, min_score=0.3):
    entries = [StepEntry(**step) for step in steps]
    state["options"] = {"min_score": min_score}
    for step in compile_steps(entries, context(), "post"):
        step(state)
    return state


def candidates(boxes, scores, classes):
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "scores": np.array(scores, np.float32),
        "classes": np.array(classes, np.int64),
    }


def rows_of(state):
    """Comparable rows: class, score, box; best first."""
    columns = (state[name].tolist() for name in ("scores", "classes", "boxes"))
    return sorted(zip(*columns, strict=True), reverse=True)


def assert_same(state, expected):
    found = rows_of(state)
    expected = sorted(expected, reverse=True)
    assert [row[1] for row in found] == [row[1] for row in expected]
    np.testing.assert_allclose([r[0] for r in found], [r[0] for r in expected], rtol=1e-4)
    boxes = [np.reshape([row[2] for row in rows], (-1, 4)) for rows in (found, expected)]
    np.testing.assert_allclose(*boxes, rtol=1e-3, atol=1e-2)


def in_image(placement, box):
    """One box of the tensor in the image, plainly."""
    left, top, right, bottom = box
    x = [(value - placement.left) / placement.scale_x for value in (left, right)]
    y = [(value - placement.top) / placement.scale_y for value in (top, bottom)]
    x = [min(max(value, 0), placement.width) for value in x]
    y = [min(max(value, 0), placement.height) for value in y]
    return [x[0], y[0], x[1], y[1]]


def plain_fastestdet(raw, placement, low, stride):
    """The formulas, cell by cell."""
    _, rows, columns = raw.shape
    found = []
    for y in range(rows):
        for x in range(columns):
            cell = [float(value) for value in raw[:, y, x]]
            best = max(range(len(LABELS)), key=lambda c: cell[5 + c])
            score = cell[0] ** 0.6 * cell[5 + best] ** 0.4
            centre_x, centre_y = (
                (math.tanh(cell[1]) + x) * stride,
                (math.tanh(cell[2]) + y) * stride,
            )
            width = columns * stride / (1 + math.exp(-cell[3]))
            height = rows * stride / (1 + math.exp(-cell[4]))
            corners = (centre_x - width / 2, centre_y - height / 2)
            box = in_image(placement, (*corners, corners[0] + width, corners[1] + height))
            if score >= low and box[2] > box[0] and box[3] > box[1]:
                found.append((score, best, box))
    return found


def plain_yolox(raw, placement, low, size):
    """The formulas, row by row."""
    found, row = [], 0
    for stride in (8, 16, 32):
        for y in range(size[0] // stride):
            for x in range(size[1] // stride):
                cell = [float(value) for value in raw[row]]
                row += 1
                best = max(range(len(LABELS)), key=lambda c: cell[5 + c])
                score = cell[4] * cell[5 + best]
                centre_x, centre_y = (cell[0] + x) * stride, (cell[1] + y) * stride
                width, height = math.exp(cell[2]) * stride, math.exp(cell[3]) * stride
                corners = (centre_x - width / 2, centre_y - height / 2)
                box = in_image(placement, (*corners, corners[0] + width, corners[1] + height))
                if score >= low and box[2] > box[0] and box[3] > box[1]:
                    found.append((score, best, box))
    assert row == len(raw)
    return found


placements = st.builds(
    Placement,
    width=st.integers(1, 900),
    height=st.integers(1, 900),
    scale_x=st.floats(0.1, 5),
    scale_y=st.floats(0.1, 5),
    left=st.integers(0, 30),
    top=st.integers(0, 30),
)
seeds = st.integers(0, 2**32 - 1)
FASTESTDET = {"op": "fastestdet_boxes", "name": "grid"}
YOLOX = {"op": "yolox_boxes", "name": "rows", "size": [64, 64]}


def random_grid(seed, rows=5, columns=7):
    random = np.random.default_rng(seed)
    raw = random.normal(0, 2, (1, CHANNELS, rows, columns))
    raw[:, 0] = random.random((1, rows, columns)) ** 2
    raw[:, 5:] = random.dirichlet(np.ones(len(LABELS)), (1, rows, columns)).transpose(0, 3, 1, 2)
    return raw.astype(np.float32)


def random_rows(seed, count=84):
    random = np.random.default_rng(seed)
    raw = random.normal(0, 1, (1, count, CHANNELS))
    raw[:, :, 4:] = random.random((1, count, 1 + len(LABELS)))
    return raw.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, placement=placements, low=st.sampled_from([0.0, 0.1, 0.4]))
def test_fastestdet_is_decoded_as_its_formulas_say(seed, placement, low):
    raw = random_grid(seed)
    state = run({"grid": raw, "placement": (placement,)}, {**FASTESTDET, "floor": low}, min_score=1)
    assert_same(state, plain_fastestdet(raw[0], placement, low, stride=16))


@settings(max_examples=60, deadline=None)
@given(seed=seeds, placement=placements, low=st.sampled_from([0.0, 0.1, 0.4]))
def test_yolox_is_decoded_as_its_formulas_say(seed, placement, low):
    raw = random_rows(seed)
    state = run({"rows": raw, "placement": (placement,)}, {**YOLOX, "floor": low}, min_score=1)
    assert_same(state, plain_yolox(raw[0], placement, low, (64, 64)))


def test_yolox_takes_tensors_that_are_not_square():
    cells = 8 * 4 + 4 * 2 + 2 * 1
    raw, placement = random_rows(3, cells), Placement(32, 64, 1.0, 1.0)
    step = {"op": "yolox_boxes", "name": "rows", "size": [64, 32], "floor": 0.0}
    bound = context({"rows": [1, cells, CHANNELS]})
    state = {"rows": raw, "placement": (placement,), "options": {"min_score": 0.3}}
    compile_steps([StepEntry(**step)], bound, "post")[0](state)
    assert_same(state, plain_yolox(raw[0], placement, 0.0, (64, 32)))


@pytest.mark.parametrize(
    ("tensor", "step", "make"), [("grid", FASTESTDET, random_grid), ("rows", YOLOX, random_rows)]
)
class TestBothDecoders:
    def decoded(self, tensor, raw, step, min_score=0.3):
        return run(
            {tensor: raw, "placement": (Placement(64, 64, 1, 1),)}, step, min_score=min_score
        )

    def test_candidates_reach_down_to_the_floor_or_to_what_the_caller_asks_for(
        self, tensor, step, make
    ):
        usual = self.decoded(tensor, make(1), step)
        low = self.decoded(tensor, make(1), step, min_score=0.001)
        assert usual["scores"].min() >= 0.05
        assert len(low["scores"]) > len(usual["scores"])

    def test_candidates_have_the_promised_types(self, tensor, step, make):
        for raw in (make(1), np.zeros_like(make(1))):
            state = self.decoded(tensor, raw, step)
            assert [state[name].dtype for name in OUTPUTS] == [np.float32, np.float32, np.int64]
            assert state["boxes"].shape == (len(state["scores"]), 4)
            assert state["classes"].shape == state["scores"].shape

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e38, -1e38])
    def test_damaged_numbers_neither_fail_nor_reach_the_answer(self, tensor, step, make, bad):
        raw = make(2)
        where = np.random.default_rng(5).random(raw.shape) < 0.1
        raw[where] = bad
        state = self.decoded(tensor, raw, step, min_score=0.0)
        assert ((state["scores"] >= 0) & (state["scores"] <= 1)).all()
        assert np.isfinite(state["boxes"]).all()
        assert (state["boxes"][:, :2] < state["boxes"][:, 2:]).all()

    def test_a_tensor_of_nothing_but_nan_gives_no_candidates(self, tensor, step, make):
        state = self.decoded(tensor, np.full_like(make(1), np.nan), step, min_score=0.0)
        assert len(state["scores"]) == 0

    def test_calibration_changes_scores_and_keeps_their_order(self, tensor, step, make):
        plain = self.decoded(tensor, make(4), step, min_score=0.0)
        slope, offset = 1.9, -1.4
        calibrated = self.decoded(
            tensor, make(4), {**step, "slope": slope, "offset": offset}, min_score=0.0
        )
        logits = np.log(plain["scores"] / (1 - plain["scores"]))
        expected = 1 / (1 + np.exp(-(slope * logits + offset)))
        np.testing.assert_allclose(calibrated["scores"], expected, rtol=1e-3, atol=1e-6)
        np.testing.assert_array_equal(calibrated["boxes"], plain["boxes"])

    def test_thresholds_are_on_the_calibrated_scale(self, tensor, step, make):
        calibrated = {**step, "slope": 2.0, "offset": 1.0}
        every = self.decoded(tensor, make(4), calibrated, min_score=0.0)["scores"]
        some = self.decoded(tensor, make(4), {**calibrated, "floor": 0.4}, min_score=0.4)["scores"]
        np.testing.assert_array_equal(some, every[every >= 0.4])

    @pytest.mark.parametrize("slope", [0, -1])
    def test_a_calibration_that_turns_the_order_around_is_refused(self, tensor, step, make, slope):
        with pytest.raises(ManifestError, match="slope must be above 0"):
            run({}, {**step, "slope": slope})

    def test_a_tensor_for_other_labels_is_refused(self, tensor, step, make):
        shape = list(make(1).shape)
        shape[shape.index(CHANNELS)] = 85
        with pytest.raises(ManifestError, match="85") as caught:
            compile_steps([StepEntry(**step)], context({tensor: shape}), "post")
        assert caught.value.field == "variants.v.tensors.outputs"

    def test_a_tensor_that_the_variant_does_not_declare_is_refused(self, tensor, step, make):
        with pytest.raises(ManifestError, match="expected a tensor"):
            compile_steps([StepEntry(**step)], context({"other": [1]}), "post")


@given(slope=st.floats(0.2, 5), offset=st.floats(-5, 5), chance=st.floats(0.001, 0.999))
def test_a_calibration_can_be_turned_back(slope, offset, chance):
    calibration = Calibration(slope, offset)
    score = np.array([calibration.score(chance)])
    if 1e-9 < score[0] < 1 - 1e-9:
        np.testing.assert_allclose(calibration.chances(score), chance, rtol=1e-3)


def test_a_calibration_keeps_the_ends():
    with np.errstate(divide="ignore"):
        ends = Calibration(1.9, -1.4).chances(np.array([0.0, 1.0, 1.5]))
    np.testing.assert_array_equal(ends, [0, 1, 1])
    assert [Calibration(1.9, -1.4).score(end) for end in (0.0, 1.0)] == [0, 1]


NMS = {"op": "class_nms", "iou": 0.45}


def plain_iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def plain_nms(state, limit):
    kept = []
    for row in rows_of(state):
        if not any(row[1] == k[1] and plain_iou(row[2], k[2]) > limit for k in kept):
            kept.append(row)
    return kept


@st.composite
def crowds(draw):
    """Many overlapping boxes of few classes, no two scores alike."""
    count = draw(st.integers(0, 40))
    random = np.random.default_rng(draw(seeds))
    corners = random.integers(0, 60, (count, 2))
    boxes = np.hstack([corners, corners + random.integers(5, 40, (count, 2))])
    scores = random.permutation(count) / (count + 1) + 0.001
    return candidates(boxes, scores, random.integers(0, len(LABELS), count))


@given(state=crowds(), limit=st.sampled_from([0.0, 0.2, 0.45, 0.7]))
def test_suppression_keeps_what_a_plain_greedy_loop_keeps(state, limit):
    expected = plain_nms(state, limit)
    state = run(state, {**NMS, "iou": limit})
    assert (
        list(zip(*(state[n].tolist() for n in ("scores", "classes", "boxes")), strict=True))
        == expected
    )


@given(state=crowds())
def test_what_suppression_keeps_is_sorted_disjoint_within_a_class_and_final(state):
    once = run(dict(state), NMS)
    assert (np.diff(once["scores"]) <= 0).all()
    for index, (_, kind, box) in enumerate(rows_of(once)):
        for _, other_kind, other in rows_of(once)[:index]:
            assert kind != other_kind or plain_iou(box, other) <= 0.45 + 1e-6
    assert rows_of(run(dict(once), NMS)) == rows_of(once)


@given(state=crowds(), seed=seeds)
def test_the_order_of_candidates_does_not_matter(state, seed):
    order = np.random.default_rng(seed).permutation(len(state["scores"]))
    mixed = {name: array[order] for name, array in state.items()}
    assert rows_of(run(state, NMS)) == rows_of(run(mixed, NMS))


def test_things_of_two_classes_may_be_in_one_place():
    box = [10, 10, 50, 50]
    state = run(candidates([box, box, box], [0.9, 0.8, 0.7], [0, 1, 0]), NMS)
    assert [(row[0] > 0.75, row[1]) for row in rows_of(state)] == [(True, 0), (True, 1)]


def test_a_candidate_with_a_score_of_zero_is_not_lost():
    assert len(run(candidates([[0, 0, 5, 5]], [0.0], [0]), NMS)["scores"]) == 1


BEST = {"op": "best_detections", "most": 2}


def test_the_best_down_to_min_score_are_kept():
    state = candidates(np.tile([0, 0, 5, 5], (4, 1)), [0.9, 0.5, 0.3, 0.1], [0, 1, 2, 0])
    assert run(dict(state), {"op": "best_detections"})["classes"].tolist() == [0, 1, 2]
    assert run(dict(state), {"op": "best_detections"}, min_score=0.6)["classes"].tolist() == [0]
    assert run(dict(state), BEST, min_score=0.0)["classes"].tolist() == [0, 1]


def test_keeping_the_best_of_none_is_none():
    state = run(candidates([], [], []), NMS, {"op": "detection_confidence"}, BEST)
    assert [state[name].shape for name in OUTPUTS] == [(0, 4), (0,), (0,)]
    assert state["confidence"] == 1.0


def confidence(scores, min_score=0.3):
    state = candidates(np.tile([0, 0, 5, 5], (len(scores), 1)), scores, [0] * len(scores))
    return run(state, {"op": "detection_confidence"}, min_score=min_score)["confidence"]


@given(
    scores=st.lists(st.floats(0, 1, width=32), max_size=30),
    min_score=st.floats(0, 1),
)
def test_confidence_is_between_zero_and_one(scores, min_score):
    assert 0 <= confidence(scores, min_score) <= 1


def test_clear_scores_give_confidence_and_doubtful_ones_take_it():
    assert confidence([0.99, 0.98, 0.01]) > 0.95
    assert confidence([0.99, 0.35, 0.32, 0.28]) < 0.8
    assert confidence([0.29, 0.28, 0.25]) < 0.6
    assert confidence([0.95]) > confidence([0.95, 0.29]) > confidence([0.95, 0.29, 0.29])


@pytest.mark.parametrize("op", ["class_nms", "detection_confidence", "best_detections"])
def test_the_steps_refuse_a_signature_that_is_not_one_of_detections(op):
    label = {"kind": "label", "scores": "scores", "labels": LABELS}
    with pytest.raises(ManifestError, match="'detections'"):
        compile_steps([StepEntry(op=op)], context(value=label), "post")


def test_the_steps_refuse_a_signature_without_min_score():
    with pytest.raises(ManifestError, match="'min_score'"):
        compile_steps([StepEntry(**BEST)], context(options=["other"]), "post")


def test_without_opencv_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'wherever\[image\]'"):
        run({}, NMS)
