"""The tables, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, LargeBinary, MetaData, String, Table

# the newest revision of the migrations, which a test compares with them
HEAD = "0002"

# where the revision of the tables is written, beside them
VERSION_TABLE = "gateway_alembic_version"

MAX_NAME = 200
_MAX_ANSWER = 2**24 - 1  # so that MySQL takes a type that is large enough

METADATA = MetaData()

USAGE = Table(
    "gateway_usage",
    METADATA,
    Column("tenant", String(MAX_NAME), primary_key=True),
    Column("model", String(MAX_NAME), primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("calls", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("repeated", BigInteger, nullable=False),
    Column("bytes_in", BigInteger, nullable=False),
    Column("bytes_out", BigInteger, nullable=False),
    Column("engine_s", Float, nullable=False),
    Column("queue_s", Float, nullable=False),
    Index("gateway_usage_by_hour", "hour"),
)

KEPT = Table(
    "gateway_kept_answers",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("inputs", String(64), nullable=False),
    Column("at_s", Float(53), nullable=False),
    Column("n_bytes", BigInteger, nullable=False),
    Column("answer", LargeBinary(_MAX_ANSWER), nullable=False),
    Index("gateway_kept_answers_by_age", "at_s"),
)
