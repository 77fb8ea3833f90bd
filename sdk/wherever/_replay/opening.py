"""The variant that answered a call, opened again: the same files, engine, precision and threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever._answers import UNKNOWN
from wherever._replay.outcome import NotReplayableError
from wherever_contracts.errors import ModelNotFoundError, WhereverError
from wherever_edge.inputs import InputChecker

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_contracts.receipts import Ran
    from wherever_devices.plans import RunPlan
    from wherever_edge.host import LoadedVariant, LocalHost
    from wherever_edge.packages.store import Package, Store


class Opened(NamedTuple):
    """A variant of a package.

    Attributes:
        package: the package, which has the same variant as the call's had.
        variant: the variant.
        check: makes the checked inputs of what a call is given.
        loaded: the variant in an engine; None when this device cannot run it.
        unfit: why it cannot.
    """

    package: Package
    variant: Variant
    check: Callable[[Any], dict[str, Any]]
    loaded: LoadedVariant | None
    unfit: str = ""


def open_again(host: LocalHost, store: Store, ran: Ran) -> Opened:
    """What ran, opened here.

    Args:
        host: this device's.
        store: the packages that are here.
        ran: what ran, by the receipt.

    Raises:
        NotReplayableError: it is not here, or not said what it was.
    """
    package, variant = find_variant(store, ran)
    check = InputChecker(package.manifest.signature).check
    if variant not in package.present():
        return Opened(package, variant, check, None, "its files are not on this machine")
    refused: list[str] = []
    for plan in dict.fromkeys(_plans(host, package, variant, ran)):
        try:
            loaded = host.load_as(package, variant, plan)
        except WhereverError as error:
            refused.append(f"{plan}: {error}")
        else:
            return Opened(package, variant, check, loaded)
    unfit = "; ".join(refused) or "none of its engines is installed"
    return Opened(package, variant, check, None, unfit)


def find_variant(store: Store, ran: Ran) -> tuple[Package, Variant]:
    """The package and its variant whose files, tensors and pipeline are those that ran.

    Another package of the same version serves, too, if only that variant is the same in it: what
    else is in a package does not change an answer.

    Raises:
        NotReplayableError: there is none, or not said what ran.
    """
    if ran.variant_digest == UNKNOWN:
        raise NotReplayableError("not_said", f"the host of {ran.model} did not say what ran")
    named = f"{ran.model}@{ran.version}"
    try:
        package = store.get(named)
    except ModelNotFoundError as error:
        raise NotReplayableError("package_missing", str(error)) from None
    digests = {each.id: package.variant_digest(each.id) for each in package.manifest.variants}
    same = [each for each, digest in digests.items() if digest == ran.variant_digest]
    if same:
        found = ran.variant if ran.variant in same else same[0]
        return package, package.manifest.variant(found)
    if package.digest != ran.package_digest:
        digests_apart = f"{package.digest[:12]} here, {ran.package_digest[:12]} then"
        raise NotReplayableError(
            "package_digest", f"{named} is here with other contents ({digests_apart})"
        )
    raise NotReplayableError("variant_missing", f"{named} has no variant {ran.variant!r}")


def _plans(host: LocalHost, package: Package, variant: Variant, ran: Ran) -> Iterator[RunPlan]:
    """How it ran, and after that what is nearest to it."""
    options = [each for each in host.options(package) if each.variant.id == variant.id]
    plans = [option.plan for option in options if option.plan is not None]
    alike = [plan for plan in plans if plan.engine == ran.engine]
    for plan in alike:
        yield replace(plan, precision=ran.precision, threads=ran.threads)
    yield from alike
    yield from plans
