"""Reading the state of a gateway from outside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherever_contracts.errors import SettingsError, missing_extra

if TYPE_CHECKING:
    from wherever_gateway.state.ledger import Cell, Usage


def read_usage_at(url: str, since: int, tenant: str | None) -> list[tuple[Cell, Usage]]:
    """What was used from an hour on, by tenant, model and hour; nothing is made or changed.

    Args:
        url: the gateway's database.
        since: the first hour's beginning, in seconds since 1970.
        tenant: this tenant's alone; None for all.

    Raises:
        SettingsError: nothing was written there, or it cannot be read.
        MissingExtraError: what reads it is not installed.
    """
    try:
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 (an extra)

        from wherever_gateway.state.database import Database  # noqa: PLC0415
        from wherever_gateway.state.tables import read_usage  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("reading usage", "gateway") from error
    database = Database(url)
    if not database.is_there():
        raise SettingsError(
            f"no gateway has kept state in {database.name} yet; name its home (--home) or its "
            "gateway.toml (--config)"
        )
    try:
        with database.reading() as connection:
            return read_usage(connection, since, tenant)
    except SQLAlchemyError as error:
        words = str(error).partition("\n")[0]
        raise SettingsError(f"the state in {database.name} cannot be read ({words})") from error
    finally:
        database.close()
