"""Training, sampling, comparing and saving on tiny models of every kind of architecture."""

import json
from pathlib import Path
from typing import Any

import pytest

from policies.snapshot import Pair
from policies.training.layout import ADAPTER_WEIGHTS
from tests.conversations import CONVERSATIONS, agent
from tests.dialects import DIALECTS
from tests.families import FAMILIES, build
from tests.workbench import Workbench

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    # PEFT looks for it among the modules; experts are parameters, and theirs is not ignored.
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:The following alpha_pattern keys did not match:RuntimeWarning"),
]

TAUGHT = ("plain", "later question", "answer is a call", "two calls at once", "plain")
PROMPTS = tuple(CONVERSATIONS[name].prompt for name in ("plain", "history of a call", "system"))
CALLS_UNSHOWN = {"gemma2", "gemma3-text", "gemma3", "phi3", "cohere2", "gpt2"}
"""Their chat templates have no place for calls: pairs and prompts with calls are left out."""
ENDLESS = {"glm4-moe"}
"""Their chat templates write no end after an answer: the family is refused. Its architecture is tested with
the words of another.
"""


def pairs() -> list[Pair]:
    """Plain answers, histories with calls, and answers that are calls; without a system's text, so that
    templates without its role can show them.
    """
    return [
        Pair(
            preference=number,
            prompt=tuple(each for each in CONVERSATIONS[name].prompt if each.role != "system"),
            chosen=CONVERSATIONS[name].answer,
            rejected=(agent("No."),),
        )
        for number, name in enumerate(TAUGHT)
    ]


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


def logits(model: Any) -> Any:
    """What a model says after one fixed text."""
    import torch

    training = model.training
    with torch.no_grad():
        said = model.eval()(input_ids=torch.tensor([[70, 80, 90, 100, 110]])).logits[0].float()
    model.train(training)
    return said


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Filled with the logits of the very models whose adapters are saved."""
    from policies.training.model import lora

    seen: list[Any] = []
    real = lora.save

    def save(model: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(logits(model))
        return real(model, *arguments, **options)

    monkeypatch.setattr(lora, "save", save)
    return seen


def served(base: Path, adapter: Path | None) -> Any:
    """What a server says: the class that the checkpoint names, and the adapter by PEFT alone."""
    import torch
    import transformers
    from peft import PeftModel

    (named,) = json.loads((base / "config.json").read_text(encoding="utf-8"))["architectures"]
    loaded = getattr(transformers, named).from_pretrained(base, dtype=torch.float32, local_files_only=True)
    return logits(loaded if adapter is None else PeftModel.from_pretrained(loaded, str(adapter)))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_trained_sampled_compared_and_saved(
    name: str, bench: Workbench, saved: list[Any]
) -> None:
    """Two steps and two more from the adapter; under plain PEFT it says what the trained model said; a batch
    changes no answer, and both policies answer what the template can show.
    """
    import torch
    from safetensors.torch import load_file

    build(FAMILIES[name], bench.base, dialect=DIALECTS["qwen3"] if name in ENDLESS else None)
    unfit = 3 if name in CALLS_UNSHOWN else 0
    first = bench.train("first", pairs())
    second = bench.train("second", pairs(), parent=bench.adapter("first"))
    for run in (first, second):
        assert (run.state, run.steps, run.examples) == ("done", 2, len(TAUGHT) - unfit)
        assert run.left_out["unfit"] == unfit
        assert [reading.step for reading in run.readings] == [0, 2]
        assert run.readings[0].kl_sequence == pytest.approx(0, abs=1e-6)
        assert run.readings[1].kl_sequence > 0

    assert torch.allclose(served(bench.base, bench.adapter("first")), saved[0], atol=1e-5)
    assert (saved[0] - served(bench.base, None)).abs().max() > 1e-3
    weights = load_file(bench.adapter("first") / ADAPTER_WEIGHTS)
    idle = [key for key, value in weights.items() if "lora_B" in key and not value.any()]
    assert idle == [], "a module that no text reaches has no place in the adapter"

    alone, together = (
        bench.sample(PROMPTS, "second", count=2, max_new_tokens=6, batch_size=size) for size in (1, 32)
    )
    assert alone == together
    expected = [2, 0 if name in CALLS_UNSHOWN else 2, 2]
    assert [len(row) for row in alone.answers] == expected
    compared = bench.compare(PROMPTS, stable="first", candidate="second", max_new_tokens=6)
    assert [answer is not None for answer in compared.candidate] == [bool(count) for count in expected]
    assert sorted(compared.refused) == [index for index, count in enumerate(expected) if not count]
    assert compared.kl_sequence > 0
    assert min(compared.entropy_stable, compared.entropy_candidate) > 0


@pytest.mark.parametrize("name", sorted(ENDLESS))
def test_a_template_without_an_end_is_refused(name: str, bench: Workbench) -> None:
    """A model that is never taught to stop is not trained; one line says so."""
    from policies.training.errors import JobError

    build(FAMILIES[name], bench.base)
    with pytest.raises(JobError, match="ends an answer with no token at which sampling stops") as refusal:
        bench.train("first", pairs())
    assert "\n" not in str(refusal.value)
