"""What follows from what the operating system says of the network."""

from __future__ import annotations

import pytest

from wherever._routing.hints import OFFLINE, Hints

UNKNOWN, ONLINE, AWAY = Hints(), Hints(offline=False), Hints(offline=True)
METERED = Hints(metered=True)


@pytest.mark.parametrize("hints", [UNKNOWN, ONLINE, METERED])
@pytest.mark.parametrize("here", [False, True])
def test_only_a_device_that_is_known_to_be_offline_asks_nobody(hints, here):
    assert hints.why_not(here=here) == ""


def test_offline_only_hosts_of_this_machine_are_asked():
    assert AWAY.why_not(here=True) == ""
    assert AWAY.why_not(here=False) == OFFLINE


def test_on_a_metered_network_only_what_goes_to_a_gateway_elsewhere_costs():
    assert METERED.costs("cloud", here=False)
    assert not METERED.costs("cloud", here=True)
    assert not METERED.costs("nearby", here=False)
    assert not any(hints.costs("cloud", here=False) for hints in (UNKNOWN, ONLINE))


def test_who_knows_better_than_the_system_says_so():
    assert UNKNOWN.told("yes").metered is True
    assert METERED.told("no").metered is False
    assert METERED.told("auto") is METERED
    assert AWAY.told("yes").offline is True
