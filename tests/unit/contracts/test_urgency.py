"""What holds for calls that run together."""

from __future__ import annotations

from wherever_contracts.urgency import CALM, Urgency, most_urgent


def test_one_call_is_as_urgent_as_it_is():
    assert most_urgent([CALM]) is CALM


def test_together_they_are_as_urgent_as_the_most_urgent_and_wait_as_long_as_the_last():
    calls = [Urgency("batch", 2.0), Urgency("interactive", 1.0), Urgency("background", 3.0)]
    together = most_urgent(calls)
    assert (together.priority, together.deadline) == ("interactive", 3.0)
    assert most_urgent([*calls, Urgency("batch")]).deadline is None


def test_they_have_gone_when_all_have():
    gone = [True, False]
    calls = [Urgency(gone=lambda: gone[0]), Urgency(gone=lambda: gone[1])]
    assert not most_urgent(calls).gone()
    gone[1] = True
    assert most_urgent(calls).gone()


def test_the_tenant_with_most_calls_pays_for_the_run():
    light, heavy = Urgency(tenant="light", weight=2.0), Urgency(tenant="heavy")
    assert most_urgent([light, heavy, heavy])[3:] == ("heavy", 1.0)
    assert most_urgent([light, heavy])[3:] == ("light", 2.0)
