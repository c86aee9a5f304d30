"""IFBench's checks `count:…` and `ratio:…`: how many words, numbers, names, marks, and kinds of sentences."""

import re
import unicodedata
from itertools import groupby, pairwise
from typing import Annotated

from pydantic import Field

from ablations.judges.checks.base import Answer, NoArguments, check
from ablations.judges.checks.kwargs import Count, Whole, arguments, in_order
from ablations.judges.checks.texts import count_phrase, holds_phrase, plain_words, sentences, words

CONJUNCTIONS = frozenset({"and", "but", "for", "nor", "or", "so", "yet"})
_LISTED_NAMES = (
    "Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia Benjamin "
    "Harper Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan "
    "Victoria Elijah Layla Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph "
    "Claire Ryan Stella Jonathan"
)
NAMES = _LISTED_NAMES.split()
"""The names that the instruction offers."""
_LISTED_PRONOUNS = (
    "i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her "
    "hers herself it its itself they them their theirs themselves this that these those who whom whose which "
    "what whoever whomever whichever whatever anybody anyone anything everybody everyone everything nobody "
    "nothing somebody someone something each either neither both all some any none"
)
PRONOUNS = frozenset(_LISTED_PRONOUNS.split())
_CLOSING = "\"'”’»)]*_ \n"
_JAPANESE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")


@arguments
class Range:
    """How many words at least and at most."""

    min_words: Whole
    max_words: Whole

    _ordered = in_order("min_words", "max_words")


@arguments
class Number:
    """How many."""

    N: Whole


@arguments
class Period:
    """Every which word."""

    N: Count


@arguments
class Different:
    """How many different ones."""

    small_n: Whole


@arguments
class FiveKeywords:
    """Five keywords, which are to be had once, twice, three, five and seven times."""

    keyword1: str
    keyword2: str
    keyword3: str
    keyword4: str
    keyword5: str


@arguments
class Overlap:
    """A text, and the share of an answer's word triples that it must have too, in percent."""

    reference_text: str
    percentage: Annotated[float, Field(ge=0, le=100)]


@check("count:word_count_range", Range)
def has_words(answer: Answer, asked: Range) -> bool:
    """Whether the number of words is in a range, both ends included."""
    return asked.min_words <= len(words(answer.text)) <= asked.max_words


@check("count:unique_word_count", Number)
def has_different_words(answer: Answer, asked: Number) -> bool:
    """Whether at least so many different words occur, whatever their case."""
    return len(set(plain_words(answer.text))) >= asked.N


@check("count:conjunctions", Different)
def has_conjunctions(answer: Answer, asked: Different) -> bool:
    """Whether at least so many different ones of the seven coordinating conjunctions occur, whatever their case."""
    return len(CONJUNCTIONS & set(plain_words(answer.text))) >= asked.small_n


@check("count:person_names", Number)
def has_names(answer: Answer, asked: Number) -> bool:
    """Whether at least so many different names of the instruction's list occur, with their capital."""
    found = set(words(answer.text)) | {one.removesuffix("'s").removesuffix("’s") for one in words(answer.text)}
    return len(found & set(NAMES)) >= asked.N


@check("count:numbers", Number)
def has_numbers(answer: Answer, asked: Number) -> bool:
    """Whether exactly so many numbers in digits occur; 1,000.5, 10:30 and 3/4 are one each, 3-4 are two."""
    return len(_NUMBER.findall(answer.text)) == asked.N


@check("count:punctuation")
def has_all_marks(answer: Answer, _: NoArguments) -> bool:
    """Whether each of . , ! ? ; : occurs, and beside them the interrobang, as ?!, !? or one sign."""
    without, count = re.subn(r"\?!|!\?|‽", "", answer.text, count=1)
    return count == 1 and set(".,!?;:") <= set(without)


@check("count:pronouns", Number)
def has_pronouns(answer: Answer, asked: Number) -> bool:
    """Whether at least so many English pronouns occur; those of "she/her" and "it's" are counted too."""
    return sum(one.partition("'")[0] in PRONOUNS for one in plain_words(answer.text)) >= asked.N


