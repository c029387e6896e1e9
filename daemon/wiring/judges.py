"""The versions of the configured judges: what their verdicts are stored under and their alignment is of."""

from collections.abc import Mapping

from daemon.config.judges import ChatJudgeConfig, LocalJudgeConfig
from daemon.errors import ConfigError
from policies import library
from policies.judging import constitution, rubric
from policies.judging.constitution import Constitution
from policies.judging.judges import NamedJudge
from policies.judging.prompts import judge_version
from policies.judging.rubric import Rubric
from policies.policy import JudgingRule, PolicySpec
from policies.records import Role, digest


def documents(policy: PolicySpec) -> tuple[Constitution, Rubric]:
    """What the judges read beside the case. Raises ConfigError for what cannot be read, one line."""
    key = "constitution"
    try:
        principles, key = constitution.load(policy.constitution), "rubric"
        return principles, rubric.load(policy.rubric)
    except library.LibraryError as error:
        raise ConfigError(f"policy.{key}: {error}") from None


def named(
    judges: Mapping[str, ChatJudgeConfig | LocalJudgeConfig],
    rule: JudgingRule,
    constitution: Constitution,
    rubric: Rubric,
) -> tuple[NamedJudge, ...]:
    """The configured judges with their versions: those of role small first, then large, then gate."""

    def version(judge: ChatJudgeConfig | LocalJudgeConfig) -> str:
        if isinstance(judge, LocalJudgeConfig):
            return digest(["local", judge.model, judge.pessimism])
        return judge_version(
            model=judge.model,
            constitution=constitution,
            rubric=rubric,
            temperature=judge.temperature,
            max_tokens=judge.max_tokens,
            samples=rule.samples,
            logprobs=judge.logprobs,
            structured=judge.structured,
            reasoning=rule.show_reasoning,
        )

    return tuple(
        NamedJudge(name, role, version(judge))
        for role in Role
        for name, judge in judges.items()
        if judge.role is role
    )
