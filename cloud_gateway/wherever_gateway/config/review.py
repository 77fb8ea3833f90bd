"""What contradicts itself in a configuration whose every value is right by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from wherever_contracts.errors import SettingsError
from wherever_contracts.places import WITHIN
from wherever_edge.oip.endpoints import Endpoint, is_loopback
from wherever_edge.oip.listening import Asked, Protection, protection
from wherever_gateway.config.faults import Fault
from wherever_gateway.config.lines import dotted

if TYPE_CHECKING:
    from wherever_gateway.config.lines import Path
    from wherever_gateway.config.schema import Backend, GatewayConfig

# the tenant for callers whose key's name fits no pattern
DEFAULT_TENANT = "default"

# what a "*" may stand for, to see whether one pattern leaves nothing to another
_INSTANCES = ("", "x", "q-7", "[*]?")


def asked_protection(config: GatewayConfig) -> Asked:
    """What a configuration says about its protection."""
    return Asked(
        tls=config.tls.enabled,
        keys=config.keys.needed,
        certificate=config.tls.certificate_file is not None or config.tls.key_file is not None,
        insecure=config.listen.insecure,
        reached_by=_reached_by(config),
    )


def protection_of(config: GatewayConfig) -> Protection:
    """How a gateway with this configuration protects itself.

    Raises:
        SettingsError: it may not listen there like this.
    """
    return protection([config.listen.address], asked_protection(config))


def contradictions(config: GatewayConfig) -> list[Fault]:
    """Every fault that can be seen without looking at anything else than the configuration."""
    return [
        *_unsafe(config),
        *_certificate(config),
        *_ports(config),
        *_batching(config),
        *_tenants(config),
        *_backends(config),
        *_telemetry(config),
    ]


def unmatched(config: GatewayConfig, models: Collection[str], keys: Collection[str]) -> list[Fault]:
    """Warnings about patterns that fit nothing that is there now.

    Args:
        config: the configuration.
        models: the names of models that are there.
        keys: the names of keys that count.
    """
    known = [*models, *_aliases(config)]
    return [
        *_idle(("models",), config.models, known, "no model that is here"),
        *_idle(("tenants",), _named(config.tenants), keys, "the name of no API key"),
        *_idle_models(config, known),
        *_taken_over(config, models),
    ]


def first_match(patterns: Collection[str], name: str) -> str | None:
    """The first of the patterns that a name fits."""
    return next((pattern for pattern in patterns if fnmatchcase(name, pattern)), None)


def _reached_by(config: GatewayConfig) -> str:
    listen = config.listen
    if listen.trusted_proxies:
        return f"trusted proxies ({', '.join(listen.trusted_proxies)})"
    if listen.metrics_port != "off" and not is_loopback(listen.metrics_address):
        return f"whoever reads its metrics on {listen.metrics_address}"
    return ""


def _unsafe(config: GatewayConfig) -> Iterator[Fault]:
    try:
        decided = protection_of(config)
    except SettingsError as error:
        words = str(error).replace("say --insecure", "set listen.insecure (or say --insecure)")
        yield Fault("listen.address", words)
        return
    if decided.warning:
        yield Fault("listen.insecure", decided.warning, fatal=False)
    if config.tenants and not decided.keys:
        words = (
            "calls need no key here, so whoever brings none is nobody's tenant; "
            "set keys.needed = true"
        )
        yield Fault("tenants", words, fatal=False)


def _certificate(config: GatewayConfig) -> Iterator[Fault]:
    tls = config.tls
    if (tls.certificate_file is None) != (tls.key_file is None):
        given, lacks = "key_file", "certificate_file"
        if tls.key_file is None:
            given, lacks = lacks, given
        yield Fault(f"tls.{given}", f"a certificate and its key belong together; give {lacks} too")


def _ports(config: GatewayConfig) -> Iterator[Fault]:
    listen = config.listen
    asked = {"grpc_port": listen.grpc_port, "http_port": listen.http_port}
    if _overlap(listen.address, listen.metrics_address):
        asked["metrics_port"] = listen.metrics_port
    taken: dict[int, str] = {}
    for name, port in asked.items():
        if isinstance(port, int) and port:
            if port in taken:
                words = f"{port} is the port of {taken[port]} already; give each its own"
                yield Fault(f"listen.{name}", words)
            taken.setdefault(port, name)


def _overlap(one: str, other: str) -> bool:
    return one == other or bool({"0.0.0.0", "::"} & {one, other})  # noqa: S104 (compared only)


def _batching(config: GatewayConfig) -> Iterator[Fault]:
    yield from _shadowed(("models",), list(config.models))
    for pattern, rules in config.models.items():
        delays = bool(rules.max_queue_delay_ms)
        key = dotted(("models", pattern, "max_queue_delay_ms" if delays else "max_batch"))
        if not config.serving.batching and (delays or (rules.max_batch or 1) > 1):
            yield Fault(key, "has no effect while serving.batching is false", fatal=False)
        elif delays and rules.max_batch == 1:
            words = "calls would wait for others and run alone (max_batch is 1); leave one out"
            yield Fault(key, words)


def _tenants(config: GatewayConfig) -> Iterator[Fault]:
    yield from _shadowed(("tenants",), [p for p in config.tenants if p != DEFAULT_TENANT])
    places = {config.serving.place, *(each.place for each in config.backends.values())}
    for pattern, tenant in config.tenants.items():
        if not places.intersection(WITHIN[tenant.boundary]):
            words = (
                f"nothing answers within {tenant.boundary!r}, so every call is refused "
                f"(serving.place is {config.serving.place!r})"
            )
            yield Fault(dotted(("tenants", pattern, "boundary")), words, fatal=False)


def _backends(config: GatewayConfig) -> Iterator[Fault]:
    for name, backend in config.backends.items():
        for number, text in enumerate(backend.endpoints):
            yield from _endpoint(("backends", name, "endpoints", number), backend, text)


def _endpoint(path: Path, backend: Backend, text: str) -> Iterator[Fault]:
    endpoint = Endpoint.parse(text)
    if endpoint.tls:
        return
    if backend.api_key_file is not None and not is_loopback(endpoint.host):
        yield Fault(dotted(path), f"a key never travels unencrypted; use TLS for {text!r}")
    if backend.ca_file is not None:
        yield Fault(dotted(path), f"ca_file has no effect on {text!r}: no TLS", fatal=False)


def _telemetry(config: GatewayConfig) -> Iterator[Fault]:
    if config.telemetry.otlp_endpoint and not config.telemetry.traces:
        words = "has no effect while telemetry.traces is false"
        yield Fault("telemetry.otlp_endpoint", words, fatal=False)


def _shadowed(table: Path, patterns: Sequence[str]) -> Iterator[Fault]:
    for position, pattern in enumerate(patterns):
        first = next((each for each in patterns[:position] if _covers(each, pattern)), None)
        if first is not None:
            words = f"counts never: {first!r} before it fits everything that it fits"
            yield Fault(dotted((*table, pattern)), words, fatal=False)


def _covers(one: str, other: str) -> bool:
    return all(fnmatchcase(other.replace("*", each), one) for each in _INSTANCES)


def _aliases(config: GatewayConfig) -> list[str]:
    """The names that backends give to models."""
    return [name for each in config.backends.values() for name in each.models if not _wild(name)]


def _wild(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")


def _named(tenants: Collection[str]) -> list[str]:
    return [pattern for pattern in tenants if pattern != DEFAULT_TENANT]


def _idle(
    table: Path, patterns: Collection[str], names: Collection[str], what: str
) -> Iterator[Fault]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            yield Fault(dotted((*table, pattern)), f"fits {what}", fatal=False)


def _idle_models(config: GatewayConfig, known: Collection[str]) -> Iterator[Fault]:
    """Models that tenants may use, and nobody has."""
    if any(_wild(name) for each in config.backends.values() for name in each.models):
        return  # what backends have is known to them alone
    for name, tenant in config.tenants.items():
        path = ("tenants", name, "models")
        for fault in _idle((), tenant.models, known, "no model that is here"):
            yield fault._replace(key=dotted(path), words=f"{fault.key!r} {fault.words}")


def _taken_over(config: GatewayConfig, models: Collection[str]) -> Iterator[Fault]:
    for name, backend in config.backends.items():
        here = [model for model in models if first_match(backend.models, model)]
        if here:
            words = f"answers for {', '.join(here)} in place of the package that is here"
            yield Fault(dotted(("backends", name, "models")), words, fatal=False)
