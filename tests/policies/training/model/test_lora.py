"""Adapters are made, read and continued strictly: what PEFT only warns of is an error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies import loraconfig
from policies.recipes import Lora
from policies.training.errors import JobError
from policies.training.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tests.families import FAMILIES, build

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*rank_pattern keys did not match"),
    pytest.mark.filterwarnings("ignore:.*alpha_pattern keys did not match"),
]

SHAPE = Lora(r=4, alpha=8)
SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture
def base(tiny_model: Path) -> Any:
    """A tiny model of the test's own."""
    from policies.training.model import lora

    return lora.load(str(tiny_model), None, "cpu")


def adapter(base: Any, directory: Path, shape: Lora = SHAPE, **options: Any) -> Path:
    """An adapter of that shape on disk; the base is bare again."""
    from policies.training.model import lora

    model = lora.fresh(base, shape)
    lora.save(model, directory, base, **options)
    model.unload()
    return directory


def edited(directory: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Renames or drops weights of an adapter on disk."""
    from safetensors.torch import load_file, save_file

    save_file(change(load_file(directory / ADAPTER_WEIGHTS)), directory / ADAPTER_WEIGHTS, {"format": "pt"})


def test_the_configuration_names_the_base_model(base: Any, tmp_path: Path) -> None:
    """By the directory's whole path, or by the name that the server knows it by."""
    for served_as, named in ((None, base.name), ("our-model", "our-model")):
        directory = adapter(base, tmp_path / named.replace("/", "-"), served_as=served_as)
        config = json.loads((directory / ADAPTER_CONFIG).read_text())
        assert config["base_model_name_or_path"] == named
    assert Path(base.name).is_absolute()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: {k.replace("self_attn", "attention"): v for k, v in w.items()}, "has unknown|lacks"),
        (lambda w: {k: v for k, v in w.items() if "q_proj" not in k}, "lacks weights for .*q_proj"),
        (
            lambda w: {k.replace("base_model.model.", ""): v for k, v in w.items()},
            "lacks|has unknown|does not",
        ),
        (lambda w: {k: v[:1].contiguous() for k, v in w.items()}, "size mismatch"),
    ],
    ids=["renamed", "lost", "no prefix", "another size"],
)
def test_weights_that_match_nothing_are_an_error(
    base: Any, tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], told: str
) -> None:
    """Such an adapter would be the base model with a name, and nothing would say so."""
    from policies.training.model import lora

    directory = adapter(base, tmp_path / "adapter")
    edited(directory, change)
    with pytest.raises(
        JobError, match=f"adapter adapter does not fit LlamaForCausalLM: .*({told})"
    ) as caught:
        lora.with_adapters(base, {"candidate": directory})
    assert "\n" not in str(caught.value)


def test_an_adapter_for_another_architecture_is_an_error(base: Any, tmp_path: Path) -> None:
    """Its modules are not there."""
    from policies.training.model import lora

    other = lora.load(str(build(FAMILIES["gpt2"], tmp_path / "gpt2")), None, "cpu")
    directory = adapter(other, tmp_path / "adapter")
    with pytest.raises(JobError, match="does not fit LlamaForCausalLM: none of its target modules is there"):
        lora.with_adapters(base, {"candidate": directory})


def test_a_second_adapter_is_held_as_strictly(base: Any, tmp_path: Path) -> None:
    """Both arms of a comparison."""
    from policies.training.model import lora

    good, bad = adapter(base, tmp_path / "good"), adapter(base, tmp_path / "bad")
    edited(bad, lambda w: {k: v for k, v in w.items() if "up_proj" not in k})
    with pytest.raises(JobError, match=r"adapter bad does not fit LlamaForCausalLM: it lacks"):
        lora.with_adapters(base, {"candidate": good, "stable": bad})


