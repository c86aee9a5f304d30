"""Sentence embeddings by the packaged MiniLM model, computed once per text.

Knows neither judges nor demonstrations. Runs on the CPU beside the engine.
"""

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.models import embedding_model_dir

DEFAULT_ENCODER = "all-minilm-l6-v2"
Vectors = NDArray[np.float32]

_MOST_KNOWN = 50_000
"""Texts kept in memory, some 80 MB of vectors."""


class Encoder:
    """Turns texts into unit vectors, shape (number of texts, 384), so that a dot product is the cosine.

    Safe to call from several threads; a text is encoded once while it is among the last 50,000.
    """

    def __init__(self, alias: str = DEFAULT_ENCODER) -> None:
        self.alias = alias
        self._model: Any = None
        self._known: dict[str, Vectors] = {}
        self._lock = threading.Lock()

    def load(self) -> None:
        """Load the model, some seconds."""
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        with self._lock:
            if self._model is None:
                # The engine's threads need the cores more than a 22M encoder does.
                torch.set_num_threads(1)
                self._model = SentenceTransformer(str(embedding_model_dir(self.alias)), device="cpu")

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text, in the texts' order."""
        self.load()
        with self._lock:
            missing = [text for text in dict.fromkeys(texts) if text not in self._known]
            if missing:
                vectors = self._model.encode(missing, normalize_embeddings=True, show_progress_bar=False)
                self._known.update(zip(missing, np.asarray(vectors, dtype=np.float32), strict=True))
            vectors = np.stack([self._known[text] for text in texts])
            for text in list(itertools.islice(self._known, max(len(self._known) - _MOST_KNOWN, 0))):
                del self._known[text]  # the oldest
            return vectors
