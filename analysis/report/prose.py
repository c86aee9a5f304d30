"""The words of a report: how to read each part, and what it cannot show."""

EFFECTS = (
    "Each line is a difference of mean scores, paired over queries: both turns of a query are one unit, and runs "
    "of one condition with several seeds are averaged for each query. Intervals are bootstrap intervals over "
    "queries (Student's t below twelve queries). p is the paired t test's; p (Holm) is corrected for all lines of "
    "its table together. The standardised size is the mean difference over its standard deviation. Of scores from 0 to "
    "1 interval and p are Student's t with a pseudo query at each end of the scale, and p (McNemar) is the exact test "
    "of the queries won against those lost.",
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
COMPONENTS = (
    "A component's Shapley value is its mean contribution over all orders in which components can be added to the "
    "bare prompt; the values add up to the difference between the full and the bare prompt. Where not all "
    "combinations were run, it is an estimate, and the table says how it was made.",
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
    "Both support: the 95 % intervals of both exclude 0 on the same side. The rank correlation is Spearman's, of the "
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
