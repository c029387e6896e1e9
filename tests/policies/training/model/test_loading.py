"""A base model is loaded whole, or one line says why not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies.training.errors import JobError

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that can be damaged."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def edited(path: Path, **changes: Any) -> None:
    """Changes keys of a JSON file; None takes one away."""
    body = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in body.items() if value is not None}))


def loaded(directory: Path) -> Any:
    from policies.training.model.loading import load

    return load(str(directory), None, "cpu")


def test_the_name_is_where_it_really_is(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it was spelt."""
    monkeypatch.chdir(model.parent)
    assert loaded(Path("model/../model")).name == str(model.resolve())


def without_head(model: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


def another_shape(model: Path) -> None:
    edited(model / "config.json", intermediate_size=99)


def cut(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def no_tokenizer(model: Path) -> None:
    for file in model.glob("tokenizer*"):
        file.unlink()


def classifier(model: Path) -> None:
    edited(model / "config.json", architectures=["LlamaForSequenceClassification"])


def unknown(model: Path) -> None:
    edited(model / "config.json", model_type="novel")


def quantised(model: Path) -> None:
    edited(model / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})


def half_a_configuration(model: Path) -> None:
    edited(model / "config.json", hidden_size="wide")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (without_head, "its files have no weights for lm_head.weight: they would be random"),
        (another_shape, "cannot be loaded: RuntimeError"),
        (cut, "cannot be loaded: SafetensorError"),
        (no_tokenizer, "cannot be loaded: "),
        (classifier, "config.json: its class LlamaForSequenceClassification has no head"),
        (unknown, "config.json: model_type novel is none that AutoModelForCausalLM"),
        (quantised, "quantised by gptq and the package gptqmodel is missing"),
        (half_a_configuration, "cannot be loaded: "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_loaded_is_one_line(model: Path, damage: Callable[[Path], None], told: str) -> None:
    """With the place; what transformers would fill with random numbers is an error."""
    damage(model)
    with pytest.raises(JobError) as caught:
        loaded(model)
    assert told in str(caught.value)
    assert str(model) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


SETTINGS = "tokenizer_config.json"


@pytest.mark.parametrize(("pad", "expected"), [("<|pad|>", 0), (None, 1), ("<|novel|>", 1)])
def test_padding_is_a_token_that_the_model_has(model: Path, pad: str | None, expected: int) -> None:
    """The tokenizer's own; the end token where it has none, or one beyond the model's embedding."""
    edited(model / SETTINGS, pad_token=pad)
    found = loaded(model)
    assert found.tokenizer.pad_token_id == expected


def test_a_tokenizer_that_cannot_pad_is_told(model: Path) -> None:
    """Neither padding nor end; and one of another model."""
    edited(model / SETTINGS, pad_token=None, eos_token=None)
    with pytest.raises(JobError, match="its tokenizer has neither a padding nor an end token: set eos_token"):
        loaded(model)
    edited(model / SETTINGS, pad_token="<|p|>", eos_token="<|e|>")
    with pytest.raises(JobError, match=r"end token \d+ lies beyond the model's \d+ embeddings"):
        loaded(model)
