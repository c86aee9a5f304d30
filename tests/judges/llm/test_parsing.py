"""Claims about reading replies: a table of replies and what each is worth."""

import json

import pytest

from ablations.judges.llm.aspects import ASPECTS
from ablations.judges.llm.parsing import (
    CUT_OFF,
    EMPTY,
    FIRST,
    NO_RATING,
    OUT_OF_RANGE,
    REFUSED,
    SECOND,
    SEVERAL,
    TIE,
    UnscoredError,
    check_whole,
    parse_aspects,
    parse_rating,
    parse_two_scores,
    parse_verdict,
)

RATINGS: list[tuple[str, float | str]] = [
    ("Rating: [[5]]", 5.0),
    ("Clear, correct.\n\nRating: [[10]]", 10.0),
    ("Rating: [[1]]", 1.0),
    ("[[7.5]]", 7.5),
    ("[[7.]]", 7.0),
    ("[[07]]", 7.0),
    ("It deserves [[8]] of 10.", 8.0),
    ("Rating: [8]", 8.0),
    ("rating:[[6]].", 6.0),
    ("[[9]] Rating: [[9]]", 9.0),
    ("[[9]] and again [[9.0]]", 9.0),
    ("I would say 3. Rating: [[4]]", 4.0),
    ("See [1] for the source. Rating: [[4]]", 4.0),
    ("**Rating: [[3]]**", 3.0),
    ("Rating:\n[[2]]\n", 2.0),
    ("评分:[[6]]", 6.0),
    ("```\nRating: [[6]]\n```", 6.0),
    ("Rating: [[[5]]]", 5.0),
    ("", NO_RATING),
    ("The answer is good.", NO_RATING),
    ("Rating: 7", NO_RATING),
    ("Rating: 7/10", NO_RATING),
    ("Rating: [[7/10]]", NO_RATING),
    ("Rating: [[ 7 ]]", NO_RATING),
    ("Rating: [[seven]]", NO_RATING),
    ("Rating: [[N]]", NO_RATING),
    ("Rating: [[-3]]", NO_RATING),
    ("Rating: (7)", NO_RATING),
    ("Rating: {{7}}", NO_RATING),
    ("[[7", NO_RATING),
    ("7]]", NO_RATING),
    ("[[]]", NO_RATING),
    ("[[nan]]", NO_RATING),
    ("[[1e1]]", NO_RATING),
    ("Rating: [[rating]]", NO_RATING),
    ("Rating: [[0]]", OUT_OF_RANGE),
    ("Rating: [[11]]", OUT_OF_RANGE),
    ("Rating: [[100]]", OUT_OF_RANGE),
    ("Rating: [[0.5]]", OUT_OF_RANGE),
    ("Rating: [[10.1]]", OUT_OF_RANGE),
    ("Rating: [99999999999999999999]", OUT_OF_RANGE),
    ("[[7]] or [[8]]", SEVERAL),
    ("First [[2]], then on reflection [[9]].", SEVERAL),
    ("Sources [1] and [2].", SEVERAL),
    ("[[0]] or [[11]]", SEVERAL),
]

VERDICTS: list[tuple[str, str]] = [
    ("A is better. [[A]]", FIRST),
    ("[[B]]", SECOND),
    ("Equal. [[C]]", TIE),
    ("[[A]] ... so: [[A]]", FIRST),
    ("[[A]] or [[B]]", SEVERAL),
    ("[[D]]", NO_RATING),
    ("A", NO_RATING),
    ("[A]", NO_RATING),
    ("[[a]]", NO_RATING),
    ("", NO_RATING),
]

TWO_SCORES: list[tuple[str, str]] = [
    ("8 7\nreasons", FIRST),
    ("6.5 9", SECOND),
    ("7, 7\nBoth are fine.", TIE),
    ("  3   4  \n", SECOND),
    ("\n8 7\n", FIRST),
    ("8", NO_RATING),
    ("8 7 6", NO_RATING),
    ("A: 8 B: 7", NO_RATING),
    ("11 7", OUT_OF_RANGE),
    ("0 7", OUT_OF_RANGE),
    ("8/10 7/10", NO_RATING),
    ("", NO_RATING),
]


