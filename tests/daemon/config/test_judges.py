"""Judges have names and roles; those that are named by their roles are refused with the lines to write."""

import re
from pathlib import Path

import pytest
import yaml

from daemon.cli.context import wired
from daemon.config.judges import ChatJudgeConfig
from daemon.config.settings import load
from daemon.errors import ConfigError
from daemon.wiring import check
from policies.records import Role
from tests.daemon.configuration import TEXT, settings, write

FIRST = """\
state_dir: state
sources:
  - {type: jsonl, name: agent, path: logs}
policy: {name: support-agent, family: llama, base_model: base}
judges:
  small:                          # scores the traffic
    type: openai
    model: small-judge
    family: gpt
    base_url: "http://127.0.0.1:1/v1"
    api_key: a-secret-key
    price: {input_per_million: 0.5, output_per_million: 1}
    daily_budget_usd: 5
    temperature: null
  gate: {type: anthropic, model: gate-judge, family: claude, api_key_file: key}
rollout: {file: rollout.yaml, directory: serving}
...
"""
"""As the first version had it."""


def refused(directory: Path, text: str) -> str:
    """With what a text is refused."""
    with pytest.raises(ConfigError) as caught:
        load(write(directory, text))
    return str(caught.value)


def test_judges_by_role_are_refused_with_the_lines_to_write(tmp_path: Path) -> None:
    """Pasted in their place they pass `check`, and say of each judge what it was; no secret is shown."""
    (tmp_path / "key").write_text("k", encoding="utf-8")
    message = refused(tmp_path, FIRST)
    first, *lines = message.splitlines()
    assert first.endswith("judges.small.role is missing: a judge has a name and a role. Write")
    assert lines[0] == "judges:"
    assert "a-secret-key" not in message

    start, _, rest = FIRST.partition("judges:\n")
    pasted = start + "\n".join(lines) + "\n" + rest[rest.index("rollout:") :]
    found = settings(tmp_path, pasted)
    check.check(tmp_path / "rlaifd.yaml", inspect=lambda _: [])
    was = yaml.safe_load(FIRST)["judges"]
    for name, judge in found.judges.items():
        assert isinstance(judge, ChatJudgeConfig)
        before = ChatJudgeConfig.model_validate({**was[name], "role": name})
        assert (judge.api_key is None, judge.api_key_file is None) == (
            before.api_key is None,
            before.api_key_file is None,
        )
        keys = {"api_key", "api_key_file"}
        assert judge.model_dump(exclude=keys) == before.model_dump(exclude=keys)


def test_only_the_judges_that_lack_a_role_get_one(tmp_path: Path) -> None:
    """A judge that is written anew stays so, and one with another name was never the first version's."""
    mixed = FIRST.replace("  gate: {type", "  arbiter: {role: gate, type")
    assert "\n  arbiter:\n    role: gate\n    type" in refused(tmp_path, mixed)
    message = refused(tmp_path, TEXT.replace("small: {role: small, ", "quick: {"))
    assert message.endswith("judges.quick.role: is required and missing")


def test_two_judges_of_a_role_are_refused_where_anything_begins(tmp_path: Path) -> None:
    """In one line, by `check` and at start; the configuration itself may hold them."""
    second = TEXT.replace("  large: {role: large", "  other: {role: small")
    path = write(tmp_path, second)
    assert [judge.role.value for judge in load(path).judges.values()] == ["small", "small", "gate"]
    with pytest.raises(
        ConfigError, match=r"judges\.other\.role is small, which is that of judges\.small too: "
    ) as told:
        check.check(path, inspect=lambda _: [])
    assert "\n" not in str(told.value)
    with pytest.raises(ConfigError, match=r"judges\.other\.role is small"), wired(path, working=True):
        pass


@pytest.mark.parametrize(
    ("name", "ok"), [("haiku-4.5", True), ("a_b", True), ("Haiku", False), ("a:b", False), ("", False)]
)
def test_a_judges_name_is_part_of_keys(tmp_path: Path, name: str, ok: bool) -> None:
    """Small letters, which environment variables can say, and no colon, which ends it in a natural key."""
    text = TEXT.replace("  large: {", f'  "{name}": {{')
    if ok:
        assert settings(tmp_path, text).judges[name].role is Role.LARGE
    else:
        assert "judges." in refused(tmp_path, text)


def test_no_judge_of_role_small_is_refused(tmp_path: Path) -> None:
    """Whatever others are called."""
    text = TEXT.replace("small: {role: small", "small: {role: large")
    assert "judges: none has the role small: nothing would be scored" in refused(tmp_path, text)


def test_a_reward_model_is_no_gate(tmp_path: Path) -> None:
    """What PPO may learn from does not decide what is promoted."""
    text = re.sub(r"gate: {[^}]*}", "gate: {role: gate, type: local, model: m, family: claude}", TEXT)
    assert "judges.gate.role: a reward model never judges for the gate" in refused(tmp_path, text)
