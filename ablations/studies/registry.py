"""The kinds of studies: a line for each mode that a study file may name.

A new kind adds its line here and touches no other module.
"""

from collections.abc import Mapping

from ablations.studies.alignment.config import AlignmentConfig
from ablations.studies.conditions.config import ABLATION, SEARCH, ConditionsConfig, SearchConfig
from ablations.studies.config.config import KindConfig
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
