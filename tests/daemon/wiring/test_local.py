"""A judge of type local: its model is verified before anything begins, and its family is its base's."""

import re
from pathlib import Path

import pytest

from daemon.adapters import rewardmodels
from daemon.adapters.rewardmodels import PublishedReward, RewardManifest
from daemon.cli.context import wired
from daemon.config.judges import LocalJudgeConfig
from daemon.errors import ConfigError, RlaifdError
from daemon.stages.judge.local import LocalAssessor
from daemon.wiring import by_hand
from daemon.wiring import check as checks
from daemon.wiring.parts import Wiring
from tests.daemon.adapters.basefiles import write_base
from tests.daemon.adapters.rewardfiles import reward_source
from tests.daemon.configuration import TEXT, settings, write

OVERRIDE = "overrides: [judge-of-own-family]\n"


def published(directory: Path, base: Path) -> PublishedReward:
    """A reward model in the state directory of the configuration."""
    files = reward_source(directory / "made", base=str(base))
    manifest = RewardManifest(
        policy="support-agent",
        base_model=str(base),
        revision=None,
        snapshot="s",
        run="r",
        recipe={"method": "reward"},
        code_version="1",
        files=files,
    )
    return rewardmodels.publish(
        directory / "made", directory=directory / "state" / "rewards", manifest=manifest
    )


def local(model: str, family: str, *, more: str = "") -> str:
    """A configuration whose small judge is the reward model."""
    judge = f"small: {{role: small, type: local, model: {model}, family: {family}}}"
    start, _, rest = TEXT.partition("  small: {")
    return f"{start}  {judge}\n{rest[rest.index('  large:') :]}".replace("web:", f"{more}web:")


def check(path: Path) -> None:
    checks.check(path, inspect=lambda _: [])


def test_a_model_on_another_base_judges(tmp_path: Path) -> None:
    """`check` passes, and the stage asks its child; it needs no key and has no price."""
    other = write_base(tmp_path / "other", seed=5)
    model = published(tmp_path, other)
    path = write(tmp_path, local(model.name, "mistral"))
    check(path)
    parts = Wiring(settings(tmp_path, path.read_text(encoding="utf-8")))
    small, *_ = parts.assessors
    assert isinstance(small, LocalAssessor)
    assert (small.named.name, small.family, small.terms.limit_usd) == ("small", "mistral", None)
    parts.close()


def test_a_model_on_the_policys_base_is_of_its_family(tmp_path: Path) -> None:
    """It cannot be written otherwise, and then it is refused as the policy's own unless that is set aside."""
    base = write_base(tmp_path / "base")
    model = published(tmp_path, base)
    with pytest.raises(
        ConfigError, match=r"judges\.small\.family: .* was trained on the policy's base model: .* llama"
    ):
        check(write(tmp_path, local(model.name, "mistral")))
    with pytest.raises(ConfigError, match=r"judges\.small\.family \(llama\) is the policy's own"):
        check(write(tmp_path, local(model.name, "llama")))
    path = write(tmp_path, local(model.name, "llama", more=OVERRIDE))
    check(path)
    parts = Wiring(settings(tmp_path, path.read_text(encoding="utf-8")))
    parts.prepare_store()
    assert "judge-of-own-family is set aside: a model may judge its like" in parts.status()["conditions"]
    parts.close()


def test_a_model_that_is_not_there_or_was_changed_is_refused(tmp_path: Path) -> None:
    """By `check` and before anything begins, in a line that names the key."""
    write_base(tmp_path / "base")
    path = write(tmp_path, local("support-agent-reward-0123456789ab", "mistral"))
    with pytest.raises(
        ConfigError, match=r"judges\.small\.model: reward model .* is not a reward model's directory"
    ):
        check(path)
    with pytest.raises(RlaifdError, match=r"judges\.small\.model: "), wired(path, working=True):
        pass
    model = published(tmp_path, write_base(tmp_path / "other", seed=5))
    path = write(tmp_path, local(model.name, "mistral"))
    line = model.path / "reward.json"
    line.chmod(0o644)
    line.write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"judges\.small\.model: .*reward\.json: its SHA-256"):
        check(path)


def test_its_version_is_the_model_and_how_it_is_read(tmp_path: Path) -> None:
    """Another release, or another pessimism, is another judge."""
    write_base(tmp_path / "base")
    texts = [local(model, "mistral") for model in ("a-reward-000000000000", "a-reward-111111111111")]
    texts.append(texts[0].replace("family: mistral", "family: mistral, pessimism: 1"))
    texts.append(texts[0].replace("family: mistral", "family: mistral, concurrency: 2"))
    found = [Wiring(settings(tmp_path, text)) for text in texts]
    assert isinstance(found[0].settings.judges["small"], LocalJudgeConfig)
    versions = [parts.named[0].version for parts in found]
    assert len(set(versions[:3])) == 3
    assert versions[3] == versions[0]


def test_a_command_judges_where_every_judge_is_local(tmp_path: Path) -> None:
    """There is no client of a chat model to build or to close; without work no child is started."""
    model = published(tmp_path, write_base(tmp_path / "other", seed=5))
    text = re.sub(r"  (large|gate): \{[^}]*\}\n", "", local(model.name, "mistral"))
    parts = Wiring(settings(tmp_path, text))
    parts.prepare_store()
    for _ in range(2):
        assert {name: found.ended for name, found in by_hand.judge(parts).items()} == {"small": 0}
    assert not (tmp_path / "state" / "judges").exists()
    parts.close()
