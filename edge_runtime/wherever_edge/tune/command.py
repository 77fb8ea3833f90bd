"""`wherever profile`: what this machine is, how it is used, and what its models cost on it."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from wherever_contracts.errors import SettingsError
from wherever_contracts.places import Place
from wherever_edge.cli import HomeOption, JsonFlag, Output, ProfileOption, progress, run
from wherever_edge.configured import configured, home_or_configured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherever_devices.here import Here
    from wherever_edge.packages.store import Package, Store
    from wherever_edge.tune.kept import KeptMeasurements
    from wherever_edge.tune.tuning import Tuned


@run
def profile(
    models: Annotated[
        list[str] | None,
        typer.Argument(help='Models, as "digits" or "digits@1.0"; all that are here by default.'),
    ] = None,
    *,
    budget_s: Annotated[
        float, typer.Option("--budget", min=0.1, help="Seconds to measure for, about.")
    ] = 30.0,
    imitate: Annotated[
        str | None,
        typer.Option("--as", help="Limit this machine to what this profile's machine has."),
    ] = None,
    follow: ProfileOption = None,
    show: Annotated[
        bool, typer.Option("--show", help="Show what is known, and measure nothing.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure anew what was measured before, too.")
    ] = False,
    packages: Annotated[
        list[Path] | None,
        typer.Option("--packages", help="A directory of packages, a package, or an archive."),
    ] = None,
    place: Annotated[
        str, typer.Option(help="What this machine is to its callers: device, nearby or cloud.")
    ] = "device",
    home: HomeOption = None,
    json: JsonFlag = False,
) -> None:
    """Measure what the models cost on this machine, so that each runs in the best way it can.

    Figures are kept: a second run measures what is missing. Ctrl-C keeps what was measured.
    """
    from wherever_devices.here import look_here  # noqa: PLC0415 (not for --help)
    from wherever_edge.packages.store import Store  # noqa: PLC0415 (pydantic: 40 ms)
    from wherever_edge.tune.kept import KeptMeasurements  # noqa: PLC0415 (loads numpy)
    from wherever_edge.tune.view import as_data, as_text  # noqa: PLC0415 (rich: 60 ms)

    where = home_or_configured(home)
    followed = follow or (None if imitate else configured("profile"))
    here = look_here(followed, imitate=imitate, home=where)
    store = Store.of_home(where, packages or ())
    chosen = [store.get(name) for name in models] if models else store.list()
    kept = KeptMeasurements(where, here.machine)
    kept.load()
    trouble = kept.trouble
    done = None if show else _measured(kept, here, chosen, budget_s, fresh=fresh)
    tables = _tables(where, here, store, chosen, _place(place))
    facts = as_data(here, tables, done, kept.path, trouble)
    Output(json=json).emit(facts, lambda: as_text(here, tables, done, trouble))


def _measured(
    kept: KeptMeasurements, here: Here, packages: Sequence[Package], budget_s: float, *, fresh: bool
) -> Tuned:
    from wherever_edge.tune.tuning import Tuner  # noqa: PLC0415 (not for --show)

    tuner = Tuner(kept, here.machine, here.decision, budget_s=budget_s)
    with progress(int(budget_s * 10), "measuring") as advance:
        shown = 0

        def tell(share: float) -> None:
            nonlocal shown
            now = int(share * budget_s * 10)
            advance(now - shown)
            shown = now

        try:
            return tuner.tune(packages, fresh=fresh, progress=tell)
        except KeyboardInterrupt:
            said = "interrupted; what was measured so far is kept, run it again to go on"
            print(said, file=sys.stderr)  # noqa: T201
            raise


def _tables(
    home: Path, here: Here, store: Store, packages: Sequence[Package], distance: Place
) -> list[tuple[Package, list[Any]]]:
    """Each package with its table of plans."""
    from wherever_edge.host import LocalHost  # noqa: PLC0415 (loads numpy)

    host = LocalHost(
        store, distance=distance, machine=here.machine, home=home, decision=here.decision
    )
    with closing(host):
        return [(package, list(host.table(package))) for package in packages]


def _place(name: str) -> Place:
    if name not in get_args(Place):
        raise SettingsError(f"--place is {name!r}; it is one of {', '.join(get_args(Place))}")
    return cast("Place", name)
