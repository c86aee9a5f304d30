"""Sentence embeddings, by the packaged MiniLM model or any sentence-transformers model, computed once per text.

Knows neither judges nor demonstrations. Runs on the CPU beside the engine.
"""

import itertools
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ablations.core.condition import content_hash
from ablations.core.errors import ModelError, first_line
from ablations.models.packaged import PACKAGED, embedding_model_dir
from ablations.models.registry import DEFAULT_ENCODER
from ablations.models.resolve import folder_identity

Vectors = NDArray[np.float32]

_MOST_KNOWN = 50_000
"""Texts held in memory, some 80 MB of vectors."""


class VectorMemory(Protocol):
    """Where vectors are stored between runs."""

    def find_vectors(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Return the vectors that are stored under these keys, as little-endian 32-bit floats."""
        ...

    def add_vectors(self, vectors: Mapping[str, bytes]) -> None:
        """Keep vectors by key."""
        ...


class Encoder:
    """Turns texts into unit vectors, shape (number of texts, dimensions), so that a dot product is the cosine.

    Safe to call from several threads; a text is encoded once while it is among the last 50,000, and once for ever
    where there is a memory.

    Args:
        name: the packaged model, the folder of a sentence-transformers model, or a hub id.
        memory: where vectors are stored between runs, or None.
    """

    def __init__(self, name: str = DEFAULT_ENCODER, memory: VectorMemory | None = None) -> None:
        self.name = name
        self._memory = memory
        self._model: Any = None
        self._known: dict[str, Vectors] = {}
        self._lock = threading.Lock()

    @cached_property
    def identity(self) -> str:
        """Everything that decides the vectors: the packaged model's hash, the folder's content, or the hub id."""
        if self.name in PACKAGED:
            return PACKAGED[self.name].identity
        path = Path(self.name).expanduser()
        return folder_identity(path) if path.is_dir() else self.name

    def load(self) -> None:
        """Load the model, some seconds; raise `ModelError` where that fails."""
        with self._lock:
            self._load()

    def _load(self) -> None:
        if self._model is not None:
            return
        location = self._location()
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        # The engine's threads need the cores more than a small encoder does.
        torch.set_num_threads(1)
        try:
            self._model = SentenceTransformer(location, device="cpu")
        except Exception as error:  # whatever the hub's client or a damaged folder makes it raise
            raise ModelError(
                f"the sentence encoder {self.name!r} cannot be loaded: {first_line(error)}; give "
                f"{DEFAULT_ENCODER}, the folder of a sentence-transformers model, or a hub id that can be reached"
            ) from error

    def _location(self) -> str:
        path = Path(self.name).expanduser()
        if self.name in PACKAGED or not (path.is_dir() or "/" in self.name):
            return str(embedding_model_dir(self.name))
        return str(path) if path.is_dir() else self.name

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text, in the texts' order."""
        with self._lock:
            missing = self._recall([text for text in dict.fromkeys(texts) if text not in self._known])
            if missing:
                self._load()
                found = self._model.encode(missing, normalize_embeddings=True, show_progress_bar=False)
                vectors = dict(zip(missing, np.asarray(found, dtype=np.float32), strict=True))
                self._known.update(vectors)
                if self._memory is not None:
                    stored = {self._key(text): vector.astype("<f4").tobytes() for text, vector in vectors.items()}
                    self._memory.add_vectors(stored)
            result = np.stack([self._known[text] for text in texts])
            for text in list(itertools.islice(self._known, max(len(self._known) - _MOST_KNOWN, 0))):
                del self._known[text]  # the oldest
            return result

    def _recall(self, texts: list[str]) -> list[str]:
        """Take up the vectors that are stored; return the texts that have none."""
        if self._memory is None or not texts:
            return texts
        keys = {text: self._key(text) for text in texts}
        stored = self._memory.find_vectors(list(keys.values()))
        found = {text: np.frombuffer(stored[key], dtype="<f4") for text, key in keys.items() if key in stored}
        self._known.update({text: vector.astype(np.float32) for text, vector in found.items()})
        return [text for text in texts if text not in found]

    def _key(self, text: str) -> str:
        return content_hash([self.identity, text], length=32)
