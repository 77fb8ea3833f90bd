"""How much a call is expected to send."""

from __future__ import annotations

import pytest

from wherever._outgoing import expected_bytes
from wherever._routing.plan import Candidate, Release, make_plan
from wherever_contracts.releases import ReleaseRule

RULES = {
    name: ReleaseRule.model_validate(
        {
            "name": name,
            "input": "image",
            "steps": [{"op": "downscale", "max_side": side}],
            "boundary": boundary,
        }
    )
    for name, side, boundary in (("large", 1000, "site"), ("small", 100, "anywhere"))
}
RELEASES = [Release(name, rule.boundary) for name, rule in RULES.items()]
HOSTS = [Candidate("device", "device"), Candidate("box", "nearby"), Candidate("gw", "cloud")]


@pytest.mark.parametrize(
    ("mode", "boundary", "expected"),
    [
        ("auto", "anywhere", 5_000_000),
        ("auto", "site", 5_000_000),  # the box is sent all of it
        ("auto", "device", 500_000),
        ("only_in_cloud", "device", 5_000),
        ("only_on_device", "device", 5_000_000),
    ],
)
def test_the_most_counts_that_a_host_of_the_plan_is_sent(mode, boundary, expected):
    plan = make_plan(
        model="m",
        mode=mode,
        boundary=boundary,
        places=None,
        candidates=HOSTS,
        thresholds={},
        reference="large",
        releases=RELEASES,
    )
    assert expected_bytes(plan, RULES, 5_000_000) == expected
