"""IFBench's checks `format:…`: brackets, quotation marks, bullets, lines, emoji, templates."""

import re
import unicodedata
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from ablations.judges.checks.base import Answer, NoArguments, check
from ablations.judges.checks.kwargs import arguments
from ablations.judges.checks.texts import lines, plain, sentences, words

_PAIRS = {")": "(", "]": "[", "}": "{"}
_STRAIGHT = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "‚": "'"})
_EMOJI = re.compile(
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u25aa-\u27bf\u2934-\u2b55\u3030\U0001f000-\U0001faff]"
)
_THESIS = re.compile(r"\s*<(i|em)>\s*\S.*?</\1>(?P<rest>.*)", re.DOTALL | re.IGNORECASE)
_LISTED_MINOR = (
    "a an the and but or nor for so yet as at by in of off on per to up via with from into over than if is vs"
)
_MINOR = frozenset(_LISTED_MINOR.split())


@arguments
class Choices:
    """The options, separated by slashes, "or" or commas."""

    options: str


@arguments
class Separator:
    """What stands for a bullet."""

    sep: Annotated[str, Field(min_length=1)]


@check("format:parentheses")
def nests_brackets(answer: Answer, _: NoArguments) -> bool:
    """Whether brackets of any sort stand in one another five deep, each closed by its own sort."""
    stack: list[str] = []
    depths: list[int] = []
    for one in answer.text:
        if one in _PAIRS.values():
            stack.append(one)
            depths.append(0)
        elif one in _PAIRS:
            if not stack or stack.pop() != _PAIRS[one]:
                stack, depths = [], []
                continue
            depth = depths.pop() + 1
            if depth >= 5:
                return True
            if depths:
                depths[-1] = max(depths[-1], depth)
    return False


@check("format:quotes")
def nests_quotes(answer: Answer, _: NoArguments) -> bool:
    """Whether quotations stand in one another three deep, double and single marks in turn; apostrophes are none."""
    text = re.sub(r"(?<=\w)'(?=\w)", "", answer.text.translate(_STRAIGHT))
    stack: list[str] = []
    deepest = 0
    for one in re.findall("[\"']", text):
        if stack and stack[-1] == one:
            stack.pop()
            if not stack and deepest >= 3:
                return True
            deepest = deepest if stack else 0
        else:
            stack.append(one)
            deepest = max(deepest, len(stack))
    return False


@check("format:options", Choices)
def chooses(answer: Answer, asked: Choices) -> bool:
    """Whether the answer is one of the options, whatever its case; the bracket of "a)" is part of it."""
    if "/" in asked.options:
        options = asked.options.split("/")
    else:
        options = re.split(r"\s+or\s+" if re.search(r"\s+or\s+", asked.options) else ",", asked.options)
    return _bare(answer.text) in {_bare(one) for one in options if _bare(one)}


def _bare(text: str) -> str:
    return plain(text).strip(" .!\"'*")


@check("format:newline")
def breaks_words(answer: Answer, _: NoArguments) -> bool:
    """Whether each line that is not blank has exactly one word."""
    counts = [sum(any(map(str.isalnum, one)) for one in line.split()) for line in lines(answer.text)]
    return sum(counts) > 0 and all(one <= 1 for one in counts)


@check("format:emoji")
def ends_in_emoji(answer: Answer, _: NoArguments) -> bool:
    """Whether an emoji ends each sentence, before or after its full stop."""
    parts = sentences(answer.text)
    ends = [_visible(one)[-1:] for one in parts]
    starts = [*(_visible(one)[:1] for one in parts[1:]), _visible(answer.text)[-1:]]
    return bool(parts) and all(
        _EMOJI.match(end) or _EMOJI.match(start) for end, start in zip(ends, starts, strict=True)
    )


def _visible(text: str) -> str:
    """Return the letters, digits and signs of a text, without punctuation, spaces and what varies an emoji."""
    return "".join(
        one for one in text if unicodedata.category(one) not in ("Cf", "Mn", "Me", "Sk") and not _is_mark(one)
    )


