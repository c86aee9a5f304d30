"""Study files and specifications for tests."""

from pathlib import Path

from ablations.studies.config.file import read_study_file
from ablations.studies.spec import StudySpec
from tests.support.fakes import make_queries

TEMPERATURE = "[parameters.temperature]\nlow = 0.0\nhigh = 1.0\nstep = 0.5\n"
PENALTY = "[parameters.repetition_penalty]\nchoices = [1.0, 1.2]\n"
BASELINE = "[study.baseline]\ntemperature = 0.0\nrepetition_penalty = 1.0\n"
SPACE = """
[study.baseline]
temperature = 0.0
top_p = 1.0
repetition_penalty = 1.1
stop = "headings"
[parameters.temperature]
low = 0.0
high = 1.0
step = 0.25
[parameters.top_p]
low = 0.5
high = 1.0
step = 0.25
requires = "temperature > 0"
[parameters.repetition_penalty]
low = 1.0
high = 1.2
step = 0.1
[parameters.stop]
choices = ["headings", "none", ["\\n\\n", "###"]]
"""


def make_spec(folder: Path, text: str) -> StudySpec:
    path = folder / "space.toml"
    path.write_text(text)
    return StudySpec("s", read_study_file(path), "ablation", "qmc", 8, 3, 0, 2, make_queries())
