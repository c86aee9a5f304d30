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
# The largest effect of each parameter, and what it surely moves: the end of its interval nearest 0. All of these hold
# together with 95 % chance. Where at least 30 conditions move all parameters at once (`--design sampled` or
# `factorial`), **fanova** says what share of the variance between conditions a parameter explains by itself, and
# **permutation** what a forest no longer predicts once it is shuffled; the black line is the parameter's shuffled
# shadow, which a bar that means something exceeds.

# %%
importance = report["Importance"]
display(*importance.tables[:1], *map(Markdown, importance.statements))
display(*(importance.figures[name] for name in ("importance",) if name in importance.figures))

# %% [markdown]
# ## One parameter at a time, and two together
#
# The first figure has every single change, and below the line what each pair does beyond the sum of its parts: the
# intervals of a family hold the truth together. In the others each blue point changes one parameter and holds all
# others still; orange diamonds are what it is compared with, grey points all conditions of the study.

# %%
effects = report["Effects"]
display(*effects.figures.values())

# %%
display(*effects.tables[:2])

# %% [markdown]
# ## Along each parameter, and two at once
#
# Of a design that moves all parameters at once: the mean over all conditions at a level, whatever the others do, with
# each query's own difficulty taken out, and temperature against the repetition penalty, where both are varied.

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
# In the copy that comes with the project, a 270M base model answered eight queries and the `reference` judge scored, a
# proxy that compares with a reference answer and does not know what is true; it is a run of an earlier default, and
# decides next to nothing. `open` is no sign that there is no effect; a line holds at the baseline's other settings, for
# this model and these queries. Take your own model and queries, and an audited judge, for a decision.
