"""A policy file is read whole, or refused with what is wrong."""

from __future__ import annotations

import math
import tomllib

import pytest

from wherever._escalation.words import Aim, Budget
from wherever._whatif.policy import EXAMPLE, Policy, policy_of
from wherever_contracts.errors import SettingsError


def test_the_example_is_a_policy_with_every_name_but_confidence():
    given = tomllib.loads(EXAMPLE)
    assert set(given) == set(Policy._fields) - {"confidence"}
    policy = policy_of(given)
    assert policy.places == ("device", "cloud")
    assert policy.budget == Budget(calls=600)


def test_what_is_left_out_stays_as_it_was():
    policy = policy_of({"min_confidence": 0.5})
    assert policy.mode is policy.deadline_s is policy.places is policy.boundary is None
    assert policy.aim == Aim(min_confidence=0.5)


@pytest.mark.parametrize(
    ("named", "filled"),
    [
        ({"deadline_s": 1.0}, Aim(0.02, 0.9, 0.5, Budget(calls=6.0))),
        ({"confidence": 0.99}, Aim(0.02, 0.99, 0.5, Budget(calls=6.0))),
        ({"max_disagreement": 0.05}, Aim(0.05, 0.95, None, Budget(calls=6.0))),
        ({"min_confidence": 0.8}, Aim(None, 0.95, 0.8, Budget(calls=6.0))),
        ({"budget": {"bytes": 9}}, Aim(0.02, 0.9, 0.5, Budget(bytes=9))),
    ],
)
def test_what_it_leaves_out_of_escalation_is_as_recorded_calls_asked_it(named, filled):
    recorded = Aim(0.02, 0.9, 0.5, Budget(calls=6.0))
    assert policy_of(named).filled(recorded).aim == filled


def test_there_may_be_no_deadline():
    assert policy_of({"deadline_s": math.inf}).deadline_s == math.inf


def test_a_box_costs_nothing_and_a_gateway_its_calls_and_bytes():
    policy = Policy(cost_per_call=0.5, cost_per_gb=2.0)
    assert policy.prices.cost("nearby", 3, 1e9) == 0.0
    assert policy.prices.cost("cloud", 3, 1e9) == 3.5


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "the policy is empty"),
        ({"min_confidense": 0.5}, "do you mean 'min_confidence'"),
        ({"zzz": 1}, "a policy has no 'zzz'"),
        ({"mode": "cloudy"}, "mode 'cloudy' does not exist"),
        ({"mode": 3}, "mode in the policy is a word, not 3"),
        ({"boundary": "moon"}, "boundary 'moon' does not exist"),
        ({"places": ["moon"]}, "place 'moon' does not exist"),
        ({"places": "cloud"}, "places in the policy is a list of words"),
        ({"places": [1]}, "places in the policy is a list of words"),
        ({"deadline_s": 0}, "deadline_s in the policy is seconds, more than 0"),
        ({"audit_share": 1}, "audit_share in the policy is a share from 0 to below 1, not 1"),
        ({"deadline_s": True}, "deadline_s in the policy is seconds, more than 0"),
        ({"max_disagreement": 1.0}, "max_disagreement in the policy is a share"),
        ({"min_confidence": 1.5}, "min_confidence in the policy is a confidence"),
        ({"remote_timeout_s": math.inf}, "remote_timeout_s in the policy is seconds"),
        ({"cost_per_call": -1}, "cost_per_call in the policy is a number"),
        ({"cost_per_gb": "1"}, "cost_per_gb in the policy is a number"),
        ({"budget": 600}, "budget in the policy is a table of amounts"),
        ({"budget": {"cals": 1}}, "cals"),
    ],
)
def test_what_does_not_exist_is_refused_and_said(given, told):
    with pytest.raises(SettingsError) as refused:
        policy_of(given)
    assert told in str(refused.value)
