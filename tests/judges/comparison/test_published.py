"""Claims about published two-score judgments, in the form of Han's files."""

import json
from pathlib import Path

import pytest

from ablations.cli.main import main
from ablations.core.errors import UsageError
from ablations.judges.comparison.published import read_two_scores
from ablations.judges.llm.parsing import FIRST, SECOND, TIE

# The first lines of the first four rows of guanaco-7B_vs_davinci003_autoeval.jsonl, as published.
PUBLISHED = [
    ["7 9", "9 8.5", "9 10", "9 10", "8 7.5"],
    ["3 2", "5 7", "4 7", "3 8", "5 8"],
    ["7 8", "7 8", "5 8", "5 8", "7 8"],
    ["5 7", "6 5", "5 7", "7 5"],
]


def autoeval(folder: Path, rows: list[list[str]]) -> Path:
    path = folder / "autoeval.jsonl"
    texts = ({"autoeval_text_list": [f"{line}\nReasons." for line in row]} for row in rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in texts))
    return path


def test_hans_rule_gives_his_win_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """His script counts a win where the first number is higher, a draw where they are equal."""
    path = autoeval(tmp_path, [*PUBLISHED, ["8 8", "no scores"]])
    assert main(["winrate", str(path)]) == 0
    rates = json.loads(capsys.readouterr().out)
    pairs = [tuple(map(float, line.split())) for row in PUBLISHED for line in row]
    wins = sum(first > second for first, second in pairs)
    assert wins == 5
    assert rates["win_rate"] == pytest.approx(100 * wins / 20)
    assert rates["draw_rate"] == pytest.approx(100 / 20)
    assert rates["loss_rate"] == pytest.approx(100 * 14 / 20)
    assert (rates["n"], rates["n_missing"], rates["n_prompts"]) == (20, 1, 5)
    assert 0 < rates["win_rate_low"] < rates["win_rate"] < rates["win_rate_high"] < 100


def test_verdicts_are_kept_by_prompt(tmp_path: Path) -> None:
    assert read_two_scores(autoeval(tmp_path, [["7 9", "9 8.5"], ["8 8", "11 3"]])) == [[SECOND, FIRST], [TIE, None]]


def test_a_row_without_replies_is_named(tmp_path: Path) -> None:
    path = tmp_path / "autoeval.jsonl"
    path.write_text('{"autoeval_text_list": ["7 8"]}\n{"autoeval_text_list": "7 8"}\n')
    with pytest.raises(UsageError, match=r"autoeval\.jsonl line 2: autoeval_text_list must be a list"):
        read_two_scores(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "is no JSON"),
        ("[]", "an empty list"),
        ('{"autoeval_text_list": 5}', "must be a list of the judge's replies"),
    ],
)
def test_a_file_that_holds_no_annotations_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(text)
    assert main(["winrate", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_flags_of_alpaca_eval_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["winrate", str(autoeval(tmp_path, PUBLISHED)), "--gamed", "gamed.csv"]) == 2
    assert "--gamed belong to AlpacaEval" in capsys.readouterr().err
