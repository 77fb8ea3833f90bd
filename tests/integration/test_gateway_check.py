"""`wherever gateway check`: what an operator reads before a gateway starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from wherever.cli import main
from wherever_edge.oip.keys import KeyStore
from wherever_gateway.config import extras

EXAMPLE = Path(__file__).parents[2] / "deploy" / "gateway.toml"


@pytest.fixture
def check(tmp_path, capsys):
    """What it prints of a file that says this, and its exit code."""

    def run(text: str) -> tuple[str, int]:
        file = tmp_path / "gateway.toml"
        file.write_text(text)
        with pytest.raises(SystemExit) as caught:
            main(["gateway", "check", "--config", str(file)])
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out.replace(str(file), "FILE"), caught.value.code or 0

    return run


def joined(said: str) -> str:
    """The words, wherever lines end."""
    return " ".join(said.split())


def test_it_says_what_is_served_to_whom_and_how_it_is_protected(check, own_home):
    KeyStore(own_home / "keys").add("shop-berlin")
    KeyStore(own_home / "keys").add("phone")
    said, code = check(EXAMPLE.read_text())
    assert code == 0
    assert said.startswith("FILE: it would start, with 1 warning\n")
    for line in (
        "listens   gRPC on grpcs://0.0.0.0:8001: TLS with a self-made certificate, calls\n",
        "          metrics on http://127.0.0.1:8002: this machine alone\n",
        "limits    messages up to 64MiB, also after decompression\n",
        "serves    digits 1.0.0\n",
        "tenants   shop-* (keys: shop-berlin)\n",
        "            at most 100 calls in each second, 8 calls at a time\n",
        "          default (keys: phone)\n            may use no model\n",
    ):
        assert line in said
    assert max(map(len, said.splitlines())) <= 80
    assert "warning   line 44: tenants.reports: fits the name of no API key\n" in said


def test_it_says_everything_that_is_wrong_at_once(check):
    said, code = check(
        '[listen]\ngrpc_port = 8000\n[tls]\nkey_file = "none.key"\n'
        '[serving]\npackages = ["nowhere"]\n[backends.b]\nendpoints = ["grpc://10.0.0.1"]\n'
        'models = ["x"]\napi_key_file = "none.txt"\n[models."zzz"]\nmax_batch = 2\n'
    )
    assert code == 1
    assert said.startswith("FILE: it would not start: 6 errors, with 1 warning\n")
    for words in (
        "listen.http_port: 8000 is the port of grpc_port already",
        "line 4: tls.key_file: a certificate and its key belong together",
        "none.key cannot be read",
        "nowhere is not there",
        "line 8: backends.b.endpoints[0]: a key never travels unencrypted",
        "none.txt cannot be read",
        "warning line 11: models.zzz: fits no model that is here",
    ):
        assert words in joined(said)


def test_a_file_that_is_no_configuration_is_refused_with_its_lines(check):
    said, code = check("[listen]\nadress = 1\n")
    assert code == 1
    assert said == (
        "FILE: it would not start: 1 error\n"
        "error     line 2: listen.adress: there is no such key; did you mean 'address'?\n"
    )


def test_programs_get_the_same_as_json(tmp_path, answered):
    found = answered("gateway", "check", "--config", EXAMPLE)
    assert found["starts"] is True
    assert found["errors"] == []
    assert found["warnings"][0]["key"] == "keys"
    assert found["account"]["serves"][0] == "digits 1.0.0"
    wrong = answered("gateway", "check", "--config", tmp_path / "none.toml", code=1)
    assert wrong["errors"][0]["words"] == "cannot be read: No such file or directory"


def test_without_a_file_the_defaults_are_explained(answered):
    found = answered("gateway", "check")
    assert (found["config"], found["starts"], found["warnings"]) == ("no file", True, [])
    assert found["account"]["tenants"] == [
        "everybody may use every model, with equal shares and no quota"
    ]


def test_certificates_and_databases_are_looked_at(check, own_home, tmp_path):
    for name in ("a.crt", "a.key"):
        (tmp_path / name).write_text("no certificate")
    said, code = check(
        '[tls]\ncertificate_file = "a.crt"\nkey_file = "a.key"\n[state]\nurl = "nosql://me:pw@h/d"'
    )
    assert code == 1
    assert "line 2: tls.certificate_file: " in joined(said)
    assert "line 5: state.url: 'nosql://me:***@h/d' cannot be used" in joined(said)
    assert "pw" not in said.replace(str(tmp_path), "")
    shutil.rmtree(own_home / "keys", ignore_errors=True)
    (own_home / "keys").mkdir()
    (own_home / "keys" / "keys.json").write_text("{")
    said, code = check("")
    assert (code, "keys.json" in said) == (1, True)


def test_addresses_of_other_machines_are_refused(check):
    said, code = check('[listen]\naddress = "203.0.113.1"')
    assert code == 1
    assert "203.0.113.1 cannot be listened on here" in joined(said)


@pytest.fixture
def bare(monkeypatch):
    """An installation without the extra of the gateway."""
    monkeypatch.setattr(extras, "find_spec", lambda _name: None)


def test_without_the_extra_a_file_that_needs_it_is_refused_with_what_installs_it(check, bare):
    said, code = check('[tenants.shop]\nmodels = ["digits"]\n[telemetry]\ntraces = true\n')
    assert code == 1
    assert said.startswith("FILE: it would not start: 4 errors")
    for words in (
        "listen.http_port: serving HTTP needs an extra: pip install 'wherever[gateway]'; or say",
        "listen.metrics_port: serving metrics needs an extra",
        "line 1: tenants: keeping tenants apart needs an extra",
        "line 4: telemetry.traces: tracing needs an extra: pip install 'wherever[telemetry]'",
    ):
        assert words in joined(said)


def test_without_the_extra_and_a_file_grpc_alone_is_served(bare, answered):
    found = answered("gateway", "check")
    assert found["starts"] is True
    assert found["account"]["listens"][1:] == ["no HTTP", "no metrics"]
    assert "only gRPC is served" in found["warnings"][0]["words"]
    assert found["account"]["tells"][0].startswith("no usage: keeping it needs an extra")


def test_without_a_file_no_metrics_are_told(answered):
    listens = answered("gateway", "check")["account"]["listens"]
    assert "HTTP" in listens[1]
    assert listens[2] == "no metrics"
