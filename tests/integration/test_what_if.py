"""`wherever replay --policy`: recorded calls of a real client, asked about under another policy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import wherever
from wherever._whatif.command import read_policy, what_if
from wherever._whatif.policy import EXAMPLE, Policy
from wherever.cli import app
from wherever_contracts.errors import InputError, SettingsError
from wherever_edge.builtin import digits_test_split
from wherever_edge.host import LocalHost
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Store

CALLS = 60


@pytest.fixture
def recorded(own_home: Path) -> Iterator[Path]:
    """A home with the records of calls that a gateway on this machine could have been asked."""
    host = LocalHost(Store(), distance="cloud")
    server = InferenceServer(host, port=0)
    server.start()
    try:
        with wherever.Client(gateways=[f"127.0.0.1:{server.port}"], record=True) as client:
            digits = client.model("digits")
            for image in digits_test_split()[0][:CALLS]:
                digits(image, min_confidence=0.99)
        yield own_home
    finally:
        server.drain(5)
        host.close()


@pytest.fixture
def asked(tmp_path: Path, recorded: Path):
    """The data that the command prints for a policy."""

    def ask(policy: str, *options: str) -> str:
        path = tmp_path / "new.toml"
        path.write_text(policy)
        ran = CliRunner().invoke(
            app, ["replay", "--policy", str(path), "--receipts", str(recorded), *options]
        )
        assert ran.exit_code == 0, ran.output
        return ran.output

    return ask


def test_what_calls_would_have_cost_stands_beside_what_they_did(asked):
    told = json.loads(asked("min_confidence = 0.8\ncost_per_call = 1.0", "--json"))
    recorded, policy = told["recorded"], told["policy"]
    assert recorded["calls"] == policy["calls"] == CALLS
    assert 0 < policy["remote_calls"] < recorded["remote_calls"] < CALLS
    assert policy["cost"] == policy["remote_calls"] < recorded["cost"]
    assert told["estimated"] == 0
    assert told["thresholds"]["digits"] == {"threshold": 0.8, "source": "the policy says it"}


def test_what_a_policy_leaves_out_stays_as_it_was(asked):
    told = json.loads(asked("cost_per_call = 1.0", "--json"))
    recorded, policy = told["recorded"], told["policy"]
    assert policy["remote_calls"] == recorded["remote_calls"] == recorded["cost"] > 0
    assert (policy["device"], told["asked_otherwise"]) == (recorded["device"], 0)


def test_the_device_alone_costs_nothing_and_a_promise_rests_on_the_packages_pairs(asked, recorded):
    told = asked('mode = "only_on_device"')
    assert any(line.split()[-3:-1] == [f"{CALLS}", f"{CALLS}"] for line in told.splitlines())
    assert "threshold of digits: 0.990 (as recorded calls asked it)" in told
    report = what_if(Policy(max_disagreement=0.02, audit_share=0.1), recorded)
    assert "pairs of the package" in report.measures["digits"].source
    assert report.after.remote_calls > report.after.escalated * CALLS


def test_a_package_that_is_not_here_is_said_to_be_missing(recorded):
    journal = recorded / "receipts"
    for path in journal.glob("receipts-*.jsonl"):
        older = re.sub(r',"aim":{[^}]*}', "", path.read_text())
        path.write_text(older.replace('"model":"digits"', '"model":"gone"'))
    report = what_if(Policy(mode="auto"), journal)
    assert report.measures["gone"].source == "recorded calls below it were taken further"
    promised = what_if(Policy(max_disagreement=0.02), next(journal.glob("receipts-*.jsonl")))
    assert "no pairs are known" in promised.measures["gone"].source
    assert promised.after.escalated == 1.0


def test_a_policy_or_receipts_that_are_none_are_refused(tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("mode = auto")
    with pytest.raises(SettingsError, match="a policy looks like this"):
        read_policy(wrong)
    with pytest.raises(SettingsError, match="No such file"):
        read_policy(tmp_path / "none.toml")
    wrong.write_text(EXAMPLE)
    assert read_policy(wrong).min_confidence == 0.8
    with pytest.raises(InputError, match="recorded calls"):
        what_if(Policy(mode="auto"), tmp_path)
