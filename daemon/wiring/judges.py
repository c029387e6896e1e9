"""The versions of the configured judges: what their verdicts are stored under and their alignment is of."""

from collections.abc import Mapping

from daemon.config.settings import JudgeConfig
from daemon.errors import ConfigError
from policies import library
from policies.judging import constitution, rubric
from policies.judging.constitution import Constitution
from policies.judging.prompts import judge_version
from policies.judging.rubric import Rubric
from policies.policy import JudgingRule, PolicySpec
from policies.records import Role


def documents(policy: PolicySpec) -> tuple[Constitution, Rubric]:
    """What the judges read beside the case. Raises ConfigError for what cannot be read, one line."""
    key = "constitution"
    try:
        principles, key = constitution.load(policy.constitution), "rubric"
        return principles, rubric.load(policy.rubric)
    except library.LibraryError as error:
        raise ConfigError(f"policy.{key}: {error}") from None


def versions(
    judges: Mapping[Role, JudgeConfig], rule: JudgingRule, constitution: Constitution, rubric: Rubric
) -> dict[Role, str]:
    """The version of each configured judge."""
    return {
        role: judge_version(
            model=judges[role].model,
            constitution=constitution,
            rubric=rubric,
            temperature=judges[role].temperature,
            max_tokens=judges[role].max_tokens,
            samples=rule.samples,
            logprobs=judges[role].logprobs,
            structured=judges[role].structured,
            reasoning=rule.show_reasoning,
        )
        for role in Role
        if role in judges
    }