def _is_mark(one: str) -> bool:
    return one.isspace() or (unicodedata.category(one).startswith("P") and not _EMOJI.match(one))


@check("format:line_indent")
def makes_stairs(answer: Answer, _: NoArguments) -> bool:
    """Whether there are two lines or more, and each that is not blank is indented further than the one before it."""
    indents = [len(one) - len(one.lstrip()) for one in (line.expandtabs(4) for line in lines(answer.text))]
    return len(indents) > 1 and all(before < after for before, after in pairwise(indents))


@check("format:quote_unquote")
def explains_quotes(answer: Answer, _: NoArguments) -> bool:
    """Whether words without quotation marks follow each quotation before the next one; none need be quoted."""
    parts = re.sub(r"'\"'", "", answer.text.translate(_STRAIGHT)).split('"')
    return len(parts) % 2 == 1 and all(any(map(str.isalpha, one)) for one in parts[2::2])


@check("format:list", Separator)
def lists_by(answer: Answer, asked: Separator) -> bool:
    """Whether two lines or more begin with the sign and have something after it."""
    sign = asked.sep.strip() or asked.sep
    begun = [one.strip() for one in lines(answer.text) if one.strip().startswith(sign)]
    return sum(any(map(str.isalnum, one.removeprefix(sign))) for one in begun) >= 2


@check("format:thesis")
def states_theses(answer: Answer, _: NoArguments) -> bool:
    """Whether each section, which a markdown heading begins, opens with a text in HTML italics and goes on after it."""
    parts = [one for one in re.split(r"^#{1,6} .*$", answer.text, flags=re.MULTILINE) if one.strip()]
    found = [_THESIS.match(one) for one in parts]
    return bool(found) and all(one is not None and any(map(str.isalnum, one["rest"])) for one in found)


@check("format:sub-bullets")
def has_sub_bullets(answer: Answer, _: NoArguments) -> bool:
    """Whether lines begin with the bullet *, and after each of them one begins with -, before the next *."""
    marks = "".join(one.strip()[0] for one in lines(answer.text) if re.match(r"\s*(?:\*(?!\*)|-(?!-))\s*\S", one))
    return re.fullmatch(r"-*(?:\*-+)+", marks) is not None


@check("format:no_bullets_bullets")
def adds_bullets(answer: Answer, _: NoArguments) -> bool:
    """Whether two sentences or more that end in a full stop come before the first of two or more bullets *."""
    found = lines(answer.text)
    bullets = [place for place, one in enumerate(found) if re.match(r"\s*\*(?!\*)\s*\S", one)]
    before = sentences("\n".join(found[: bullets[0]])) if len(bullets) > 1 else []
    return sum(one.rstrip("\"'*) ").endswith(".") for one in before) >= 2


@check("format:title_case")
def is_in_title_case(answer: Answer, _: NoArguments) -> bool:
    """Whether each word begins with a capital and is not all capitals throughout; short words inside may be small."""
    found = [one for one in words(answer.text) if one[0].isalpha()]
    small = any(one.islower() for word in found for one in word[1:])
    return (
        bool(found)
        and (small or all(len(one) == 1 for one in found))
        and all(
            one[0].isupper() or not one[0].islower() or (place > 0 and one in _MINOR) for place, one in enumerate(found)
        )
    )


@check("format:output_template")
def fills_template(answer: Answer, _: NoArguments) -> bool:
    """Whether the answer has "My Answer:", "My Conclusion:" and "Future Outlook:" in this order, all filled."""
    parts = re.fullmatch(
        r"\W*My Answer:(.*?)My Conclusion:(.*?)Future Outlook:(.*)", answer.text.strip(), flags=re.DOTALL
    )
    return parts is not None and all(any(map(str.isalnum, one)) for one in parts.groups())


@check("format:no_whitespace")
def has_no_space(answer: Answer, _: NoArguments) -> bool:
    """Whether there is no space, tab or line break inside the answer."""
    return not any(map(str.isspace, answer.text.strip()))
