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
# # Which decoding parameters matter?
#
# Reads the results of record of a study and shows what `analysis` makes of them; it computes nothing itself. `STUDY`
# is a study's name, the path of a `results.parquet`, or `runs:/ID` with the id of a study's run in MLflow.

# %%
# %matplotlib inline
import os

from IPython.display import Markdown, display

import ablations
from ablations.core.errors import StorageError
from analysis.report.page import About

STUDY = "decoding"
MLRUNS = os.environ.get("ABLATIONS_MLRUNS")  # a folder of results; the project's own where None

try:
    results = ablations.open_study(STUDY, MLRUNS)
except StorageError as error:
    raise SystemExit(str(error)) from None
report = ablations.find_kind("ablation").summarise(results).report(About(STUDY))
display(Markdown(f"**{report.headline}**"))

# %% [markdown]
# ## How much each parameter matters
#
# Two answers to one question. **fanova** says what share of the variance between conditions a parameter explains by
# itself. **permutation** asks what a forest, fitted to some conditions, no longer predicts in others once the
# parameter is shuffled; a parameter without effect lies about 0. Both have intervals from resampling queries *and*
# conditions: where the intervals of two bars overlap, this study does not rank the two. **ped-anova** sets the best
# half against all and needs 20 conditions. All are withheld for trials of an optimiser, which samples what it likes.

# %%
importance = report["Importance"]
display(*(importance.figures[name] for name in ("importance",) if name in importance.figures))
display(*importance.tables[:1], *map(Markdown, importance.statements))

# %% [markdown]
# ## One parameter at a time
#
# Each blue point changes one parameter and holds all others still; its bar is the 95 % interval of the difference,
# paired over queries. Orange diamonds are what it is compared with. Grey points are all conditions of the study, in
# which the other parameters move too.

# %%
effects = report["Effects"]
display(*effects.figures.values())

# %%
display(*effects.tables[:1])

# %% [markdown]
# ## Along each parameter, and two at once
#
# The mean over all conditions at a level, whatever the others do, with each query's own difficulty taken out. The map
# shows temperature against the repetition penalty, where both are varied; an empty cell was not run.

# %%
display(*(importance.figures[name] for name in importance.figures if name != "importance"))
display(*importance.tables[1:])

# %% [markdown]
# ## How large is noise, and how many queries would it take?
#
# The same condition twice, with other seeds: a smaller effect than this cannot be told from chance. Two greedy runs
# are identical on the CPU, which says nothing about sampling; look at the condition with a temperature.

# %%
display(*effects.tables[2:], *report["How many queries would show it"].tables)

# %% [markdown]
# ## Length, form and cost

# %%
display(*report["Length, form and cost"].figures.values())

# %% [markdown]
# ## What this cannot show
#
# In the copy that comes with the project, a 270M base model answered eight queries and the `reference` judge scored:
# a proxy that compares with a reference answer and does not know what is true. A longer answer that says more of what
# the reference says scores higher, so that `max_tokens` partly measures the judge. Importances from fourteen
# conditions have intervals from nearly nothing to nearly everything: they rank nothing. Take your own model, queries
# and an audited judge for a decision.
