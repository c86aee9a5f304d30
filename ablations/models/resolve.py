"""Models: an alias, a directory or a hub id -> what an engine loads; BOS.

Knows nothing of engines or prompts. Run `python -m ablations.models.resolve` to prepare every packaged model.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.core.errors import ModelError, first_line, nearest
from ablations.models.packaged import (
    GENERATING,
    PACKAGED,
    PackagedModel,
    Say,
    convert_packaged,
    embedding_model_dir,
    file_sha256,
)

HUB_TIMEOUT_S = 10.0

WEIGHT_PATTERNS = ("*.safetensors", "*.bin")
TOKENIZER_PATTERNS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json", "*.tiktoken")
IDENTITY_PATTERNS = (
    *TOKENIZER_PATTERNS,
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "*.index.json",
    "*.py",
    "modules.json",
    "*/config.json",
)
"""The small files that decide, with the weights, what a model computes; the last two are a sentence encoder's."""


@dataclass(frozen=True)
class ResolvedModel:
    """A model that an engine can load.

    Attributes:
        name: as the user gave it.
        location: a directory, or a hub id.
        identity: of the content: the same weights and tokenizer have the same identity everywhere.
        notice: a line about the licence, or None.
        revision: the commit where `location` is a hub id, else None.
    """

    name: str
    location: str
    identity: str
    notice: str | None = None
    revision: str | None = None


def resolve_model(
    name: str, *, trust_remote_code: bool = False, revision: str | None = None, say: Say = print
) -> ResolvedModel:
    """Return what an engine loads for an alias, a directory or a hub id; an alias is converted at first use.

    An alias goes before a directory of the same name; write `./name` for the directory.

    Args:
        name: an alias of `PACKAGED`, a directory, or `org/name` on the hub.
        trust_remote_code: whether a model may run Python code of its own.
        revision: a branch, tag or commit of a hub id.
        say: is given the licence notice and the announcement of a conversion.

    Raises:
        ModelError: there is no such model, it is incomplete or damaged, or it may not run its code.
    """
    is_hub_id = name.count("/") == 1 and not name.startswith((".", "/", "~"))
    path = Path(name).expanduser()
    if revision is not None and (name in PACKAGED or path.is_dir() or not is_hub_id):
        raise ModelError(f"revision {revision!r} was given for {name!r}, which is not a model of the hub; leave it out")
    if name in PACKAGED:
        return _resolve_alias(PACKAGED[name], say)
    if path.is_dir() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        return _resolve_directory(name, path, trust_remote_code)
    if is_hub_id:
        return _resolve_hub(name, trust_remote_code, revision)
    raise ModelError(
        f"unknown model {name!r}; {nearest(name, GENERATING)}; or give a directory, or a hub id (org/name)"
    )


def leading_bos(ids: Sequence[int], bos_token_id: int | None) -> int:
    """Return how many beginning-of-text tokens a prompt starts with.

    >>> leading_bos([2, 2, 818], 2), leading_bos([818, 2], 2), leading_bos([818], None)
    (2, 0, 0)
    """
    return next((count for count, token in enumerate(ids) if token != bos_token_id), len(ids))


def _resolve_alias(model: PackagedModel, say: Say) -> ResolvedModel:
    if model.alias not in GENERATING:
        raise ModelError(f"model {model.alias!r} is a sentence encoder and writes no text; {nearest('', GENERATING)}")
    location = convert_packaged(model, say)
    return ResolvedModel(model.alias, str(location), model.identity, model.notice)


def _resolve_directory(name: str, path: Path, trust_remote_code: bool) -> ResolvedModel:
    if not path.is_dir():
        raise ModelError(f"model {name!r}: there is no such directory; {nearest(name, GENERATING)}")
    missing = _missing(path)
    if missing:
        raise ModelError(
            f"model {name!r}: the directory lacks {', '.join(missing)}; "
            "give a directory that `save_pretrained` wrote for both the model and its tokenizer"
        )
    _check_own_code(name, path / "config.json", trust_remote_code)
    return ResolvedModel(name, str(path.resolve()), f"local:{folder_identity(path)}")


def _missing(path: Path) -> list[str]:
    """Return what a model directory lacks, in words."""
    parts = {
        "config.json": ("config.json",),
        "weights (*.safetensors or *.bin)": WEIGHT_PATTERNS,
        "a tokenizer (tokenizer.json, tokenizer.model or vocab.*)": TOKENIZER_PATTERNS,
    }
    lacking = [words for words, patterns in parts.items() if not _matching(path, patterns)]
    for index in path.glob("*.safetensors.index.json"):
        shards = set(_read_json(index).get("weight_map", {}).values())
        lacking += sorted(shard for shard in shards if not (path / shard).is_file())
    return lacking


def _resolve_hub(name: str, trust_remote_code: bool, revision: str | None) -> ResolvedModel:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    # The hub client's errors (network, HTTP, cache, malformed ids) have no base class of their own.
    try:
        commit = HfApi().model_info(name, revision=revision, timeout=HUB_TIMEOUT_S).sha
        config = hf_hub_download(name, "config.json", revision=commit, etag_timeout=HUB_TIMEOUT_S)
    except Exception as error:
        try:
            snapshot = Path(snapshot_download(name, revision=revision, local_files_only=True))
        except Exception:
            raise _no_such_model(name, first_line(error)) from error
        cached = _resolve_directory(name, snapshot, trust_remote_code)
        return ResolvedModel(name, cached.location, f"{name}@{snapshot.name}")
    _check_own_code(name, Path(config), trust_remote_code)
    return ResolvedModel(name, name, f"{name}@{commit}", revision=commit)


def _no_such_model(name: str, why: str) -> ModelError:
    return ModelError(
        f"model {name!r} is not an alias ({', '.join(GENERATING)}), there is no such directory, and the hub is not "
        f"reachable or has no such model ({why}); check the name and the network, log in with `hf auth login` "
        "where the model is gated, or give the directory of a copy"
    )


def _check_own_code(name: str, config: Path, trust_remote_code: bool) -> None:
    if "auto_map" in _read_json(config) and not trust_remote_code:
        raise ModelError(
            f"model {name!r} brings Python code of its own (auto_map in its config.json), which would run on this "
            "machine; read that code, then pass `--engine trust_remote_code=true`"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {first_line(error)}; copy the model again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object; copy the model again")
    return content


def _matching(path: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted({file for pattern in patterns for file in path.glob(pattern) if file.is_file()})


def folder_identity(path: Path) -> str:
    """Hash the small files fully, and of each weights file its size and its first, middle and last MiB."""
    digest = hashlib.sha256()
    for file in _matching(path, IDENTITY_PATTERNS):
        digest.update(f"{file.relative_to(path)}:{file_sha256(file)}\n".encode())
    mebibyte = 1 << 20
    for file in _matching(path, (*WEIGHT_PATTERNS, *(f"*/{pattern}" for pattern in WEIGHT_PATTERNS))):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path)}:{size}\n".encode())
        with file.open("rb") as stream:
            for start in (0, size // 2, max(0, size - mebibyte)):
                stream.seek(start)
                digest.update(stream.read(mebibyte))
    return digest.hexdigest()[:16]


def main() -> int:
    """Prepare every packaged model, print a line for each, and return the exit code."""
    failed = False
    for alias, model in PACKAGED.items():
        try:
            folder = convert_packaged(model) if alias in GENERATING else embedding_model_dir(alias)
        except ModelError as error:
            print(error, file=sys.stderr)
            failed = True
        else:
            print(f"{alias}: ready in {folder}")
    return ModelError.exit_code if failed else 0


if __name__ == "__main__":
    sys.exit(main())
