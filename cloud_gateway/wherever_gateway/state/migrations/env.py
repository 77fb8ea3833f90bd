"""Runs the migrations on the connection that it is given, in its transaction."""

from __future__ import annotations

from alembic import context

from wherever_gateway.state.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
)
context.run_migrations()