@pytest.mark.parametrize(
    ("parent", "recipe", "told"),
    [
        (SHAPE, Lora(r=8, alpha=8), "has r=4, alpha=8 and the recipe r=8, alpha=8: give the recipe"),
        (SHAPE, Lora(r=4, alpha=16), "has r=4, alpha=8 and the recipe r=4, alpha=16"),
        (
            Lora(r=4, alpha=8, dropout=0.1),
            SHAPE,
            "has r=4, alpha=8, dropout=0.1 and the recipe r=4, alpha=8, dropout=0.0",
        ),
        (
            Lora(r=4, alpha=8, target_modules=("q_proj", "v_proj")),
            Lora(r=4, alpha=8, target_modules=("q_proj", "k_proj")),
            "target_modules with v_proj and the recipe .*target_modules with k_proj",
        ),
        (
            Lora(r=4, alpha=8, target_modules=("q_proj", "v_proj")),
            SHAPE,
            "with no more and the recipe .*with down_proj, gate_proj, k_proj, o_proj and 1 more",
        ),
        (
            SHAPE,
            Lora(r=4, alpha=8, target_modules=r".*layers\.0\..*q_proj"),
            "target_modules with .*and the recipe .*target_modules with no more",
        ),
    ],
    ids=["rank", "alpha", "dropout", "other modules", "fewer modules", "fewer layers"],
)
def test_a_parent_of_another_shape_is_not_continued(
    base: Any, tmp_path: Path, parent: Lora, recipe: Lora, told: str
) -> None:
    """Each difference is named, with the way out."""
    from policies.training.model import lora

    directory = adapter(base, tmp_path / "agent-1", parent)
    with pytest.raises(JobError, match=rf"the parent adapter agent-1 .*{told}") as caught:
        lora.continued(base, directory, recipe)
    assert "`rlaifd rollback --to base`" in str(caught.value)


def test_the_same_modules_by_other_words_are_continued(base: Any, tmp_path: Path) -> None:
    """`all-linear` is what it means on this base model."""
    from policies.training.model import lora

    directory = adapter(base, tmp_path / "agent-1")
    model = lora.continued(base, directory, Lora(r=4, alpha=8, target_modules=SEVEN))
    assert sum(value.requires_grad for value in model.parameters()) == 28


@pytest.mark.parametrize("name", ["mixtral", "qwen3-moe", "falcon-h1", "nemotron-h"])
def test_experts_and_hybrids_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    """Adapters on fused experts are read back bit by bit and continued; Mamba's own layers get none."""
    import torch

    from policies.training.model import lora

    base = lora.load(str(build(FAMILIES[name], tmp_path / "model")), None, "cpu")
    model = lora.fresh(base, SHAPE)
    torch.manual_seed(1)
    for value in lora.trainable(model).values():
        torch.nn.init.normal_(value, std=0.2)
    weights = lora.state(model)
    lora.save(model, tmp_path / "adapter", base)
    model.unload()
    again = lora.continued(base, tmp_path / "adapter", SHAPE)
    found = lora.state(again)
    assert weights.keys() == found.keys()
    assert all(torch.equal(weights[key], found[key]) for key in weights)
    assert not any("mixer.out_proj" in key or "mamba.out_proj" in key for key in weights)
    if name in {"mixtral", "qwen3-moe"}:
        assert any("experts" in key for key in weights)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_saved_is_what_the_daemon_lets_through(tmp_path: Path, name: str) -> None:
    """Its list of what an adapter's configuration may say has all that a training writes: fused experts and
    names within a multimodal model too.
    """
    from policies.training.model import lora

    base = lora.load(str(build(FAMILIES[name], tmp_path / "base")), None, "cpu")
    config = (adapter(base, tmp_path / "adapter") / ADAPTER_CONFIG).read_bytes()
    loraconfig.check(loraconfig.parse(config), revision=None, targets="all-linear")


def test_a_pattern_of_the_recipe_is_let_through_as_the_recipes(base: Any, tmp_path: Path) -> None:
    """And no other one."""
    pattern = r".*\.(q|v)_proj"
    directory = adapter(base, tmp_path / "adapter", Lora(r=2, alpha=4, target_modules=pattern))
    config = loraconfig.parse((directory / ADAPTER_CONFIG).read_bytes())
    loraconfig.check(config, revision=None, targets=pattern)
    with pytest.raises(loraconfig.LoraConfigError, match=r"^target_modules: "):
        loraconfig.check(config, revision=None, targets=None)
