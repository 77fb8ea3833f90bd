"""The page on tenants: its files can be read, and its figures are those of the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wherever_contracts.wire.asked import IDEMPOTENCY_KEY
from wherever_gateway.config.reading import parse_config
from wherever_gateway.config.review import contradictions
from wherever_gateway.parts import rules_of
from wherever_gateway.state.kept import MAX_ANSWER_BYTES, MAX_MEMORY_BYTES, TTL_S
from wherever_gateway.state.state import FAILURES, MAX_KEPT_BYTES, USAGE_DAYS
from wherever_gateway.tenants.digests import MAX_KEY_LENGTH

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tenants.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
MIB = 2**20


@pytest.mark.parametrize("text", BLOCKS, ids=["rules", "state"])
def test_what_the_page_shows_can_be_read(text, tmp_path):
    config = parse_config(text, source="tenants.md", base=tmp_path)
    assert [str(fault) for fault in contradictions(config) if fault.fatal] == []


def test_the_rules_on_the_page_mean_what_it_says(tmp_path):
    rules = rules_of(parse_config(BLOCKS[0], source="tenants.md", base=tmp_path).tenants)
    assert rules.of("shop-berlin").allows("ocr-de")
    assert not rules.of("reports").allows("ocr-de")
    assert not rules.of("somebody").allows("people")
    assert (rules.of("reports").priority, rules.of("reports").boundary) == ("background", "site")
    assert [quota.per for quota in rules.of("shop-1").quotas] == ["tenant", "model"]


def test_the_figures_on_the_page_are_those_of_the_program():
    assert f"`{IDEMPOTENCY_KEY}`" in PAGE
    assert f"up to {MAX_KEY_LENGTH} characters" in PAGE
    assert f"up to {MAX_ANSWER_BYTES // MIB} MiB are kept for {TTL_S / 3600:.0f} hours" in PAGE
    assert f"{MAX_KEPT_BYTES // MIB} MiB in" in PAGE
    assert f"({MAX_MEMORY_BYTES // MIB} MiB of answers)" in PAGE
    assert f"`{FAILURES}`" in PAGE
    assert f"Usage is kept for {USAGE_DAYS} days" in PAGE
