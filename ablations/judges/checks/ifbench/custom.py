"""IFBench's checks `custom:…`, each of one fixed request: tables, sorted lists, questions, reversed sentences."""

import csv
import datetime
import io
import re
import unicodedata
from itertools import pairwise

from ablations.judges.checks.base import Answer, NoArguments, check
from ablations.judges.checks.texts import lines, plain, plain_words, sentences

_LISTED_CAPITALS = (
    "Reykjavik Helsinki Oslo Tallinn Stockholm Riga Moscow Copenhagen Vilnius Minsk Dublin Berlin Amsterdam "
    "Warsaw London Brussels Prague Luxembourg Paris Vienna Bratislava Budapest Vaduz Chisinau Bern Ljubljana "
    "Zagreb"
)
_CAPITALS = _LISTED_CAPITALS.split()
"""Capitals of Europe north of 45 degrees, from north to south, as the benchmark has them."""
_COUNTRIES = 52
"""How many countries of Africa at least: lists of them differ by those that are disputed."""
_LIFE = (datetime.date(1769, 8, 15), datetime.date(1821, 5, 5))
"""Napoleon's."""
_FENCE = re.compile(r"\s*```[^\n]*\n(.*?)\n?```\s*", re.DOTALL)


def _unfenced(text: str) -> str:
    """Return the content of a code fence that is the whole text, else the text."""
    found = _FENCE.fullmatch(text)
    return (found[1] if found else text).strip()


def _unaccented(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _table(text: str, delimiter: str) -> list[list[str]]:
    """Return the rows of a table; a space after a delimiter is none of the field."""
    rows = csv.reader(io.StringIO(_unfenced(text)), delimiter=delimiter, skipinitialspace=True)
    return [[field.strip() for field in row] for row in rows if row]


def _is_table(rows: list[list[str]], columns: str, count: int) -> bool:
    return rows[:1] == [columns.split()] and len(rows) == count + 1 and all(len(one) == len(rows[0]) for one in rows)


@check("custom:multiples")
def prints_multiples(answer: Answer, _: NoArguments) -> bool:
    """Whether the numbers of the answer are the multiples of 7 between 10 and 50, in their order."""
    return re.findall(r"\d+", answer.text) == [str(one) for one in range(14, 51, 7)]


@check("custom:mcq_count_length")
def asks_questions(answer: Answer, _: NoArguments) -> bool:
    """Whether there are four questions "Question 1" to "4", each longer than the one before it, with options A to E."""
    parts = re.split(r"^\W*Question\s*\d+\W*", answer.text.strip(), flags=re.MULTILINE)
    if len(parts) != 5 or parts[0].strip():
        return False
    lengths = []
    for part in parts[1:]:
        found = [one.strip() for one in lines(part)]
        options = [one for one in found if re.match(r"\(?[A-Ea-e][.):]\s*\S", one)]
        if len(options) != 5 or found[-5:] != options:
            return False
        lengths.append(len(" ".join(found[:-5])))
    return lengths[0] > 0 and all(before < after for before, after in pairwise(lengths))


@check("custom:reverse_newline")
def lists_backwards(answer: Answer, _: NoArguments) -> bool:
    """Whether lines from "Zimbabwe" on are in reverse alphabetical order, and enough for the countries of Africa."""
    found = [re.sub(r"^\W*(?:\d+\W+)?|\W+$", "", _unaccented(one)).casefold() for one in lines(answer.text)]
    listed = found[found.index("zimbabwe") :] if "zimbabwe" in found else []
    return len(set(listed)) >= _COUNTRIES and listed == sorted(listed, reverse=True)


@check("custom:word_reverse")
def reverses_words(answer: Answer, _: NoArguments) -> bool:
    """Whether the answer, read backwards word by word, is one line that names the bald eagle."""
    return "eagle bald" in " ".join(plain_words(answer.text)) and len(lines(answer.text)) == 1


@check("custom:character_reverse")
def reverses_letters(answer: Answer, _: NoArguments) -> bool:
    """Whether the answer names the bald eagle backwards, letter by letter."""
    return "elgae dlab" in plain(answer.text)


@check("custom:sentence_alphabet")
def runs_through_alphabet(answer: Answer, _: NoArguments) -> bool:
    """Whether there are 26 sentences, and their first words begin with A to Z in order."""
    firsts = [found[0][0] for one in sentences(answer.text) if (found := plain_words(one))]
    return "".join(firsts) == "abcdefghijklmnopqrstuvwxyz"


@check("custom:european_capitals_sort")
def sorts_capitals(answer: Answer, _: NoArguments) -> bool:
    """Whether the answer is the capitals of Europe above 45 degrees, from north to south, separated by commas."""
    return [one.strip(" .\n") for one in _unaccented(answer.text).split(",")] == _CAPITALS


@check("custom:csv_city")
def tabulates_cities(answer: Answer, _: NoArguments) -> bool:
    """Whether the answer is a table with commas: ID, Country, City, Year, Count, and seven rows."""
    return _is_table(_table(answer.text, ","), "ID Country City Year Count", 7)


@check("custom:csv_special_character")
def tabulates_products(answer: Answer, _: NoArguments) -> bool:
    """Whether the answer is a table of 14 products, and a field in double quotation marks has a special character."""
    rows = _table(answer.text, ",")
    quoted = re.findall(r'(?:^|,)[ \t]*"((?:[^"]|"")*)"', "\n".join(lines(_unfenced(answer.text))[1:]), re.MULTILINE)
    special = any(re.search(r"[^\w\s]", one) for one in quoted)
    return _is_table(rows, "ProductID Category Brand Price Stock", 14) and special


@check("custom:csv_quotes")
def tabulates_students(answer: Answer, _: NoArguments) -> bool:
    """Whether the answer is a table with tabs and three rows, every field of it in double quotation marks."""
    fields = [one.strip() for line in lines(_unfenced(answer.text)) for one in line.split("\t")]
    quoted = all(len(one) > 1 and one[0] == one[-1] == '"' for one in fields)
    return quoted and _is_table(_table(answer.text, "\t"), "StudentID Subject Grade Semester Score", 3)


@check("custom:date_format_list")
def lists_dates(answer: Answer, _: NoArguments) -> bool:
    """Whether the answer is dates of Napoleon's life as YYYY-MM-DD, separated by commas."""
    return all(_is_date(one.strip()) for one in answer.text.strip().rstrip(".").split(","))


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return False
    try:
        return _LIFE[0] <= datetime.date.fromisoformat(text) <= _LIFE[1]
    except ValueError:
        return False
