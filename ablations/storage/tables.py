"""Tables of the store, and how a database gets those it lacks.

Knows SQL, not what the rows mean.
"""

import hashlib

import sqlalchemy as sa

from ablations.core.errors import StorageError

METADATA = sa.MetaData()
COMPLETIONS = sa.Table(
    "completions",
    METADATA,
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
    sa.Column("checksum", sa.String(16), nullable=False),
)
JUDGMENTS = sa.Table(
    "judgments",
    METADATA,
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
    sa.Column("checksum", sa.String(16), nullable=False),
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
    """Make the tables that a database lacks; raise `StorageError` where those that it has are of another form."""
    with engine.begin() as connection:  # create_all would fail where two processes open a new file
        for table in METADATA.sorted_tables:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
        found = sa.inspect(connection).get_multi_columns(filter_names=list(METADATA.tables))
    held = {name: {column["name"] for column in columns} for (_, name), columns in found.items()}
    for table in METADATA.sorted_tables:
        if lacking := {column.name for column in table.columns} - held[table.name]:
            raise StorageError(
                f"the store {engine.url} was written by another version: its table {table.name} has no column "
                f"{min(lacking)}; read it with that version, or name another folder with --mlruns"
            )


def checksum(record: str) -> str:
    """Return sixteen hexadecimal digits that tell whether a record is what was written."""
    return hashlib.sha256(record.encode()).hexdigest()[:16]


def is_sound(record: str, known: str) -> bool:
    """Whether a record is what was written."""
    return checksum(record) == known
