"""Plans as a child makes them: from snapshot, tokenizer and configuration, with no weight loaded."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from policies.policy import TrainingGuards
from policies.recipes import DpoRecipe
from policies.training import lesson
from policies.training.errors import JobError
from policies.training.jobs import PlanJob, TrainJob, TrainResult
from policies.training.layout import CHECKPOINTS, PLAN
from policies.training.model import device
from policies.training.planning.plan import TrainingPlan
from policies.training.progress import Reporter
from policies.training.run import train as run_train
from tests.daemon.adapters.basefiles import tensors
from tests.policies.training.conftest import pair
from tests.policies.training.planning.facts import dpo as explicit

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

JobFor = Callable[..., TrainJob]
GB = 1_000_000_000


@pytest.fixture
def plan_for(job_for: JobFor, tiny_model: Path, tmp_path: Path) -> Callable[..., TrainingPlan]:
    """The plan for so many pairs on the tiny model, whose weights are not there."""
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare, ignore=shutil.ignore_patterns("*.safetensors"))

    def make(count: int, **changes: object) -> TrainingPlan:
        asked = {"recipe": DpoRecipe(), "guards": TrainingGuards(), "memory_gb": 8.0} | changes
        job = job_for(f"plan-{count}", pairs=[pair(n) for n in range(count)], base_model=str(bare), **asked)
        fields = job.model_dump(exclude={"kind", "lock", "lock_wait_s", "base_digest", "served_as", "judged"})
        result = lesson.run_plan(PlanJob.model_validate(fields))
        assert result.plan is not None
        return result.plan

    return make


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (16, (4, 1, 6.0, 24, 0)),
        (200, (4, 2, 2.0, 50, 5)),
        (5000, (4, 4, 1.0, 313, 10)),
    ],
)
def test_the_plan_of_a_snapshot(
    plan_for: Callable[..., TrainingPlan],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    expected: tuple[float, ...],
) -> None:
    """The numbers of the rules, the tokens that were counted, and a speed that was measured."""
    monkeypatch.setattr(lesson, "PROBE_S", 0.01)
    found = plan_for(count)
    recipe = explicit(found)
    numbers = (recipe.batch_size, recipe.gradient_accumulation, recipe.epochs, recipe.steps)
    assert (*numbers, recipe.warmup_steps) == expected
    assert found.facts.lengths.pairs == count
    assert found.facts.lengths.longest == 21
    assert found.facts.there == 8 * GB
    assert found.rate is not None
    assert found.rate > 0
    assert found.refusal == ""


def test_pairs_that_do_not_count_are_told_by_reason(job_for: JobFor) -> None:
    """Left out: equal answers and overlong ones; cut-off rejected answers are told beside."""
    cut = pair(5).model_copy(update={"rejected_truncated": True})
    pairs = [
        pair(0),
        pair(1),
        pair(2, chosen="yes " * 250),
        pair(3, rejected=" of course we can check that for you"),
        cut,
    ]
    job = job_for(pairs=pairs)
    facts = lesson.plan_of(job, lesson.read(job)).facts
    assert facts.left_out == {"identical": 1, "too_long": 1, "unfit": 0}
    assert (facts.lengths.pairs, facts.cut) == (3, 1)


def test_what_does_not_fit_is_refused_before_a_weight_is_loaded(job_for: JobFor, tmp_path: Path) -> None:
    """The base model's weights are not there, and nobody misses them."""
    bare = tmp_path / "bare"
    shutil.copytree(job_for("first").base_model, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    (bare / "model.safetensors").write_bytes(tensors())  # those of another model: none of them is loaded
    job = job_for(base_model=str(bare), memory_gb=0.5)
    with (
        Reporter(job.out / "progress.jsonl") as reporter,
        pytest.raises(JobError, match=r"the cpu has 0\.5 GB"),
    ):
        run_train(job, reporter, lambda: False)
    assert not (job.out / PLAN).exists()


def test_a_run_that_is_taken_up_keeps_its_numbers(
    job_for: JobFor, train: Callable[..., TrainResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, and resumed on a machine that has other memory: the same plan and the same adapter."""
    recipe = DpoRecipe(checkpoint_steps=3, max_length=200)
    expected = train(job_for("whole", recipe=recipe, memory_gb=None))
    cut = job_for("cut", recipe=recipe, memory_gb=None)
    from policies.training.engines import dpo

    monkeypatch.setattr(device, "memory", lambda *_: 2 * GB)
    stopped = train(cut, stop_at=4)
    assert stopped.state == "stopped"
    monkeypatch.setattr(device, "memory", lambda *_: 64 * GB)
    monkeypatch.setattr(dpo, "decide", lambda *_: pytest.fail("decided anew"), raising=True)
    monkeypatch.setattr(lesson, "plan_of", lambda *_: expected.plan)
    resumed = train(cut)
    assert (resumed.state, resumed.resumed_from) == ("done", stopped.steps)
    assert resumed.plan == stopped.plan
    assert resumed.files == expected.files
    assert resumed.rate is None
    assert expected.rate is not None


def test_a_run_without_a_checkpoint_is_planned_anew(job_for: JobFor) -> None:
    """Nothing was learned by the old plan; one that cannot be read is none."""
    job = job_for()
    known = lesson.read(job)
    now = lesson.plan_of(job, known)
    other = now.model_copy(update={"every_steps": 1})
    for text in (other.model_dump_json(), "{", "{}"):
        (job.out / PLAN).write_text(text, encoding="utf-8")
        assert lesson.taken_up(job, known).every_steps == now.every_steps
    assert not (job.out / CHECKPOINTS).exists()
