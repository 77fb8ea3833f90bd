"""Pairs of confidence and agreement are checked, and figures of them are what they are called."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from wherever_contracts.errors import PackageError
from wherever_contracts.frames import pack_frame
from wherever_convert.calibration import Calibration
from wherever_convert.trust import calibration_error, cut, cuts, ranking
from wherever_edge.packages.pairs import MAX_PAIRS, Pairs, pack_pairs, unpack_pairs


def shares(*values):
    return np.array(values, np.float32)


SOME = Pairs(shares(0.2, 0.9, 0.6), shares(0, 1, 1))
KNOWN = Pairs(*SOME[:2], shares(0, 1, 1), shares(1, 1, 0))


NAMED = SOME._replace(category=shares(-1, 0, 4000))


@pytest.mark.parametrize("pairs", [SOME, KNOWN, NAMED, KNOWN._replace(category=NAMED.category)])
def test_pairs_come_back_as_they_were_written(pairs):
    data = pack_pairs(pairs)
    assert data == pack_pairs(pairs)
    for read, written in zip(unpack_pairs("x", data), pairs, strict=True):
        assert (read is None and written is None) or np.array_equal(read, written)


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        (Pairs(shares(0.5), shares(0.5, 0.5)), "of one length, found confidence float32"),
        (Pairs(shares(1.5), shares(0)), "confidence from 0 to 1, found 1.5"),
        (Pairs(shares(-0.1), shares(0)), "confidence from 0 to 1"),
        (Pairs(shares(0), shares(np.nan)), "agreement from 0 to 1, found nan"),
        (Pairs(shares(), shares()), "1 to 1000000 pairs, found 0"),
        (Pairs(np.zeros(MAX_PAIRS + 1), np.zeros(MAX_PAIRS + 1)), "found 1000001"),
        (
            Pairs(shares(0), shares(0), shares(0)),
            "right_against, and perhaps category, found confidence, agreement, right",
        ),
        (Pairs(np.zeros((2, 1)), np.zeros((2, 1))), "float32 arrays of one length"),
        (SOME._replace(category=shares(0, 1)), "of one length, found"),
        (SOME._replace(category=shares(0, -2, 0)), "category from -1 to 16777216, found -2 to 0"),
        (SOME._replace(category=shares(0, np.nan, 0)), "category from -1"),
        (SOME._replace(category=shares(0, 0.5, 0)), "category in whole numbers, found 0.5"),
    ],
)
def test_what_is_no_pairs_is_neither_written_nor_read(pairs, found):
    with pytest.raises(ValueError, match=found):
        pack_pairs(pairs)
    arrays = {name: a.astype(np.float32) for name, a in pairs._asdict().items() if a is not None}
    with pytest.raises(PackageError, match=found):
        unpack_pairs("calibration/x.frame", pack_frame(arrays, {}))


@pytest.mark.parametrize("data", [b"", b"x" * 100, pack_pairs(SOME)[:-1]])
def test_damaged_pairs_are_refused_with_the_file(data):
    with pytest.raises(PackageError, match=r"calibration/x\.frame: expected pairs"):
        unpack_pairs("calibration/x.frame", data)


def test_an_array_that_is_not_known_is_refused():
    arrays = {"confidence": SOME.confidence, "agreement": SOME.agreement, "mood": shares(0, 0, 0)}
    with pytest.raises(PackageError, match="found confidence, agreement, mood"):
        unpack_pairs("x", pack_frame(arrays, {}))


def test_pairs_of_another_kind_of_number_are_refused():
    frame = pack_frame({"confidence": np.zeros(1), "agreement": np.zeros(1)}, {})
    with pytest.raises(PackageError, match="found confidence float64"):
        unpack_pairs("x", frame)


def test_what_stays_below_no_threshold_is_the_variants_own():
    assert cut(KNOWN, 0.5) == (0.5, pytest.approx(1 / 3), 1, 1)
    assert cut(SOME, 0.0) == (0, 0, pytest.approx(2 / 3), None)
    assert cut(SOME, 1.0) == (1, 1, None, None)


confidences = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=40)


@given(confidences, st.data())
def test_higher_thresholds_escalate_more(values, data):
    agreed = data.draw(
        st.lists(st.sampled_from([0, 1]), min_size=len(values), max_size=len(values))
    )
    made = cuts(Pairs(shares(*values), shares(*agreed)))
    escalated = [each.escalated for each in made]
    assert made[0].threshold == 0
    assert escalated[0] == 0
    assert escalated == sorted(escalated)


@given(confidences, st.data())
def test_ranking_of_yes_and_no_is_the_area_under_the_curve(values, data):
    agreed = data.draw(
        st.lists(st.sampled_from([0, 1]), min_size=len(values), max_size=len(values))
    )
    found = ranking(shares(*values), shares(*agreed))
    if len(set(agreed)) < 2:
        assert found is None
    else:
        assert found == pytest.approx(roc_auc_score(agreed, shares(*values)))


def test_ranking_of_shares_compares_every_two():
    assert ranking(shares(0.1, 0.5, 0.9), shares(0.2, 0.4, 0.8)) == 1
    assert ranking(shares(0.9, 0.5, 0.1), shares(0.2, 0.4, 0.8)) == 0
    assert ranking(shares(0.5, 0.5), shares(0.2, 0.4)) == 0.5


def test_calibration_error_is_the_gap_within_bins():
    assert calibration_error(shares(0.9, 0.92), shares(1, 1)) == pytest.approx(0.09)
    assert calibration_error(shares(0.55, 0.52), shares(1, 0)) == pytest.approx(0.035)
    assert calibration_error(shares(1.0), shares(1.0)) == 0


def calibration(pairs, tmp_path, **more):
    return Calibration("m", "1.1.0", tmp_path, "small", "large", "set", "0" * 64, pairs, **more)


def test_a_confidence_that_says_nothing_and_few_pairs_are_warned_of(tmp_path):
    rng = np.random.default_rng(3)
    few = calibration(SOME, tmp_path, whole=True)
    (warning,) = few.warnings
    assert warning.startswith("only 3 pairs: to promise at most 2 % of disagreement at 95 % takes")
    assert "at least 160, and all of them agreeing" in warning
    (fractions,) = calibration(SOME, tmp_path).warnings
    assert "at least 163" in fractions
    noise = Pairs(rng.random(400, np.float32), (rng.random(400) < 0.8).astype(np.float32))
    assert "says next to nothing" in calibration(noise, tmp_path).warnings[0]
    alike = Pairs(rng.random(400, np.float32), np.ones(400, np.float32))
    assert "nothing is known of the confidence" in calibration(alike, tmp_path).warnings[0]
    sure = np.linspace(0, 1, 400, dtype=np.float32)
    assert calibration(Pairs(sure, (sure > 0.3).astype(np.float32)), tmp_path).warnings == ()


def test_a_larger_variant_that_is_worse_is_warned_of(tmp_path):
    sure = np.linspace(0, 1, 400, dtype=np.float32)
    agreed = (sure > 0.3).astype(np.float32)
    worse = Pairs(sure, agreed, np.ones(400, np.float32), agreed)
    (warning,) = calibration(worse, tmp_path).warnings
    assert (
        warning == "small is right for 100.0% and large for 70.0%: to escalate makes answers worse"
    )


def test_a_reference_that_is_better_but_not_where_the_variant_is_unsure_is_warned_of(tmp_path):
    sure = np.linspace(0, 1, 900, dtype=np.float32)
    agreed = (sure > 0.3).astype(np.float32)
    alike = Pairs(sure, agreed, agreed, agreed, np.zeros(900, np.float32))
    (noise,) = calibration(alike, tmp_path, whole=True).warnings
    assert "escalations make less than 5% more right" in noise


def test_what_can_be_promised_is_a_table_of_its_own(tmp_path):
    sure = np.linspace(0, 1, 200, dtype=np.float32)
    pairs = Pairs(sure, (sure > 0.05).astype(np.float32))
    made = calibration(pairs, tmp_path, whole=True)
    table = made.text().partition("what can be promised, 95% sure:\n")[2].splitlines()
    assert table[:4] == [
        "max_disagreement  threshold  escalated",
        "              1%          -        all  121 pairs more are needed, even if all agree",
        "              2%      0.051       5.0%",
        "              5%      0.031       3.0%",
    ]
    promise = made.to_dict()["promises"][0]
    assert (promise["max_disagreement"], promise["missing"]) == (0.01, 121)


def test_a_threshold_that_is_nearly_1_is_not_shown_as_1(tmp_path):
    sure = np.linspace(0.9996, 0.9999, 400, dtype=np.float32)
    text = calibration(Pairs(sure, (sure > 0.9998).astype(np.float32)), tmp_path).text()
    assert " 1.000 " not in text.partition("promised")[2]
    assert " 0.9998" in text.partition("promised")[2]


def test_the_table_names_the_threshold_that_the_variant_has(tmp_path):
    text = calibration(KNOWN, tmp_path, escalate_below=0.7).text()
    assert "0.700      66.7%                 100.0%         66.7%  <- escalate_below" in text
    assert "right in all" not in calibration(SOME, tmp_path).text()
