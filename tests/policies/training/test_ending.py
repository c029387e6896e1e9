"""What happens after the last step: an adapter that is worth keeping and is what it says, or one line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policies.training.errors import JobError
from policies.training.jobs import TrainJob, TrainResult
from policies.training.layout import ADAPTER, ADAPTER_WEIGHTS
from tests.families import FAMILIES, build
from tests.policies.training.conftest import RECIPE, pair

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

JobFor = Callable[..., TrainJob]
Train = Callable[..., TrainResult]
HINT = "raise policy.recipe.learning_rate or epochs"


@pytest.mark.parametrize(
    ("rate", "told"),
    [
        (0.0, "training changed no weight: "),
        (1e-30, "training changed nothing that can be seen: on 16 answers KL 0.0000 nats (least 0.01)"),
        (3e-7, "training changed nothing that can be seen: on 16 answers KL 0.00"),
    ],
    ids=["no rate", "bits alone", "too small"],
)
def test_an_adapter_that_is_its_base_is_not_published(
    job_for: JobFor, train: Train, rate: float, told: str
) -> None:
    """The run ends in a state of its own, with the figures and what to do, and leaves no file."""
    job = job_for(recipe=RECIPE.model_copy(update={"learning_rate": rate}))
    result = train(job)
    assert (result.state, result.steps, result.files) == ("unchanged", 8, {})
    assert result.reason.startswith(told)
    assert result.reason.endswith(HINT)
    assert not (job.out / ADAPTER).exists()
    assert result.probe is not None
    assert result.probe.largest < 0.1


def test_an_adapter_that_is_its_parent_is_not_published(job_for: JobFor, train: Train) -> None:
    """The parent is what it is compared with: far from the base, and not moved."""
    first = job_for("first")
    done = train(first)
    recipe = RECIPE.model_copy(update={"learning_rate": 1e-30, "epochs": 1})
    result = train(job_for("second", parent=first.out / ADAPTER, recipe=recipe))
    assert (done.state, result.state) == ("done", "unchanged")
    assert done.probe is not None
    assert result.probe is not None
    assert done.probe.largest > 1
    assert result.probe.largest < 0.01
    assert [each.parent for each in result.probe.sequences] == pytest.approx(
        [each.adapter for each in done.probe.sequences], abs=1e-3
    ), "the same answers of the same snapshot: the parent's numbers are the first run's adapter's"


@pytest.mark.filterwarnings("ignore:.*_pattern keys did not match")
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("qwen3.5", "model.language_model.layers.1.self_attn.q_proj"),
        ("mixtral", "model.layers.1.mlp.experts"),
    ],
)
def test_a_whole_run_ends_under_the_names_of_the_checkpoints_own_class(
    job_for: JobFor, train: Train, tmp_path: Path, name: str, key: str
) -> None:
    """A multimodal checkpoint, and one of experts: trained, scored, written, read back, and continued."""
    from safetensors.torch import load_file

    base_model = str(build(FAMILIES[name], tmp_path / "model"))
    recipe = RECIPE.model_copy(update={"max_steps": 2, "learning_rate": 3e-2, "warmup_ratio": 0.0})
    pairs = [pair(number) for number in range(8)]
    job = job_for("first", base_model=base_model, recipe=recipe, pairs=pairs)
    assert train(job).state == "done"
    keys = load_file(job.out / ADAPTER / ADAPTER_WEIGHTS).keys()
    assert any(each.startswith(f"base_model.model.{key}") for each in keys)
    again = train(
        job_for("second", base_model=base_model, recipe=recipe, pairs=pairs, parent=job.out / ADAPTER)
    )
    assert again.state == "done"
    assert again.readings[0].kl_sequence == pytest.approx(0, abs=1e-5)


def test_the_probe_is_what_anybody_gets_from_the_files(job_for: JobFor, train: Train) -> None:
    """LoadedBase and adapter, loaded anew by plain PEFT, give the kept numbers, token ids and all."""
    from peft import PeftModel

    from policies import snapshot
    from policies.training.model import lora, probe
    from policies.training.model.dataset import prepare
    from policies.training.model.rendering import Rendering

    job = job_for()
    result = train(job)
    base = lora.load(job.base_model, None, "cpu")
    rendering = Rendering(base.tokenizer, generation=base.model.generation_config)
    examples = prepare(snapshot.read(job.snapshot).pairs, rendering, 200).examples
    texts = probe.draw(examples, job.seed)
    model = PeftModel.from_pretrained(base.model, str(job.out / ADAPTER))
    found = probe.describe(texts, probe.score(model, texts, policy=lora.POLICY, reference=None))
    assert result.probe is not None
    assert found.tokens_sha256 == result.probe.tokens_sha256
    for again, kept in zip(found.sequences, result.probe.sequences, strict=True):
        assert again.tokens == kept.tokens
        assert again.adapter == pytest.approx(kept.adapter, abs=1e-3)
        assert again.parent == pytest.approx(kept.parent, abs=1e-3)


class Trained:
    """An adapter that a training could have made, at its end."""

    def __init__(
        self, base_model: Path, directory: Path, *, std: float = 0.1, dtype: str = "float32"
    ) -> None:
        import torch

        from policies.training.model import lora, probe
        from policies.training.model.dataset import prepare
        from policies.training.model.rendering import Rendering

        self.base = lora.load(str(base_model), None, "cpu")
        self.base.model.to(getattr(torch, dtype))
        self.model = lora.fresh(self.base, RECIPE.lora)
        self.before = lora.fingerprint(lora.trainable(self.model))
        torch.manual_seed(0)
        for value in lora.trainable(self.model).values():
            torch.nn.init.normal_(value, std=std)
        rendering = Rendering(self.base.tokenizer, generation=self.base.model.generation_config)
        self.texts = probe.draw(prepare([pair(n) for n in range(4)], rendering, 200).examples, 1)
        self.directory = directory

    def end(self, **changes: Any) -> Any:
        from policies.training.ending import end

        base = replace(self.base, **changes)
        return end(
            self.model, base, self.texts, self.directory, reference=None, before=self.before,
            served_as=None, remedy=HINT,
        )  # fmt: skip


@pytest.fixture
def trained(tiny_model: Path, tmp_path: Path) -> Trained:
    return Trained(tiny_model, tmp_path / "adapter")


def test_what_is_written_is_what_was_trained(trained: Trained) -> None:
    """Read back on the bare base; both files are described."""
    ending = trained.end()
    assert ending.reason is None
    assert len(ending.files) == 2
    assert ending.probe.largest > 0.1


def test_half_precision_is_told_from_a_change(tiny_model: Path, tmp_path: Path) -> None:
    """An adapter far below rounding is none, although its answers differ by roundings; a real one is kept,
    and is read back.
    """
    nothing = Trained(tiny_model, tmp_path / "nothing", std=3e-3, dtype="bfloat16").end()
    learned = Trained(tiny_model, tmp_path / "learned", dtype="bfloat16").end()
    assert nothing.reason is not None
    assert nothing.probe.rounding_largest > 0
    assert nothing.probe.largest > 0
    assert learned.reason is None
    assert learned.probe.largest > 10 * learned.probe.rounding_largest


def test_names_of_another_class_are_not_published(trained: Trained) -> None:
    """A server would match nothing and serve the base model: the checkpoint's own class is asked."""
    from transformers import LlamaForCausalLM

    from policies.training.model.naming import Naming

    wrong = Naming("model", "model.language_model", LlamaForCausalLM, trained.base.model.config)
    with pytest.raises(JobError, match="does not fit LlamaForCausalLM: none of its target modules is there"):
        trained.end(naming=wrong)


def scale(config: Any) -> None:
    config.lora_alpha *= 3


def fewer(config: Any) -> None:
    config.target_modules = {"q_proj"}


def more(config: Any) -> None:
    config.target_modules |= {"lm_head"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (scale, "does not answer as what was trained: a log-probability is .* its configuration says"),
        (fewer, "it has unknown weights for .* and 22 more"),
        (more, "it lacks weights for .*lm_head"),
    ],
    ids=["scale", "fewer modules", "more modules"],
)
def test_a_configuration_that_is_not_the_weights_is_not_published(
    trained: Trained, change: Callable[[Any], None], told: str
) -> None:
    """PEFT would load it without an error; the first one would serve another policy."""
    from policies.training.model.lora import POLICY

    change(trained.model.peft_config[POLICY])
    with pytest.raises(JobError, match=told):
        trained.end()


def test_numbers_that_are_none_are_not_published(trained: Trained) -> None:
    """A weight that is not a number shows in the answers before it shows in the files."""
    from policies.training.model import lora

    next(iter(lora.trainable(trained.model).values())).data.fill_(float("nan"))
    with pytest.raises(JobError, match="not finite"):
        trained.end()
    assert not trained.directory.exists()
