"""The words of a report: how to read each part, and what it cannot show."""

EFFECTS = (
    "Each line is a difference of mean scores, paired over queries: both turns of a query are one unit, and runs "
    "of one condition with several seeds are averaged for each query. The intervals are simultaneous: with 95 % chance "
    "all of a family hold the truth together. Single changes are one family, pairs another, all other conditions a "
    "third. p (family) is below 0.05 exactly where the interval excludes 0; p alone is not corrected.",
    "Verdicts: better and worse exclude 0; within X lies between -X and +X as a whole, where a difference does not "
    "matter; open is neither, which is no sign that there is no effect. Worse in a score that asks for content and "
    "ending may be a matter of ending alone: see the outcomes side by side. A line holds at the baseline's other "
    "settings, and its interval is over queries like these, not over seeds, models or judges.",
)
LARGEST = (
    "Moves at least: the end of the interval nearest 0, so that all of these hold together with 95 % chance; 0 where "
    "the study does not show that the parameter moves anything."
)
JOINT = (
    "If they add up: the baseline's mean with the effects of both parts. The difference to that is a difference of "
    "differences over the queries scored under all four conditions; additive within X says that the whole interval "
    "lies between -X and +X."
)
IMPORTANCE = (
    "fanova: the share of the variance between conditions that a parameter's own effect explains. permutation: "
    "how much of that variance a forest no longer predicts once the parameter is shuffled. Trees find something in any "
    "numbers: the null is what the parameter's shadow, its values shuffled among the conditions, stays below in 95 of "
    "100 fits.",
    "A parameter that has no effect in a condition, such as top-p under greedy decoding, stands for all its values "
    "there. Optuna's dashboard shows other numbers: it takes all trials, single changes too, drops those in which "
    "a parameter has no effect, and has no null.",
)
FEW_FOR_LENGTH = "There is no interval at equal length: it takes twelve queries."
COMPONENTS = (
    "A component's Shapley value is its mean contribution over all orders in which components can be added to the "
    "bare prompt; the values add up to the difference between the full and the bare prompt.",
)
BEND = (
    "Bend: points a doubling in the upper half of the numbers less those in the lower half; below 0 the curve flattens."
)
CONTRASTS = "Not corrected for their number: of 20 comparisons without a difference one excludes 0 by chance."
LENGTH = (
    "Judges like long answers. The effect at equal length takes out what length alone explains, also where an "
    "answer is longer because it says more: read both."
)
ANSWERS = (
    "The front holds the conditions that no other one beats in "
    "tokens and score at once, by their means; intervals that overlap say that another front is possible.",
)
OUTCOMES = (
    "One score decides; the other outcomes of the same answers stand beside it, each on its own scale, and are never "
    "averaged with it. content and finished are the two halves of the checks judge's score: whether every check of "
    "content holds, and whether the answer ended by itself.",
)
AGREEMENT = (
    "Both support: the intervals of both exclude 0 on the same side. The rank correlation is Spearman's, of the "
    "conditions' differences to the baseline; its interval is a bootstrap's over queries."
)
EXAMPLES = (
    "Queries from the second condition's largest gain over the first to its largest loss, evenly spaced and not "
    "picked to please."
)
AUDIT = (
    "How often the judge preferred a good answer to one that was spoilt on purpose. A judge that fails a control "
    "cannot see what that control does to an answer."
)
LIMITS = (
    "Every condition answered the same queries with the same random numbers. A score is a number, or missing with "
    "a reason; coverage, the share of completions with a score, stands beside the means.",
    "The scores are a judge's. A judge that was not audited may prefer length, order or fluent nonsense; the "
    "facts above say whether this one was. Effects hold for this model, these queries and this judge, and no "
    "further. An interval that includes 0 does not show that there is no effect: see how many queries would show "
    "one.",
)
METHOD = (
    *LIMITS,
    "Sources: Šidák 1967 (families), Agresti and Caffo 2000 (pseudo queries), Hedges 1981 "
    "(standardised size), Hutter et al. 2014 and Breiman 2001 (importances), Shapley 1953 (components), Dubois et al. "
    "2024 (length), Owen 2007 (bands).",
)
PLANNING = (
    "Each comparison has a spread of its own: the standard deviation of its differences over queries. The numbers of "
    "queries show an effect of this size as often as is said, tested as in this study, its family included; their "
    "range goes with the 95 % interval of the spread. More seeds help where a condition samples. The number is chosen "
    "once: raising --limit until something is decided is not covered by the error rates of any table here.",
)
