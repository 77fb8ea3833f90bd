"""The outbox of a client: its settings and hosts, and whom it calls back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from wherever._outbox.delivery import send_to
from wherever._outbox.later import upgraded
from wherever._outbox.outbox import Limits, Outbox
from wherever._prediction import Prediction
from wherever._surroundings import Surroundings
from wherever_contracts.errors import UpgradeError

if TYPE_CHECKING:
    from wherever._outbox.entry import Result
    from wherever._remotes import Remote
    from wherever._settings import Settings

OnUpgrade: TypeAlias = Callable[[str, "Prediction | UpgradeError"], None]


def limits_of(settings: Settings) -> Limits:
    """What the settings say about the outbox."""
    return Limits(
        settings.outbox_max_bytes,
        settings.outbox_ttl_s,
        settings.outbox_share,
        settings.outbox_metered,
    )


def open_outbox(
    settings: Settings,
    remotes: Mapping[str, Remote],
    look_for_boxes: Callable[[], None],
    on_upgrade: OnUpgrade | None,
) -> Outbox:
    """The outbox of a client.

    Args:
        settings: the client's.
        remotes: the boxes and gateways that it may ask.
        look_for_boxes: called before a call is sent.
        on_upgrade: called with each call's id and what came of it.
    """
    surroundings = Surroundings(settings.metered)
    return Outbox(
        settings.home,
        limits_of(settings),
        send_to(remotes, look_for_boxes),
        metered=lambda: surroundings.network().metered is True,
        on_upgrade=None if on_upgrade is None else partial(_tell, on_upgrade),
    )


def _tell(on_upgrade: OnUpgrade, result: Result) -> None:
    end: Prediction | UpgradeError
    try:
        end = upgraded(result)
    except UpgradeError as error:
        end = error
    on_upgrade(result.entry.id, end)
