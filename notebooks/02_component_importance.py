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
# # Which parts of the prompt matter?
#
# System prompt, template, shots, how these are written, ordered and answered, and where an answer stops. The study
# takes each component away from the full prompt (`--design leave-one-out`); with `--design factorial` and on/off
# components the same notebook shows Shapley values too. `STUDY` is a study's name, the path of a
# `results.parquet`, or `runs:/ID`.

# %%
# %matplotlib inline
import os

from IPython.display import Markdown, display

import ablations
from ablations.core.errors import MissingStudyError, StorageError
from analysis.report.page import About

STUDY = "components-loo"
MLRUNS = os.environ.get("ABLATIONS_MLRUNS")  # a folder of results; the project's own where None

try:
    results = ablations.open_study(STUDY, MLRUNS)
except MissingStudyError:
    raise SystemExit(
        f"No study {STUDY!r} has been run yet. Run it, then this again:\n"
        f"    .venv/bin/python ablations/run.py --study components --design leave-one-out --name {STUDY}"
    ) from None
except StorageError as error:
    raise SystemExit(str(error)) from None
report = ablations.find_kind("ablation").summarise(results).report(About(STUDY))
display(Markdown(f"**{report.headline}**"))

# %% [markdown]
# ## Each component taken away
#
# The loss against the full prompt, paired over queries; the intervals hold the truth together.

# %%
effects = report["Effects"]
display(*effects.tables[:1], *effects.figures.values())

# %% [markdown]
# ## From the bare prompt to the full one
#
# A component's Shapley value is its mean contribution over all orders in which components can be added, from every
# combination of them. The values add up to the difference between the two grey bars. A bar that points down says that
# the prompt is better without this component, for this model and judge, if its interval excludes 0.

# %%
components = report["Components"]
display(*components.figures.values(), *components.tables)
if not components.tables:
    display(Markdown("Taking components away one at a time gives no Shapley values; `--design factorial` does."))

# %% [markdown]
# ## Scores by turn and category

# %%
display(*report["Scores"].figures.values(), *report["Scores by category"].figures.values())

# %% [markdown]
# ## What this cannot show
#
# In the copy that comes with the project, a 270M base model answered six queries and the `reference` judge scored, a
# proxy without an LLM. No interval excludes 0: whether system prompt or demonstrations help this model is not decided.
# A larger model may use a component that this one ignores. The proxy does not see tone, so that the style of
# demonstrations, which is what URIAL's system prompt and answers are written for, can hardly move its scores.
