"""What numbers and words of a conversion may be."""

from __future__ import annotations

import pytest

from wherever_contracts.errors import ConversionError
from wherever_convert.limits import checked_drop, one_of


@pytest.mark.parametrize("points", [0, 0.01, 1])
def test_a_share_of_the_metric_may_be_lost(points):
    assert checked_drop(points) == points


@pytest.mark.parametrize("points", [-0.01, 1.01, 5, float("nan")])
def test_more_than_all_and_less_than_nothing_may_not(points):
    with pytest.raises(ConversionError, match="max_drop must be from 0 to 1"):
        checked_drop(points)


def test_a_word_is_one_of_those_that_are_known():
    assert one_of("calibration", "entropy", ("minmax", "entropy")) == "entropy"
    with pytest.raises(ConversionError, match="calibration must be one of minmax, entropy, not 'x"):
        one_of("calibration", "x", ("minmax", "entropy"))
