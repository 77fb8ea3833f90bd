"""Handles as imports: `from wherever.models import digits`.

A dash in a model's name is written as an underscore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherever._handle import Model


def __getattr__(name: str) -> Model:
    if name.startswith("__"):
        raise AttributeError(name)
    from wherever._default import model  # noqa: PLC0415
    from wherever_contracts.errors import ModelNotFoundError  # noqa: PLC0415

    try:
        return model(name)
    except ModelNotFoundError as error:
        try:
            return model(name.replace("_", "-"))
        except ModelNotFoundError:
            raise AttributeError(str(error)) from error
