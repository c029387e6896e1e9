"""Reward models: the loss, whole trainings on the tiny model, and what is read back."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies.recipes import Lora
from policies.snapshot import Pair
from policies.training.errors import JobError
from policies.training.layout import REWARD
from policies.training.planning.resolved import ResolvedReward
from tests.policies.training.conftest import said
from tests.policies.training.engines.wishes import separable

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

RECIPE = ResolvedReward(
    steps=1,
    lora=Lora(r=4, alpha=8),
    learning_rate=1e-2,
    epochs=2,
    batch_size=8,
    checkpoint_steps=3,
    max_length=100,
)


@pytest.fixture
def settings_for(own_base: Any, tmp_path: Path) -> Callable[..., Any]:
    from policies.training.engines import folds

    def make(name: str = "run", recipe: ResolvedReward = RECIPE, **changes: Any) -> Any:
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        pad = own_base.tokenizer.pad_token_id
        return folds.FoldSettings(base=own_base, pad=pad, recipe=recipe, out=out, seed=3, **changes)

    return make


@pytest.fixture
def examples_of(rendering: Any) -> Callable[..., list[Any]]:
    from policies.training.model.dataset import prepare

    def make(pairs: list[Pair]) -> list[Any]:
        return prepare(pairs, rendering, 200).examples

    return make


def stopper(step: int) -> Any:
    """A callback that ends a training after so many steps over all folds, as a request to stop does."""
    from transformers import TrainerCallback

    class Stopper(TrainerCallback):
        def __init__(self) -> None:
            self.steps = 0

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.steps += 1
            if self.steps == step:
                control.should_save = True
                control.should_training_stop = True

    return Stopper()


def terms(chosen: list[float], rejected: list[float], **changes: Any) -> Any:
    import torch

    from policies.training.engines.bradley_terry import bradley_terry

    columns = {"weight": [1.0] * len(chosen), "soft": [1.0] * len(chosen)}
    columns |= {name: changes.pop(name) for name in list(changes) if name in columns}
    tensors = {name: torch.tensor(value) for name, value in columns.items()}
    numbers = {"centring": 0.0, "margin": 0.0} | changes
    return bradley_terry(torch.tensor(chosen), torch.tensor(rejected), **tensors, **numbers)


def test_the_loss_is_what_one_gets_by_hand() -> None:
    """Leads 2 and -1, the second pair at weight 3 and label 0.75, centring 0.01."""

    def log_sigmoid(x: float) -> float:
        return -math.log1p(math.exp(-x))

    found = terms([1.5, 0.0], [-0.5, 1.0], weight=[1.0, 3.0], soft=[1.0, 0.75], centring=0.01)
    first = -log_sigmoid(2) + 0.01 * 1.0**2
    second = 3 * (-0.75 * log_sigmoid(-1) - 0.25 * log_sigmoid(1) + 0.01 * 1.0**2)
    assert found.loss.item() == pytest.approx((first + second) / 2, rel=1e-6)
    assert found.accuracy.item() == 0.5
    assert found.margin.item() == pytest.approx(0.5)
    assert found.score.item() == pytest.approx(0.5)


def test_a_margin_must_be_led_by() -> None:
    """At a lead that equals the label's log odds a margin of 1 calls it undecided: the loss is log 2."""
    soft = 0.9
    odds = math.log(soft / (1 - soft))
    wanted = -soft * math.log(0.5) + (1 - soft) * math.log1p(math.exp(2 * odds))
    assert terms([odds], [0.0], soft=[soft], margin=1.0).loss.item() == pytest.approx(wanted, rel=1e-5)
    certain = terms([4.0], [0.0], soft=[1.0], margin=1.0)
    assert certain.loss.item() == pytest.approx(math.log(2), rel=1e-5), "certainty asks for a lead of 4"


