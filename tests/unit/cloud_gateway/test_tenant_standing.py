"""What holds for a tenant's calls: found again fast, anew when rules change, in bounded memory."""

from __future__ import annotations

import pytest

from wherever_contracts.errors import ForbiddenError
from wherever_contracts.urgency import CALM
from wherever_gateway.tenants.rules import Quota, Rules, TenantRules
from wherever_gateway.tenants.standing import Standings


def nearby(_model: str) -> str:
    return "nearby"


class Changing:
    """Rules that a test may change."""

    def __init__(self, **tenants: TenantRules) -> None:
        self.rules = Rules(tenants)

    def __call__(self) -> Rules:
        return self.rules


def test_it_is_worked_out_once_until_rules_change():
    changing = Changing(ann=TenantRules(models=("m",)))
    standings = Standings(changing)
    first = standings.of("ann", "m")
    assert standings.of("ann", "m") is first
    first.check("m", nearby)
    changing.rules = Rules({"ann": TenantRules(models=("n",))})
    with pytest.raises(ForbiddenError, match="it may use n"):
        standings.of("ann", "m").check("m", nearby)


@pytest.mark.parametrize(
    ("boundary", "place", "passes"),
    [
        ("device", "nearby", False),
        ("device", "device", True),
        ("site", "nearby", True),
        ("site", "cloud", False),
        ("anywhere", "cloud", True),
    ],
)
def test_a_call_is_answered_within_its_tenants_boundary_alone(boundary, place, passes):
    standing = Standings(Changing(ann=TenantRules(boundary=boundary))).of("ann", "m")
    if passes:
        standing.check("m", lambda _: place)
    else:
        with pytest.raises(ForbiddenError, match=rf"answered beyond it \({place}\)"):
            standing.check("m", lambda _: place)


def test_names_that_nobody_knows_take_bounded_memory_and_share_one_quota():
    per_model = TenantRules(quotas=(Quota(requests="1/hour", per="model"),))
    standings = Standings(Changing(default=per_model))
    found = [standings.of("ann", f"made-up-{number}") for number in range(9000)]
    assert len({standing.model for standing in found}) == 513
    assert found[-1].model == ""
    assert found[-1].limits == found[-2].limits
    assert len(standings._known) <= 8192
    assert standings.of("bob", "m").model == "m"


def test_a_variant_is_counted_as_its_model():
    standing = Standings(Changing()).of("ann", "people--large")
    assert standing.model == "people"
    assert standing.limits is None


def test_a_call_carries_its_tenants_name_weight_and_priority():
    standings = Standings(Changing(ann=TenantRules(priority="background", weight=3.0)))
    got = standings.of("ann", "m").urgency(CALM._replace(deadline=5.0))
    assert (got.priority, got.deadline, got.tenant, got.weight) == ("background", 5.0, "ann", 3.0)
    assert standings.of("bob", "m").urgency(CALM)[3:] == ("bob", 1.0)


def test_who_has_no_key_is_named_so():
    standings = Standings(Changing(default=TenantRules(models=())))
    with pytest.raises(ForbiddenError, match="who calls without an API key may not use"):
        standings.of("", "m").check("m", nearby)
