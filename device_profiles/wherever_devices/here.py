"""This machine as it stands: probed, with its profile, the conditions, and what follows."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from wherever_devices.conditions import Conditions
from wherever_devices.decision import Decision, decide
from wherever_devices.machine import Machine, probe
from wherever_devices.profiles import Profile, as_machine, default_profile
from wherever_devices.profiles.files import load_profile
from wherever_devices.sensing import conditions_now


class Here(NamedTuple):
    """A machine, and how it is used.

    Attributes:
        machine: what it is, or is limited to.
        conditions: how things stood when it was looked at.
        profile: what it follows.
        why: why that profile.
        decision: how it is used.
    """

    machine: Machine
    conditions: Conditions
    profile: Profile
    why: str
    decision: Decision

    def again(self, root: Path = Path("/")) -> Here:
        """The same machine and profile under the conditions of now; cheap."""
        conditions = conditions_now(root)
        decision = decide(self.machine, self.profile, conditions)
        return self._replace(conditions=conditions, decision=decision)


def look_here(
    profile: str | None = None,
    *,
    imitate: str | None = None,
    home: Path | None = None,
    root: Path = Path("/"),
) -> Here:
    """Look at this machine, and decide how it is used.

    Args:
        profile: the name or path of the profile to follow; by default the one to imitate, else
            the built-in one that fits this machine.
        imitate: the name or path of a profile whose machine this one is limited to.
        home: where state, and so a site's own profiles, are kept.
        root: where the `proc`, `sys` and `dev` file systems are mounted.

    Raises:
        SettingsError: there is no such profile, its file is wrong, or it describes no machine.
    """
    machine, conditions = probe(root), conditions_now(root)
    name, why = profile or imitate, "it was asked for"
    if name is None:
        name, why = default_profile(machine, conditions)
    followed = load_profile(name, home)
    if imitate is not None:
        machine = as_machine(machine, load_profile(imitate, home))
    return Here(machine, conditions, followed, why, decide(machine, followed, conditions))
