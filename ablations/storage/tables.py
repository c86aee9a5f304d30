"""Tables of the store, and how a database gets those it lacks.

Knows SQL, not what the rows mean.
"""

import hashlib

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

METADATA = sa.MetaData()
COMPLETIONS = sa.Table(
    "completions",
    METADATA,
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
    sa.Column("checksum", sa.String(16)),
)
JUDGMENTS = sa.Table(
    "judgments",
    METADATA,
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
    sa.Column("checksum", sa.String(16)),
)
STUDIES = sa.Table(
    "studies",
    METADATA,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("id", sa.String(32), nullable=False),
    sa.Column("identity", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
)
RESULTS = sa.Table(
    "results",
    METADATA,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("trial", sa.Integer, primary_key=True),
    sa.Column("query_id", sa.Text, primary_key=True),
    sa.Column("turn", sa.Integer, primary_key=True),
    sa.Column("judge", sa.String(64), primary_key=True),
    sa.Column("completion_key", sa.String(32), nullable=False),
    sa.Column("judgment_key", sa.String(32), nullable=False),
)
TRIALS = sa.Table(
    "trials",
    METADATA,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("record", sa.Text, nullable=False),
)
REPLIES = sa.Table(
    "replies",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("payer", sa.String(64), nullable=False, index=True),
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("request", sa.String(32), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("prompt_tokens", sa.Integer, nullable=False),
    sa.Column("completion_tokens", sa.Integer, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
)
VECTORS = sa.Table(
    "vectors",
    METADATA,
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
)
NOTES = sa.Table(
    "notes",
    METADATA,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("kind", sa.String(64), primary_key=True),
    sa.Column("record", sa.Text, nullable=False),
)
CLAIMS = sa.Table(
    "claims",
    METADATA,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("worker", sa.String(255), nullable=False),
    sa.Column("beat", sa.Integer, nullable=False),
)
TUNINGS = sa.Table(
    "tunings",
    METADATA,
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
)
AUDITS = sa.Table(
    "audits",
    METADATA,
    sa.Column("judge", sa.String(32), primary_key=True),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
)


def make_tables(engine: sa.Engine) -> None:
    """Make the tables that a database lacks, and in those of an older version the columns."""
    _create_tables(engine)
    for table in (COMPLETIONS, JUDGMENTS):
        if not _has_checksum(engine, table):
            try:
                with engine.begin() as connection:
                    connection.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN checksum VARCHAR(16)"))
            except OperationalError:
                if not _has_checksum(engine, table):  # else another process was faster
                    raise


def _create_tables(engine: sa.Engine) -> None:
    with engine.begin() as connection:  # create_all would fail where two processes open a new file
        for table in METADATA.sorted_tables:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))


def _has_checksum(engine: sa.Engine, table: sa.Table) -> bool:
    return "checksum" in {column["name"] for column in sa.inspect(engine).get_columns(table.name)}


def checksum(record: str) -> str:
    """Return sixteen hexadecimal digits that tell whether a record is what was written."""
    return hashlib.sha256(record.encode()).hexdigest()[:16]


def is_sound(record: str, known: str | None) -> bool:
    """Whether a record is what was written; one of an older version, which has no checksum, counts as that."""
    return known is None or checksum(record) == known
