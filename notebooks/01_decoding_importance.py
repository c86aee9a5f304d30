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
# Reads the results of record of the study `decoding` and shows what `analysis` makes of them. It computes nothing
# itself. Another study: set `ABLATIONS_RESULTS` to its `results.parquet` before `make notebooks`.

# %%
# %matplotlib inline
import os
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", message="IProgress not found")  # progress bars are not shown here

from IPython.display import Markdown, display

from ablations.errors import StorageError
from analysis.findings import find
from analysis.frames import load_results

path = Path(os.environ.get("ABLATIONS_RESULTS") or Path("..") / "mlruns" / "results" / "decoding" / "results.parquet")
try:
    results = load_results(path)
except StorageError as error:
    raise SystemExit(f"{error}\nNo study yet? Run `make decoding`, then `make notebooks` again.") from None
findings = find(results)
display(Markdown(f"**{findings.headline}**"))

# %% [markdown]
# ## Importance
#
# The share of the variance between conditions that each parameter accounts for (fANOVA), with an interval from
# resampling queries and conditions. A parameter without effect in a condition, such as top-p under greedy decoding,
# has its neutral value there and is not dropped. Wide intervals mean that this study cannot rank the parameters.

# %%
display(findings.figures.get("importance") or Markdown(f"No importances: {findings.no_importance}."))

# %% [markdown]
# ## One parameter at a time
#
# Each blue point changes one parameter and holds all others still; its bar is the 95 % interval of the difference,
# paired over queries. Orange diamonds are what they are compared with. Grey points are all conditions of the study, in
# which the other parameters move too.

# %%
for name, figure in findings.figures.items():
    if name.startswith("parameter_"):
        display(figure)

# %% [markdown]
# ## How large is noise?
#
# Two runs of one condition with different seeds. A smaller effect than this cannot be told from chance.

# %%
findings.noise.select("label", "difference", "low", "high", "n")

# %% [markdown]
# ## Every condition
#
# Coverage is the share of completions that got a score; `mean` is over queries, in points of the judge's scale.

# %%
findings.trials.select("label", "role", "mean", "coverage", "mean_tokens", "truncation_rate", "repetition")

# %% [markdown]
# ## What this cannot show
#
# The embedded default studies a 270M base model on eight queries with the `reference` judge, a proxy that compares with
# a reference answer. It does not know what is true, and longer answers that say what the reference says score higher.
# Take the figures as a demonstration of the tool, and your own model, queries and judge for a decision.
