"""The demo's configuration files are ones that rlaifd accepts."""

from pathlib import Path
from typing import Any

import pytest

from daemon.config.judges import ChatJudgeConfig
from daemon.config.settings import JsonlConfig, KafkaConfig, Settings, load
from daemon.demo import settings, world
from policies.policy import Splits
from policies.recipes import RECIPES, DpoRecipe


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "base").mkdir()
    return settings.base(seed=4, judges_port=1234, web_port=0, sample_least=600, kafka=None, real_judge=None)


def loaded(path: Path, document: dict[str, Any]) -> Settings:
    settings.write(path / "rlaifd.yaml", document)
    return load(path / "rlaifd.yaml")


def anchor(each: Settings) -> float:
    assert isinstance(each.policy.recipe, DpoRecipe)
    return each.policy.recipe.sft_weight


def test_the_daemon_accepts_all_three(tmp_path: Path, document: dict[str, Any]) -> None:
    """They differ in name, recipe and lock; the bad ones share the store and nothing else that is locked."""
    good = loaded(tmp_path, document)
    flipped = loaded(tmp_path, settings.flipped(document))
    unanchored = loaded(tmp_path, settings.unanchored(document))
    assert isinstance(good.sources[0], JsonlConfig)
    assert [anchor(each) > 0 for each in (good, flipped, unanchored)] == [True, True, False]
    assert {flipped.state_dir, unanchored.state_dir} == {good.state_dir}
    assert len({each.training.lock for each in (good, flipped, unanchored)}) == 3
    assert len({each.policy.name for each in (good, flipped, unanchored)}) == 3


def test_the_demo_trains_by_numbers_of_its_own(tmp_path: Path, document: dict[str, Any]) -> None:
    """No rule for real models decides what it shows: only how a step is cut is left open."""
    for each in (document, settings.flipped(document), settings.unanchored(document)):
        policy = loaded(tmp_path, each).policy
        left_open = {name for name, value in policy.recipe if value == "auto"}
        assert left_open == {"gradient_accumulation", "gradient_checkpointing"}
        assert "auto" not in {policy.guards.every_steps, policy.guards.samples}


def test_only_the_unanchored_training_is_left_to_the_gate(tmp_path: Path, document: dict[str, Any]) -> None:
    """Its guards watch and stop nothing; the others' stop."""
    watched = loaded(tmp_path, settings.unanchored(document)).policy.guards
    for guards, mode in (
        (watched, "dry_run"),
        (loaded(tmp_path, settings.flipped(document)).policy.guards, "enforce"),
    ):
        modes = {
            guards.kl_nats.mode,
            guards.entropy_low_ratio.mode,
            guards.entropy_high_ratio.mode,
            guards.chosen_logp_drop_nats.mode,
        }
        assert modes == {mode}


def test_the_gate_is_the_usual_one(tmp_path: Path, document: dict[str, Any]) -> None:
    """The KL ceiling is 10 nats per sequence, and alignment's lower bound must be above 0.80."""
    gate = loaded(tmp_path, document).policy.gate
    assert gate.max_kl_nats == 10.0
    assert gate.min_alignment == 0.80
    assert gate.min_win_rate == 0.5


def test_by_ppo_the_daemon_trains_a_reward_model_first(tmp_path: Path) -> None:
    """Both recipes are followed on schedule; the bad adapters are trained by DPO all the same."""
    (tmp_path / "base").mkdir()
    document = settings.base(
        seed=4, judges_port=1, web_port=0, sample_least=1, kafka=None, real_judge=None, method="ppo"
    )
    policy = loaded(tmp_path, document).policy
    assert [each.method for each in policy.recipes] == ["reward", "ppo"]
    assert policy.splits.audit == 2 * Splits().audit
    for bad in (settings.flipped(document), settings.unanchored(document)):
        assert [each.method for each in loaded(tmp_path, bad).policy.recipes] == ["dpo"]


def test_every_recipe_is_one_that_there_is_and_ones_own_to_change() -> None:
    """What is changed in one is not changed in the next."""
    for method in settings.RECIPES:
        recipe = settings.recipe(method, checkpoint_steps=7)
        assert RECIPES.validate_python(recipe).method == method
        recipe["lora"]["r"] = 1
        assert settings.recipe(method)["lora"]["r"] == 8


def test_a_real_judge_takes_small_and_large_and_the_gate_stays_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key comes from the environment and is in no file."""
    monkeypatch.setenv("RLAIFD_JUDGES__SMALL__API_KEY", "secret-of-small")
    monkeypatch.setenv("RLAIFD_JUDGES__LARGE__API_KEY", "secret-of-large")
    (tmp_path / "base").mkdir()
    document = settings.base(
        seed=0, judges_port=1, web_port=0, sample_least=1, kafka=("127.0.0.1:9092", "t"), real_judge="gpt-x"
    )
    found = loaded(tmp_path, document)
    small, gate = found.judges["small"], found.judges["gate"]
    assert isinstance(small, ChatJudgeConfig)
    assert isinstance(found.sources[0], KafkaConfig)
    assert small.model == found.judges["large"].model == "gpt-x"
    assert small.base_url is None
    assert small.api_key is not None
    assert small.api_key.get_secret_value() == "secret-of-small"
    assert gate.model == "simulated-gate"
    assert "secret" not in (tmp_path / "rlaifd.yaml").read_text()


def test_sampling_waits_for_all_the_prompts_it_takes() -> None:
    """Train and audit are three quarters of the clusters; the same prompt twice is one."""
    prompts = [case.prompt for case in world.customers(0)[:400]]
    assert 260 < settings.sampled_prompts(prompts) < 340
    assert settings.sampled_prompts(prompts * 2) == settings.sampled_prompts(prompts)
    none = Splits(train=0, calibrate=0, audit=0, gate=1)
    assert settings.sampled_prompts(prompts, none) == 0
