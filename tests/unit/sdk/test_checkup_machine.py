"""What `wherever doctor` says of the machine, its profile and the conditions."""

from __future__ import annotations

import pytest

from wherever._routing.hints import Hints
from wherever._settings import load_settings
from wherever.cli._checkup import look_at_machine, look_at_network


def test_the_machine_is_shown_with_its_profile_its_conditions_and_its_decision():
    findings = list(look_at_machine(load_settings(profile="tiny")))
    assert {(finding.area, finding.state) for finding in findings} == {("machine", "ok")}
    told = "\n".join(finding.text for finding in findings)
    for words in (
        "of memory for this process",
        "conditions: ",
        "profile tiny (it was asked for): at most 1 thread a run; 1 run at once, 8 waiting",
        "smaller variants first",
    ):
        assert words in told


@pytest.mark.parametrize(("name", "said"), [("laptp", "did you mean 'laptop'?"), ("mine", "hots")])
def test_a_profile_that_is_wrong_is_a_failure_and_the_machine_is_shown(own_home, name, said):
    (own_home / "profiles").mkdir()
    (own_home / "profiles" / "mine.toml").write_text("hots = 1\n")
    first, *rest = look_at_machine(load_settings(profile=name))
    assert (first.state, first.mend) == ("fail", "correct the profile, or name another one")
    assert said in first.text
    assert [finding.state for finding in rest][:4] == ["ok"] * 4


@pytest.mark.parametrize(
    ("hints", "gateways", "state", "text"),
    [
        (Hints(), "gw", "ok", "not known to be connected, not known to be metered"),
        (Hints(False, False), "gw", "ok", "connected, not metered"),
        (Hints(False, True), "gw", "ok", "connected, metered"),
        (Hints(True), "gw", "warn", "offline, not known to be metered"),
        (Hints(True), (), "ok", "offline, not known to be metered"),
    ],
)
def test_the_network_is_shown_and_who_needs_one_and_has_none_is_warned(
    hints, gateways, state, text
):
    found = look_at_network(load_settings(gateways=gateways), hints)
    assert (found.area, found.state, found.text) == ("network", state, text)
    assert ("connect it" in found.mend) == (state == "warn")
