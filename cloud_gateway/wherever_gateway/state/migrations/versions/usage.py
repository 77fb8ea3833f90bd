"""Usage by tenant, model and hour."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, String

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "gateway_usage",
        Column("tenant", String(200), primary_key=True),
        Column("model", String(200), primary_key=True),
        Column("hour", BigInteger, primary_key=True, autoincrement=False),
        Column("calls", BigInteger, nullable=False),
        Column("failed", BigInteger, nullable=False),
        Column("refused", BigInteger, nullable=False),
        Column("repeated", BigInteger, nullable=False),
        Column("bytes_in", BigInteger, nullable=False),
        Column("bytes_out", BigInteger, nullable=False),
        Column("engine_s", Float, nullable=False),
        Column("queue_s", Float, nullable=False),
    )
    op.create_index("gateway_usage_by_hour", "gateway_usage", ["hour"])


def downgrade() -> None:
    """Drop the table, and what is in it."""
    op.drop_table("gateway_usage")
