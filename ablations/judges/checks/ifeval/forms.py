"""IFEval's checks of form: paragraphs, placeholders, bullets, highlights, JSON, titles, beginnings and endings."""

import json
import re
import unicodedata

from ablations.judges.checks.base import Answer, NoArguments, check
from ablations.judges.checks.kwargs import Count, Request, Whole, arguments
from ablations.judges.checks.texts import lines, plain

_ENDS = " \t\n\r*_`\"'”’»"
_OPTION = re.compile(r"My answer is (yes|no|maybe)\.(?![^\W_])")
_PLACEHOLDER = re.compile(r"(?<![^\W_]|[\\!])\[([^\[\]\n]+)\](?!\(|\[\d+\]|:\s*\S+://)")
_BULLET = re.compile(
    r"[\s>]*(?:"
    r"\*(?=[^\s*])(?![^*]*[^\s*]\*(?!\*))"  # an asterisk without a space, where no italics begin
    r"|\*(?=\s)|[+–](?=\s)|-(?=\s|[^\W\d_]|\*\*)|[•‣⁃◦▪▫●○■□·∙]"
    r")\s*(?=.*[^\s*_=\-–—])"
)
_HIGHLIGHT = re.compile(r"(?<![A-Za-z0-9*\\])(\*{1,3})(?=[^\s*])[^*\n]*(?<=[^\s*])\1(?!\*)")
_TITLE = re.compile(r"<<([^<>\n]+)>>")
_FENCE = re.compile(r"\s*```[ \t]*(?:json5?)?[ \t]*\n?(.*?)\s*```\s*", re.DOTALL | re.IGNORECASE)


@arguments
class Paragraphs:
    """How many paragraphs."""

    num_paragraphs: Count


@arguments
class Placeholders:
    """How many placeholders at least."""

    num_placeholders: Whole


@arguments
class Postscript:
    """What a postscript begins with."""

    postscript_marker: str


@arguments
class Bullets:
    """How many bullets exactly."""

    num_bullets: Whole


@arguments
class Highlights:
    """How many highlighted parts at least."""

    num_highlights: Whole


@arguments
class Sections:
    """What the head of a section begins with, and how many there are at least."""

    section_spliter: str
    num_sections: Whole


@arguments
class Ending:
    """What the answer ends with."""

    end_phrase: str


@check("length_constraints:number_paragraphs", Paragraphs)
def has_paragraphs(answer: Answer, asked: Paragraphs) -> bool:
    """Whether dividers of three asterisks make exactly so many paragraphs, none between two of them empty."""
    parts = re.split(r"(?<!\S)\*\*\*(?!\S)", answer.text)
    return len(_within(parts)) == asked.num_paragraphs and all(_within(parts))


def _within(parts: list[str]) -> list[str]:
    """Return parts, stripped, without an empty one at either end."""
    stripped = [one.strip() for one in parts]
    return stripped[not stripped[0] : len(stripped) - (len(stripped) > 1 and not stripped[-1])]


@check("detectable_content:number_placeholders", Placeholders)
def has_placeholders(answer: Answer, asked: Placeholders) -> bool:
    """Whether at least so many square brackets hold words: no link, index, footnote, tick, quoted text or formula."""
    held = (found[1].strip() for found in _PLACEHOLDER.finditer(unicodedata.normalize("NFKC", answer.text)))
    count = sum(
        (any(map(str.isalpha, one)) or "__" in one) and one not in ("x", "X") and one[0] not in "^\"'" for one in held
    )
    return count >= asked.num_placeholders


@check("detectable_content:postscript", Postscript)
def has_postscript(answer: Answer, asked: Postscript) -> bool:
    """Whether the marker stands in the answer by itself, in either case, and something follows it."""
    marker = r"\s?".join(re.escape(one) for one in asked.postscript_marker if not one.isspace())
    end = r"(?![^\W_])" if asked.postscript_marker[-1].isalnum() else ""
    return re.search(rf"(?<![^\W_])(?<!\.){marker}{end}\W*\w", answer.text, re.IGNORECASE) is not None


