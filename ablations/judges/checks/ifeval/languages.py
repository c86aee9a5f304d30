"""Which language a text may be in: by script first, by frequent words next, and by a detector where enough is there.

A detector alone is wrong about one or two words ("Paris." is no English to it), and an unseeded one is wrong at random.
Scripts decide between most languages; where languages share one, the text is refused only on evidence: frequent words
of another language and none of the one asked for, or, from `ENOUGH` letters on, langdetect (seeded, no download) being
sure of another one. What is too short for evidence may be in any language of its script.
"""

import re
import unicodedata
from collections import Counter
from typing import Annotated

from pydantic import AfterValidator

from ablations.judges.checks.texts import plain_words

ENOUGH = 20
"""From how many letters on the detector is asked."""
SHARE = 0.6
"""How much of the letters must be of the language's script: names and terms are often left in another one."""
DOUBT = 0.1
"""The probability that the detector must give a language at least."""

_LATIN = "af ca cs cy da de en es et fi fr hr hu id it lt lv nl no pl pt ro sk sl so sq sv sw tl tr vi"
_SCRIPTS = {
    "LATIN": _LATIN,
    "CYRILLIC": "bg mk ru uk",
    "ARABIC": "ar fa ur",
    "DEVANAGARI": "hi mr ne",
    "BENGALI": "bn",
    "GREEK": "el",
    "GUJARATI": "gu",
    "HEBREW": "he",
    "KANNADA": "kn",
    "HANGUL": "ko",
    "MALAYALAM": "ml",
    "GURMUKHI": "pa",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
    "CJK": "zh zh-cn zh-tw ja",
}
SCRIPT = {code: script for script, codes in _SCRIPTS.items() for code in codes.split()}
"""The script of each language that can be asked for, by the first word of its letters' Unicode names."""
_KANA = ("HIRAGANA", "KATAKANA")

_FREQUENT = {
    "en": "the of and to in is are was it that you for with this on not have be i we they what how my your from by at",
    "de": "der die das und ist sind nicht ich ein eine es mit auf für von zu wir sie im den dem auch war",
    "fr": "le la les et est sont pas je un une des du nous vous il elle dans pour avec que qui ce au sur",
    "es": "el la los las y es son no un una de en que por con para yo se lo muy del al como está",
    "it": "il lo la gli e è sono non un una di che per con io si del della nel molto come ma",
    "pt": "o a os as e é são não um uma de do da em que por com para eu se muito no na mas",
    "nl": "de het een en is zijn niet ik van op met voor dat dit wij ze in te er aan ook was",
}
_WORDS = {code: frozenset(text.split()) for code, text in _FREQUENT.items()}


def _known(code: str) -> str:
    if code.lower() not in SCRIPT:
        raise ValueError(f"no language that can be told apart; known: {', '.join(sorted(SCRIPT))}")
    return code.lower()


Language = Annotated[str, AfterValidator(_known)]
"""The code of a language that can be told from others."""


def may_be(text: str, language: str) -> bool:
    """Whether nothing in a text says that it is in another language.

    >>> may_be("GREEN", "en"), may_be("Das ist gut.", "en"), may_be("ЗЕЛЁНЫЙ", "en"), may_be("Das ist gut.", "de")
    (True, False, False, True)
    """
    prose = re.sub(r"```.*?(?:```|$)|https?://\S+", " ", text, flags=re.DOTALL)
    scripts = Counter(_script(one) for one in prose if one.isalpha())
    letters = sum(scripts.values())
    if not letters:
        return True
    kana, script = sum(scripts[one] for one in _KANA), SCRIPT[language]
    own = scripts[script] + (kana if language == "ja" else 0)
    if own < SHARE * letters or (language == "ja" and not kana and letters >= ENOUGH):
        return False
    alone = script == "CJK" or len(_SCRIPTS[script].split()) == 1
    return alone or _speaks(prose, language, letters)


def _script(letter: str) -> str:
    # Halfwidth and fullwidth forms are letters of their own script.
    return unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "").partition(" ")[0]


def _speaks(text: str, language: str, letters: int) -> bool:
    """Whether neither frequent words nor the detector speak for another language of the same script."""
    given = set(plain_words(text))
    counts = {code: len(given & known) for code, known in _WORDS.items()} if SCRIPT[language] == "LATIN" else {}
    own, others = counts.get(language, 0), [count for code, count in counts.items() if code != language]
    if own > max(others, default=0):
        return True
    if (language in counts and max(others) >= 2 and not own) or (language != "es" and set("¿¡") & set(text)):
        return False
    return letters < ENOUGH or _detected(text).get(language, 0.0) >= DOUBT


def _detected(text: str) -> dict[str, float]:
    """Return the probability of each language that langdetect sees, the same in every process."""
    from langdetect import DetectorFactory, LangDetectException, detect_langs

    DetectorFactory.seed = 0
    try:
        return {one.lang: one.prob for one in detect_langs(text.lower())}
    except LangDetectException:
        return {}
