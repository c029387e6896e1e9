"""The versions of the configured judges: what their verdicts are stored under and their alignment is of."""

from collections.abc import Mapping

from daemon.config import JudgeConfig
from daemon.errors import ConfigError
from policies import constitution, library, rubric
from policies.constitution import Constitution
from policies.policy import JudgingRule, PolicySpec
from policies.prompts import judge_version
from policies.records import Role
from policies.rubric import Rubric


def version_of(judge: JudgeConfig, rule: JudgingRule, constitution: Constitution, rubric: Rubric) -> str:
    """The version of one judge."""
    return judge_version(
        model=judge.model,
        constitution=constitution,
        rubric=rubric,
        temperature=judge.temperature,
        max_tokens=judge.max_tokens,
        samples=rule.samples,
        logprobs=judge.logprobs,
        structured=judge.structured,
    )


def documents(policy: PolicySpec) -> tuple[Constitution, Rubric]:
    """What the judges read beside the case. Raises ConfigError for what cannot be read, one line."""
    try:
        return constitution.load(policy.constitution), rubric.load(policy.rubric)
    except library.LibraryError as error:
        raise ConfigError(f"policy: {error}") from None


def versions(
    judges: Mapping[Role, JudgeConfig], rule: JudgingRule, constitution: Constitution, rubric: Rubric
) -> dict[Role, str]:
    """The version of each configured judge."""
    return {role: version_of(judges[role], rule, constitution, rubric) for role in Role if role in judges}
