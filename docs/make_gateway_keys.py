"""Write docs/gateway-keys.md from the schema of gateway.toml: python docs/make_gateway_keys.py."""  # noqa: INP001

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from wherever_gateway.config.amounts import said_size
from wherever_gateway.config.changes import LIVE
from wherever_gateway.config.schema import GatewayConfig, Quota

PAGE = Path(__file__).with_name("gateway-keys.md")
HEAD = """# Keys of gateway.toml

Made by `python docs/make_gateway_keys.py` of the schema; do not edit. [gateway.md](gateway.md) says
how to run a gateway, and `wherever gateway check --config gateway.toml` explains a file.

Every table and every key may be left out, except where the default says "needed". A key that is not
here is an error. Paths are relative to the file. What is "followed" holds as soon as the file is
read again (SIGHUP, `systemctl reload`, `POST /v1/admin/reload`); everything else at the next start.
"""
# how the tables of patterns are written
NAMES = {
    "models": '[models."PATTERN"]',
    "tenants": '[tenants."PATTERN"]',
    "backends": "[backends.NAME]",
}
KINDS = {
    "Path": "path", "str": "text", "bool": "true or false", "int": "number", "float": "number",
    "SecretStr": "text", "Quota": "table",
}  # fmt: skip


def page() -> str:
    """The whole page."""
    sections = [_section(name, field) for name, field in GatewayConfig.model_fields.items()]
    return "\n".join([HEAD, *sections])


def _section(name: str, field: FieldInfo) -> str:
    model = next(_models(field.annotation))
    text = _prose(model.__doc__ or "")
    parts = [f"## {NAMES.get(name, f'[{name}]')}\n", f"{text}\n", _table(name, model)]
    if name == "tenants":
        quotas = ('### [[tenants."PATTERN".quotas]]\n', f"{_prose(Quota.__doc__ or '')}\n")
        parts += ["", *quotas, _table(name, Quota)]
    return "\n".join([*parts, ""])


def _table(name: str, model: type[BaseModel]) -> str:
    rows = ["| key | kind | default | what it does | followed |", "|---|---|---|---|---|"]
    for key, field in model.model_fields.items():
        live = "yes" if {name, f"{name}.{key}"} & LIVE else ""
        what = _prose(field.description or "").replace("|", "\\|")
        row = (f"`{key}`", _kind(key, field), _default(key, field), what, live)
        rows.append(f"| {' | '.join(row)} |")
    return "\n".join(rows)


def _kind(key: str, field: FieldInfo) -> str:
    said = str(_bare(field))
    if key == "max_bytes":
        return "size"
    if key.endswith("_port"):
        return 'port or `"off"`' if "off" in said else "port"
    if "dict" in said:
        return "list, or table"
    if words := re.findall(r"'([\w-]+)'", said):
        return " or ".join(f'`"{word}"`' for word in words)
    found = next(KINDS[word] for word in re.findall(r"\w+", said) if word in KINDS)
    return f"list of {found}s".replace("texts", "text") if "tuple" in said else found


def _bare(field: FieldInfo) -> object:
    annotation: Any = field.annotation
    return annotation.__name__ if isinstance(annotation, type) else annotation


def _default(key: str, field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "needed"
    if value is None:
        return ""
    if key == "max_bytes":
        return f'`"{said_size(value)}"`'
    if isinstance(value, tuple):
        return f"`[{', '.join(map(_toml, value))}]`"
    return f"`{value}`" if not isinstance(value, str | bool) else f"`{_toml(value)}`"


def _toml(value: str | bool) -> str:  # noqa: FBT001 (a value of a file)
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def _models(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models(part)


def _prose(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE}\n")
