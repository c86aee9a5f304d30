"""Texts made wrong by rule: every number another one, every sentence denied.

Knows no judge. The rules are lexical: a sentence is denied at its first auxiliary or common verb, and one that has a
negation loses it.
"""

import random
import re

from ablations.judges.checks.texts import find_numbers

_DIGITS = re.compile(r"\d")
_AUXILIARY = re.compile(
    r"\b(am|is|are|was|were|can|could|will|would|should|shall|must|may|might|has|have|had|do|does|did)\b(?!\s+not\b|n't)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[^.!?;\n]*(?:[.!?;](?!\s|$)[^.!?;\n]*)*[.!?;]?")
_DENIALS = (
    (re.compile(r"\b(do|does|did)\s+not\s+|\b(do|does|did)n['’]t\s+", re.IGNORECASE), ""),
    (re.compile(r"\bcannot\b|\bcan['’]t\b", re.IGNORECASE), "can"),
    (re.compile(r"\bwon['’]t\b", re.IGNORECASE), "will"),
    (re.compile(r"n['’]t\b", re.IGNORECASE), ""),
    (re.compile(r"\bnot\s+(?!only\b)", re.IGNORECASE), ""),
    (re.compile(r"\bnever\b", re.IGNORECASE), "always"),
    (re.compile(r"\bnobody\b", re.IGNORECASE), "everybody"),
    (re.compile(r"\bnothing\b", re.IGNORECASE), "everything"),
    (re.compile(r"\bno longer\b", re.IGNORECASE), "still"),
    (re.compile(r"\bwithout\b", re.IGNORECASE), "with"),
    (re.compile(r"\bno (?=\w)", re.IGNORECASE), "a "),
)
_BASES = (
    "add agree allow answer appear apply arrive ask assume attend avoid base become begin believe belong bring "  # noqa: SIM905
    "build buy call carry cause change check choose climb close collect combine come compare concern connect "
    "consider contain continue cost count cover cross cut decay deliver depend describe die differ divide double "
    "draw drop enter equal evaporate exceed exclude expand explain extend face fall feel fill find fit float "
    "follow form free get give go grow handle happen help hold hope include increase insulate interpret keep kill "
    "know last lay lead learn leave let lie light like live lock look lose make mean measure meet move need "
    "notice offer open order own pass pay play point pour preserve prevent produce promise prove provide pull "
    "push put raise reach read receive reduce release remain remember repair replace require return rise run save "
    "say see seem sell send serve share show sink sit sleep slow smell solve speak spend split stand start state "
    "stay stop study subtract suggest support take teach tell thank think tie treat try turn understand use visit "
    "wait walk want warm watch weigh welcome wish wonder work write".split()
)
_IRREGULAR = {
    "became": "become", "began": "begin", "brought": "bring", "built": "build", "bought": "buy", "chose": "choose",
    "came": "come", "drew": "draw", "fell": "fall", "felt": "feel", "found": "find", "gave": "give", "went": "go",
    "grew": "grow", "held": "hold", "kept": "keep", "knew": "know", "led": "lead", "left": "leave", "lost": "lose",
    "made": "make", "meant": "mean", "met": "meet", "paid": "pay", "ran": "run", "rose": "rise", "said": "say",
    "saw": "see", "sold": "sell", "sent": "send", "shook": "shake", "sank": "sink", "sat": "sit", "slept": "sleep",
    "spoke": "speak", "spent": "spend", "stood": "stand", "took": "take", "taught": "teach", "told": "tell",
    "thought": "think", "understood": "understand", "wrote": "write",
}  # fmt: skip


def _forms() -> dict[str, str]:
    """Return what denies each form of a common verb: "makes" → "does not make", "made" → "did not make"."""
    forms = {}
    for base in _BASES:
        stem = base[:-1] if base.endswith("e") else base
        short = base[:-1] if base.endswith("y") and base[-2] not in "aeiou" else None
        ending = "es" if base.endswith(("s", "sh", "ch", "x", "z", "o")) else "s"
        forms[f"{short}ies" if short else base + ending] = f"does not {base}"
        forms[f"{short}ied" if short else f"{stem}ed"] = f"did not {base}"
        forms[base + base[-1] + "ed"] = f"did not {base}"
    return forms | {past: f"did not {base}" for past, base in _IRREGULAR.items()}


