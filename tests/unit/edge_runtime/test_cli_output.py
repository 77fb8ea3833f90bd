"""What commands print for programs."""

from __future__ import annotations

import json
import math

from wherever_edge.cli import Output


def test_numbers_that_json_cannot_say_are_null(capsys):
    Output(json=True).emit({"a": [1.5, math.nan, -math.inf], "b": "NaN"}, "")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    printed = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert printed == {"a": [1.5, None, None], "b": "NaN"}