def test_the_loss_is_trls_where_labels_and_weights_are_one() -> None:
    """TRL's own computation on the same scores, centring and margin included."""
    from types import SimpleNamespace

    import torch
    from trl import RewardTrainer

    scores = torch.tensor([1.2, -0.3, 0.4, 0.9, 0.1, -1.0])

    class Accelerator:
        def gather(self, value: Any) -> Any:
            return value

        gather_for_metrics = gather

    from collections import defaultdict

    trl = SimpleNamespace(
        model=SimpleNamespace(training=True),
        args=SimpleNamespace(center_rewards_coefficient=0.01),
        accelerator=Accelerator(),
        _total_train_tokens=0,
        _tp_size=1,
        _metrics={"train": defaultdict(list)},
    )
    inputs = {"attention_mask": torch.ones(6, 2), "margin": torch.full((3,), 4.0)}
    theirs = RewardTrainer.compute_loss(
        trl, lambda **_inputs: SimpleNamespace(logits=scores[:, None]), inputs
    )
    ours = terms(scores[:3].tolist(), scores[3:].tolist(), centring=0.01, margin=1.0)
    assert ours.loss.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_it_learns_the_order_of_answers_that_it_has_not_seen(
    settings_for: Callable[..., Any], examples_of: Callable[..., list[Any]], rendering: Any
) -> None:
    """64 pairs teach politeness; of 32 others more than nine in ten are put in order, whoever is longer."""
    from policies.training.engines import folds, reward_model
    from policies.training.engines.roles import Roles
    from policies.training.model import lora

    settings = settings_for()
    ended = folds.train(settings, examples_of([separable(n) for n in range(64)]))
    assert (ended.state, ended.steps) == ("done", 16)
    assert set(ended.files) == {
        "reward.json", "fold-0/adapter_config.json", "fold-0/adapter_model.safetensors",
        "fold-0/head.safetensors",
    }  # fmt: skip
    fresh = [
        separable(n).model_copy(update={"prompt": (said("user", "where is my order today"),)})
        for n in range(100, 132)
    ]
    model = reward_model.load(
        Roles(lora.fresh(settings.base, Lora()), rendering.pad), settings.out / REWARD, settings.base
    )
    (scores,) = model.scores(folds.answers_of(examples_of(fresh)))
    right = sum(good > bad for good, bad in zip(scores[::2], scores[1::2], strict=True))
    assert right / 32 > 0.9


def test_soft_labels_and_weights_move_it(
    settings_for: Callable[..., Any], examples_of: Callable[..., list[Any]]
) -> None:
    """Labels near one half teach a small lead; pairs of weight 0 teach none."""
    from policies.training.engines import folds

    def lead(name: str, **changes: Any) -> float:
        pairs = [separable(n).model_copy(update=changes) for n in range(64)]
        settings = settings_for(name, RECIPE.model_copy(update={"centring": 0.0}))
        folds.train(settings, examples_of(pairs))
        return _mean_lead(settings, examples_of(pairs))

    sure, unsure = lead("sure"), lead("unsure", soft=0.6)
    assert sure > 2
    assert 0 < unsure < 0.6 * sure


def _mean_lead(settings: Any, examples: list[Any]) -> float:
    from policies.training.engines import folds, reward_model
    from policies.training.engines.roles import Roles
    from policies.training.model import lora

    model = lora.fresh(settings.base, Lora())
    read = reward_model.load(Roles(model, settings.pad), settings.out / REWARD, settings.base)
    (scores,) = read.scores(folds.answers_of(examples))
    model.unload()
    return sum(scores[::2]) / len(examples) - sum(scores[1::2]) / len(examples)


def test_folds_leave_out_other_prompts_and_are_measured_on_them(
    settings_for: Callable[..., Any], examples_of: Callable[..., list[Any]]
) -> None:
    """Two folds share no left-out prompt, each orders what it has not seen, and they are not one model."""
    from policies.training.engines import folds

    examples = examples_of([separable(n) for n in range(64)])
    parts = [folds.split(examples, number, 2) for number in range(2)]
    prompts = [{tuple(example.prompt) for example in left} for _, left in parts]
    assert not prompts[0] & prompts[1]
    assert sum(len(left) for _, left in parts) == len(examples)
    ended = folds.train(settings_for(recipe=RECIPE.model_copy(update={"folds": 2})), examples)
    assert ended.figures["held_out"] > 0.9
    one, other = (ended.files[f"fold-{number}/head.safetensors"].sha256 for number in range(2))
    assert one != other


def test_too_few_prompts_for_the_folds_are_refused(
    settings_for: Callable[..., Any], examples_of: Callable[..., list[Any]]
) -> None:
    """One prompt fills one fold."""
    from policies.training.engines import folds

    with pytest.raises(JobError, match="1 pairs do not fill 2 folds"):
        folds.train(settings_for(recipe=RECIPE.model_copy(update={"folds": 2})), examples_of([separable(0)]))


def test_scores_are_calibrated_on_points(
    settings_for: Callable[..., Any], examples_of: Callable[..., list[Any]]
) -> None:
    """Points of 8 for polite and 2 for curt answers put new ones near there; falling points are refused."""
    from policies.training.engines import folds

    examples = examples_of([separable(n) for n in range(64)])
    answers = folds.answers_of(examples)
    points = [
        folds.Point(tuple(prompt), tuple(answer), 2.0 if place % 2 else 8.0)
        for place, (prompt, answer) in enumerate(answers)
    ]
    ended = folds.train(settings_for(), examples, points)
    (line,) = ended.calibrations
    assert line.points == 128
    assert line.residual is not None
    assert line.residual < 2
    turned = [folds.Point(point.prompt, point.answer, 10 - point.reward) for point in points]
    with pytest.raises(JobError, match=r"cannot be calibrated: .* do not rise"):
        folds.train(settings_for("turned"), examples, turned)


