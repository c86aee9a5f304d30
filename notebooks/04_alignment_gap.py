# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How far from an aligned model?
#
# Several models on the same queries: zero-shot, with URIAL's prompt in context, and as aligned models with their chat
# template. `STUDY` is the name of a study whose arms are models, the path of a `results.parquet`, or `runs:/ID` of
# MLflow.

# %%
# %matplotlib inline
import os

from IPython.display import Markdown, display

import ablations
from ablations.core.errors import StorageError
from analysis.report.page import About

STUDY = "alignment"
MLRUNS = os.environ.get("ABLATIONS_MLRUNS")  # a folder of results; the project's own where None

try:
    results = ablations.open_study(STUDY, MLRUNS)
except StorageError as error:
    raise SystemExit(str(error)) from None
report = ablations.find_kind("alignment").summarise(results).report(About(STUDY))
display(Markdown(f"**{report.headline}**"))

# %% [markdown]
# ## Turn 1 and turn 2
#
# The paper's claim is that in-context learning stays behind aligned models, most of all in the second turn, which no
# demonstration in the prompt shows. Look at the gap "in context" to "aligned" on each turn.

# %%
models = report["Models side by side"]
display(*models.figures.values(), *models.tables)

# %% [markdown]
# ## What this cannot show
#
# In the copy that comes with the project, the aligned model (135M parameters) is another and smaller model than the
# base model (270M), so that the gap between them mixes alignment with everything else in which they differ. Eight
# queries and a proxy judge: no gap on turn 1 or 2 is decided. For the claim itself take a base model and its own
# instruct version, an audited LLM judge and MT-Bench's 80 questions.
