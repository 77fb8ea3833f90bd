"""The pages on the gateway: the one on keys is made of the schema, and what they show is right."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from wherever_gateway.config.reading import parse_config, read_config
from wherever_gateway.config.review import contradictions
from wherever_gateway.config.schema import GatewayConfig

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BLOCKS = re.findall(r"```toml\n(.*?)```", (DOCS / "gateway.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_keys", DOCS / "make_gateway_keys.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_keys_is_current(maker: ModuleType) -> None:
    # `python docs/make_gateway_keys.py` writes it
    assert (DOCS / "gateway-keys.md").read_text() == maker.page()


def test_every_table_is_on_the_page_of_keys() -> None:
    headings = re.findall(r"^## \[(\w+)", (DOCS / "gateway-keys.md").read_text(), re.MULTILINE)
    assert headings == list(GatewayConfig.model_fields)


@pytest.mark.parametrize("text", BLOCKS)
def test_what_the_page_shows_can_be_read(text: str, tmp_path: Path) -> None:
    config = parse_config(text, source="gateway.md", base=tmp_path)
    assert [str(fault) for fault in contradictions(config) if fault.fatal] == []


def test_files_that_the_page_names_are_there() -> None:
    named = set(re.findall(r"deploy/[\w.-]+", (DOCS / "gateway.md").read_text()))
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_time_to_stop_is_longer_than_the_grace_that_the_page_recommends() -> None:
    assert read_config(ROOT / "deploy" / "gateway.toml").listen.grace_s == 30
    assert "TimeoutStopSec" in (DOCS / "gateway.md").read_text()
