"""The kinds of studies: a line for each mode that a study file may name.

A new kind adds its line here and touches no other module.
"""

from collections.abc import Iterator, Mapping

from ablations.studies.alignment.config import AlignmentConfig
from ablations.studies.conditions.config import ABLATION, SEARCH, ConditionsConfig, SearchConfig
from ablations.studies.config.config import KindConfig
from ablations.studies.config.keys import Field, Table, table_fields
from ablations.studies.config.tables import SHARED
from ablations.studies.greedy.config import GreedyConfig
from ablations.studies.icl_vs_ift.config import TuningConfig

CONFIGS: Mapping[str, type[KindConfig]] = {
    ABLATION: ConditionsConfig,
    SEARCH: SearchConfig,
    "greedy-search": GreedyConfig,
    "icl-vs-ift": TuningConfig,
    "alignment": AlignmentConfig,
}
"""The table of each kind, by the mode that names it."""


def flagged() -> Iterator[tuple[str, Field]]:
    """Yield every key that has a flag, with its table's name; a flag of several kinds once."""
    known = set[str]()
    tables: list[type[Table]] = [*SHARED.values(), *CONFIGS.values()]
    for table in tables:
        for field in table_fields(table).values():
            if field.key.flag and field.key.flag not in known:
                known.add(field.key.flag)
                yield table.table, field
