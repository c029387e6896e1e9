"""`rlaifd check`: the configuration and everything it points to, without starting anything."""

from pathlib import Path
from typing import Any

from connectors.decoders.detect import Decoders
from connectors.errors import ConnectorError
from connectors.judges.prices import Tariff, required, tariff
from daemon.config import JsonlConfig, JudgeConfig, KafkaConfig, Settings, load, secret
from daemon.errors import ConfigError
from daemon.rollout.file import RolloutFile
from daemon.stages.versions import documents
from policies.policy import EndpointSampling
from policies.records import Role

WITHOUT = {
    Role.SMALL: "no answers are scored, so there is nothing to train on",
    Role.LARGE: "no scores are audited, and its alignment is not asked for",
    Role.GATE: "nothing will be promoted",
}
"""What a missing judge means."""


def check(config: Path) -> dict[str, Any]:
    """What holds, with notes on what to expect. Raises ConfigError for the first thing that is wrong."""
    settings = load(config)
    notes = [*_judges(config, settings), *_sources(config, settings), *_rollout(settings)]
    documents(settings.policy)
    secret(settings.web.token, settings.web.token_file)
    if isinstance(settings.policy.sampling, EndpointSampling):
        secret(None, settings.policy.sampling.api_key_file)
    return {"config": str(config), "ok": True, "notes": notes}


def _judges(config: Path, settings: Settings) -> list[str]:
    for role, judge in settings.judges.items():
        if secret(judge.api_key, judge.api_key_file) is None and judge.base_url is None:
            raise ConfigError(f"{config}: judges.{role}: no key: set api_key_file")
        try:
            required(role, judge.model, price_of(judge), judge.daily_budget_usd)
        except ConnectorError as error:
            raise ConfigError(f"{config}: {error}") from None
    missing = [role for role in Role if role not in settings.judges]
    return [f"judges.{role} is not configured: {WITHOUT[role]}" for role in missing]


def price_of(judge: JudgeConfig) -> Tariff | None:
    """The judge's price, from the configuration or the list."""
    written = judge.price
    configured = Tariff(written.input_per_million, written.output_per_million) if written else None
    return tariff(judge.type, judge.model, base_url=judge.base_url, configured=configured)


def _sources(config: Path, settings: Settings) -> list[str]:
    notes = []
    for number, source in enumerate(settings.sources):
        try:
            Decoders(source.decoder)
        except ConnectorError as error:
            raise ConfigError(f"{config}: sources.{number}.decoder: {error}") from None
        if isinstance(source, KafkaConfig):
            secret(None, source.sasl_password_file)
            _readable(source.ssl_cafile, source.ssl_certfile, source.ssl_keyfile)
        elif isinstance(source, JsonlConfig) and not source.path.exists():
            notes.append(f"sources.{number}.path: {source.path} does not exist yet: it will be waited for")
    return notes


def _readable(*files: Path | None) -> None:
    for file in filter(None, files):
        try:
            file.open("rb").close()
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from None


def _rollout(settings: Settings) -> list[str]:
    file = settings.rollout.file
    if not file.exists():
        return [f"rollout.file: {file} does not exist: the base model stays in force"]
    RolloutFile(file, lock=settings.state_dir / "rollout.lock").read()
    return []
