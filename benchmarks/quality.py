"""What escalation buys on the held-out digits, and what an outage costs."""

from __future__ import annotations

import signal
from statistics import median
from time import perf_counter

from gateway_process import Gateway
from harness import Row

import wherever
from wherever_contracts.places import Mode
from wherever_contracts.tensors import Array
from wherever_edge.builtin import digits_test_split

OUTAGE_CALLS = 1000
DEADLINE_S = 0.1


def rows() -> list[Row]:
    """Accuracy by mode, then a gateway that is killed, hung and restarted."""
    with Gateway() as gateway, wherever.Client(gateways=[gateway.address]) as client:
        return [*_accuracy(client), *_outages(gateway, client), _deadlines(gateway)]


def _accuracy(client: wherever.Client) -> list[Row]:
    images, labels = digits_test_split()
    digits = client.model("digits")
    right: dict[str, float] = {}
    cloud_share = 0.0
    modes: tuple[Mode, ...] = ("only_on_device", "only_in_cloud", "auto")
    for mode in modes:
        predictions = [digits(image, mode=mode) for image in images]
        hits = [p.value.class_index == label for p, label in zip(predictions, labels, strict=True)]
        right[mode] = 100 * sum(hits) / len(hits)
        cloud_share = 100 * sum(p.place == "cloud" for p in predictions) / len(predictions)
    gain = right["auto"] - right["only_on_device"]
    return [
        Row(
            f"digits, {len(images)} held out: accuracy of auto",
            f"{right['auto']:.1f} %, {gain:+.1f} points",
            f"device {right['only_on_device']:.1f} %, cloud {right['only_in_cloud']:.1f} %",
            ">= 2 points",
            gain >= 2,
        ),
        Row(
            "share of its calls escalated", f"{cloud_share:.1f} %", "", "<= 35 %", cloud_share <= 35
        ),
    ]


def _outages(gateway: Gateway, client: wherever.Client) -> list[Row]:
    digits = client.model("digits")
    images, _ = digits_test_split()
    here = _run(digits, images, mode="only_on_device")
    usual_s = median(here)
    result: list[Row] = []
    for name, begin, end in (
        ("killed", gateway.kill, gateway.start),
        (
            "hung (SIGSTOP)",
            lambda: gateway.signal(signal.SIGSTOP),
            lambda: gateway.signal(signal.SIGCONT),
        ),
        ("restarted", gateway.restart, lambda: None),
    ):
        _until_escalating(digits, images)
        begin()
        times = _run(digits, images)
        end()
        slow = sum(seconds > usual_s + 0.05 for seconds in times)
        result.append(
            Row(
                f"gateway {name}: {OUTAGE_CALLS} calls in auto",
                f"0 failed, {slow} slower than local + 50 ms",
                f"slowest {1e3 * max(times):.0f} ms, median {1e6 * median(times):.0f} us",
                "0 failed, <= 1 slow",
                slow <= 1,
            )
        )
    return result


def _deadlines(gateway: Gateway) -> Row:
    """Calls that prefer a gateway that hangs, each by a client that does not know it yet."""
    image = digits_test_split()[0][0]
    late: list[float] = []
    gateway.signal(signal.SIGSTOP)
    for _ in range(20):
        with wherever.Client(gateways=[gateway.address], remote_timeout_s=60.0) as client:
            client.predict("digits", image)
            answer = client.predict("digits", image, mode="prefer_in_cloud", deadline_s=DEADLINE_S)
            late.append(answer.receipt.total_s - DEADLINE_S)
    gateway.signal(signal.SIGCONT)
    return Row(
        f"gateway hung, deadline {1e3 * DEADLINE_S:.0f} ms, cloud preferred: 20 first calls",
        f"all answered by the device, the last {-1e3 * max(late):.1f} ms before the deadline",
        "",
        "by the deadline",
        max(late) <= 0,
    )


def _run(digits: wherever.Model, images: Array, mode: Mode = "auto") -> list[float]:
    times: list[float] = []
    for position in range(OUTAGE_CALLS):
        started = perf_counter()
        prediction = digits(images[position % len(images)], mode=mode)
        times.append(perf_counter() - started)
        assert prediction.outputs["scores"].shape == (10,)
    return times


def _until_escalating(digits: wherever.Model, images: Array) -> None:
    """Call until the gateway is used again."""
    until = perf_counter() + 20
    while perf_counter() < until:
        if any(digits(image).place == "cloud" for image in images[:100]):
            return
    raise RuntimeError("the gateway did not come back within 20 s")
