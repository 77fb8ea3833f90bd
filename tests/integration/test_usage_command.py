"""`wherever gateway usage`, on what gateways wrote."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from wherever.cli import main
from wherever_contracts.wire.tensors import InferResponse, WireTensor
from wherever_edge.oip.admission import Served
from wherever_gateway.state.location import default_url, sqlite_url
from wherever_gateway.state.state import State

HOUR_S = 3600
ANSWER = InferResponse("people", "1.0.0", "", {}, (WireTensor("y", "UINT8", (1500,), bytes(1500)),))


def usage(*arguments: str) -> tuple[int, str]:
    """The exit code, and all that was said."""
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as caught:
        main(["gateway", "usage", *arguments])
    return caught.value.code or 0, said.getvalue()


def wrote(url: str, at_s: float, *calls: tuple[str, str]) -> None:
    state = State(url, clock=lambda: at_s)
    state.start()
    for tenant, model in calls:
        state.usage.answered(tenant, Served(model, "1.0.0", engine_s=0.25), 2000, ANSWER)
    state.usage.refused("ann", "")
    assert state.close()


@pytest.fixture
def home(own_home) -> Path:
    now_s = datetime.now(UTC).timestamp()
    calls = [("ann", "people"), ("ann", "people"), ("bob", "ocr")]
    wrote(default_url(own_home), now_s - HOUR_S, *calls)
    wrote(default_url(own_home), now_s, ("ann", "people"))
    wrote(default_url(own_home), now_s - 90 * 24 * HOUR_S, ("old", "people"), ("", "\x1b[2J"))
    return own_home


def rows(*arguments: str) -> list[dict[str, Any]]:
    code, said = usage("--json", *arguments)
    assert code == 0, said
    return json.loads(said)["usage"]


def test_each_tenant_and_model_has_a_line_with_its_hours_added_up(home):
    code, said = usage()
    lines = [line.split() for line in said.splitlines()]
    assert code == 0
    assert lines[0] == ["tenant", "model", "calls", "failed", "refused", "repeated", "in", "out",
                        "engines"]  # fmt: skip
    assert ["ann", "people", "3", "0", "0", "0", "6.0", "kB", "4.5", "kB", "750", "ms"] in lines
    assert ["ann", "(unknown)", "0", "0", "2", "0", "0", "B", "0", "B", "0", "us"] in lines
    assert "old" not in said


def test_as_json_every_hour_is_by_itself(home):
    found = rows("--tenant", "ann")
    people = [row for row in found if row["model"] == "people"]
    assert [row["calls"] for row in people] == [2, 1]
    assert people[0]["hour"].endswith(":00:00Z")
    assert {row["tenant"] for row in found} == {"ann"}


def test_older_hours_are_asked_for_with_since(home):
    assert {row["tenant"] for row in rows("--since", "52w")} == {"ann", "bob", "old", ""}
    assert {row["model"] for row in rows("--since", "10h")} >= {"people"}
    assert rows("--since", "2200-01-01") == []
    assert (
        "nothing was used by ann since 2200-01-01"
        in usage("--since", "2200-01-01T00:30", "--tenant", "ann")[1]
    )


def test_names_cannot_steer_the_terminal(home):
    assert "\x1b" not in usage("--since", "52w")[1]


def test_a_time_that_is_none_says_what_is_one(home):
    code, said = usage("--since", "yesterday")
    assert code == 1
    assert 'expected "24h"' in said


def test_a_home_without_state_says_so_and_stays_as_it_is(own_home):
    code, said = usage()
    assert code == 1
    assert "no gateway has kept state in sqlite:///" in said
    assert list(own_home.iterdir()) == []


def test_a_file_that_is_no_database_is_one_sentence(home):
    (home / "gateway" / "state.db").write_bytes(b"nonsense" * 1000)
    code, said = usage()
    assert code == 1
    assert "cannot be read" in said
    assert len(said.splitlines()) == 1


def test_a_gateways_file_says_where_its_state_is(tmp_path):
    wrote(sqlite_url(tmp_path / "elsewhere.db"), datetime.now(UTC).timestamp(), ("zoe", "ocr"))
    config = tmp_path / "gateway.toml"
    config.write_text(f'[state]\nurl = "sqlite:///{tmp_path / "elsewhere.db"}"\n')
    assert {row["tenant"] for row in rows("--config", str(config))} == {"zoe", "ann"}
