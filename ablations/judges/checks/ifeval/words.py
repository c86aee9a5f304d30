"""IFEval's checks of words, lengths and letters' case.

Keywords are literal and whole words, whatever their case; the official code searches patterns inside words. Case asks
for letters of that case, and for signs of another language to refuse it; the official code asks a language detector.
"""

import unicodedata
from typing import Annotated

from pydantic import Field

from ablations.judges.checks.base import Answer, NoArguments, check
from ablations.judges.checks.ifeval.languages import Language, may_be
from ablations.judges.checks.kwargs import Count, Relation, Texts, Whole, arguments, compares
from ablations.judges.checks.texts import (
    count_phrase,
    holds_phrase,
    paragraphs,
    plain_words,
    sentences,
    unlisted,
    words,
)

COMMAS = "," + "".join(
    map(chr, (0xFF0C, 0x3001, 0x060C, 0xFF64, 0xFE50, 0xFE51, 0xFE10, 0xFE11, 0x055D, 0x07F8, 0x1363))
)
"""The commas of all scripts: fullwidth, ideographic, Arabic, small and vertical forms, Armenian, N'Ko, Ethiopic."""


@arguments
class Keywords:
    """Words that an answer must have."""

    keywords: Texts


@arguments
class Frequency:
    """A word, and how often an answer must have it."""

    keyword: str
    frequency: Whole
    relation: Relation


@arguments
class Forbidden:
    """Words that an answer must not have."""

    forbidden_words: Texts


@arguments
class LetterFrequency:
    """A letter or another character, and how often an answer must have it."""

    letter: Annotated[str, Field(min_length=1, max_length=1)]
    let_frequency: Whole
    let_relation: Relation


@arguments
class InLanguage:
    """A language by its ISO 639-1 code."""

    language: Language


@arguments
class Sentences:
    """How many sentences."""

    num_sentences: Whole
    relation: Relation


@arguments
class WordCount:
    """How many words."""

    num_words: Whole
    relation: Relation


@arguments
class FirstWord:
    """How many paragraphs, and the word that one of them begins with."""

    num_paragraphs: Count
    nth_paragraph: Count
    first_word: str


@arguments
class CapitalFrequency:
    """How many words in capitals."""

    capital_frequency: Whole
    capital_relation: Relation


@check("keywords:existence", Keywords)
def has_keywords(answer: Answer, asked: Keywords) -> bool:
    """Whether each keyword stands in the answer as a whole word, whatever its case."""
    return all(holds_phrase(answer.text, one) for one in asked.keywords)


@check("keywords:frequency", Frequency)
def has_keyword_so_often(answer: Answer, asked: Frequency) -> bool:
    """Whether a keyword stands in the answer as a whole word less often than, or at least as often as is asked."""
    return compares(count_phrase(answer.text, asked.keyword), asked.relation, asked.frequency)


@check("keywords:forbidden_words", Forbidden)
def avoids_words(answer: Answer, asked: Forbidden) -> bool:
    """Whether none of the forbidden words stands in the answer as a whole word, whatever its case."""
    return not any(holds_phrase(answer.text, one) for one in asked.forbidden_words)


@check("keywords:letter_frequency", LetterFrequency)
def has_letter_so_often(answer: Answer, asked: LetterFrequency) -> bool:
    """Whether a character occurs less often than, or at least as often as is asked; letters whatever their case."""
    text, letter = (unicodedata.normalize("NFC", one).lower() for one in (answer.text, asked.letter))
    return compares(text.count(letter), asked.let_relation, asked.let_frequency)


@check("language:response_language", InLanguage)
def is_in_language(answer: Answer, asked: InLanguage) -> bool:
    """Whether the answer has letters, and may be in the language: see `languages.may_be`."""
    return any(map(str.isalpha, answer.text)) and may_be(answer.text, asked.language)


@check("length_constraints:number_sentences", Sentences)
def has_sentences(answer: Answer, asked: Sentences) -> bool:
    """Whether there are fewer sentences than, or at least as many as is asked; marks of lists are no sentences."""
    return compares(len(sentences(answer.text)), asked.relation, asked.num_sentences)


@check("length_constraints:number_words", WordCount)
def has_words(answer: Answer, asked: WordCount) -> bool:
    """Whether there are fewer words than, or at least as many as is asked; "state-of-the-art" and "don't" are one."""
    return compares(len(words(answer.text)), asked.relation, asked.num_words)


@check("length_constraints:nth_paragraph_first_word", FirstWord)
def begins_paragraph(answer: Answer, asked: FirstWord) -> bool:
    """Whether there are so many paragraphs between blank lines, and the one asked for begins with the word."""
    found = paragraphs(answer.text)
    if len(found) != asked.num_paragraphs or asked.nth_paragraph > len(found):
        return False
    first = plain_words(asked.first_word)
    paragraph = found[asked.nth_paragraph - 1]
    return bool(first) and any(plain_words(one)[: len(first)] == first for one in (paragraph, unlisted(paragraph)))


@check("change_case:capital_word_frequency", CapitalFrequency)
def has_capital_words(answer: Answer, asked: CapitalFrequency) -> bool:
    """Whether there are fewer words in capitals than, or at least as many as is asked; of single letters only "I"."""
    count = sum(one == "I" or (one.isupper() and sum(map(str.isalpha, one)) > 1) for one in words(answer.text))
    return compares(count, asked.capital_relation, asked.capital_frequency)


def _cases(text: str) -> set[str]:
    """Return the categories of the letters that have a case."""
    return {category for one in text if (category := unicodedata.category(one)) in ("Lu", "Ll", "Lt")}


@check("change_case:english_capital")
def is_in_capitals(answer: Answer, _: NoArguments) -> bool:
    """Whether all letters are capitals, there are some, and the answer may be in English."""
    return _cases(answer.text) == {"Lu"} and may_be(answer.text, "en")


@check("change_case:english_lowercase")
def is_in_lowercase(answer: Answer, _: NoArguments) -> bool:
    """Whether no letter is a capital, there are small ones, and the answer may be in English."""
    return _cases(answer.text) == {"Ll"} and may_be(answer.text, "en")


@check("punctuation:no_comma")
def has_no_comma(answer: Answer, _: NoArguments) -> bool:
    """Whether there is no comma of any script, not even in a number."""
    return not set(answer.text) & set(COMMAS)
