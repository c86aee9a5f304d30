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
# # Examples in the prompt, or in the weights?
#
# The same N examples can be shown to a base model as demonstrations in its prompt (in-context learning, ICL), or the
# model can be tuned on them (instruction fine-tuning, IFT), after which its prompt holds the question alone. The
# paper's claim is that both are about equal on one turn with few examples, and that tuning wins with more of them and
# on the second turn. `STUDY` is a study's name, the path of a `results.parquet`, or `runs:/ID` of MLflow.

# %%
# %matplotlib inline
import os

from IPython.display import Markdown, display

import ablations
from ablations.core.errors import StorageError
from analysis.report.page import About

STUDY = "icl-vs-ift"
MLRUNS = os.environ.get("ABLATIONS_MLRUNS")  # a folder of results; the project's own where None

try:
    report = ablations.find_kind("icl-vs-ift").summarise(ablations.open_study(STUDY, MLRUNS)).report(About(STUDY))
except StorageError as error:
    raise SystemExit(str(error)) from None
display(Markdown(f"**{report.headline}**"))

# %% [markdown]
# ## Score by number of examples
#
# One panel a turn, on one scale. The line of ICL ends where more examples no longer fit the context; that of IFT
# continues. The level lines are the base model without examples, with URIAL's prompt, and an aligned model: how far
# apart they lie says how much there is to gain.

# %%
sizes = report["Score by number of examples"]
display(*sizes.figures.values(), *sizes.tables)

# %% [markdown]
# ## The same examples: IFT minus ICL
#
# Bands that overlap decide nothing, because both ways answer the same queries: the paired difference is the honest
# comparison. Above 0 tuning is ahead. With several draws of examples the intervals hold for other examples of the
# pool; with one draw they hold for these examples alone.

# %%
differences = report["The same examples: IFT minus ICL"]
display(*differences.figures.values(), *differences.tables)

# %% [markdown]
# ## Where does tuning overtake?
#
# The zero of the difference between two sizes, with an interval from the same resamples. Where the interval reaches
# beyond the sizes it has no end, and where it reaches beyond both, the data do not decide: that is an answer too.

# %%
display(*report["Crossover"].tables)

# %% [markdown]
# ## What each way costs
#
# Demonstrations are read again with every request, training is paid once. The point of break-even counts tokens
# before prefix caching; an engine that keeps the demonstrations' state, as vLLM does, moves it far to the right.

# %%
costs = report["What each way costs"]
display(*costs.figures.values(), *costs.tables)

# %% [markdown]
# ## Training
#
# A loss that falls says that training worked, and one near 0 that few examples were learned by heart. Neither says
# that answers are better: that is what the scores are for.

# %%
training = report["Training"]
display(*training.figures.values(), *training.tables)

# %% [markdown]
# ## What this cannot show
#
# In the copy that comes with the project, the model is tiny, the `reference` judge is a proxy without an LLM, and
# there may be one draw of examples and few queries. A tiny model has a short context and may learn examples by heart,
# so that a crossover here says nothing of a model of 7B parameters. One draw cannot tell these examples from others of
# the pool. Training has settings of its own (learning rate, epochs, LoRA or full), and the comparison holds for those
# that were chosen before the scores were seen.