def test_no_label_is_spent_on_calibration(examples_of: Callable[..., list[Any]]) -> None:
    """Prompts with a pair that people labelled are all learned from; judges' pairs give the points."""
    from policies.training.engines import folds

    judged = [
        separable(n).model_copy(update={"chosen_reward": 8.0, "rejected_reward": 2.0}) for n in range(400)
    ]
    asked = [(said("user", f"calibrate {n}"),) for n in range(50)]
    people = [
        separable(n).model_copy(update={"prompt": prompt, "source": "people"})
        for n, prompt in enumerate(asked)
    ]
    learned, points = folds.held_out(examples_of([*judged, *people]))
    assert points
    assert sum(each.chosen_reward is None for each in learned) == 50
    assert len(learned) < 450


@pytest.mark.parametrize("step", [1, 4, 9])
def test_a_training_that_was_stopped_goes_on_to_the_very_same_model(
    settings_for: Callable[..., Any], examples_of: Callable[..., list[Any]], step: int
) -> None:
    """Stopped in the first fold or the second and asked for again: the files are bit for bit the same."""
    from policies.training.engines import folds

    examples = examples_of([separable(n) for n in range(32)])
    recipe = RECIPE.model_copy(update={"folds": 2, "epochs": 3})
    whole = folds.train(settings_for("whole", recipe), examples)
    cut = folds.train(settings_for("cut", recipe, callbacks=[stopper(step)]), examples)
    assert cut.state == "stopped"
    assert f"of fold {2 if step == 9 else 1} of 2" in cut.reason
    again = folds.train(settings_for("cut", recipe), examples)
    assert (again.state, again.files) == ("done", whole.files)


def test_a_torn_checkpoint_is_set_aside(
    settings_for: Callable[..., Any], examples_of: Callable[..., list[Any]]
) -> None:
    """A cut file makes the checkpoint no checkpoint: the run begins at the one before, to the same model."""
    from policies.training.engines import folds, reward

    examples = examples_of([separable(n) for n in range(32)])
    expected = folds.train(settings_for(), examples)
    folder = settings_for().out / "checkpoints" / "fold-0"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-6", "checkpoint-8"]
    torn = folder / "checkpoint-8" / reward.WEIGHTS
    torn.write_bytes(torn.read_bytes()[:-10])
    assert folds.train(settings_for(), examples).files == expected.files
    assert (folder / "torn-checkpoint-8").is_dir()


def test_a_loss_that_is_not_finite_stops_at_once(
    settings_for: Callable[..., Any], examples_of: Callable[..., list[Any]]
) -> None:
    """One pair whose weight overflows ends the training on its step, without a reward model."""
    from policies.training.engines import folds

    pairs = [separable(n) for n in range(32)]
    pairs[11] = pairs[11].model_copy(update={"weight": 1e39})
    settings = settings_for(recipe=RECIPE.model_copy(update={"checkpoint_steps": 1}))
    ended = folds.train(settings, examples_of(pairs))
    assert ended.state == "halted"
    assert ended.reason == f"step {ended.steps}: the loss is inf"
    assert 1 <= ended.steps <= 4
    assert not (settings.out / REWARD).exists()
    assert not (settings.out / "checkpoints" / "fold-0" / f"checkpoint-{ended.steps}").exists()


def test_a_lost_head_is_found_out(
    settings_for: Callable[..., Any], examples_of: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that is saved other than it was trained fails the run: any head gives any answer a number."""
    from policies.training.engines import folds, heads

    real = heads.save
    monkeypatch.setattr(
        heads, "save", lambda head, where: real(heads.fresh(32, 1, head.weight.device), where)
    )
    with pytest.raises(JobError, match="read back is not what was trained"):
        folds.train(settings_for(), examples_of([separable(n) for n in range(16)]))


def test_a_missing_head_is_never_made_anew(
    settings_for: Callable[..., Any], examples_of: Callable[..., list[Any]]
) -> None:
    """Without its file, or with that of another width, there is no reward model."""
    from policies.training.engines import folds, heads, reward_model
    from policies.training.engines.roles import Roles
    from policies.training.model import lora

    settings = settings_for()
    folds.train(settings, examples_of([separable(n) for n in range(16)]))
    fold = settings.out / REWARD / "fold-0"
    with pytest.raises(JobError, match="no head of 33 weights"):
        heads.load(fold, 33, settings.base.device)
    (fold / heads.HEAD).unlink()
    roles = Roles(lora.fresh(settings.base, Lora()), settings.pad)
    with pytest.raises(JobError, match="no head of 32 weights"):
        reward_model.load(roles, settings.out / REWARD, settings.base)
