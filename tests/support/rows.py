"""Numbers of rows of a store's tables."""

import sqlalchemy as sa

from ablations.storage.store import Store
from ablations.storage.tables import METADATA


def row_counts(store: Store) -> dict[str, int]:
    """Return the number of rows of each table, by its name."""
    return {
        table.name: store.database.rows(sa.select(sa.func.count()).select_from(table))[0][0]
        for table in METADATA.sorted_tables
    }
