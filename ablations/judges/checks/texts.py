"""Texts as checks compare them: without case and typography, by whole words, numbers as values.

Also the parts of a text that checks count: words, sentences, paragraphs, lines.
"""

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from punkt import PunktSentenceTokenizer

_JOINING = "".join(chr(one) for one in range(0x300, 0x2000) if unicodedata.category(chr(one)).startswith("M"))
"""Marks that belong to the letter before them: accents, vowel signs of Indic and Arabic scripts."""
_UNSPACED = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Han characters and kana, which are written without spaces."""
_HAN = re.compile(f"[{_UNSPACED}]")
_LETTER = rf"(?![{_UNSPACED}])[^\W_][{_JOINING}\u200c\u200d]*"
_WORD = re.compile(
    rf"\d+(?:[.,:]\d+)+(?![^\W_])|(?:[^\W\d_]\.){{2,}}|[{_UNSPACED}]|(?:{_LETTER})+(?:['’\-\u2010\u2011](?:{_LETTER})+)*"
)
_SENTENCE_ENDS = re.compile("(?<=[。！？．।॥۔؟])")
_LIST_MARK = re.compile(r"^[ \t]*(?:[-*+•]|\(?\d{1,3}[.)]|\(?[A-Za-z][.)])[ \t]+(?=\S)", re.MULTILINE)
_MARKS = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "«": '"', "»": '"', "–": "-", "—": "-", "−": "-"})
_UNITS = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "  # noqa: SIM905
        "seventeen eighteen nineteen".split()
    )
}
_TENS = {
    word: 10 * number
    for number, word in enumerate(("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2)
}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_AFTER_SCALE = f"(?:{'|'.join(f'(?<={word})' for word in _SCALES)})"
_NUMBER_WORD = "|".join([*_UNITS, *_TENS, *_SCALES])
_DIGITS = r"(?<![\w.])-?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?!\w*\d)"
_NUMBER = re.compile(
    rf"(?:\b(?:no|any|every|each|this|that|which|the|another)\s+one|\bone\s+(?:of|another))\b|"  # no numbers
    rf"(?P<minus>\b(?:minus|negative)\s+)?(?:(?P<digits>{_DIGITS})|"
    rf"\b(?P<words>(?:{_NUMBER_WORD})(?:(?:{_AFTER_SCALE}\s+and\s+|[\s-]+)(?:{_NUMBER_WORD}))*)\b)",
    re.IGNORECASE,
)


def normalised(text: str) -> str:
    """Return a text as it is compared: no case, one space, plain marks, without what encloses or introduces it.

    >>> normalised('“The  Nile.”') == normalised("nile")
    True
    """
    whole = plain(text)
    return re.sub(r"^(?:the|an|a)\s+(?=\S)", "", whole.strip(" .!?\"'`*_:;,()[]")) or whole


def holds_phrase(text: str, phrase: str) -> bool:
    """Whether a text has a phrase as whole words, whatever the case.

    >>> holds_phrase("It is Catania.", "cat"), holds_phrase("I like C++ a lot", "c++")
    (False, True)
    """
    return count_phrase(text, phrase) > 0


def count_phrase(text: str, phrase: str) -> int:
    """Return how often a text has a phrase as whole words, whatever the case; literally, and not overlapping.

    Scripts that are written without spaces have no whole words: there any place counts.

    >>> count_phrase("Song, song_ and songs", "song"), count_phrase("我喜欢猫", "猫"), count_phrase("a.b axb", "a.b")
    (2, 1, 1)
    """
    whole, part = plain(text), plain(phrase)
    count = start = 0
    while part and (start := whole.find(part, start)) >= 0:
        end = start + len(part)
        alone = not (_joined(whole, start) or _joined(whole, end))
        count, start = count + alone, end if alone else start + 1
    return count


def _joined(text: str, place: int) -> bool:
    """Whether the characters before and after a place are of one word."""
    around = text[max(place - 1, 0) : place + 1]
    return 0 < place < len(text) and all(one.isalnum() or one in _JOINING for one in around) and not _HAN.search(around)


def denied(text: str) -> list[str]:
    """Return what follows each "not" of a text as it is compared, past articles and prepositions.

    >>> denied("It isn’t the Nile, and not in Asia.")
    ['nile, and not in asia.', 'asia.']
    """
    whole = plain(text)
    return [whole[found.end() :] for found in _DENIAL.finditer(whole)]


_DENIAL = re.compile(r"(?:\bnot|n't)\s+(?:(?:an?|the|in|at|on)\s+)*(?=\S)")


def plain(text: str) -> str:
    """Return a text without case, with single spaces, and with plain quotation marks and dashes."""
    return " ".join(plain_marks(text).casefold().split())


def plain_marks(text: str) -> str:
    """Return a text with plain quotation marks and dashes, and compatible characters ("²", "ﬁ", "１") as plain ones."""
    return unicodedata.normalize("NFKC", text).translate(_MARKS)


def numbers(text: str) -> list[float]:
    """Return the numbers of a text in their order, those in words too.

    >>> numbers("1,234.5 of twenty-one, minus three, or two hundred and five; 7 minus 2, -.5")
    [1234.5, 21.0, -3.0, 205.0, 7.0, 2.0, -0.5]
    """
    return [value for _, _, value in find_numbers(plain_marks(text))]


def find_numbers(text: str) -> list[tuple[int, int, float]]:
    """Return where each number of a text with plain marks begins and ends, and its value.

    >>> find_numbers("minus three of 10")
    [(0, 11, -3.0), (15, 17, 10.0)]
    """
    given = []
    for found in _NUMBER.finditer(text):
        if not (found["digits"] or found["words"]):
            continue
        value = float(found["digits"].replace(",", "")) if found["digits"] else _value(found["words"].casefold())
        subtracts = re.search(rf"(?:\d|\b(?:{_NUMBER_WORD}))\s*$", text[: found.start()], re.IGNORECASE)
        given.append((found.start(), found.end(), -value if found["minus"] and not subtracts else value))
    return given


def _value(words: str) -> float:
    total = current = 0
    for word in re.findall(r"[a-z]+", words):
        if word in _SCALES and word != "hundred":
            total, current = total + max(current, 1) * _SCALES[word], 0
        elif word == "hundred":
            current = max(current, 1) * 100
        else:
            current += _UNITS.get(word, _TENS.get(word, 0))
    return float(total + current)


def lines(text: str) -> list[str]:
    """Return the lines of a text that are not blank, as they are indented."""
    return [line.rstrip() for line in re.split(r"\r\n?|\n", text) if line.strip()]


def paragraphs(text: str) -> list[str]:
    """Return what stands between blank lines."""
    parts = re.split(r"\n[^\S\n]*\n", re.sub(r"\r\n?", "\n", text))
    return [part.strip() for part in parts if part.strip()]


def words(text: str) -> list[str]:
    """Return the words of a text: with inner apostrophes and hyphens, each Han character or kana by itself.

    >>> words("Don't pay $1,000.50 for state-of-the-art U.S. art—你好 🙂")
    ["Don't", 'pay', '1,000.50', 'for', 'state-of-the-art', 'U.S.', 'art', '你', '好']
    """
    return _WORD.findall(unicodedata.normalize("NFC", text))


def plain_words(text: str) -> list[str]:
    """Return the words of a text without case and typography."""
    return words(plain(text))


def unlisted(text: str) -> str:
    """Return a text without bullets and numbers before its lines."""
    return _LIST_MARK.sub("", re.sub(r"\r\n?", "\n", text))


def sentences(text: str) -> list[str]:
    """Return the sentences of a text: those of Punkt's English model, and full stops of other scripts end one too.

    Marks of lists are no sentences, nor is what has neither letter nor digit.

    >>> sentences("1. Dr. Smith paid 3.50 euros. Why?"), len(sentences("你好。再见！"))
    (['Dr. Smith paid 3.50 euros.', 'Why?'], 2)
    """
    parts = [one for whole in _punkt().tokenize(unlisted(text)) for one in _SENTENCE_ENDS.split(whole)]
    return [one.strip() for one in parts if any(map(str.isalnum, one))]


@cache
def _punkt() -> "PunktSentenceTokenizer":
    from punkt import PunktSentenceTokenizer, load_model

    return PunktSentenceTokenizer(load_model("english"))
