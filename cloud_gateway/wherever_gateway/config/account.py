"""A configuration in words: what is served to whom, where, and how it is protected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import SettingsError, missing_extra
from wherever_contracts.places import PRIORITIES, WITHIN
from wherever_edge.oip.endpoints import is_loopback
from wherever_gateway.config.amounts import said_size
from wherever_gateway.config.faults import hidden
from wherever_gateway.config.review import DEFAULT_TENANT, first_match, protection_of

if TYPE_CHECKING:
    from wherever_edge.oip.listening import Protection
    from wherever_gateway.config.faults import Fault
    from wherever_gateway.config.schema import GatewayConfig, Quota, Tenant
    from wherever_gateway.config.sight import Sight

_LABEL = 10
_WIDTH = 80
_NOTHING = "may use no model"
_ALL = "open to all who reach it"


def account(config: GatewayConfig, sight: Sight) -> dict[str, list[str]]:
    """What a gateway with this configuration does, as lines under headings.

    Args:
        config: the configuration.
        sight: what is there.
    """
    try:
        decided = protection_of(config)
    except SettingsError:
        return {}
    said = {
        "listens": list(_listening(config, decided)),
        "limits": list(_limits(config)),
        "serves": list(_serving(config, sight)),
        "backends": list(_backends(config)),
        "tenants": list(_tenants(config, sight, decided)),
        "runs": list(_running(config)),
        "tells": list(_telling(config, sight)),
    }
    return {heading: lines for heading, lines in said.items() if lines}


def verdict(source: str, faults: Sequence[Fault]) -> str:
    """Whether the gateway would start, in a line."""
    fatal = sum(fault.fatal for fault in faults)
    warnings = len(faults) - fatal
    beside = f", with {_count(warnings, 'warning')}" if warnings else ""
    if fatal:
        return f"{source}: it would not start: {_count(fatal, 'error')}{beside}"
    return f"{source}: it would start{beside}"


def text_of(source: str, said: Mapping[str, Sequence[str]], faults: Sequence[Fault]) -> str:
    """All of it for a terminal: faults first, since they are what is to be done."""
    blocks = [verdict(source, faults)]
    for heading, fatal in (("error", True), ("warning", False)):
        blocks += [_hanging(heading, str(fault)) for fault in faults if fault.fatal is fatal]
    for heading, lines in said.items():
        rows = [_hanging(heading if not number else "", line) for number, line in enumerate(lines)]
        blocks.append("\n" + "\n".join(rows))
    return "\n".join(blocks)


def plain(
    source: str, said: Mapping[str, Sequence[str]], faults: Sequence[Fault]
) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "config": source,
        "starts": not any(fault.fatal for fault in faults),
        "errors": [fault._asdict() for fault in faults if fault.fatal],
        "warnings": [fault._asdict() for fault in faults if not fault.fatal],
        "account": said,
    }


def _hanging(label: str, text: str) -> str:
    lead = f"{label:{_LABEL}}"
    inner = len(text) - len(text.lstrip())
    indent = " " * (_LABEL + inner + (2 if inner else 0))
    found = wrap(
        text.strip(),
        _WIDTH,
        initial_indent=lead + " " * inner,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(found)


def _listening(config: GatewayConfig, decided: Protection) -> Iterator[str]:
    listen = config.listen
    tls = "s" if decided.tls else ""
    yield f"gRPC on grpc{tls}://{_at(listen.address, listen.grpc_port)}: {_guard(config, decided)}"
    if listen.http_port == "off":
        yield "no HTTP"
    else:
        yield f"HTTP on http{tls}://{_at(listen.address, listen.http_port)}: the same"
    if listen.metrics_port == "off":
        yield "no metrics"
    else:
        where = _at(listen.metrics_address, listen.metrics_port)
        whom = "this machine alone" if is_loopback(listen.metrics_address) else _ALL
        yield f"metrics on http://{where}: {whom}"
    if listen.trusted_proxies:
        yield f"behind proxies at {', '.join(listen.trusted_proxies)}"


def _guard(config: GatewayConfig, decided: Protection) -> str:
    keys = "calls need an API key" if decided.keys else "no API key is needed"
    if not decided.tls:
        return f"not encrypted, {keys}"
    given = config.tls.certificate_file
    certificate = f"the certificate {given}" if given else "a self-made certificate"
    return f"TLS with {certificate}, {keys}"


def _limits(config: GatewayConfig) -> Iterator[str]:
    listen, serving = config.listen, config.serving
    yield f"messages up to {said_size(listen.max_bytes)}, also after decompression"
    if serving.max_waiting is not None:
        yield f"{serving.max_waiting} calls may wait; more are refused at once"
    if serving.memory_max_mib is not None:
        yield f"{serving.memory_max_mib} MiB for loaded models"
    yield f"running calls have {listen.grace_s:g} s when it is told to end"


def _serving(config: GatewayConfig, sight: Sight) -> Iterator[str]:
    where = ", ".join(map(str, config.serving.packages)) or "the wheel"
    for name, versions in sight.models.items():
        if not any(first_match(each.models, name) for each in config.backends.values()):
            yield f"{name} {', '.join(versions)}"
    yield f"(from {where}, and signed updates in {sight.home})"
    for refused in sight.refused:
        yield f"not served: {refused}"


def _backends(config: GatewayConfig) -> Iterator[str]:
    for name, backend in config.backends.items():
        yield f"{name} ({backend.place}): {', '.join(backend.endpoints)}"
        models = [
            here + (f" (there: {there})" if there else "") for here, there in backend.models.items()
        ]
        yield f"  answers for {', '.join(models)}"


def _tenants(config: GatewayConfig, sight: Sight, decided: Protection) -> Iterator[str]:
    if not config.tenants:
        whom = "every key" if decided.keys else "everybody"
        yield f"{whom} may use every model, with equal shares and no quota"
        return
    patterns = [name for name in config.tenants if name != DEFAULT_TENANT]
    of: dict[str, list[str]] = {name: [] for name in config.tenants}
    left: list[str] = []
    for key in sight.keys:
        of.get(first_match(patterns, key) or DEFAULT_TENANT, left).append(key)
    for name, tenant in config.tenants.items():
        yield from _tenant(config, sight, name, tenant, of[name])
    if DEFAULT_TENANT not in config.tenants:
        beside = f" (keys: {', '.join(left)})" if left else ""
        yield f"everybody else{beside}: every model, a share of 1, no quota"


def _tenant(
    config: GatewayConfig, sight: Sight, name: str, tenant: Tenant, keys: list[str]
) -> Iterator[str]:
    yield f"{name} (keys: {', '.join(keys) or 'none yet'})"
    if not tenant.models:
        yield f"  {_NOTHING}"
        return
    may = [model for model in sight.models if _fits(model, tenant.models)]
    beside = f", here {', '.join(may)}" if may and list(tenant.models) != may else ""
    yield f"  models: {', '.join(tenant.models)}{beside}"
    yield f"  data may travel to: {', '.join(_reach(config, tenant)) or 'nowhere'}"
    lowered = "" if tenant.priority == PRIORITIES[0] else f" at most {tenant.priority},"
    yield f"  calls:{lowered} a share of {tenant.weight:g}"
    for quota in tenant.quotas:
        yield f"  at most {_quota(quota)}"


def _reach(config: GatewayConfig, tenant: Tenant) -> list[str]:
    within = WITHIN[tenant.boundary]
    here = ["this gateway"] if config.serving.place in within else []
    return here + [f"backend {n}" for n, each in config.backends.items() if each.place in within]


def _quota(quota: Quota) -> str:
    amounts = [
        _rate(quota.requests, "call", "calls"),
        _rate(quota.bytes, "of input", "of input"),
        f"{_count(quota.concurrency, 'call')} at a time" if quota.concurrency else "",
    ]
    each = ", for each model" if quota.per == "model" else ""
    return ", ".join(filter(None, amounts)) + each


def _rate(rate: str | None, one: str, many: str) -> str:
    """A rate in words: "100 calls in each second"."""
    amount, _, span = (rate or "").partition("/")
    what = one if amount.strip() == "1" else many
    return f"{amount.strip()} {what} in each {span.strip().removesuffix('s')}" if rate else ""


def _running(config: GatewayConfig) -> Iterator[str]:
    if not config.serving.batching:
        yield "each call by itself (batching is off)"
    for pattern, rules in config.models.items():
        words = [
            f"waits up to {rules.max_queue_delay_ms:g} ms for company"
            if rules.max_queue_delay_ms
            else "",
            f"at most {_count(rules.max_batch, 'row')} a run" if rules.max_batch else "",
            "stays in memory" if rules.pinned else "",
        ]
        yield f"{pattern}: {', '.join(filter(None, words)) or 'as usual'}"


def _telling(config: GatewayConfig, sight: Sight) -> Iterator[str]:
    url = config.state.url
    where = hidden(url.get_secret_value()) if url else str(sight.home / "gateway" / "state.db")
    if sight.keeps_usage:
        yield f"usage to {where}, every {config.state.usage_every_s:g} s"
    else:
        yield f"no usage: {missing_extra('keeping it', 'gateway')}"
    logged = {"off": "nothing", "refused": "refused calls (sampled)", "calls": "every call"}
    yield f"{logged[config.telemetry.log]} to standard error, without inputs or outputs"
    if config.telemetry.traces:
        yield f"traces to {config.telemetry.otlp_endpoint or 'where OTEL_* variables say'}"


def _fits(model: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def _at(address: str, port: int | str) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port or '(any free port)'}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
