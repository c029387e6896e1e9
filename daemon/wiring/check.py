"""`rlaifd check`: the configuration and everything it points to, without starting anything."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from connectors.decoders.detect import configured
from connectors.errors import ConnectorError
from daemon.children import family
from daemon.clock import SystemClock
from daemon.config.judges import ChatJudgeConfig, LocalJudgeConfig, shared_role
from daemon.config.secret import alert_token, api_key, secret
from daemon.config.settings import JsonlConfig, KafkaConfig, Settings, SourceConfig, StagesConfig, load
from daemon.errors import ConfigError, RlaifdError
from daemon.stages.rollout.file import RolloutFile
from daemon.status.readiness import as_object, stock_of
from daemon.store.existing import existing
from daemon.store.store import StoreError, database_url
from daemon.wiring import local
from daemon.wiring.judges import documents, named
from daemon.wiring.pricing import price_of
from policies import checkpoint
from policies.judging.judges import NamedJudge
from policies.laxity import weaker
from policies.policy import EndpointSampling, PolicySpec
from policies.records import Role
from policies.soundness import contradictions
from policies.stock import Stock

LEAST_BUDGET_USD = 1e-4
WITHOUT = {
    Role.SMALL: "no answers are scored, so there is nothing to train on",
    Role.LARGE: "no scores are audited, and its alignment is not asked for",
    Role.GATE: "nothing will be promoted",
}
"""What a missing judge means."""


def check(config: Path, *, inspect: Callable[[PolicySpec], list[str]] = family.notes) -> dict[str, Any]:
    """What holds, with notes and what is missing until the gate decides. `inspect` tries the base model out.

    Raises ConfigError for the first thing that is wrong. A store that cannot be read is a note: what it holds
    is not counted then.
    """
    settings = load(config)
    try:
        startable(settings)
        base_model(settings.policy)
        limits = inspect(settings.policy)
        rollout = _rollout(settings)
    except RlaifdError as error:
        raise ConfigError(f"{config}: {error}") from None
    judges = named(settings.judges, settings.policy.judging, *documents(settings.policy))
    stock, notes = _stored(settings, judges)
    return {
        "config": str(config),
        "ok": True,
        "notes": [*_absent(settings), *loose(settings), *rollout, *limits, *notes],
        **as_object(stock, settings, judges),
    }


def startable(settings: Settings) -> None:
    """Raises ConfigError or UsageError for the first setting with which the daemon could not work."""
    database_url(settings.store_url)
    for contradiction in contradictions(settings.policy):
        raise ConfigError(contradiction)
    _trains(settings)
    for key, directory in (
        ("state_dir", settings.state_dir),
        *((f"targets.{number}.path", target.path) for number, target in enumerate(settings.targets)),
    ):
        if directory.exists() and not directory.is_dir():
            raise ConfigError(f"{key}: {directory} is not a directory")
    if (shared := shared_role(settings.judges)) is not None:
        raise ConfigError(shared)
    for name, judge in settings.judges.items():
        _judge(name, judge, settings)
    for number, source in enumerate(settings.sources):
        _source(f"sources.{number}", source)
    documents(settings.policy)
    alert_token(settings.web)
    if isinstance(settings.policy.sampling, EndpointSampling):
        secret(None, settings.policy.sampling.api_key_file, key="policy.sampling.api_key_file")


def loose(settings: Settings) -> list[str]:
    """What lets more through than the shipped values, and what keeps the loop from turning, by its key."""
    notes = [f"overrides: {name} is set aside: a model may judge its like" for name in settings.overrides]
    notes += weaker(settings.policy)
    ratio, shipped = settings.stages.dead_letter_ratio, StagesConfig().dead_letter_ratio
    if ratio > shipped:
        notes.append(
            f"stages.dead_letter_ratio is {ratio:g}, above the shipped {shipped:g}: a wrong decoder loses "
            "more before it is stopped"
        )
    if not settings.policy.judging.small_rate:
        notes.append("policy.judging.small_rate is 0: no answer is scored, so there is nothing to train on")
    for name, judge in settings.judges.items():
        budget = judge.daily_budget_usd
        if budget is not None and budget < LEAST_BUDGET_USD:
            notes.append(f"judges.{name}.daily_budget_usd is {budget:g}: no call that costs anything is made")
    return notes


def _trains(settings: Settings) -> None:
    most, least = settings.policy.curation.max_pairs, settings.training.min_preferences
    if most < least:
        raise ConfigError(
            f"policy.curation.max_pairs ({most}) is below training.min_preferences ({least}): no snapshot is "
            "ever large enough to train on"
        )


def _stored(settings: Settings, judges: Sequence[NamedJudge]) -> tuple[Stock, list[str]]:
    """What the store holds, without making or changing one; nothing where there is none."""
    try:
        with existing(settings.store_url) as store:
            if store is None:
                return Stock(), []
            now = SystemClock().now()
            return store.read(lambda connection: stock_of(connection, settings, judges, now=now)), []
    except StoreError as error:
        return Stock(), [f"{error}; what it holds is not counted here"]


def base_model(policy: PolicySpec) -> None:
    """Raises ConfigError where the base model cannot be trained. A directory is looked at without loading it;
    of a hub's model nothing is known before it is fetched.
    """
    directory = Path(policy.base_model)
    if not directory.is_dir():
        return
    try:
        checkpoint.read(directory)
    except checkpoint.CheckpointError as error:
        raise ConfigError(f"policy.base_model: {error}") from None


def _judge(name: str, judge: ChatJudgeConfig | LocalJudgeConfig, settings: Settings) -> None:
    if isinstance(judge, LocalJudgeConfig):
        local.checked(name, judge, settings)
    elif api_key(name, judge) is None and judge.base_url is None:
        raise ConfigError(f"judges.{name}: no key: set api_key_file")
    price_of(name, judge)


def _source(place: str, source: SourceConfig) -> None:
    try:
        configured(source.decoder, source.mapping)
    except ConnectorError as error:
        key = "mapping" if str(error).startswith(f"{source.mapping}: ") else "decoder"
        raise ConfigError(f"{place}.{key}: {error}") from None
    if isinstance(source, KafkaConfig):
        _kafka(place, source)
    elif source.path.exists() and not source.path.is_dir():
        raise ConfigError(f"{place}.path: {source.path} is not a directory")


def _kafka(place: str, source: KafkaConfig) -> None:
    from connectors.sources.kafka.client import check_files
    from daemon.wiring.broker import FILES, SECRETS

    for key in SECRETS:
        secret(None, getattr(source, key), key=f"{place}.{key}")
    try:
        for key in FILES:
            check_files(f"{place}.{key}", getattr(source, key))
    except ConnectorError as error:
        raise ConfigError(str(error)) from None


def _absent(settings: Settings) -> list[str]:
    roles = {judge.role for judge in settings.judges.values()}
    notes = [f"judges: none has the role {role}: {why}" for role, why in WITHOUT.items() if role not in roles]
    for number, source in enumerate(settings.sources):
        if isinstance(source, JsonlConfig) and not source.path.exists():
            notes.append(f"sources.{number}.path: {source.path} does not exist yet: it will be waited for")
    return notes


def _rollout(settings: Settings) -> list[str]:
    file = settings.rollout.file
    if not file.exists():
        return [f"rollout.file: {file} does not exist: the base model stays in force"]
    try:
        RolloutFile(file, lock=settings.state_dir / "rollout.lock").read()
    except ConfigError as error:
        raise ConfigError(f"rollout.file: {error}") from None
    return []
