"""Planted controls: answers that are worse than a good one by construction.

Knows no judge. Each control is a function of a good answer, another query's answer and a generator.
"""

import random
from collections.abc import Callable

Control = Callable[[str, str, random.Random], str]

CUT_WORDS = 10
LOOP_WORDS = 8


def other_answer(answer: str, other: str, generator: random.Random) -> str:
    """Return the good answer to another query."""
    del answer, generator
    return other


def shuffled_words(answer: str, other: str, generator: random.Random) -> str:
    """Return the answer's words in random order."""
    del other
    words = answer.split()
    generator.shuffle(words)
    return " ".join(words)


def looped_words(answer: str, other: str, generator: random.Random) -> str:
    """Return the first words again and again, up to the answer's length in words."""
    del other, generator
    words = answer.split()
    return " ".join(words[position % LOOP_WORDS] for position in range(len(words)))


def cut_off(answer: str, other: str, generator: random.Random) -> str:
    """Return the first ten words."""
    del other, generator
    return " ".join(answer.split()[:CUT_WORDS])


def run_on(answer: str, other: str, generator: random.Random) -> str:
    """Return the answer followed by a next query that the model asks and answers itself."""
    del generator
    return f"{answer}\n\n# Query:\n{other}\n\n# Answer:\n{answer}"


def empty(answer: str, other: str, generator: random.Random) -> str:
    """Return no text."""
    del answer, other, generator
    return ""


CONTROLS: dict[str, Control] = {
    "another query's answer": other_answer,
    "shuffled words": shuffled_words,
    "looped words": looped_words,
    "cut after 10 words": cut_off,
    "runs on into the next query": run_on,
    "empty": empty,
}
