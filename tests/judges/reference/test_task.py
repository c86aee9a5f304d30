"""Claims about what the reference judge sees in words: content, numbers, options, negations."""

import pytest

from ablations.judges.reference.content import content, content_words
from ablations.judges.reference.polarity import denials, disagreement
from ablations.judges.reference.task import Task

SUN = Task(["Which is bigger: the sun or the moon?"], "the sun")
JAPAN = Task(["What is the capital of Japan?"], "Tokyo")
COUNT = Task(["Count down from 3 to 1, separated by commas."], "3, 2, 1")
PET = Task(["Ida has a cat and a horse. Which animal of hers is the smaller one?"], "the cat")
STAY = Task(["I have two dogs, Rex and Bo. Rex is brown.", "What is the colour of Rex?"], "brown")
UP = Task(["What is the opposite of up?"], "down")
LONG = Task(
    ["How do bees find their way home, and how far do they fly?"],
    "Bees steer by the sun, whose place they know even behind clouds from the polarised light of the sky. Most fly up "
    "to 3 km, some 10 km or 12 percent of a day's march, and they remember landmarks near the hive.",
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("7", "seven"),
        ("7", "7.0"),
        ("7", "+ 7"),
        ("7,000", "7000"),
        ("7 000", "seven thousand"),
        ("7\u00a0000", "7,000.0"),
        ("25%", "25 percent"),
        ("25 %", "twenty-five percent"),
        ("-3", "minus three"),
        ("−3", "-3"),
        ("4 July 1998", "July 4, 1998"),
        ("2.50 euros", "2.5 euro"),
        ("The Lions", "lion"),
        ("ponies", "pony"),
        ("It’s Paris!", "paris"),
    ],
)
def test_the_same_content_is_seen_in_other_forms(one: str, other: str) -> None:
    assert content(one).words == content(other).words


@pytest.mark.parametrize(
    ("one", "other"),
    [("7", "70"), ("7", "-7"), ("7.5", "75"), ("1,5", "15"), ("25%", "25"), ("boss", "bo"), ("1998", "1989")],
)
def test_other_content_is_not_the_same(one: str, other: str) -> None:
    assert content(one).words != content(other).words


def test_function_words_marks_of_lists_and_the_word_one_are_no_content() -> None:
    assert content_words("1. The first one is as good as any.\n2) And it's so") == ("first", "good")
    assert content("the one and them").tokens == ("the", "one", "and", "them")
    assert content("one goat", ones=True).tokens == ("#1", "goat")


@pytest.mark.parametrize(
    ("task", "answer", "novelty", "coverage", "exactness"),
    [
        (SUN, "the sun", 1, 1, 1),
        (SUN, "The sun is bigger than the moon.", 0.5, 1, 1),
        (SUN, "the moon", 1, 0, 1),
        (SUN, "The sun and the moon", 0.5, 1, 0.5),
        (SUN, "Which is bigger: the sun or the moon?", 0, 1, 0.5),
        (JAPAN, "Tokyo", 1, 1, 1),
        (JAPAN, "The capital of Japan is Tokyo.", 1, 1, 1),
        (JAPAN, "Kyoto", 1, 0, 1),
        (JAPAN, "What is the capital of Japan?", 0, 0, 1),
        (JAPAN, "Tokyo, Kyoto, Osaka", 1, 1, 1 / 1.5),
        (COUNT, "three, two, one", 1, 1, 1),
        (COUNT, "1, 2, 3", 1, 0.6, 1),
        (COUNT, "3, 2", 1, 0.8, 1),
        (PET, "The cat is smaller.", 1 - 1 / 4, 1, 1),
        (PET, "the horse", 1, 0, 1),
        (STAY, "Rex is brown.", 0.5, 1, 1),
        (STAY, "black", 1, 0, 1),
        (UP, "down", 1, 1, 1),
        (UP, "The opposite of up is down.", 1, 1, 1),
        (UP, "left", 1, 0, 1),
        (LONG, "They use the sun and landmarks, and fly 3 km.", 1, 1, 1),
    ],
)
def test_answers_are_seen_beside_query_and_reference(
    task: Task, answer: str, novelty: float, coverage: float, exactness: float
) -> None:
    assert task.coverage(answer) == pytest.approx(coverage, abs=0.35 if task is LONG else 1e-6)
    assert task.exactness(answer) == pytest.approx(exactness)
    assert task.novelty(answer) == pytest.approx(novelty, abs=0.8 if task is LONG else 1e-6)


