"""Judges that are reward models on this machine: verified before they are started, and of which family."""

from pathlib import Path

from connectors.errors import TransientError
from daemon.adapters import rewardmodels
from daemon.adapters.basedigest import CACHE, BaseOnDisk
from daemon.adapters.rewardmodels import RewardManifest
from daemon.children.resident import Resident
from daemon.config.judges import LocalJudgeConfig
from daemon.config.settings import Settings
from daemon.errors import AdapterRefusedError, ConfigError
from policies.configured import kin
from policies.training.resident.protocol import JudgeJob

JUDGES, REWARDS = "judges", "rewards"
"""Directories under the state directory: of residents' jobs and logs, and of published reward models."""


def resident(name: str, judge: LocalJudgeConfig, settings: Settings) -> Resident:
    """The judge's child process, not started yet. Raises ConfigError as `checked`."""
    found = checked(name, judge, settings)
    job = JudgeJob(
        base_model=found.base_model,
        revision=found.revision,
        reward=_directory(judge, settings),
        pessimism=judge.pessimism,
        device=judge.device,
        bf16=settings.training.bf16,
        threads=settings.training.threads,
    )
    return Resident(
        name,
        job,
        directory=settings.state_dir.resolve() / JUDGES / name,
        at_once=judge.concurrency,
        start_s=settings.training.stall_s,
        answer_s=judge.deadline_s,
    )


def checked(name: str, judge: LocalJudgeConfig, settings: Settings) -> RewardManifest:
    """The manifest of the judge's reward model. Raises ConfigError where it is not there, is not what it was,
    or has another base model than its own, and where the judge's family is not that of its base model.
    """
    cache = settings.state_dir / CACHE
    try:
        found = rewardmodels.verify(_directory(judge, settings), judge.model)
        BaseOnDisk(found.base, cache=cache).check(judge.model, found.base)
    except (AdapterRefusedError, TransientError) as error:
        raise ConfigError(f"judges.{name}.model: {error}") from None
    policy = settings.policy
    of_policys_base = BaseOnDisk(policy.base, cache=cache).now().refusal(judge.model, found.base) is None
    if of_policys_base and not kin(judge.family, policy.family):
        raise ConfigError(
            f"judges.{name}.family: {judge.model} was trained on the policy's base model: its family is "
            f"{policy.family}"
        )
    return found


def _directory(judge: LocalJudgeConfig, settings: Settings) -> Path:
    return settings.state_dir.resolve() / REWARDS / judge.model
