"""Which checks and which arguments of them are accepted, and what is said of the others."""

import inspect
import re
import subprocess
import sys
from typing import Any

import pytest

from ablations.core.errors import QueryError
from ablations.core.records import Check
from ablations.judges.checks.base import KNOWN, Answer
from ablations.judges.checks.ifbench import NOT_CHECKED
from ablations.judges.checks.registry import Accepted, bind


@pytest.mark.parametrize(
    ("name", "kwargs", "problem"),
    [
        ("keywords:existence", {}, "keywords is missing"),
        ("keywords:existence", {"keywords": []}, "keywords"),
        ("keywords:existence", {"keywords": [""]}, "keywords.0"),
        ("keywords:existence", {"keywords": "cat"}, "keywords"),
        ("keywords:frequency", {"keyword": "a", "frequency": 2, "relation": "around"}, "relation"),
        ("keywords:frequency", {"keyword": "a", "frequency": 2}, "relation is missing"),
        ("keywords:frequency", {"keyword": 3, "frequency": 2, "relation": "at least"}, "keyword"),
        ("keywords:frequency", {"keyword": "a", "frequency": -1, "relation": "at least"}, "frequency"),
        ("keywords:frequency", {"keyword": "a", "frequency": 2.5, "relation": "at least"}, "frequency"),
        ("keywords:frequency", {"keyword": "a", "frequency": "2", "relation": "at least"}, "frequency"),
        ("keywords:frequency", {"keyword": "a", "frequency": True, "relation": "at least"}, "frequency"),
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}, "letter"),
        ("language:response_language", {"language": "xx"}, "known: af"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 0}, "num_paragraphs"),
        ("detectable_format:title", {"title": "x"}, "title"),
        ("punctuation:no_comma", {"commas": 0}, "commas"),
        ("count:word_count_range", {"min_words": 9, "max_words": 3}, "max_words = 3 is below min_words = 9"),
        ("repeat:repeat_span", {"prompt_to_repeat": "a b", "n_start": 2, "n_end": 1}, "n_end = 1"),
        ("count:words_japanese", {"N": 0}, "N"),
        ("ratio:overlap", {"reference_text": "a", "percentage": 101}, "percentage"),
        ("answer:one_of", {"options": ["a", "b"], "right": "c"}, "not among the options"),
        ("answer:pattern", {"pattern": "("}, "no regular expression"),
        ("answer:words", {"least": 4, "most": 2}, "most = 2 is below least = 4"),
        ("answer:number", {"value": float("nan")}, "value"),
        ("answer:mentions", {"none": ["a"]}, "give texts in all or in any"),
    ],
)
def test_wrong_arguments_are_refused_with_their_name(name: str, kwargs: dict[str, Any], problem: str) -> None:
    with pytest.raises(QueryError, match=r"line 7: kwargs of the check '.*correct the row") as caught:
        Accepted()(Check(name, kwargs), "line 7")
    assert problem in str(caught.value)


def test_a_whole_number_may_be_written_as_tables_have_it() -> None:
    bound = bind(Check("detectable_format:number_bullet_lists", {"num_bullets": 2.0}))
    assert bound.holds(Answer("- a\n- b"))


def test_a_misspelt_id_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(QueryError, match=r"is not known; did you mean keywords:existence\?.*--skip-unknown-checks"):
        Accepted()(Check("keywords:existance"), "line 7")


@pytest.mark.parametrize("name", NOT_CHECKED)
def test_an_id_without_a_check_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(QueryError, match=re.escape(f"is known, and not checked: {NOT_CHECKED[name]}")):
        Accepted()(Check(name), "line 7")


def test_unknown_and_unchecked_ids_are_left_out_and_counted_where_the_user_says_so() -> None:
    accepted = Accepted(skip_unknown=True)
    assert not accepted(Check("words:start_verb"), "line 1")
    assert not accepted(Check("words:start_verb"), "line 2")
    assert not accepted(Check("no:such"), "line 3")
    assert accepted(Check("punctuation:no_comma"), "line 4")
    assert accepted.skipped == {"words:start_verb": 2, "no:such": 1}
    with pytest.raises(QueryError, match="kwargs of the check"):
        accepted(Check("punctuation:no_comma", {"commas": 0}), "line 5")


def test_every_check_has_a_docstring_of_its_own() -> None:
    said = {name: inspect.getdoc(one.holds) or "" for name, one in KNOWN.items()}
    assert {name for name, text in said.items() if not text.startswith("Whether ")} == set()
    assert len(set(said.values())) == len(KNOWN)


def test_the_checks_are_imported_without_sentences_or_languages() -> None:
    """Punkt's model and the detector's profiles take seconds: they are loaded when a check first needs them."""
    code = "import sys, ablations.judges.checks.registry; print({'punkt', 'langdetect'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_language_is_judged_alike_each_time() -> None:
    bound = bind(Check("language:response_language", {"language": "en"}))
    texts = ("Glaciers move because ice deforms slowly.", "we sleep so that it rains", "Hvorfor ikke gå en tur i dag?")
    assert len({tuple(bound.holds(Answer(text)) for text in texts) for _ in range(20)}) == 1
