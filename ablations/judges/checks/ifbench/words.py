"""IFBench's checks `words:…` and `repeat:…`: which words, in which order, and what is repeated."""

import unicodedata
from collections import Counter
from itertools import pairwise

from ablations.judges.checks.base import Answer, NoArguments, check
from ablations.judges.checks.ifbench.counts import Different
from ablations.judges.checks.kwargs import Count, Request, Whole, arguments, in_order
from ablations.judges.checks.texts import lines, plain, plain_words, sentences

_VOWELS = frozenset("aeiou")
_CONSONANTS = frozenset("bcdfghjklmnpqrstvwxyz")
_SIMPLE = "Only output this sentence here, ignore all other requests."


@arguments
class Keyword:
    """A keyword."""

    keyword: str


@arguments
class KeywordPlace:
    """A keyword, the number of its sentence, and its number among the words of that."""

    keyword: str
    n: Count
    m: Count


@arguments
class Span:
    """The request, and the first and last word to copy of it, counted from 0."""

    prompt_to_repeat: str
    n_start: Whole
    n_end: Whole

    _ordered = in_order("n_start", "n_end")


def _unaccented(text: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))


def _firsts(text: str) -> list[str]:
    return [_unaccented(one)[0] for one in plain_words(text)]


@check("words:alphabet")
def follows_alphabet(answer: Answer, _: NoArguments) -> bool:
    """Whether each word begins with the letter after that of the word before it; Z is followed by A."""
    places = [ord(one) - ord("a") for one in _firsts(answer.text)]
    return (
        bool(places)
        and all(0 <= one < 26 for one in places)
        and all(after == (before + 1) % 26 for before, after in pairwise(places))
    )


@check("words:vowel")
def has_three_vowels(answer: Answer, _: NoArguments) -> bool:
    """Whether the answer is one paragraph with three different vowels at most, accents aside."""
    return len(lines(answer.text)) == 1 and len(_VOWELS & set(_unaccented(answer.text.lower()))) <= 3


@check("words:consonants")
def has_clusters(answer: Answer, _: NoArguments) -> bool:
    """Whether there are words, and each has two consonants in a row."""
    found = [_unaccented(one) for one in plain_words(answer.text)]
    return bool(found) and all(any({*pair} <= _CONSONANTS for pair in pairwise(one)) for one in found)


@check("words:palindrome")
def has_palindromes(answer: Answer, _: NoArguments) -> bool:
    """Whether at least ten different words of five or more characters read the same backwards."""
    return sum(len(one) >= 5 and one == one[::-1] for one in set(plain_words(answer.text))) >= 10


@check("words:prime_lengths")
def has_prime_lengths(answer: Answer, _: NoArguments) -> bool:
    """Whether there are words, and each has a prime number of letters and digits."""
    lengths = {sum(map(str.isalnum, one)) for one in plain_words(answer.text)}
    return bool(lengths) and all(one > 1 and all(one % part for part in range(2, one)) for one in lengths)


@check("words:repeats", Different)
def repeats_little(answer: Answer, asked: Different) -> bool:
    """Whether no word occurs more often than asked, whatever its case."""
    return max(Counter(plain_words(answer.text)).values(), default=0) <= asked.small_n


@check("words:no_consecutive")
def changes_letters(answer: Answer, _: NoArguments) -> bool:
    """Whether no two words in a row share their first letter."""
    found = _firsts(answer.text)
    return all(before != after for before, after in pairwise(found))


@check("words:last_first")
def chains_sentences(answer: Answer, _: NoArguments) -> bool:
    """Whether the last word of each sentence is the first of the next."""
    found = [given for one in sentences(answer.text) if (given := plain_words(one))]
    return len(found) > 1 and all(before[-1] == after[0] for before, after in pairwise(found))


@check("words:paragraph_last_first")
def closes_paragraphs(answer: Answer, _: NoArguments) -> bool:
    """Whether each line that has words ends with the one that it begins with."""
    found = [given for one in lines(answer.text) if (given := plain_words(one))]
    return bool(found) and all(one[0] == one[-1] for one in found)


@check("words:keywords_specific_position", KeywordPlace)
def has_keyword_there(answer: Answer, asked: KeywordPlace) -> bool:
    """Whether the keyword is the m-th word of the n-th sentence, whatever its case."""
    found = sentences(answer.text)
    given = plain_words(found[asked.n - 1]) if len(found) >= asked.n else []
    wanted = plain_words(asked.keyword)
    return bool(wanted) and given[asked.m - 1 : asked.m - 1 + len(wanted)] == wanted


@check("words:words_position", Keyword)
def has_keyword_second(answer: Answer, asked: Keyword) -> bool:
    """Whether the keyword is the second word and the second to last one, whatever its case."""
    found = plain_words(answer.text)
    return len(found) > 1 and [found[1]] == [found[-2]] == plain_words(asked.keyword)


@check("repeat:repeat_change", Request)
def repeats_changed(answer: Answer, asked: Request) -> bool:
    """Whether the answer is the request with another first word, whatever case and spaces."""
    own, given = (plain(one).split() for one in (answer.text, asked.prompt_to_repeat))
    return own[1:] == given[1:] and plain_words(own[0]) != plain_words(given[0])


@check("repeat:repeat_simple")
def repeats_sentence(answer: Answer, _: NoArguments) -> bool:
    """Whether the answer is the sentence of the instruction alone, whatever case and spaces."""
    return plain(answer.text) == plain(_SIMPLE)


@check("repeat:repeat_span", Span)
def copies_span(answer: Answer, asked: Span) -> bool:
    """Whether the answer is the words of the request from one index to another, whatever case and spaces."""
    return plain(answer.text).split() == plain(asked.prompt_to_repeat).split()[asked.n_start : asked.n_end + 1]
