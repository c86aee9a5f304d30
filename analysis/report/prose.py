"""The words of a report: how to read each part, and what it cannot show."""

EFFECTS = (
    "Each line is a difference of mean scores, paired over queries: both turns of a query are one unit, and runs "
    "of one condition with several seeds are averaged for each query. Intervals are bootstrap intervals over "
    "queries (Student's t below twelve queries). p is the paired t test's; p (Holm) is corrected for all lines of "
    "its table together. The standardised size is the mean difference over its standard deviation.",
)
CONFIRMATION = (
    "The lead of the best of many conditions is subject to selection bias. The same conditions on fresh seeds and on "
    "queries that the study did not see say by how much: the shrinkage is what was luck."
)
IMPORTANCE = (
    "fanova: the share of the variance between conditions that a parameter's own effect explains. permutation: "
    "how much of that variance a forest no longer predicts once the parameter is shuffled, so that a parameter "
    "without effect lies about 0. ped-anova: how far the best half of the conditions differs from all in this "
    "parameter.",
    "Intervals resample queries and conditions; where they overlap, the order means little. A parameter that has "
    "no effect in a condition, such as top-p under greedy decoding, stands for all its values there. The methods ask "
    "different questions: where they rank parameters otherwise, this study does not settle the order.",
)
INTERACTIONS = (
    "A difference of differences, in points: what moving the first parameter through its whole range (of names: from "
    "the baseline's to another) changes at the far end of the second one, less what it changes at the near end. 0 "
    "says that each acts as if the other were not there. p is corrected for all pairs."
)
FEW_FOR_LENGTH = "There is no interval at equal length: it takes twelve queries."
SAME_ANSWERS = (
    "Where the fresh seeds' lead is the selected one to the digit, answers were greedy: these do not change with the "
    "seed, so that fresh seeds say nothing new there and only held-back queries do."
)
COMPONENTS = (
    "A component's Shapley value is its mean contribution over all orders in which components can be added to the "
    "bare prompt; the values add up to the difference between the full and the bare prompt. Where not all "
    "combinations were run, it is an estimate, and the table says how it was made.",
)
BEND = (
    "Bend: points a doubling in the upper half of the numbers less those in the lower half; below 0 the curve flattens."
)
CONTRASTS = "Not corrected for their number: of 20 comparisons without a difference one excludes 0 by chance."
ANSWERS = (
    "Judges like long answers. The effect at equal length takes out what length alone explains, also where an "
    "answer is longer because it says more: read both. The front holds the conditions that no other one beats in "
    "tokens and score at once, by their means; intervals that overlap say that another front is possible.",
)
EXAMPLES = (
    "Queries from the second condition's largest gain over the first to its largest loss, evenly spaced and not "
    "picked to please."
)
AUDIT = (
    "How often the judge preferred a good answer to one that was spoilt on purpose. A judge that fails a control "
    "cannot see what that control does to an answer."
)
RACES = (
    "In each round every candidate is put in front of the demonstrations so far. Those that are clearly behind "
    "stop early. The best of a round was chosen by these queries, so that its mean on them is subject to selection "
    "bias."
)
MODELS = (
    "Each model answers the same queries zero-shot, with demonstrations in context and, where it has a chat "
    "template, as an aligned model. Gaps are paired over queries."
)
SIZES = (
    "Two ways to use the same examples: as demonstrations in the prompt of the base model (ICL), or to tune the model "
    "on them (IFT), which then needs none in its prompt. Bands are 95 % intervals of each way's own mean; whether one "
    "way is ahead is a question for the paired differences below, not for bands that overlap. Where the line of ICL "
    "ends, more examples do not fit the context.",
    "The levels without a pool's examples are in a table of their own.",
)
SIZE_DIFFERENCES = (
    "IFT minus ICL with the same examples, paired over queries and turns, so that how hard a query is cancels. Where "
    "there are several draws of examples, queries and draws are both resampled: the interval then holds for other "
    "examples of the pool too. With one draw it holds for these examples alone."
)
CROSSOVER = (
    "The number of examples from which tuning is ahead: the zero of the difference, interpolated between sizes on a "
    "scale of doublings. IFT's lead is taken to grow with the number of examples; where differences fall from one size "
    "to the next, both are replaced by their mean before the zero is looked for (isotonic regression). A resample in "
    "which IFT is ahead at every size counts as below the smallest, one in which it is ahead at none as above the "
    "largest; an interval that reaches there has no end, and one that reaches both decides nothing. A dash stands for "
    "what lies outside the sizes."
)
TUNING_COSTS = (
    "ICL reads its examples again in every request, IFT reads them while it trains and never again. Break-even is the "
    "number of requests after which training has paid for itself, in tokens read: a token of full tuning counts 3 "
    "tokens of a prompt, one of LoRA 2. This is before prefix caching, which makes examples that do not change "
    "nearly free, and without what keeping a model of one's own costs. Answers are taken to be as long either way."
)
TRAINING = (
    "The loss of each training step. A loss near 0 on few examples says that they were learned by heart, which is not "
    "the same as following instructions."
)
SETTINGS = (
    "Decoding parameters that every arm leaves alone are left out. Where a learning rate was looked for, the one that "
    "was found is shown."
)
TUNING_METHOD = (
    "Sources: Owen 2007 (resampling of queries and draws), Rao and Wu 1988 and Satterthwaite 1946 (few draws), "
    "Robertson, Wright and Dykstra 1988 (isotonic regression), Kaplan et al. 2020 (what training costs)."
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
    "Sources: Hesterberg 2015 (intervals), Holm 1979 (correction), Hedges 1981 (standardised size), Hutter et al. "
    "2014, Watanabe et al. 2023 and Breiman 2001 (importances), Lundberg and Lee 2017 (Shapley values), Dubois et "
    "al. 2024 (length), Owen 2007 (bands).",
)


def planning(queries: int, spread: float, seen: float | None) -> str:
    """Say what the numbers of queries mean."""
    least = "" if seen is None else f", so that it shows a difference of {seen:.2f} points in four studies of five"
    return (
        f"This study has {queries} queries, on which the difference to the baseline has a standard deviation of "
        f"{spread:.2f} points{least}. The numbers of queries below show a difference of their size as often, by a "
        "paired t test at 0.05; corrected means shared among all conditions of this study."
    )