def test_the_tables_hold_at_least_sixty_replies() -> None:
    assert len(RATINGS) + len(VERDICTS) + len(TWO_SCORES) >= 60


@pytest.mark.parametrize(("reply", "worth"), RATINGS)
def test_a_rating_is_read_or_has_a_reason(reply: str, worth: float | str) -> None:
    if isinstance(worth, float):
        assert parse_rating(reply, 1, 10) == worth
    else:
        with pytest.raises(UnscoredError, match=f"^{worth}$"):
            parse_rating(reply, 1, 10)


@pytest.mark.parametrize(("reply", "worth"), VERDICTS)
def test_a_verdict_is_read_or_has_a_reason(reply: str, worth: str) -> None:
    if worth in (FIRST, SECOND, TIE):
        assert parse_verdict(reply) == worth
    else:
        with pytest.raises(UnscoredError, match=f"^{worth}$"):
            parse_verdict(reply)


@pytest.mark.parametrize(("reply", "worth"), TWO_SCORES)
def test_two_scores_are_read_or_have_a_reason(reply: str, worth: str) -> None:
    if worth in (FIRST, SECOND, TIE):
        assert parse_two_scores(reply, 1, 10) == worth
    else:
        with pytest.raises(UnscoredError, match=f"^{worth}$"):
            parse_two_scores(reply, 1, 10)


@pytest.mark.parametrize(
    ("text", "finish_reason", "reason"),
    [
        ("Rating: [[7]]", "length", CUT_OFF),
        ("Rating: [[7]]", "content_filter", REFUSED),
        ("", "stop", EMPTY),
        (" \n", "stop", EMPTY),
    ],
)
def test_a_reply_that_is_not_whole_is_worth_nothing_whatever_it_says(
    text: str, finish_reason: str, reason: str
) -> None:
    with pytest.raises(UnscoredError, match=f"^{reason}$"):
        check_whole(text, finish_reason)


def test_six_aspects_are_read_from_json_with_and_without_a_fence() -> None:
    reply = json.dumps({name: {"reason": "so", "rating": number % 5 + 1} for number, name in enumerate(ASPECTS)})
    expected = {name: float(number % 5 + 1) for number, name in enumerate(ASPECTS)}
    assert parse_aspects(reply, ASPECTS, 1, 5) == expected
    assert parse_aspects(f"```json\n{reply}\n```", ASPECTS, 1, 5) == expected


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("not json", NO_RATING),
        ("[]", NO_RATING),
        ("null", NO_RATING),
        ('{"helpfulness": {"rating": 3}}', NO_RATING),
        (json.dumps({name: {"rating": "3"} for name in ASPECTS}), NO_RATING),
        (json.dumps({name: {"rating": True} for name in ASPECTS}), NO_RATING),
        (json.dumps(dict.fromkeys(ASPECTS, 3)), NO_RATING),
        (json.dumps({name: {"rating": 6} for name in ASPECTS}), OUT_OF_RANGE),
        (json.dumps({name: {"rating": 0} for name in ASPECTS}), OUT_OF_RANGE),
        ("[" * 100_000, NO_RATING),
        (json.dumps({name: {"rating": 10**400} for name in ASPECTS}), OUT_OF_RANGE),
        ('{"helpfulness": {"rating": ' + "9" * 5000 + "}}", NO_RATING),
        (json.dumps({name: {"rating": 1} for name in ASPECTS})[:-1] + ', "safety": {"rating": 5}}', SEVERAL),
    ],
)
def test_aspects_that_are_not_all_there_are_worth_nothing(reply: str, reason: str) -> None:
    with pytest.raises(UnscoredError, match=f"^{reason}$"):
        parse_aspects(reply, ASPECTS, 1, 5)
