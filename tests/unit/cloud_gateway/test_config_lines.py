"""Where keys of a TOML text stand."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_gateway.config.lines import dotted, line_of, lines_of

TEXT = """\
# a comment = 1
[listen]
address = "0.0.0.0" # = here

grpc_port=1
[tenants."shop-*"]  # those
models = [
  "digits",
]
  [[tenants."shop-*".quotas]]
  requests = "1/second"
  [[tenants."shop-*".quotas]]
  'bytes' = "1/hour"
[backends]
triton.endpoints = ["x"]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("listen",), 2),
        (("listen", "address"), 3),
        (("listen", "grpc_port"), 5),
        (("tenants", "shop-*"), 6),
        (("tenants", "shop-*", "models"), 7),
        (("tenants", "shop-*", "quotas", 0, "requests"), 11),
        (("tenants", "shop-*", "quotas", 1), 12),
        (("tenants", "shop-*", "quotas", 1, "bytes"), 13),
        (("backends", "triton", "endpoints"), 15),
        (("backends", "triton", "endpoints", 3), 15),
        (("tenants",), 6),
    ],
)
def test_tables_keys_and_arrays_are_found(path, line):
    assert line_of(lines_of(TEXT), path) == line


def test_what_is_nowhere_has_no_line():
    assert line_of(lines_of(TEXT), ("state", "url")) is None
    assert line_of({}, ()) is None


def test_what_only_looks_like_a_key_does_no_harm():
    assert line_of(lines_of('"" = 1\na b = 2\n[=]\n'), ("x",)) is None


def test_paths_are_written_as_toml_writes_them():
    assert dotted(("tenants", "shop-*", "quotas", 0, "bytes")) == 'tenants."shop-*".quotas[0].bytes'


@given(st.text('abc*-. "\\ü\n', min_size=1, max_size=8), st.sampled_from(["models", "weight"]))
def test_a_dotted_path_means_itself_in_toml(name, key):
    (table,) = tomllib.loads(f"{dotted(('tenants', name, key))} = 0")["tenants"].items()
    assert table == (name, {key: 0})
