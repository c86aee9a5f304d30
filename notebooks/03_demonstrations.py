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
# # How many demonstrations, and from where?
#
# Scores by number and source of demonstrations, and the greedy search that looks for good ones. `STUDY` and `SEARCH`
# are studies' names, paths of a `results.parquet`, or `runs:/ID` of MLflow.

# %%
# %matplotlib inline
import os

from IPython.display import Markdown, display

import ablations
from ablations.core.errors import StorageError
from analysis.report.page import About

STUDY, SEARCH = "many-shot", "greedy-search"
MLRUNS = os.environ.get("ABLATIONS_MLRUNS")  # a folder of results; the project's own where None

try:
    results, searched = ablations.open_study(STUDY, MLRUNS), ablations.open_study(SEARCH, MLRUNS)
except StorageError as error:
    raise SystemExit(str(error)) from None
report = ablations.find_kind("ablation").summarise(results).report(About(STUDY))
search = ablations.find_kind("greedy-search").summarise(searched).report(About(SEARCH))
display(Markdown(f"**{report.headline}**"))

# %% [markdown]
# ## The curve
#
# Each line is a source: drawn at random (the mean of several draws), spread over clusters, the nearest to each query,
# or found by a greedy search. Bars are 95 % intervals of the difference to the baseline, which has no demonstrations.
# The slope is in points for each doubling; a bend below 0 says that the curve flattens, which is what the paper
# reports.

# %%
demonstrations = report["Demonstrations"]
display(*demonstrations.figures.values(), *demonstrations.tables)

# %% [markdown]
# ## What they cost
#
# Demonstrations lengthen every prompt. The front holds the conditions that nothing beats in tokens and score at once.

# %%
costs = report["Length, form and cost"].figures
display(*(costs[name] for name in ("cost",) if name in costs))

# %% [markdown]
# ## The greedy search
#
# In each round every candidate is put in front of the demonstrations so far, and the hopeless ones stop early. The
# winner of a round was chosen by these queries, so that its score on them is subject to selection bias; the honest
# figure is that on the held-back queries.

# %%
display(Markdown(f"**{search.headline}**"))
display(*search["Races"].figures.values())

# %%
display(*search["The chosen prompt"].tables)

# %% [markdown]
# ## What this cannot show
#
# In the copy that comes with the project, a 270M base model answered four queries (the curve) and eight (the search),
# and the `reference` judge scored, a proxy without an LLM. That more demonstrations help and then flatten, or that a
# few chosen ones beat many random ones, is neither confirmed nor refuted at this size. A small model with a long
# prompt loses the thread earlier than a large one.
