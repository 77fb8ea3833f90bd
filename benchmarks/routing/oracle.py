"""The policy that knows the future of the network: what any policy could hope for at best.

It knows how long each host would take for this call if it were asked now, and how long the device
will. It does not know which answers are right: it sees the device's confidence when the device has
answered, as everybody does.
"""

from __future__ import annotations

import math

from routing.calls import Call, Steps
from routing.policies import MARGIN_S, TIMEOUT_S, Plain, is_unsure
from routing.scenarios import Host
from routing.world import DEVICE, LARGE
from wherever._routing.plan import Candidate
from wherever._routing.steps import Attempt
from wherever_contracts.receipts import Answer


class Oracle(Plain):
    """Asks whoever will be first; of an unsure answer, whoever will be there in time."""

    name = "oracle"

    def flow(self, call: Call) -> Steps:
        if self.world.scenario.cascade.threshold:
            return self._escalating(call)
        return self._fastest(call)

    def _escalating(self, call: Call) -> Steps:
        here = yield Attempt(DEVICE, None, "")
        assert isinstance(here, Answer)
        host, takes_s = self._best(call)
        left_s = self._left_s(call)
        if not is_unsure(self.world.scenario, call) or takes_s > left_s:
            return here, "device"
        there = yield _asked(host, left_s)
        return (there, host.place) if isinstance(there, Answer) else (here, "device")

    def _fastest(self, call: Call) -> Steps:
        host, takes_s = self._best(call)
        if takes_s < self.world.foresee_here_s(call):
            there = yield _asked(host, math.inf)
            assert isinstance(there, Answer)
            return there, host.place
        here = yield Attempt(DEVICE, None, "")
        assert isinstance(here, Answer)
        return here, "device"

    def _best(self, call: Call) -> tuple[Host, float]:
        foreseen = [(host, self.world.foresee_s(call, host)) for host in self.world.scenario.hosts]
        return min(foreseen, key=lambda one: one[1])

    def _left_s(self, call: Call) -> float:
        if call.deadline_s is None:
            return TIMEOUT_S
        return call.began + call.deadline_s - MARGIN_S - self.world.now


def _asked(host: Host, timeout_s: float) -> Attempt:
    return Attempt(Candidate(host.name, host.place), timeout_s, LARGE)
