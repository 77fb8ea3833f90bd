"""What contradicts itself in a configuration, what it changes, and how it is explained."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.queueing.policy import Limits
from wherever_edge.queueing.sharing import AS_USUAL, Sharing
from wherever_gateway.config.account import account, plain, text_of, verdict
from wherever_gateway.config.changes import changes, with_live
from wherever_gateway.config.effective import refuse_fatal, with_lines
from wherever_gateway.config.faults import ConfigError, Fault
from wherever_gateway.config.reading import parse_config
from wherever_gateway.config.review import contradictions, first_match, protection_of, unmatched
from wherever_gateway.config.schema import GatewayConfig
from wherever_gateway.config.sight import Sight
from wherever_gateway.model_rules import sharing_of
from wherever_gateway.parts import rules_of

BACKEND = '[backends.b]\nendpoints = ["%s"]\nmodels = %s\n'


def read(text: str) -> GatewayConfig:
    return parse_config(text, source="gateway.toml", base=Path("/etc/wherever"))


def found(text: str) -> list[tuple[str, bool, str]]:
    return [(fault.key, fault.fatal, fault.words) for fault in contradictions(read(text))]


@pytest.mark.parametrize(
    ("text", "key", "fatal", "words"),
    [
        ("[listen]\naddress = '0.0.0.0'\n[tls]\nenabled = false", "listen.address", True, "TLS"),
        ("[listen]\naddress = '::'\n[keys]\nneeded = false", "listen.address", True, "keys"),
        (
            "[listen]\ntrusted_proxies = ['10.1.2.3']\n[keys]\nneeded = false",
            "listen.address", True, "trusted proxies (10.1.2.3)",
        ),
        (
            "[listen]\nmetrics_address = '0.0.0.0'\n[keys]\nneeded = false",
            "listen.address", True, "reads its metrics on 0.0.0.0",
        ),
        (
            "[listen]\naddress = '::'\ninsecure = true\n[keys]\nneeded = false",
            "listen.insecure", False, "without keys",
        ),
        ("[tls]\nkey_file = 'a'", "tls.key_file", True, "give certificate_file too"),
        ("[tls]\ncertificate_file = 'a'", "tls.certificate_file", True, "give key_file too"),
        (
            "[tls]\nenabled = false\ncertificate_file = 'a'\nkey_file = 'b'",
            "listen.address", True, "leave one of them out",
        ),
        ("[listen]\nhttp_port = 8001", "listen.http_port", True, "port of grpc_port already"),
        ("[listen]\nmetrics_port = 8000", "listen.metrics_port", True, "port of http_port already"),
        (
            "[listen]\nmetrics_port = 8000\nmetrics_address = '0.0.0.0'",
            "listen.metrics_port", True, "port of http_port already",
        ),
        (
            "[models.a]\nmax_queue_delay_ms = 3\nmax_batch = 1",
            "models.a.max_queue_delay_ms", True, "run alone",
        ),
        (
            "[serving]\nbatching = false\n[models.a]\nmax_queue_delay_ms = 3",
            "models.a.max_queue_delay_ms", False, "has no effect",
        ),
        (
            "[serving]\nbatching = false\n[models.a]\nmax_batch = 3",
            "models.a.max_batch", False, "has no effect",
        ),
        ("[models.'*']\n[models.a]", "models.a", False, "counts never: '*' before it"),
        ("[tenants.'s-*']\n[tenants.'s-b*']", 'tenants."s-b*"', False, "counts never"),
        ("[tenants.a]", "tenants", False, "set keys.needed = true"),
        ("[tenants.a]\nboundary = 'site'", "tenants.a.boundary", False, "every call is refused"),
        (
            BACKEND % ("grpc://10.0.0.1:1", "['m']") + "api_key_file = 'k'",
            "backends.b.endpoints[0]", True, "a key never travels unencrypted",
        ),
        (
            BACKEND % ("grpc://10.0.0.1:1", "['m']") + "ca_file = 'c'",
            "backends.b.endpoints[0]", False, "has no effect",
        ),
        ("[telemetry]\notlp_endpoint = 'http://x'", "telemetry.otlp_endpoint", False, "no effect"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_found(text, key, fatal, words):
    matching = [each for each in found(text) if each[:2] == (key, fatal)]
    assert any(words in each[2] for each in matching), found(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[listen]\naddress = '0.0.0.0'\ngrpc_port = 0\nhttp_port = 0\nmetrics_port = 0",
        "[listen]\nmetrics_port = 8001\nmetrics_address = '10.0.0.1'\naddress = '127.0.0.1'",
        "[listen]\nhttp_port = 'off'\nmetrics_port = 'off'\nmetrics_address = '0.0.0.0'",
        "[serving]\nbatching = false\n[models.a]\nmax_batch = 1\npinned = true",
        "[models.a]\n[models.'*']\n[models.'?']",
        "[keys]\nneeded = true\n[tenants.default]\n[tenants.a]\n[tenants.b]",
        "[keys]\nneeded = true\n[serving]\nplace = 'nearby'\n[tenants.a]\nboundary = 'site'",
        BACKEND % ("grpc://127.0.0.1:1", "['m']") + "api_key_file = 'k'",
        BACKEND % ("grpcs://10.0.0.1:1", "['m']") + "api_key_file = 'k'\nca_file = 'c'",
        "[telemetry]\notlp_endpoint = 'http://x'\ntraces = true",
    ],
)
def test_what_fits_together_is_left_alone(text):
    assert [each for each in found(text) if each[0] != 'models."?"'] == []


def test_behind_a_trusted_proxy_keys_are_needed_by_themselves():
    assert protection_of(read("[listen]\ntrusted_proxies = ['10.0.0.0/8']")).keys
    assert not protection_of(read("")).keys
    assert protection_of(read("[listen]\ntrusted_proxies = ['::1']\n[tls]\nenabled = true")).tls


def test_patterns_that_fit_nothing_are_warnings():
    config = read(
        "[models.'d*']\n[models.z]\n[tenants.'shop-*']\nmodels = ['digits', 'x', 'w*']\n"
        "[tenants.lab]\n[tenants.default]\n" + BACKEND % ("h", "{words = 'bert', digits = 'd'}")
    )
    warnings = unmatched(config, ["digits"], ["shop-1"])
    assert not any(fault.fatal for fault in warnings)
    assert [(fault.key, fault.words) for fault in warnings] == [
        ("models.z", "fits no model that is here"),
        ("tenants.lab", "fits the name of no API key"),
        ('tenants."shop-*".models', "'x' fits no model that is here"),
        ("backends.b.models", "answers for digits in place of the package that is here"),
    ]


def test_of_backends_with_patterns_nobody_knows_what_they_have():
    config = read("[tenants.a]\nmodels = ['x']\n" + BACKEND % ("h", "['*']"))
    assert [fault.key for fault in unmatched(config, [], ["a"])] == []


@given(st.lists(st.text("ab*?", min_size=1, max_size=4), max_size=5), st.text("ab", max_size=5))
def test_a_pattern_that_is_said_to_count_never_is_never_the_first(patterns, name):
    config = GatewayConfig.model_validate({"models": {pattern: {} for pattern in patterns}})
    warned = [f.key for f in contradictions(config) if "counts never" in f.words]
    first = first_match(config.models, name)
    for key in warned:
        assert first is None or key not in (f"models.{first}", f'models."{first}"')


def test_what_changed_is_told_apart_by_whether_it_is_followed():
    old = read("[listen]\ngrpc_port = 1\n[tenants.a]\n[tenants.b]\n[serving]\nruns = 1")
    new = read(
        "[listen]\ngrpc_port = 2\n[tenants.a]\nweight = 2.0\n[tenants.'c-*']\n"
        "[serving]\nruns = 2\npackages = ['x']\n[telemetry]\nlog = 'off'\ntraces = true\n"
        + BACKEND
        % ("h", "['m']")
    )
    now, later = changes(old, new)
    assert now == (
        "serving.packages", "tenants.a", "tenants.b", 'tenants."c-*"', "backends.b",
        "telemetry.log",
    )  # fmt: skip
    assert later == ("listen.grpc_port", "serving.runs", "telemetry.traces")
    live = with_live(old, new)
    assert changes(old, live) == (now, ())
    assert changes(live, new) == ((), later)


def test_another_order_of_the_same_patterns_is_a_change():
    one, other = read("[tenants.'a*']\n[tenants.'*b']"), read("[tenants.'*b']\n[tenants.'a*']")
    assert changes(one, other) == (("tenants",), ())
    assert list(with_live(one, other).tenants) == ["*b", "a*"]
    assert changes(one, one) == ((), ())


def test_faults_stand_in_the_order_of_the_file():
    text = "[listen]\nhttp_port = 1\n[tls]\nkey_file = 'k'\n[serving]\npackages = ['x']"
    faults = [Fault("serving.packages[0]", "c"), Fault("tls.key_file", "b"), Fault("keys", "a")]
    placed = with_lines(faults, text)
    assert [(fault.line, fault.words) for fault in placed] == [(None, "a"), (4, "b"), (6, "c")]


def test_warnings_keep_nothing_from_starting():
    warning = Fault("a", "b", fatal=False)
    refuse_fatal("x", [warning])
    with pytest.raises(ConfigError) as caught:
        refuse_fatal("x", [warning, Fault("c", "d")])
    assert caught.value.faults == (Fault("c", "d"),)
    assert verdict("x", [warning, warning]) == "x: it would start, with 2 warnings"
    assert verdict("x", [Fault("c", "d")]) == "x: it would not start: 1 error"


FULL = """
[listen]
address = "::"
http_port = "off"
trusted_proxies = ["10.0.0.0/8"]
[serving]
batching = false
max_waiting = 3
memory_max_mib = 100
[models."d*"]
max_queue_delay_ms = 2
max_batch = 1
pinned = true
[models.e]
[tenants."shop-*"]
boundary = "site"
priority = "batch"
quotas = [{bytes = "1GB/hours", per = "model"}, {concurrency = 1}]
[backends.near]
endpoints = ["grpcs://near:1"]
models = {words = "bert", x = "x"}
place = "nearby"
[state]
url = "postgresql://me:secret@db/x"
[telemetry]
log = "off"
traces = true
"""


def test_everything_that_is_configured_is_explained():
    sight = Sight(Path("/home"), {"digits": ["1.0.0", "2.0.0"]}, ["bad: broken"], ["shop-1"], [])
    said = account(read(FULL), sight)
    assert said == {
        "listens": [
            "gRPC on grpcs://[::]:8001: TLS with a self-made certificate, calls need an API key",
            "no HTTP",
            "metrics on http://127.0.0.1:8002: this machine alone",
            "behind proxies at 10.0.0.0/8",
        ],
        "limits": [
            "messages up to 64MiB, also after decompression",
            "3 calls may wait; more are refused at once",
            "100 MiB for loaded models",
            "running calls have 10 s when it is told to end",
        ],
        "serves": [
            "digits 1.0.0, 2.0.0",
            "(from the wheel, and signed updates in /home)",
            "not served: bad: broken",
        ],
        "backends": [
            "near (nearby): grpcs://near:1",
            "  answers for words (there: bert), x (there: x)",
        ],
        "tenants": [
            "shop-* (keys: shop-1)",
            "  models: *, here digits",
            "  data may travel to: backend near",
            "  calls: at most batch, a share of 1",
            "  at most 1GB of input in each hour, for each model",
            "  at most 1 call at a time",
            "everybody else: every model, a share of 1, no quota",
        ],
        "runs": [
            "each call by itself (batching is off)",
            "d*: waits up to 2 ms for company, at most 1 row a run, stays in memory",
            "e: as usual",
        ],
        "tells": [
            "usage to postgresql://me:***@db/x, every 5 s",
            "nothing to standard error, without inputs or outputs",
            "traces to where OTEL_* variables say",
        ],
    }
    printed = text_of("x", said, [])
    assert max(map(len, printed.splitlines())) <= 80
    assert "secret" not in printed


def test_little_is_said_of_what_nobody_configured():
    sight = Sight(Path("/home"), {"digits": ["1.0.0"], "x": ["1.0.0"]}, [], [], [])
    said = account(read(""), sight)
    assert (
        said["listens"][0] == "gRPC on grpc://127.0.0.1:8001: not encrypted, no API key is needed"
    )
    assert said["tenants"] == ["everybody may use every model, with equal shares and no quota"]
    assert not {"runs", "backends"} & said.keys()


def test_what_others_answer_for_and_who_may_do_nothing_is_said():
    config = read(
        "[listen]\naddress = '0.0.0.0'\ngrpc_port = 0\nmetrics_port = 'off'\n"
        "[tls]\ncertificate_file = 'a.crt'\nkey_file = 'a.key'\n"
        "[tenants.default]\nmodels = []\n[tenants.a]\nmodels = ['x']\nboundary = 'device'\n"
        + BACKEND
        % ("h", "['x']")
    )
    sight = Sight(Path("/home"), {"x": ["1"]}, [], ["a", "b"], [])
    said = account(config, sight)
    assert said["listens"] == [
        (
            "gRPC on grpcs://0.0.0.0:(any free port): TLS with the certificate "
            "/etc/wherever/a.crt, calls need an API key"
        ),
        "HTTP on https://0.0.0.0:8000: the same",
        "no metrics",
    ]
    assert said["serves"] == ["(from the wheel, and signed updates in /home)"]
    assert said["backends"][1] == "  answers for x"
    assert said["tenants"] == [
        "default (keys: b)",
        "  may use no model",
        "a (keys: a)",
        "  models: x",
        "  data may travel to: nowhere",
        "  calls: a share of 1",
    ]
    without = account(read("[keys]\nneeded = true"), sight)
    assert without["tenants"] == ["every key may use every model, with equal shares and no quota"]
    others = account(read("[tenants.a]"), sight)
    assert others["tenants"][-1] == "everybody else (keys: b): every model, a share of 1, no quota"


def test_metrics_that_others_may_read_are_said():
    config = read("[listen]\nmetrics_address = '0.0.0.0'")
    said = account(config, Sight(Path("/home"), {}, [], [], []))
    assert said["listens"][2] == "metrics on http://0.0.0.0:8002: open to all who reach it"


def test_it_is_said_when_usage_cannot_be_kept():
    sight = Sight(Path("/home"), {}, [], [], [], keeps_usage=False)
    assert account(read(""), sight)["tells"][0].startswith("no usage: keeping it needs")


def test_faults_come_before_the_account():
    faults = [Fault("a", "b", 3, fatal=False), Fault("c", "d " * 50)]
    text = text_of("x", {"listens": ["here"]}, faults)
    assert text.splitlines()[1].startswith("error     c: d d")
    assert "warning   line 3: a: b\n\nlistens   here" in text
    assert plain("x", {}, faults)["errors"] == [faults[1]._asdict()]


def test_what_may_not_be_started_is_not_explained():
    config = read("[listen]\naddress = '::'\n[keys]\nneeded = false")
    assert account(config, Sight(Path(), {}, [], [], [])) == {}


def test_rules_of_models_and_tenants_are_what_the_file_says():
    config = read(FULL.replace("batching = false", ""))
    assert sharing_of(config, "digits") == Sharing(0.002, Limits(rows=1))
    assert sharing_of(config, "other") == sharing_of(config, "e") == AS_USUAL
    rules = rules_of(config.tenants).of("shop-9")
    assert (rules.boundary, rules.priority, rules.weight) == ("site", "batch", 1.0)
    assert [quota.concurrency for quota in rules.quotas] == [None, 1]
    assert rules_of(config.tenants).of("lab").models == ("*",)
