"""Whether a way leads out, read from what kernels write of laptops, containers, tunnels, modems."""

from __future__ import annotations

import pytest

from wherever_devices.conditions import Conditions
from wherever_devices.network import Network, network_now, routes, routes_6
from wherever_devices.sensing import conditions_now, on_battery_now

HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
NOWHERE = "0" * 32
LOOPBACK = {
    "proc/net/route": HEADER,
    "proc/net/ipv6_route": f"{NOWHERE} 00 {NOWHERE} 00 {NOWHERE} ffffffff 1 0 00200200       lo\n",
    "sys/class/net/lo/operstate": "unknown\n",
}


def route(interface, destination="00000000", metric=100, flags="0003"):
    return f"{interface}\t{destination}\t0101A8C0\t{flags}\t0\t0\t{metric}\t00FFFFFF\t0\t0\t0   \n"


def route_6(interface, destination="fe80" + "0" * 28, flags="00000001"):
    return f"{destination} 40 {NOWHERE} 00 {NOWHERE} 00000100 00000001 00000000 {flags} {interface}"


def machine(*found, interfaces=(), six=()):
    """A tree: routes of IPv4, (interface, its state) of each, and routes of IPv6."""
    states = {f"sys/class/net/{name}/operstate": f"{state}\n" for name, state in interfaces}
    tables = {
        "proc/net/route": HEADER + "".join(found),
        "proc/net/ipv6_route": LOOPBACK["proc/net/ipv6_route"] + "\n".join(six),
    }
    return LOOPBACK | states | tables


ETH_UP, ETH_DOWN = [("eth0", "up")], [("eth0", "down")]
MULTICAST = "ff" + "0" * 30
SITUATIONS = {
    "a PC": (machine(route("eth0"), interfaces=ETH_UP), False),
    "a PC whose cable is out": (machine(route("eth0"), interfaces=ETH_DOWN), True),
    "a PC that was switched off the network": (machine(interfaces=ETH_DOWN), True),
    "a cable without an address": (machine(interfaces=ETH_UP), True),
    "a container without a network": (LOOPBACK, True),
    "a container whose peer is down": (
        machine(route("eth0"), interfaces=[("eth0", "lowerlayerdown")]),
        True,
    ),
    "a modem that was pulled out": (
        machine(route("wwan0"), interfaces=[("wwan0", "notpresent")]),
        True,
    ),
    "Wi-Fi beside a cable that is out": (
        machine(route("eth0"), route("wlan0", metric=600), interfaces=[*ETH_DOWN, ("wlan0", "up")]),
        False,
    ),
    "Wi-Fi that still signs in": (machine(route("w"), interfaces=[("w", "dormant")]), False),
    "a tunnel": (machine(route("tun0"), interfaces=[("tun0", "unknown")]), False),
    "WireGuard beside a cable that is out": (
        machine(
            route("eth0"), route("wg0", "0000000A"), interfaces=[*ETH_DOWN, ("wg0", "unknown")]
        ),
        False,
    ),
    "a way to the neighbours alone": (
        machine(route("veth1", "0000A8C0", flags="0001"), interfaces=[("veth1", "up")]),
        False,
    ),
    "an interface that says nothing": (machine(route("gvisor0")), False),
    "IPv6 alone": (machine(six=[route_6("eth0")], interfaces=ETH_UP), False),
    "IPv6 over a cable that is out": (machine(six=[route_6("eth0")], interfaces=ETH_DOWN), True),
    "IPv6 to everybody and nobody": (
        machine(six=[route_6("eth0", MULTICAST)], interfaces=ETH_UP),
        True,
    ),
    "a route that refuses": (
        machine(
            route("*", flags="0201"), six=[route_6("eth0", flags="00000201")], interfaces=ETH_UP
        ),
        True,
    ),
    "torn lines": (machine("eth0\t00000000\n", six=["torn"]), True),
    "flags that are none": (machine(route("eth0", flags="?"), interfaces=ETH_UP), True),
    "no metric": (machine(route("eth0", metric="?"), interfaces=ETH_UP), True),
    "routes of a VRF, which no table shows": (
        machine(interfaces=ETH_UP) | {"sys/class/net/red/uevent": "DEVTYPE=vrf\nIFINDEX=3\n"},
        None,
    ),
    "a kernel that lists no interfaces": ({"proc/net/route": HEADER}, None),
    "another system": ({}, None),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_machine_is_offline_when_no_interface_that_is_up_has_a_route(tree, name):
    texts, offline = SITUATIONS[name]
    root = tree(texts)
    assert network_now(root).offline is offline
    assert conditions_now(root).offline is offline


def test_a_machine_without_ipv6_needs_no_table_of_it(tree):
    root = tree({key: text for key, text in LOOPBACK.items() if "ipv6" not in key})
    assert network_now(root) == Network(offline=True)


def test_a_router_is_judged_by_its_first_routes(tree):
    many = [route("eth0", f"{number:06X}0A") for number in range(2_000)]
    modem = {"sys/class/net/wwan0/uevent": "DEVTYPE=wwan\n"}
    root = tree(machine(*many, route("wwan0"), interfaces=ETH_UP) | modem)
    assert network_now(root) == Network(offline=False, metered=None)


def test_routes_say_where_they_lead():
    (found,) = routes([HEADER, route("wlan0", metric=600)])
    assert (found.interface, found.default, found.metric) == ("wlan0", True, 600)
    (found,) = routes([HEADER, route("wlan0", "0000A8C0")])
    assert not found.default
    assert list(routes_6([route_6("eth0"), route_6("lo")])) == ["eth0"]


def test_conditions_in_words_say_that_the_machine_is_offline():
    assert str(Conditions(offline=True)).endswith("; offline")
    assert str(Conditions(offline=False)).endswith("; network not known to be metered")


def test_whether_it_is_on_battery_can_be_asked_alone(tree):
    root = tree({"proc/net/route": HEADER})
    assert on_battery_now(root) is None
    battery = "sys/class/power_supply/BAT0"
    tree({f"{battery}/type": "Battery\n", f"{battery}/status": "Discharging\n"})
    assert on_battery_now(root) is True
    tree({f"{battery}/status": "Charging\n"})
    assert on_battery_now(root) is False


def test_this_machine_says_what_it_can_of_its_network():
    assert network_now().metered in (None, True)