_VERB = {**_forms(), **{base: f"do not {base}" for base in _BASES}}
_WORD = re.compile(r"[A-Za-z]+")
_SUBJECTS = frozenset({"i", "we", "you", "they", "people", "who", "which", "that", "and", "please"})


def negated(text: str) -> str | None:
    """Return a text with each sentence denied that has an auxiliary, a common verb or a negation; None without any.

    >>> negated("The sun is large. It warms us. It never sleeps.")
    'The sun is not large. It does not warm us. It always sleeps.'
    """
    made = _SENTENCE.sub(lambda found: _denied(found[0]), text)
    return made if made != text else None


def _denied(sentence: str) -> str:
    if sentence.startswith("    "):
        return sentence  # code
    for pattern, instead in _DENIALS:
        if pattern.search(sentence):
            return _as_written(pattern, instead, sentence)
    verb = next((word for word in _WORD.finditer(sentence) if _is_verb(sentence, word)), None)
    auxiliary = _AUXILIARY.search(sentence)
    if auxiliary and (verb is None or auxiliary.start() <= verb.start()):
        put = "cannot" if auxiliary[0].casefold() == "can" else f"{auxiliary[0]} not"
        return f"{sentence[: auxiliary.start()]}{put}{sentence[auxiliary.end() :]}"
    if verb is None:
        return sentence
    put = _VERB[verb[0].casefold()]
    put = put.capitalize() if verb[0][0].isupper() else put
    return f"{sentence[: verb.start()]}{put}{sentence[verb.end() :]}"


def _as_written(pattern: re.Pattern[str], instead: str, sentence: str) -> str:
    """Return the sentence with the first match replaced, in capitals where it began with one."""
    found = pattern.search(sentence)
    if found is None:
        return sentence
    put = instead.capitalize() if found[0].lstrip()[:1].isupper() else instead
    return sentence[: found.start()] + put + sentence[found.end() :]


def _is_verb(sentence: str, word: re.Match[str]) -> bool:
    """Whether a word is a form of a common verb, and by the word before it no noun, infinitive or participle."""
    form = _VERB.get(word[0].casefold())
    if form is None or sentence[word.end() :].startswith((" of ", ":")):
        return False
    before = [one.casefold() for one in _WORD.findall(sentence[: word.start()])[-1:]]
    if not before:
        return form.startswith("do not")  # an order: "Add the numbers."
    if form.startswith("do not"):
        return before[0] in _SUBJECTS or (before[0].endswith("s") and not before[0].endswith(("ss", "us", "is", "'s")))
    return before[0] not in ("a", "an", "the", "of", "in", "by", "with", "to", "be", "two", "three", "one", "its")


def changed_numbers(text: str, generator: random.Random) -> str | None:
    """Return a text with each number replaced by another one, the same for the same; None where it has none.

    Digits stay as many; number words become other words, and numbers of lists stay. The word "one" stays: mostly it is
    no number.

    >>> changed_numbers("Nine of 10", random.Random(1)) not in (None, "Nine of 10")
    True
    """
    found = find_numbers(text)
    taken = {value for _, _, value in found}
    changes: dict[str, str] = {}
    made, place = [], 0
    for start, end, _ in found:
        written = text[start:end]
        if written.casefold() == "one" or re.fullmatch(r"\s*\d+[.)]\s", _line_start(text, start, end)):
            continue
        if written not in changes:
            changes[written] = _other(written, taken, generator)
        put = changes[written]
        made += [text[place:start], put.capitalize() if written[0].isupper() else put]
        place = end
    return "".join([*made, text[place:]]) if changes else None


def _line_start(text: str, start: int, end: int) -> str:
    return text[text.rfind("\n", 0, start) + 1 : end + 2]


_NUMBER_WORDS = (
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "eleven",
    "fourteen",
    "forty",
    "ninety",
)


def _other(written: str, taken: set[float], generator: random.Random) -> str:
    """Return a number that the text has not, in as many digits or in a word; the last one drawn, if it has too many."""
    drawn = written
    for _ in range(100):
        if _DIGITS.search(written):
            drawn = _DIGITS.sub(lambda _: str(generator.randint(0, 9)), written)
            drawn = re.sub(r"^(\D*)0(?=\d)", lambda found: f"{found[1]}{generator.randint(1, 9)}", drawn)
        else:
            drawn = generator.choice(_NUMBER_WORDS)
        if not {value for _, _, value in find_numbers(drawn)} & taken:
            break
    return drawn