@check("detectable_format:number_bullet_lists", Bullets)
def has_bullets(answer: Answer, asked: Bullets) -> bool:
    """Whether exactly so many lines begin with a bullet; dividers, italics, numbers and negative ones are none."""
    return sum(_BULLET.match(line) is not None for line in lines(answer.text)) == asked.num_bullets


@check("detectable_format:constrained_response")
def chooses_answer(answer: Answer, _: NoArguments) -> bool:
    """Whether exactly one of "My answer is yes.", "… no." and "… maybe." stands in the answer."""
    return len(set(_OPTION.findall(" ".join(answer.text.replace("*", "").split())))) == 1


@check("detectable_format:number_highlighted_sections", Highlights)
def has_highlights(answer: Answer, asked: Highlights) -> bool:
    """Whether at least so many parts stand between asterisks, as markdown has them; bullets are none."""
    unlisted = (re.sub(r"^[\s>]*\*\s+", "", line) for line in lines(answer.text))
    return sum(len(_HIGHLIGHT.findall(line)) for line in unlisted) >= asked.num_highlights


@check("detectable_format:multiple_sections", Sections)
def has_sections(answer: Answer, asked: Sections) -> bool:
    """Whether at least so many heads, in the case asked for, begin a line or follow a sentence, with a number each."""
    splitter = r"\s+".join(map(re.escape, asked.section_spliter.split()))
    found = re.findall(rf"(?:^[^\w\n]*|[.!?][*_\"']*\s+){splitter}\s?(\d+)(?!\w)", answer.text, re.MULTILINE)
    return len(set(found)) >= asked.num_sections


@check("detectable_format:json_format")
def is_json(answer: Answer, _: NoArguments) -> bool:
    """Whether the whole answer is a JSON object or array, in a code fence or not; no bare value and no NaN."""
    text = answer.text.strip("\ufeff \t\r\n")
    fenced = _FENCE.fullmatch(text)
    try:
        return isinstance(json.loads(fenced[1] if fenced else text, parse_constant=_refuse), dict | list)
    except (ValueError, RecursionError):
        return False


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


@check("detectable_format:title")
def has_title(answer: Answer, _: NoArguments) -> bool:
    """Whether double angular brackets hold a title on one line."""
    return any(any(map(str.isalnum, one)) for one in _TITLE.findall(answer.text))


@check("combination:two_responses")
def gives_two(answer: Answer, _: NoArguments) -> bool:
    """Whether six asterisks separate exactly two answers, which differ by more than case and spaces."""
    parts = _within(re.split(r"(?<!\*)\*{6}(?!\*)", answer.text))
    return len(parts) == 2 and all(parts) and plain(parts[0]) != plain(parts[1])


@check("combination:repeat_prompt", Request)
def repeats_prompt(answer: Answer, asked: Request) -> bool:
    """Whether the answer begins with the request, whatever case and spaces."""
    prompt, text = plain(asked.prompt_to_repeat), plain(answer.text)
    rest = text.removeprefix(prompt)
    return text.startswith(prompt) and not (prompt[-1:].isalnum() and rest[:1].isalnum())


@check("startend:end_checker", Ending)
def ends_with(answer: Answer, asked: Ending) -> bool:
    """Whether the answer ends with the phrase, whatever its case; quotation marks and asterisks may follow."""
    text, phrase = (plain(one.rstrip(_ENDS)) for one in (answer.text, asked.end_phrase.strip(_ENDS)))
    before = text[: -len(phrase)] if phrase else ""
    return text.endswith(phrase) and not (before[-1:].isalnum() and phrase[:1].isalnum())


@check("startend:quotation")
def is_quoted(answer: Answer, _: NoArguments) -> bool:
    """Whether one pair of double quotation marks holds the whole answer, and something is in it."""
    text = re.sub("[“”„‟«»＂]", '"', answer.text.strip())
    if len(text) < 3 or text[0] != '"' or text[-1] != '"' or not any(map(str.isalnum, text)):
        return False
    # A mark inside that ends a quotation, before any other begins, closes the first one.
    return re.match(r'"[^"]*\S"(?:\s|[.,;:!?]\s)', text) is None
