"""Answers kept for calls that come again."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, LargeBinary, String

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "gateway_kept_answers",
        Column("id", String(64), primary_key=True),
        Column("inputs", String(64), nullable=False),
        Column("at_s", Float(53), nullable=False),
        Column("n_bytes", BigInteger, nullable=False),
        Column("answer", LargeBinary(2**24 - 1), nullable=False),
    )
    op.create_index("gateway_kept_answers_by_age", "gateway_kept_answers", ["at_s"])


def downgrade() -> None:
    """Drop the table, and what is in it."""
    op.drop_table("gateway_kept_answers")
