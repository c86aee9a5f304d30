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
# # Reading completions
#
# Numbers hide what a model does. Here are the answers of the baseline, the best and the worst condition side by side,
# with what the judge made of them. The queries are not picked to please: they run evenly from the best condition's
# largest gain over the baseline to its largest loss. The exact prompts are in MLflow, on the page of each trial.

# %%
import os

from IPython.display import display

import ablations
from ablations.core.errors import StorageError
from analysis.examples import read_examples, telling_conditions
from analysis.report.render import ExamplesPage

STUDY, QUERIES = "decoding", 4
MLRUNS = os.environ.get("ABLATIONS_MLRUNS")  # a folder of results; the project's own where None

try:
    results = ablations.open_study(STUDY, MLRUNS).frame
except StorageError as error:
    raise SystemExit(str(error)) from None

# %%
display(ExamplesPage(read_examples(results, telling_conditions(results), QUERIES)))

# %% [markdown]
# ## What to look for
#
# - **Running on**: does the answer stop, or does the model write the next query itself? That is what stop strings are
#   for.
# - **Loops**: a greedy base model repeats itself; a repetition penalty stops that, and stops lists and code from
#   repeating what they should.
# - **Cut off**: an answer that ends in the middle was stopped by `max_tokens`; its score says little about the rest.
# - **The second turn** sees the model's own first answer: a bad first turn spoils the second.
# - **The judge**: does a higher score go with a better answer? If not here, then not in the figures either.
#
# ## What this cannot show
#
# A few answers of one model are no evidence of an effect: that is what the intervals of the other notebooks are for.