@pytest.mark.parametrize("echo", [str.lower, str.upper, lambda text: text.replace(",", " –"), lambda text: f"“{text}”"])
def test_an_echo_adds_and_keeps_nothing(echo: object) -> None:
    assert callable(echo)
    text = echo("How do bees find their way home, and how far do they fly?")
    assert LONG.novelty(text) == 0
    assert LONG.own([text]) == []
    assert JAPAN.own([echo("What is the capital of Japan?")]) == []


def test_what_a_refusal_quotes_is_left_out() -> None:
    said = ["I cannot answer that:", "How do bees find their way home, and how far do they fly?"]
    assert LONG.own(said) == said[:1]
    assert LONG.novelty(" ".join(said)) < 0.1


def test_a_reference_that_is_a_part_of_the_query_may_be_copied() -> None:
    wanted = "It takes two hours with calm seas, and the crew serves hot soup on deck."
    text = f"The ferry leaves at noon. {wanted} Bring a coat."
    task = Task([f"{text} Copy the longest sentence."], wanted)
    assert task.own([wanted]) == [wanted]
    assert task.novelty(wanted) > 0.9 > task.novelty(f"{text} Copy the longest sentence.")


@pytest.mark.parametrize(
    ("answer", "better"),
    [
        ("They fly 4 km.", "They fly 3 km."),
        ("They fly far.", "They fly three or ten km."),
        ("They fly 3 km or 15.", "They fly 3 km or 10."),
        ("They fly 3 km, 10 km, 22 km and 35 km.", "They fly 3 km and 10 km."),
    ],
)
def test_missing_wrong_and_added_numbers_lower_the_agreement(answer: str, better: str) -> None:
    assert LONG.numbers(answer) < LONG.numbers(better) <= 1.0


def test_numbers_of_the_query_are_no_numbers_of_the_answers_own() -> None:
    times = Task(["What is 9 times 8?"], "72")
    assert times.numbers("9 times 8 is 72.") == times.numbers("seventy-two") == 1.0
    assert times.numbers("9 times 8 is 81.") == 0.0
    assert JAPAN.numbers("Tokyo") == 1.0


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It is so.", 0),
        ("It is not so.", 1),
        ("It isn't so.", 1),
        ("It isn’t so.", 1),
        ("You cannot do it without me.", 0),
        ("It never rains.", 1),
        ("No, it rains.", 0),
        ("There is no rain.", 1),
        ("Nobody said nothing.", 0),
        ("Not only that, it works.", 0),
        ("There is no doubt.", 0),
        ("Whether it rains or not, we go.", 0),
        ("Knot nothingness notes.", 0),
        ("It has no nucleus, so it cannot repair itself.", 2),
    ],
)
def test_clauses_that_deny_are_counted_by_words(text: str, count: int) -> None:
    assert denials(text) == count


def test_sentences_disagree_where_one_denies_more() -> None:
    assert disagreement("It is so.", "It never is.") == disagreement("It isn't.", "It is.") == 1.0
    assert disagreement("It isn't.", "It never is.") == disagreement("It is.", "It was.") == 0.0
    assert disagreement("It isn't, and we don't mind.", "It isn't, and we mind.") == 0.5


def test_antonyms_are_not_seen_and_said_to_be_so() -> None:
    assert disagreement("It fails to work.", "It works.") == disagreement("It is unlikely.", "It is likely.") == 0.0


@pytest.mark.parametrize(
    ("task", "answer", "denied"),
    [
        (SUN, "not the sun", True),
        (SUN, "It isn't the sun.", True),
        (SUN, "It is the sun, not the moon.", False),
        (SUN, "the moon", False),
        (Task(["Is ice heavier than water?"], "No"), "No, it is not.", False),
        (Task(["Does it rain?"], "It does not rain."), "It rains.", True),
        (Task(["Does it rain?"], "It does not rain."), "No, it never rains.", False),
    ],
)
def test_a_short_answer_that_denies_its_reference_is_seen(task: Task, answer: str, denied: bool) -> None:
    assert task.denies(answer) is denied
