"""A `gateway.toml` read: what it means, and what is said of what it may not say."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_gateway.config.effective import effective
from wherever_gateway.config.faults import ConfigError, hidden
from wherever_gateway.config.lines import dotted
from wherever_gateway.config.reading import parse_config, read_config
from wherever_gateway.config.schema import GatewayConfig

EXAMPLE = Path(__file__).parents[3] / "deploy" / "gateway.toml"
BASE = Path("/etc/wherever")


def read(text: str) -> GatewayConfig:
    return parse_config(text, source="gateway.toml", base=BASE)


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [str(fault) for fault in caught.value.faults]


def test_an_empty_file_means_the_defaults():
    config = read("")
    assert config == GatewayConfig()
    assert (config.listen.grpc_port, config.listen.http_port) == (8001, 8000)
    assert config.listen.metrics_port == 8002
    assert config.listen.address == config.listen.metrics_address == "127.0.0.1"


# every key with a value, and what it means
KEYS = [
    ("listen.address", '"0.0.0.0"', "0.0.0.0"),
    ("listen.grpc_port", "0", 0),
    ("listen.http_port", '"off"', "off"),
    ("listen.metrics_port", "9002", 9002),
    ("listen.metrics_address", '"::1"', "::1"),
    ("listen.max_bytes", '"64MiB"', 64 * 2**20),
    ("listen.grace_s", "3", 3.0),
    ("listen.trusted_proxies", '["10.0.0.0/8"]', ("10.0.0.0/8",)),
    ("listen.insecure", "true", True),
    ("tls.enabled", "false", False),
    ("tls.certificate_file", '"a.crt"', BASE / "a.crt"),
    ("tls.key_file", '"/k/a.key"', Path("/k/a.key")),
    ("keys.needed", "true", True),
    ("serving.packages", '["models", "~/more"]', (BASE / "models", Path.home() / "more")),
    ("serving.home", '"home"', BASE / "home"),
    ("serving.place", '"nearby"', "nearby"),
    ("serving.profile", '"laptop"', "laptop"),
    ("serving.runs", "2", 2),
    ("serving.threads", "1", 1),
    ("serving.max_waiting", "0", 0),
    ("serving.memory_max_mib", "512", 512),
    ("serving.isolation", '"process"', "process"),
    ("serving.batching", "false", False),
    ("serving.pinned", '["digits"]', ("digits",)),
    ('models."a*".max_queue_delay_ms', "2.5", 2.5),
    ('models."a*".max_batch', "8", 8),
    ('models."a*".pinned', "true", True),
    ('tenants."s-*".models', '["a", "b*"]', ("a", "b*")),
    ('tenants."s-*".boundary', '"site"', "site"),
    ('tenants."s-*".priority', '"batch"', "batch"),
    ('tenants."s-*".weight', "2", 2.0),
    ("state.url", '"sqlite:///x.db"', "sqlite:///x.db"),
    ("state.usage_every_s", "1.5", 1.5),
    ("telemetry.log", '"calls"', "calls"),
    ("telemetry.traces", "true", True),
    ("telemetry.otlp_endpoint", '"http://127.0.0.1:4318"', "http://127.0.0.1:4318"),
    ("backends.b.place", '"nearby"', "nearby"),
    ("backends.b.api_key_file", '"b.key"', BASE / "b.key"),
    ("backends.b.ca_file", '"b.pem"', BASE / "b.pem"),
    ("backends.b.timeout_s", "7", 7.0),
]
NEEDED = {"backends.b": 'backends.b = {endpoints = ["grpc://h:1"], models = ["m"], %s}'}


def value_at(config: GatewayConfig, key: str) -> object:
    found: object = config
    for part in key.replace('"', "").split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    return found.get_secret_value() if hasattr(found, "get_secret_value") else found


@pytest.mark.parametrize(("key", "text", "value"), KEYS)
def test_every_key_is_taken_over(key, text, value):
    table, _, name = key.rpartition(".")
    found = value_at(read(NEEDED.get(table, f"[{table}]\n%s") % f"{name} = {text}"), key)
    assert (found, type(found)) == (value, type(value))


def test_every_key_is_tested_here():
    tested = {(key.split(".")[0], key.rpartition(".")[2]) for key, _, _ in KEYS}
    tested |= {("tenants", "quotas"), ("backends", "endpoints"), ("backends", "models")}
    fields = GatewayConfig.model_fields.items()
    known = {(table, key) for table, field in fields for key in _keys(field.annotation)}
    assert tested == known


def _keys(annotation) -> list[str]:
    if hasattr(annotation, "model_fields"):
        return list(annotation.model_fields)
    return list(annotation.__args__[1].model_fields)


def test_quotas_and_backends_are_tables():
    config = read(
        """
        [[tenants.a.quotas]]
        requests = "100/second"
        concurrency = 8
        [[tenants.a.quotas]]
        bytes = "1GB/hour"
        per = "model"
        [backends.near]
        endpoints = ["grpcs://near:8001"]
        models = ["ocr-*", "people"]
        [backends.far]
        endpoints = ["http://far"]
        models = {words = "bert-large"}
        """
    )
    first, second = config.tenants["a"].quotas
    assert (first.requests, first.concurrency, first.per) == ("100/second", 8, "tenant")
    assert (second.bytes, second.per) == ("1GB/hour", "model")
    assert config.backends["near"].models == {"ocr-*": None, "people": None}
    assert config.backends["far"].models == {"words": "bert-large"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[listen]\nadress = 1", "line 2: listen.adress: there is no such key; did you mean"),
        ("[tenats.a]\n", "line 1: tenats: there is no such key; did you mean 'tenants'?"),
        ("[tls]\nzzz = 1", "line 2: tls.zzz: there is no such key; there are: enabled, cert"),
        ("[listen]\ngrpc_port = 70000", "expected a port from 0 (any free one) to 65535, found"),
        ("[listen]\ngrpc_port = true", "found True"),
        ("[listen]\nhttp_port = 'on'", "expected a port from 0 (any free one) to 65535, or"),
        ("[listen]\nmax_bytes = 'big'", 'listen.max_bytes: expected a size like "64MiB" or "1GB"'),
        ("[listen]\nmax_bytes = -1", "expected a number of bytes, or a size"),
        ("[listen]\ngrace_s = '10'", "line 2: listen.grace_s: expected a number, found '10'"),
        ("[listen]\ngrace_s = -1", "expected greater than or equal to 0, found -1"),
        ("[listen]\ngrace_s = nan", "finite"),
        ("[listen]\ntrusted_proxies = ['x']", "listen.trusted_proxies[0]: expected an address or"),
        ("[keys]\nneeded = 'yes'", "keys.needed: expected true or false, found 'yes'"),
        ("[serving]\npackages = 'x'", "serving.packages: expected a list, found 'x'"),
        ("[serving]\npackages = [1]", "serving.packages[0]: expected a path, as text, found 1"),
        ("[serving]\nplace = 'moon'", "expected 'device', 'nearby' or 'cloud', found 'moon'"),
        ("[serving]\nruns = 1.5", "serving.runs: expected a whole number, found 1.5"),
        ("[tenants]\na = 1", "tenants.a: expected a table"),
        ("[tenants.' ']", "expected a pattern like"),
        ("[[tenants.a.quotas]]\nper = 'model'", "at least one of requests, bytes and concurrency"),
        ("[[tenants.a.quotas]]\nrequest = 'x'", "tenants.a.quotas[0].request: there is no such"),
        ("[[tenants.a.quotas]]\nrequests = '5'", 'like "100/second" (spans: second, minute'),
        ("[[tenants.a.quotas]]\nbytes = '5 XB/day'", "line 2: tenants.a.quotas[0].bytes: expected"),
        ("[backends.b]\nmodels = ['x']", "backends.b.endpoints: is missing (Addresses of its"),
        ("[backends.b]\nendpoints = ['?']\nmodels = []", "is not the address of a host"),
        ("[backends.b]\nendpoints = []\nmodels = ['m']", "expected at least one address"),
        ("[backends.b]\nendpoints = ['h']\nmodels = []", "expected a list of patterns like"),
        ("[backends.b]\nendpoints = ['h']\nmodels = {a = 1}", "expected a list of patterns like"),
        ("a = ", "this is not TOML"),
        ("[a]\n[a]", "this is not TOML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_what_to_write(text, said):
    found = faults(text)
    assert any(said in fault for fault in found), found


def test_everything_that_is_wrong_is_said_at_once_in_the_order_of_the_file():
    found = faults("[listen]\nx = 1\ngrpc_port = -1\n[keys]\nneeded = 3\n[y]")
    assert [fault.partition(":")[0] for fault in found] == ["line 2", "line 3", "line 5", "line 6"]


def test_an_error_names_the_file_and_survives_a_process_border():
    with pytest.raises(ConfigError) as caught:
        read("x = 1\ny = 2")
    assert str(caught.value).startswith("gateway.toml: 2 things are wrong\n  line 1: x: there is")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.faults) == (str(caught.value), caught.value.faults)
    with pytest.raises(ConfigError, match=r"^gateway.toml: line 1: x: there is no such key"):
        read("x = 1")


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_config(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"cannot be read: .*utf-8"):
        read_config(tmp_path / "bytes.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (5 * 2**20))
    with pytest.raises(ConfigError, match="more than"):
        read_config(tmp_path / "large.toml")


def test_the_example_is_right_and_its_paths_are_relative_to_it():
    config = read_config(EXAMPLE)
    assert config.tenants["shop-*"].quotas[1].per == "model"
    assert list(config.tenants) == ["shop-*", "reports", "default"]


def test_passwords_are_not_said():
    assert hidden("postgresql://me:secret@db/x") == "postgresql://me:***@db/x"
    assert "secret" not in repr(read('[state]\nurl = "postgresql://me:secret@db/x"'))
    (said,) = faults('[telemetry]\nlog = "x://me:secret@db"')
    assert "secret" not in said


def test_options_win_over_the_file_and_leave_the_rest():
    config = read("[listen]\ngrpc_port = 1\nhttp_port = 2\n[keys]\nneeded = false")
    given = {"listen": {"grpc_port": 5, "address": None}, "keys": {"needed": None}, "tls": {}}
    merged = effective(config, given)
    assert (merged.listen.grpc_port, merged.listen.http_port) == (5, 2)
    assert merged.keys.needed is False
    assert merged.tls == config.tls


def as_toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dotted((k,))} = {as_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    return json.dumps(value)


names = st.text("abz-*?", min_size=1, max_size=6)
quotas = st.fixed_dictionaries(
    {"concurrency": st.integers(1, 10**6)},
    optional={
        "requests": st.integers(1, 10**9).map("{}/minute".format),
        "bytes": st.integers(1, 10**6).map("{}MiB/day".format),
        "per": st.sampled_from(["tenant", "model"]),
    },
)
tenants = st.fixed_dictionaries(
    {},
    optional={
        "models": st.lists(names, max_size=3),
        "boundary": st.sampled_from(["device", "site", "anywhere"]),
        "priority": st.sampled_from(["interactive", "batch", "background"]),
        "weight": st.floats(0.001, 1000),
        "quotas": st.lists(quotas, max_size=3),
    },
)
configs = st.fixed_dictionaries(
    {},
    optional={
        "tenants": st.dictionaries(names, tenants, max_size=3),
        "listen": st.fixed_dictionaries(
            {"grpc_port": st.integers(0, 65535), "grace_s": st.floats(0, 1e6)},
            optional={"http_port": st.one_of(st.integers(0, 65535), st.just("off"))},
        ),
        "models": st.dictionaries(
            names, st.fixed_dictionaries({"max_batch": st.integers(1, 10**6)}), max_size=3
        ),
    },
)


@given(configs)
def test_what_a_file_says_is_what_is_read(said):
    text = "\n".join(f"{dotted((key,))} = {as_toml(value)}" for key, value in said.items())
    read_back = json.loads(read(text).model_dump_json(exclude_unset=True))
    assert read_back == said


@given(
    st.recursive(
        st.one_of(st.integers(), st.text(max_size=5), st.booleans()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from([*GatewayConfig.model_fields, "quotas", "x", "models", "address"]),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=12,
    )
)
def test_whatever_a_file_says_it_is_read_or_refused_in_words(said):
    text = (
        "\n".join(f"{dotted((k,))} = {as_toml(v)}" for k, v in said.items())
        if isinstance(said, dict)
        else as_toml(said)
    )
    try:
        read(text)
    except ConfigError as error:
        assert str(error)