@check("count:words_japanese", Period)
def has_japanese_words(answer: Answer, asked: Period) -> bool:
    """Whether every N-th word, between spaces, has a Japanese sign; numbers are left out, and one such word must be."""
    parts = [one for one in answer.text.split() if any(map(str.isalnum, one))]
    due = [one for one in parts[asked.N - 1 :: asked.N] if any(map(str.isalpha, one))]
    return bool(due) and all(_JAPANESE.search(one) for one in due)


@check("count:keywords_multiple", FiveKeywords)
def has_keywords_so_often(answer: Answer, asked: FiveKeywords) -> bool:
    """Whether five keywords occur exactly once, twice, three, five and seven times, as whole words in either case."""
    keywords = (asked.keyword1, asked.keyword2, asked.keyword3, asked.keyword4, asked.keyword5)
    return all(count_phrase(answer.text, one) == times for one, times in zip(keywords, (1, 2, 3, 5, 7), strict=True))


def _kinds(text: str) -> tuple[int, int, int]:
    """Return how many sentences end in a full stop, in a question mark, in an exclamation mark."""
    ends = [unicodedata.normalize("NFKC", one.rstrip(_CLOSING))[-1:] for one in sentences(text)]
    return tuple(sum(one in marks for one in ends if one) for marks in (".。।", "?؟", "!"))  # type: ignore[return-value]


@check("ratio:sentence_type")
def has_two_to_one(answer: Answer, _: NoArguments) -> bool:
    """Whether twice as many sentences end in a full stop as in a question mark, of which there is one at least."""
    stops, questions, _exclamations = _kinds(answer.text)
    return questions > 0 and stops == 2 * questions


@check("ratio:sentence_balance")
def is_balanced(answer: Answer, _: NoArguments) -> bool:
    """Whether as many sentences end in a full stop as in a question mark and in an exclamation mark, at least one."""
    stops, questions, exclamations = _kinds(answer.text)
    return stops == questions == exclamations > 0


@check("ratio:overlap", Overlap)
def overlaps(answer: Answer, asked: Overlap) -> bool:
    """Whether the share of the answer's different word triples that a text has too is as asked, ± 2 points."""
    own, given = (_triples(one) for one in (answer.text, asked.reference_text))
    return bool(own) and abs(100 * len(own & given) / len(own) - asked.percentage) <= 2


def _triples(text: str) -> set[tuple[str, ...]]:
    found = plain_words(text)
    return set(zip(found, found[1:], found[2:], strict=False))


@check("ratio:sentence_words")
def has_three_alike(answer: Answer, _: NoArguments) -> bool:
    """Whether there are three sentences of as many characters each, and no word occurs twice."""
    found, used = sentences(answer.text), plain_words(answer.text)
    return len(found) == 3 and len({len(one) for one in found}) == 1 and len(set(used)) == len(used)


@arguments
class KeywordInSentence:
    """A keyword, and the number of the sentence that has it."""

    word: str
    N: Count


@check("sentence:keyword", KeywordInSentence)
def has_keyword_there(answer: Answer, asked: KeywordInSentence) -> bool:
    """Whether the N-th sentence has the keyword as a whole word, whatever its case."""
    found = sentences(answer.text)
    return len(found) >= asked.N and holds_phrase(found[asked.N - 1], asked.word)


@check("sentence:increment", Different)
def grows(answer: Answer, asked: Different) -> bool:
    """Whether each sentence has exactly so many words more than the one before it."""
    lengths = [len(words(one)) for one in sentences(answer.text)]
    return len(lengths) > 1 and all(after - before == asked.small_n for before, after in pairwise(lengths))


@check("sentence:alliteration_increment")
def alliterates_longer(answer: Answer, _: NoArguments) -> bool:
    """Whether each sentence's longest run of words with one first letter is longer than that of the one before it."""
    runs = [_longest_run([one[0] for one in plain_words(sentence)]) for sentence in sentences(answer.text)]
    return len(runs) > 1 and all(before < after for before, after in pairwise(runs))


def _longest_run(letters: list[str]) -> int:
    return max((len(list(run)) for _, run in groupby(letters)), default=0)
