"""Tokens: a text -> the ids that an engine is given, and a training: the same for both.

Knows models by their location; neither engines nor training.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from ablations.core.errors import BackendError, ModelError, first_line
from ablations.models.resolve import ResolvedModel, leading_bos


class Tokens:
    """A model's tokenizer, loaded when it is first needed.

    Args:
        model: whose tokenizer it is.
        trusted: whether the model may run Python code of its own.
    """

    def __init__(self, model: ResolvedModel, trusted: bool = False) -> None:
        self._model = model
        self._trusted = trusted

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer as transformers loads it; raises `ModelError` where that fails."""
        from transformers import AutoTokenizer

        with readable(self._model):
            return AutoTokenizer.from_pretrained(
                self._model.location, revision=self._model.revision, trust_remote_code=self._trusted
            )

    def ids(self, text: str, templated: bool = False) -> list[int]:
        """Return a prompt's tokens; a `templated` text holds its special tokens already.

        Raises:
            BackendError: it would begin with more than one beginning-of-text token.
        """
        ids: list[int] = self.tokenizer(text, add_special_tokens=not templated).input_ids
        if leading_bos(ids, self.tokenizer.bos_token_id) > 1:
            raise BackendError(
                f"the tokenizer of {self._model.name!r} begins a prompt with more than one "
                f"{self.tokenizer.bos_token}; remove the token from the prompt file"
            )
        return ids

    def answer_ids(self, prompt: str, answer: str) -> list[int]:
        """Return the tokens that a model should write after a prompt: the answer's, and the end-of-text token.

        They are those that follow the prompt's own where both are tokenised as one text. An answer by itself could
        begin otherwise: tokenizers after SentencePiece put a space before any text. Where a token would reach over the
        end of the prompt, which it cannot once the prompt is read, the answer is taken as after a new line.

        Raises:
            ModelError: the tokenizer has no such token, so that no answer could end.
        """
        end = self.tokenizer.eos_token_id
        if end is None:
            raise ModelError(
                f"the tokenizer of {self._model.name!r} has no end-of-text token, so that no answer could be learned "
                "to end; give a model whose tokenizer_config.json names its eos_token"
            )
        for before in (prompt, "\n"):
            read, both = (
                self.tokenizer(text, add_special_tokens=False).input_ids for text in (before, before + answer)
            )
            if both[: len(read)] == read:
                return [*both[len(read) :], int(end)]
        return [*self.tokenizer(answer, add_special_tokens=False).input_ids, int(end)]


def model_length(model: ResolvedModel, trusted: bool = False) -> int | None:
    """Return how many tokens a model's configuration says that it was made for, or None where it does not say."""
    from transformers import AutoConfig

    with readable(model):
        config = AutoConfig.from_pretrained(model.location, revision=model.revision, trust_remote_code=trusted)
        length = getattr(config.get_text_config(), "max_position_embeddings", None)
        return None if length is None else int(length)


@contextmanager
def readable(model: ResolvedModel) -> Iterator[None]:
    """Turn whatever a damaged model folder makes the loaders raise into one `ModelError`."""
    try:
        yield
    except Exception as error:
        raise ModelError(
            f"the configuration or tokenizer of the model {model.name!r} cannot be read: "
            f"{first_line(error)}; check the model's files, or download it again"
        ) from error
