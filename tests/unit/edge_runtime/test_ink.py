"""From a picture of one character to a grid of ink."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import StepEntry
from wherever_edge.images import Image
from wherever_edge.pipelines.ink import ink_grid, ink_numbers
from wherever_edge.pipelines.pipeline import StepContext, compile_steps

PAPER, INK = 230, 25
STROKES = np.array(
    [
        [0, 0, 1, 1, 1, 1, 0, 0],
        [0, 0, 1, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0, 0],
        [0, 0, 1, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0, 0, 0],
    ],
    np.float32,
)


def drawn(shape=STROKES, *, scale=9, top=20, left=31, size=(130, 150), paper=PAPER, ink=INK):
    """`shape` drawn large somewhere on a sheet: uint8 RGB."""
    sheet = np.full(size, paper, np.float32)
    large = np.kron(shape, np.ones((scale, scale), np.float32))
    area = sheet[top : top + large.shape[0], left : left + large.shape[1]]
    area += (ink - paper) * large
    return np.repeat(sheet.astype(np.uint8)[..., None], 3, axis=2)


def grid_of(rgb):
    return ink_grid(rgb, rows=8, columns=8)


def compiled(**parameters):
    entry = StepEntry.model_validate({"op": "ink_numbers", "name": "image", **parameters})
    (step,) = compile_steps([entry], StepContext(None, None, None), "pre")
    return step


def test_a_drawn_character_gives_the_grid_that_it_was_drawn_from():
    np.testing.assert_allclose(grid_of(drawn()), STROKES, atol=1e-5)


def test_where_it_stands_and_how_large_it_is_do_not_matter():
    for scale, top, left in ((5, 0, 0), (9, 40, 60), (15, 8, 29)):
        np.testing.assert_allclose(
            grid_of(drawn(scale=scale, top=top, left=left)), STROKES, atol=1e-5
        )


def test_light_on_dark_reads_like_dark_on_light():
    np.testing.assert_allclose(grid_of(drawn(paper=20, ink=250)), STROKES, atol=1e-5)


def test_faint_ink_counts_like_strong_ink():
    np.testing.assert_allclose(grid_of(drawn(paper=200, ink=150)), STROKES, atol=1e-5)


def test_a_character_that_fills_its_picture_is_read_by_the_paper_at_most_of_the_border():
    tight = drawn(scale=12, top=0, left=0, size=(96, 96))
    np.testing.assert_allclose(grid_of(tight), STROKES, atol=1e-5)


def test_noisy_paper_hardly_changes_the_grid():
    noise = np.random.default_rng(0).normal(0, 15, (130, 150, 1))
    noisy = np.clip(drawn() + noise, 0, 255).astype(np.uint8)
    assert np.abs(grid_of(noisy) - STROKES).max() < 0.25


def test_grey_cells_keep_their_share_of_the_ink():
    shape = STROKES * 1.0
    shape[0, 3] = 0.5
    assert grid_of(drawn(shape))[0, 3] == pytest.approx(0.5, abs=0.01)


def test_the_aspect_is_kept_and_the_character_is_centred():
    tall = grid_of(drawn(np.ones((8, 2)), top=10, left=90))
    assert np.flatnonzero(tall.any(axis=0)).tolist() == [3, 4]
    assert tall.all(axis=1).sum() == 0
    assert tall[:, 3:5].min() == pytest.approx(1)
    wide = grid_of(drawn(np.ones((2, 8)), top=10, left=50))
    assert np.flatnonzero(wide.any(axis=1)).tolist() == [3, 4]


def test_a_blank_sheet_has_no_ink():
    assert not grid_of(np.full((40, 50, 3), 255, np.uint8)).any()
    assert not grid_of(np.random.default_rng(1).integers(250, 256, (40, 50, 3), np.uint8)).any()


def test_a_very_large_picture_gives_the_same_grid():
    large = drawn(scale=90, top=200, left=310, size=(1300, 1500))
    np.testing.assert_allclose(grid_of(large), STROKES, atol=0.1)


def test_colours_count_by_their_brightness():
    red_on_white = drawn(paper=255, ink=0)
    red_on_white[..., 0] = 255
    np.testing.assert_allclose(grid_of(red_on_white), STROKES, atol=1e-5)


@settings(max_examples=80, deadline=None)
@given(
    arrays.arrays(
        np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3)), fill=st.just(128)
    )
)
def test_any_picture_gives_finite_numbers_between_0_and_1(rgb):
    grid = grid_of(rgb)
    assert grid.shape == (8, 8)
    assert grid.dtype == np.float32
    assert np.isfinite(grid).all()
    assert grid.min() >= 0
    assert grid.max() <= 1


def test_bare_numbers_pass_untouched():
    numbers = np.arange(64, dtype=np.float32).reshape(8, 8)
    state = {"image": numbers}
    compiled(to="numbers")(state)
    assert state["numbers"] is numbers


def test_an_image_becomes_numbers_up_to_full():
    state = {"image": Image.from_pixels(drawn(), "image")}
    compiled(full=16.0)(state)
    assert state["image"].dtype == np.float32
    np.testing.assert_allclose(state["image"], STROKES * 16, atol=1e-3)


def test_the_grid_may_have_another_shape():
    state = {"image": Image.from_pixels(drawn(np.ones((8, 4))), "image")}
    compiled(shape=[16, 8])(state)
    assert state["image"].shape == (16, 8)
    assert state["image"].min() == pytest.approx(16, abs=1e-3)


def test_a_shape_that_is_no_grid_is_refused():
    with pytest.raises(ManifestError, match=r"parameters that 'ink_numbers' takes"):
        compiled(shape=[8, 8, 1])
    assert ink_numbers(None, name="image") is not None
