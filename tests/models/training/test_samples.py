"""Claims about what a training reads and learns: the evaluation's prompt to the token, and the answers alone."""

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers.normalizers import Prepend

from ablations.core.errors import BackendError, ModelError, PoolError, PromptError
from ablations.core.prompt import Demonstration, PromptParts
from ablations.core.records import Completion, Query
from ablations.models.resolve import ResolvedModel, leading_bos
from ablations.models.tokenizer import Tokens
from ablations.models.training.samples import IGNORED, Sample, longest, make_samples
from ablations.models.vllm.engine import VllmBackend
from ablations.prompts.render import render_prompt
from ablations.prompts.templates import TEMPLATES, find_template
from tests.support.colours import BARE, EXAMPLES
from tests.support.tiny import END, PAD, UNKNOWN, make_tokenizer

LAYOUTS = [name for name, headings in TEMPLATES.items() if not headings.chat]


@pytest.mark.parametrize("headings", LAYOUTS)
def test_a_sample_reads_the_tokens_that_the_engine_is_given_for_that_turn(
    headings: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    parts = PromptParts("what is the color\n", find_template(headings))
    engine = VllmBackend(tiny, {}, tmp_path / "vllm.log")
    for example in EXAMPLES:
        query = Query(example.id, "", tuple(asked for asked, _ in example.exchanges))
        answers = [str(answer) for _, answer in example.exchanges]
        for sample in make_samples([example], parts, Tokens(tiny)):
            prompt = render_prompt(query, parts, answers[: sample.turn - 1])
            assert list(sample.prompt) == engine.tokens.ids(prompt.text)


@pytest.mark.parametrize("headings", LAYOUTS)
def test_the_prompt_and_what_is_learned_are_the_text_that_a_demonstration_would_be(
    headings: str, tiny: ResolvedModel
) -> None:
    parts = PromptParts("", find_template(headings))
    tokens, example = Tokens(tiny), EXAMPLES[0]
    first, second = make_samples([example], parts, tokens)
    asked = render_prompt(Query("q", "", ("why",)), replace(parts, shots=(example,)))
    begun = tokens.tokenizer.decode(second.tokens).removeprefix("<s>").removesuffix(END)
    assert asked.text.startswith(begun)
    assert tokens.tokenizer.decode(first.tokens).removesuffix(END) in tokens.tokenizer.decode(second.tokens)


@pytest.mark.parametrize("headings", LAYOUTS)
def test_what_is_learned_has_no_space_that_the_tokenizer_puts_before_texts(
    headings: str, tiny: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = PromptParts("", find_template(headings))
    plain = make_samples(EXAMPLES, parts, Tokens(tiny))
    prefixed = make_tokenizer()
    prefixed.backend_tokenizer.normalizer = Prepend(" ")  # as SentencePiece's dummy prefix, in Llama 2 and Mistral
    space, *_ = prefixed("it", add_special_tokens=False).input_ids
    monkeypatch.setattr(Tokens, "tokenizer", prefixed)
    for one, other in zip(plain, make_samples(EXAMPLES, parts, Tokens(tiny)), strict=True):
        assert other.prompt[1] == space
        assert other.target == one.target


def test_an_answer_whose_first_token_would_begin_in_the_prompt_is_learned_as_after_a_new_line(
    tiny: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    merging = make_tokenizer()
    merging.add_tokens(["is it"])
    monkeypatch.setattr(Tokens, "tokenizer", merging)
    what, is_, space, it, blue = merging.convert_tokens_to_ids(["what", "is", " ", "it", "blue"])
    assert Tokens(tiny).ids("what is it")[1:] == [what, space, merging.convert_tokens_to_ids("is it")]
    assert Tokens(tiny).answer_ids("what is ", "it blue") == [it, space, blue, merging.eos_token_id]
    assert is_ != it


def test_a_tuned_model_that_repeats_what_it_learned_gives_the_clean_answer(samples: tuple[Sample, ...]) -> None:
    decode = make_tokenizer().decode
    for sample, answer in zip(samples, (text for one in EXAMPLES for _, text in one.exchanges), strict=True):
        written = decode(sample.target).removesuffix(END)
        assert Completion(written, 1, 1, "stop", 0).answer == answer


def test_only_the_answer_what_closes_it_and_the_end_are_learned(samples: tuple[Sample, ...]) -> None:
    tokenizer = make_tokenizer()
    for sample in samples:
        learned = [label for label in sample.labels if label != IGNORED]
        assert len(sample.labels) == len(sample.tokens)
        assert sample.labels[: len(sample.prompt)] == (IGNORED,) * len(sample.prompt)
        assert learned == list(sample.target)
        assert sample.target[-1] == tokenizer.eos_token_id
        assert sample.target.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(samples[0].target) == f"it is blue\n```\n{END}"


def test_every_sample_begins_with_exactly_one_bos(samples: tuple[Sample, ...]) -> None:
    bos = make_tokenizer().bos_token_id
    assert {leading_bos(sample.tokens, bos) for sample in samples} == {1}
    assert {sample.tokens.count(bos) for sample in samples} == {1}


def test_a_prompt_that_would_begin_with_two_bos_is_refused(tiny: ResolvedModel) -> None:
    with pytest.raises(BackendError, match="more than one <s>"):
        Tokens(tiny).ids("<s>what")


def test_an_example_without_an_answer_is_named(tiny: ResolvedModel) -> None:
    silent = Demonstration("silent-one", "why", "because", (("what", None),))
    with pytest.raises(PoolError, match="'silent-one' has no answer to its turn 2"):
        make_samples([silent], BARE, Tokens(tiny))


def test_the_layout_of_a_chat_template_is_refused(tiny: ResolvedModel) -> None:
    with pytest.raises(PromptError, match="chat"):
        make_samples(EXAMPLES, PromptParts("", find_template("chat")), Tokens(tiny))


def test_a_tokenizer_without_an_end_is_refused(tiny: ResolvedModel) -> None:
    tokens = Tokens(tiny)
    tokens.__dict__["tokenizer"] = make_tokenizer((PAD, UNKNOWN))
    with pytest.raises(ModelError, match="no end-of-text token"):
        tokens.answer_ids("what is it ", "it is blue")


def test_the_longest_sample_counts_prompt_and_answer(samples: tuple[Sample, ...]) -> None:
    assert longest(samples) == max(len(one.prompt) + len(one.target) for one in samples)
    assert longest([]) == 0
