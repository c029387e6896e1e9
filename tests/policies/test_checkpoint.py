"""A base model's directory is read without loading it, and what is wrong with it is one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from policies.checkpoint import CheckpointError, read
from tests.daemon.adapters.basefiles import tensors, write_base


def sharded(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    names = ["model-2.safetensors", "model-1.safetensors"]
    for name in names:
        (directory / name).write_bytes(tensors())
    index = {"weight_map": dict(zip("ab", names, strict=True))}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def test_one_file_of_weights_goes_before_an_index(tmp_path: Path) -> None:
    """As transformers has it; other files are none of the model's."""
    directory = write_base(tmp_path / "base")
    (directory / "consolidated.safetensors").write_bytes(b"")
    (directory / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone"}}')
    assert [path.name for path in read(directory).weights] == ["model.safetensors"]


def test_the_index_names_the_weights(tmp_path: Path) -> None:
    """Each file once, in the order of their names."""
    directory = write_base(tmp_path / "base")
    sharded(directory)
    assert [path.name for path in read(directory).weights] == ["model-1.safetensors", "model-2.safetensors"]


def test_a_configuration_may_hold_infinity(tmp_path: Path) -> None:
    """Some models' files do, and it is no JSON."""
    directory = write_base(tmp_path / "base")
    (directory / "config.json").write_text('{"model_type": "mamba2", "time_step_limit": [0.0, Infinity]}')
    assert read(directory).config["time_step_limit"] == [0.0, "Infinity"]


def only(name: str) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        (directory / "model.safetensors").unlink()
        (directory / name).write_bytes(b"x")

    return damage


def gguf(directory: Path) -> None:
    only("model.gguf")(directory)
    (directory / "config.json").unlink()


def emptied(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()


def shard_gone(directory: Path) -> None:
    sharded(directory)
    (directory / "model-2.safetensors").unlink()


def no_map(directory: Path) -> None:
    sharded(directory)
    (directory / "model.safetensors.index.json").write_text("{}")


def replaced(name: str, body: str) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        (directory / name).write_text(body)

    return damage


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (emptied, "base: no config.json: this is not the directory of a model"),
        (gguf, "base: a GGUF file and no config.json: convert it"),
        (only("model.gguf"), "base: a GGUF file and no model.safetensors: convert it"),
        (only("pytorch_model.bin"), "base: weights as pickles and no model.safetensors"),
        (only("notes.txt"), "base: no weights: neither model.safetensors nor"),
        (shard_gone, "base: model-2.safetensors is missing: the index names it"),
        (no_map, "model.safetensors.index.json: it has no weight_map"),
        (replaced("config.json", "{"), "config.json: not JSON"),
        (replaced("config.json", "[]"), "config.json: not a JSON object"),
        (replaced("config.json", '{"model_type": "t5"}'), "config.json: model_type t5 is none"),
        (replaced("adapter_config.json", "{}"), "base: adapter_config.json: this is an adapter"),
    ],
)
def test_what_is_no_base_model_is_told(tmp_path: Path, damage: Callable[[Path], None], told: str) -> None:
    """The place, what is wrong, and the way out."""
    directory = write_base(tmp_path / "base")
    damage(directory)
    with pytest.raises(CheckpointError) as caught:
        read(directory)
    assert told in str(caught.value)
    assert str(directory) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the system's own words."""
    with pytest.raises(CheckpointError, match="nowhere: No such file"):
        read(tmp_path / "nowhere")
