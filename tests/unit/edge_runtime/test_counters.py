"""Counts by name and labels, and all numbers as Prometheus reads them."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.counters import Counters, exposition, series

SAMPLE = re.compile(
    r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>(?:\w+="(?:[^"\\\n]|\\[\\n"])*",?)+)\})? '
    r"(?P<value>[-+0-9.e]+|NaN|[+-]Inf)"
)
LABEL = re.compile(r'(\w+)="((?:[^"\\\n]|\\[\\n"])*)"')
ESCAPES = {r"\\": "\\", r"\n": "\n", r"\"": '"'}


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], tuple[str, float]]:
    """Read the text format strictly: (name, labels) -> (type, value)."""
    assert text.endswith("\n")
    found: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[str, float]] = {}
    kinds: dict[str, str] = {}
    family = ""
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("#"):
            _, word, family, kind = line.split(" ")
            assert word == "TYPE"
            assert family not in kinds  # the samples of a family are in one group
            kinds[family] = kind
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample is not None
        assert sample["name"] == family
        labels = tuple(
            (name, re.sub(r'\\[\\n"]', lambda escape: ESCAPES[escape[0]], value))
            for name, value in LABEL.findall(sample["labels"] or "")
        )
        assert (family, labels) not in found
        found[family, labels] = (kinds[family], float(sample["value"]))
    return found


def test_counts_grow_by_name_and_labels():
    counters = Counters()
    counters.add("a_total")
    counters.add("a_total", 2, model="m", kind="k")
    counters.add("a_total", 3, kind="k", model="m")
    assert counters.snapshot() == {"a_total": 1, 'a_total{kind="k",model="m"}': 5}


def test_numbers_are_grouped_by_name_with_their_type():
    counts = {"b_total": 1, 'a_total{m="x"}': 2, 'b_total{m="x"}': 3}
    text = exposition(counts, {"c_ratio": 0.5})
    assert text == (
        '# TYPE b_total counter\nb_total 1\nb_total{m="x"} 3\n'
        '# TYPE a_total counter\na_total{m="x"} 2\n'
        "# TYPE c_ratio gauge\nc_ratio 0.5\n"
    )


def test_nothing_is_an_empty_page():
    assert exposition({}, {}) == ""


@given(
    st.dictionaries(st.text(), st.integers(0, 10**15), min_size=1),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_whatever_a_label_holds_is_read_again(counts, gauge):
    text = exposition(
        {series("a_total", {"m": label, "n": "x"}): count for label, count in counts.items()},
        {"b": gauge},
    )
    assert read(text) == {
        **{("a_total", (("m", label), ("n", "x"))): ("counter", n) for label, n in counts.items()},
        ("b", ()): ("gauge", gauge),
    }
