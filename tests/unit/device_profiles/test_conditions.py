"""The conditions of the moment, read from texts that kernels of several machines write."""

from __future__ import annotations

import pytest

from wherever_devices.conditions import Conditions, Supply, Zone, battery_share, on_battery, thermal
from wherever_devices.sensing import conditions_now

GIB = 1024**3
MAINS, NO_MAINS = Supply("Mains", online=True), Supply("Mains", online=False)
EMPTYING = Supply("Battery", status="Discharging", charge_share=0.4)
FULL = Supply("Battery", status="Full", charge_share=1.0)
MOUSE = Supply("Battery", of_device=True, status="Discharging", charge_share=0.1)


@pytest.mark.parametrize(
    ("supplies", "lives_on_it", "left"),
    [
        ([], False, None),
        ([MAINS], False, None),
        ([MAINS, FULL], False, 1.0),
        ([NO_MAINS, EMPTYING], True, 0.4),
        ([EMPTYING], True, 0.4),
        ([MAINS, EMPTYING], False, 0.4),
        ([NO_MAINS, EMPTYING, FULL], True, 0.7),
        ([MOUSE], False, None),
        ([MAINS, MOUSE], False, None),
        ([MOUSE, EMPTYING], True, 0.4),
        ([Supply("USB", online=True), EMPTYING], True, 0.4),
        ([Supply("Battery", status="Discharging")], True, None),
        ([Supply("Battery", status="Unknown", charge_share=0.5)], False, 0.5),
    ],
)
def test_a_machine_lives_on_a_battery_that_empties_without_mains(supplies, lives_on_it, left):
    assert on_battery(supplies) is lives_on_it
    assert battery_share(supplies) == left


def cpu(heat_c):
    return Zone(heat_c, (("active", 50.0), ("passive", 95.0), ("critical", 105.0)))


@pytest.mark.parametrize(
    ("zones", "slowed", "expected"),
    [
        ([], None, None),
        ([], False, "normal"),
        ([], True, "hot"),
        ([cpu(40.0)], None, "normal"),
        ([cpu(86.9)], None, "normal"),
        ([cpu(87.0)], None, "warm"),
        ([cpu(94.9)], False, "warm"),
        ([cpu(95.0)], None, "hot"),
        ([cpu(40.0)], True, "hot"),
        ([cpu(40.0), cpu(96.0), cpu(41.0)], False, "hot"),
        ([Zone(84.0, (("hot", 85.0), ("critical", 90.0)))], None, "warm"),
        ([Zone(79.0, (("critical", 90.0),))], None, "warm"),
        ([Zone(80.0, (("critical", 90.0),))], None, "hot"),
        ([Zone(99.0)], None, None),
        ([Zone(99.0, (("active", 40.0),))], None, None),
        ([Zone(48.0, (("passive", 45.0),))], None, None),
        ([Zone(48.0, (("passive", 0.0), ("passive", -274.0)))], None, None),
    ],
)
def test_heat_is_how_close_it_is_to_being_slowed_down(zones, slowed, expected):
    assert thermal(zones, slowed=slowed) == expected


def test_a_laptop_on_its_battery_in_the_sun(tree):
    power, heat = "sys/class/power_supply", "sys/class/thermal"
    root = tree(
        {
            f"{power}/AC/type": "Mains\n",
            f"{power}/AC/online": "0\n",
            f"{power}/BAT0/type": "Battery\n",
            f"{power}/BAT0/scope": "System\n",
            f"{power}/BAT0/status": "Discharging\n",
            f"{power}/BAT0/capacity": "62\n",
            f"{power}/hidpp_battery_0/type": "Battery\n",
            f"{power}/hidpp_battery_0/scope": "Device\n",
            f"{power}/hidpp_battery_0/status": "Discharging\n",
            f"{power}/hidpp_battery_0/capacity": "5\n",
            f"{heat}/thermal_zone0/temp": "93000\n",
            f"{heat}/thermal_zone0/trip_point_0_type": "critical\n",
            f"{heat}/thermal_zone0/trip_point_0_temp": "105000\n",
            f"{heat}/thermal_zone0/trip_point_1_type": "passive\n",
            f"{heat}/thermal_zone0/trip_point_1_temp": "100000\n",
            f"{heat}/thermal_zone0/trip_point_2_type": "passive\n",
            f"{heat}/thermal_zone1/trip_point_0_type": "passive\n",
            f"{heat}/cooling_device0/type": "Fan\n",
            f"{heat}/cooling_device0/cur_state": "3\n",
            f"{heat}/cooling_device1/type": "Processor\n",
            f"{heat}/cooling_device1/cur_state": "0\n",
            f"{heat}/cooling_device2/type": "intel_powerclamp\n",
            f"{heat}/cooling_device2/cur_state": "-1\n",
            "proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable:    4194304 kB\n",
        }
    )
    assert conditions_now(root) == Conditions(
        on_battery=True,
        battery_share=0.62,
        thermal="warm",
        metered=None,
        available_memory_bytes=4 * GIB,
    )
    (root / heat / "cooling_device1/cur_state").write_text("2\n")
    assert conditions_now(root).thermal == "hot"


