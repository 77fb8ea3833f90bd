"""docs/watching.md names what a gateway tells, all of it and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wherever_contracts.errors import WhereverError
from wherever_contracts.wire.traceparent import Parent
from wherever_edge.host import LocalHost
from wherever_edge.packages.store import Store
from wherever_gateway.watching.call import Ended
from wherever_gateway.watching.cells import USUAL
from wherever_gateway.watching.collector import host_levels
from wherever_gateway.watching.exposition import exposition
from wherever_gateway.watching.log import line
from wherever_gateway.watching.metrics import Metrics

PAGE = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()


def test_every_metric_is_in_the_table():
    kinds = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in text_string_to_metric_families(exposition(Metrics().counted()))
    }
    kinds |= {level.name: "gauge" for level in host_levels(LocalHost(Store(), distance="cloud"))}
    said = dict(re.findall(r"^\| `(wherever_\w+)` \| (\w+) \|", PAGE, re.MULTILINE))
    assert said == kinds


def test_every_reason_is_the_code_of_an_error():
    def codes(error):
        return {error.code}.union(*map(codes, error.__subclasses__()))

    (reasons,) = re.findall(r"\*\*Reasons\.\*\*(.*?)and the other codes", PAGE, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", reasons)) <= codes(WhereverError)


def test_the_line_of_the_log_has_the_fields_that_lines_have():
    (example,) = re.findall(r"```json\n(.*)\n```", PAGE)
    trace = Parent(1, 1, sampled=True)
    written = json.loads(line(Ended("m", "1", "v", "t", "", 0.0, 0.0, trace=trace)))
    assert list(json.loads(example)) == list(written)


@pytest.mark.parametrize("limit", USUAL)
def test_the_limits_are_said(limit):
    assert f"{limit:,}" in PAGE
