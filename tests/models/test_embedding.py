"""Claims about sentence embeddings: unit vectors in the order of texts, computed once, never another model's."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ablations.core.errors import ModelError
from ablations.models.embedding import Encoder
from ablations.models.packaged import PACKAGED, embedding_model_dir
from ablations.models.registry import DEFAULT_ENCODER
from ablations.storage.store import Store
from tests.support.rows import row_counts

TEXTS = (
    "How do I boil an egg?",
    "A text that is longer than all the others, so that the model takes it before them whatever their order.",
    "Naïve café – 東京",
    "Why?",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


class Counted:
    """A memory that counts the vectors that were computed; without a store it finds none of them again."""

    def __init__(self, store: Store | None = None) -> None:
        self.encoded = 0
        self._store = store

    def find_vectors(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        return {} if self._store is None else self._store.find_vectors(keys)

    def add_vectors(self, vectors: Mapping[str, bytes]) -> None:
        self.encoded += len(vectors)
        if self._store is not None:
            self._store.add_vectors(vectors)


@pytest.fixture(scope="module")
def memory() -> Counted:
    return Counted()


@pytest.fixture(scope="module")
def encoder(memory: Counted) -> Encoder:
    """The packaged model, loaded once; each test encodes texts of its own or counts what it adds."""
    loaded = Encoder(memory=memory)
    loaded.load()
    return loaded


def write_model(folder: Path, weights: bytes = b"weights", config: str = "{}") -> str:
    folder.mkdir()
    (folder / "config.json").write_text(config, encoding="utf-8")
    (folder / "model.safetensors").write_bytes(weights)
    return str(folder)


def copy_packaged(folder: Path) -> Path:
    """Copy the packaged model with a link in place of its weights."""
    source = embedding_model_dir(DEFAULT_ENCODER)
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    (folder / "model.safetensors").symlink_to(source / "model.safetensors")
    return folder


def test_the_packaged_models_identity_is_its_content_and_a_hub_ids_its_name() -> None:
    assert Encoder().identity == PACKAGED[DEFAULT_ENCODER].identity
    assert Encoder("org/name").identity == "org/name"


def test_a_folders_identity_is_its_content_and_not_its_place(tmp_path: Path) -> None:
    one, copy, weights, config = (
        Encoder(write_model(tmp_path / name, **content)).identity
        for name, content in (
            ("one", {}),
            ("copy", {}),
            ("weights", {"weights": b"others"}),
            ("config", {"config": '{"hidden_size": 1}'}),
        )
    )
    assert one == copy
    assert len({one, weights, config, Encoder().identity}) == 4


def test_a_folder_with_another_pooling_has_another_identity(tmp_path: Path) -> None:
    mean, first = copy_packaged(tmp_path / "mean"), copy_packaged(tmp_path / "first")
    path = first / "1_Pooling" / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings |= {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    path.write_text(json.dumps(settings), encoding="utf-8")
    assert Encoder(str(mean)).identity != Encoder(str(first)).identity


def test_an_unknown_encoder_is_named_with_the_nearest() -> None:
    with pytest.raises(ModelError, match="unknown sentence encoder 'all-minilm-l6'; did you mean all-minilm-l6-v2"):
        Encoder("all-minilm-l6").encode(["Why?"])


def test_a_generating_model_is_no_encoder() -> None:
    with pytest.raises(ModelError, match="unknown sentence encoder 'gemma-3-270m'"):
        Encoder("gemma-3-270m").load()


@pytest.mark.slow
@pytest.mark.parametrize("content", [{}, {"config": "{"}, {"config": '{"model_type": "bert"}'}])
def test_a_damaged_folder_is_refused_with_what_to_give(tmp_path: Path, content: dict[str, str]) -> None:
    folder = write_model(tmp_path / "damaged", **content)
    with pytest.raises(ModelError, match=r"damaged' cannot be loaded: .+; give all-minilm-l6-v2, the folder of a"):
        Encoder(folder).load()


@pytest.mark.slow
def test_vectors_are_of_unit_length_and_in_the_texts_order(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), 384), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert np.array_equal(encoder.encode(TEXTS[::-1]), vectors[::-1])
    fresh = Encoder()
    for text, vector in zip(TEXTS, vectors, strict=True):  # one at a time, so that no order can be wrong
        assert fresh.encode([text])[0] == pytest.approx(vector, abs=1e-5)


@pytest.mark.slow
def test_a_model_that_does_not_normalise_has_unit_vectors_too(tmp_path: Path, encoder: Encoder) -> None:
    folder = copy_packaged(tmp_path / "unscaled")
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    kept = [module for module in modules if not module["type"].endswith("Normalize")]
    assert len(kept) == len(modules) - 1
    (folder / "modules.json").write_text(json.dumps(kept), encoding="utf-8")
    assert Encoder(str(folder)).encode(TEXTS) == pytest.approx(encoder.encode(TEXTS), abs=1e-5)


@pytest.mark.slow
def test_a_text_is_encoded_once(encoder: Encoder, memory: Counted) -> None:
    before = memory.encoded
    first = encoder.encode(["once one", "once two", "once one"])
    assert memory.encoded == before + 2
    assert np.array_equal(first[0], first[2])
    again = encoder.encode(["once two", "once three"])
    assert memory.encoded == before + 3
    assert np.array_equal(again[0], first[1])


@pytest.mark.slow
def test_several_threads_encode_each_text_once_and_get_the_same(encoder: Encoder, memory: Counted) -> None:
    texts, before = [f"thread text {number}" for number in range(6)], memory.encoded
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(encoder.encode, [texts, texts[::-1], texts, texts[::-1]]))
    assert memory.encoded == before + len(texts)
    assert all(np.array_equal(one, found[0]) for one in (found[1][::-1], found[2], found[3][::-1]))


@pytest.mark.slow
def test_vectors_in_a_store_are_found_by_the_next_encoder_which_never_loads_its_model(store: Store) -> None:
    memories = Counted(store), Counted(store)
    first, second = (Encoder(memory=memory) for memory in memories)
    vectors = first.encode(TEXTS)
    assert (memories[0].encoded, row_counts(store)["vectors"]) == (len(TEXTS), len(TEXTS))
    assert np.array_equal(second.encode(TEXTS[::-1]), vectors[::-1])
    assert memories[1].encoded == 0
    assert second._model is None
    second.encode([*TEXTS, "One more."])
    assert (memories[1].encoded, row_counts(store)["vectors"]) == (1, len(TEXTS) + 1)


@pytest.mark.slow
def test_vectors_of_another_encoder_are_not_taken_for_its_own(store: Store, tmp_path: Path) -> None:
    Encoder(memory=store).encode(TEXTS)
    memory = Counted(store)
    folder = Encoder(str(copy_packaged(tmp_path / "copy")), memory=memory)
    assert folder.encode(TEXTS).shape == (len(TEXTS), 384)
    assert memory.encoded == len(TEXTS)
    assert row_counts(store)["vectors"] == 2 * len(TEXTS)