def test_a_battery_says_at_most_all_of_its_charge(tree):
    power = "sys/class/power_supply/BAT1"
    root = tree({f"{power}/type": "Battery\n", f"{power}/capacity": "103\n"})
    found = conditions_now(root)
    assert (found.on_battery, found.battery_share) == (False, 1.0)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("0", "normal"),
        ("50000", "normal"),
        ("1", "normal"),
        ("4", "hot"),
        ("e0008", "hot"),
        ("?", "normal"),
    ],
)
@pytest.mark.parametrize("folder", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
def test_the_firmware_of_a_raspberry_pi_says_whether_it_slows_down_now(
    tree, folder, said, expected
):
    root = tree({f"sys/devices/platform/{folder}/get_throttled": f"{said}\n"})
    assert conditions_now(root).thermal == expected


@pytest.mark.parametrize(("heat_c", "expected"), [(71, "normal"), (72, "warm"), (80, "hot")])
def test_a_raspberry_pi_slows_down_at_80_degrees_whatever_its_zones_say(tree, heat_c, expected):
    zone = "sys/class/thermal/thermal_zone0"
    root = tree(
        {
            "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
            f"{zone}/temp": f"{heat_c}000\n",
            f"{zone}/trip_point_0_type": "critical\n",
            f"{zone}/trip_point_0_temp": "110000\n",
            f"{zone}/trip_point_1_type": "active\n",
            f"{zone}/trip_point_1_temp": "50000\n",
        }
    )
    assert conditions_now(root).thermal == expected


ROUTES = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
WIFI = "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
MODEM = "wwan0\t00000000\t0100000A\t0003\t0\t0\t{0}\t00000000\t0\t0\t0\n"
NEIGHBOURS = "wwan0\t0000A8C0\t00000000\t0001\t0\t0\t1\t00FFFFFF\t0\t0\t0\n"


@pytest.mark.parametrize(
    ("routes", "metered"),
    [
        (MODEM.format(700), True),
        (MODEM.format(700) + WIFI, None),
        (MODEM.format(100) + WIFI + NEIGHBOURS, True),
        (WIFI + NEIGHBOURS, None),
        (NEIGHBOURS, None),
        ("torn\t00000000\n", None),
        ("", None),
    ],
)
def test_the_way_out_over_a_mobile_modem_is_metered(tree, routes, metered):
    root = tree(
        {
            "proc/net/route": ROUTES + routes,
            "sys/class/net/wwan0/uevent": "DEVTYPE=wwan\nINTERFACE=wwan0\n",
            "sys/class/net/wlan0/uevent": "DEVTYPE=wlan\nINTERFACE=wlan0\n",
        }
    )
    assert conditions_now(root).metered is metered


def test_free_memory_is_at_most_what_the_control_group_grants(tree):
    root = tree(
        {
            "proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n",
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": str(GIB),
        }
    )
    assert conditions_now(root).available_memory_bytes == GIB


def test_where_nothing_is_said_nothing_is_known(tmp_path):
    assert conditions_now(tmp_path) == Conditions(None, None, None, None, None)


def test_this_machine_says_what_it_can():
    found = conditions_now()
    assert found.thermal in (None, "normal", "warm", "hot")
    assert found.battery_share is None or 0 <= found.battery_share <= 1
    assert found == Conditions(
        found.on_battery,
        found.battery_share,
        found.thermal,
        found.metered,
        found.available_memory_bytes,
        found.offline,
    )
