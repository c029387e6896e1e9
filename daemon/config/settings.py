"""rlaifd.yaml, parsed once into a frozen tree.

Sources, later ones winning: the file, then `RLAIFD_` environment variables (`__` for nesting, JSON for
lists). Unknown keys and unknown `RLAIFD_` variables are errors. The file ends with YAML's document-end
marker `...`: without it, it was cut off, and a cut-off YAML file usually still parses.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from daemon.config.anchoring import anchored
from daemon.config.complaint import first
from daemon.config.hosts import is_loopback
from daemon.config.judges import JudgeConfig, asked, respelt
from daemon.config.logins import KafkaLogin
from daemon.config.targets import SERVING, TargetConfig, require_apart, with_targets
from daemon.config.yamlfile import read_yaml
from daemon.errors import ConfigError
from policies.agentversion import Rule
from policies.configured import (
    YEAR_S,
    Configured,
    Count,
    Often,
    Seconds,
    as_meant,
    misfit,
    presentable,
)
from policies.judging import independence
from policies.judging.independence import Override
from policies.judging.judges import JudgeName
from policies.launch import Launch
from policies.policy import PolicySpec
from policies.pressure import PressureRule
from policies.records import Role
from policies.redaction import Pattern
from policies.training.turn import TURN

PREFIX = "RLAIFD_"
TESTS = "RLAIFD_TEST_"
NO_SETTING = "RLAIFD_CONFIG"
SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
BROKER = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?"
BROKERS = f"^{BROKER}(,{BROKER})*$"
Kept = Annotated[float, Field(ge=0.001, le=1)]
Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class StoreConfig(Configured):
    """Where rows live. None is SQLite inside the state directory."""

    url: SecretStr | None = None


class JsonlConfig(Configured):
    """A directory of JSONL files, followed like a topic. The embedded default."""

    type: Literal["jsonl"]
    name: SourceName = "agent"
    path: Path
    pattern: str = "*.jsonl*"
    decoder: str = "auto"
    mapping: Path | None = None
    """A file that says where in the log's own JSON the fields are (`connectors.decoders.mapping`)."""
    agent_version: Rule = "auto"
    """By what versions of the agent are told apart (`policies.agentversion`)."""
    keep: Kept = 1.0
    """Share of the traces that are kept, by a hash of the event's id; the others are skipped and counted."""
    poll_s: Often = 0.5
    max_in_flight_records: Count = 5000
    max_in_flight_bytes: int = Field(default=64 << 20, ge=1, le=1 << 40)


class KafkaConfig(KafkaLogin):
    """Kafka topics, consumed as a group."""

    type: Literal["kafka"]
    name: SourceName = "agent"
    bootstrap_servers: str = Field(pattern=BROKERS)
    topics: tuple[Topic, ...] = Field(min_length=1)
    group_id: str = "rlaifd"
    decoder: str = "auto"
    mapping: Path | None = None
    agent_version: Rule = "auto"
    keep: Kept = 1.0
    auto_offset_reset: Literal["earliest", "none"] = "none"
    max_in_flight_records: Count = 5000
    max_in_flight_bytes: int = Field(default=64 << 20, ge=1, le=1 << 40)
    bootstrap_timeout_s: float = Field(default=10.0, ge=0.1, le=3600)
    session_timeout_s: float = Field(default=45.0, ge=1, le=1800)


SourceConfig = Annotated[JsonlConfig | KafkaConfig, Field(discriminator="type")]


def _lock(name: str) -> str:
    taken = name in ("daemon.lock", "rollout.lock", TURN)
    if taken or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.lock", name):
        raise ValueError(f"{name} is no name for it: write another NAME.lock, without a directory")
    return name


class TrainingConfig(Configured):
    """When training starts, and what the child process may use."""

    interval_s: Seconds | None = 3600.0
    """How often to look whether a run is due; None: only `rlaifd train` starts one."""
    min_new_preferences: Count = 256
    """A run starts by itself when so many came since the last one began that learned from its own."""
    min_preferences: Count = 64
    """Least pairs of a run's snapshot, after all caps, whoever starts it."""
    cooldown_s: float = Field(default=0.0, ge=0, le=YEAR_S)
    """So long after the adapter in force changed, the gate rejected one, or a run failed, none starts by
    itself: what is in force is to be seen at work first."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    bf16: Literal["auto", "off"] = "auto"
    """auto: on cards that have it in hardware; off: float32 everywhere."""
    memory_gb: float | None = Field(default=None, ge=0.01, le=1e5)
    """What a training may take of the device, in 10^9 bytes; None: what is there."""
    turns: Literal["auto", "always", "never"] = "auto"
    """Whether training, sampling and comparing wait for each other; auto: on a card."""
    launch: Launch = Launch()
    threads: int = Field(default=1, ge=1, le=4096)
    """CPU threads of the child. More than the free cores makes small models many times slower."""
    stall_s: float = Field(default=600.0, ge=0.1, le=YEAR_S)
    """A child that reports no step for so long is killed."""
    lock: Annotated[str, AfterValidator(_lock)] = "training.lock"
    """File under the state directory that one child at a time holds."""


class RolloutConfig(Configured):
    """Where the wanted adapter is named, and who brings it into force."""

    file: Path = Path("rollout.yaml")
    auto_promote: bool = True
    """An adapter the gate passed is written into the rollout file by the daemon itself."""
    poll_s: Often = 5.0
    lead: bool = True
    """False: one of several daemons on a database that only ingests and judges. It never trains, decides or
    serves, and needs neither the adapters nor the rollout file."""


class WebConfig(Configured):
    """The HTTP listener."""

    host: str = "127.0.0.1"
    port: int = Field(default=9464, ge=0, le=65535)
    names: tuple[str, ...] = ()
    """Host names under which the pages may be asked for; IP addresses and localhost always may."""
    token: SecretStr | None = None
    token_file: Path | None = None
    """Bearer token of `/alerts`. Without one the endpoint is open, which only loopback may be."""

    @model_validator(mode="after")
    def _open_only_on_loopback(self) -> "WebConfig":
        if self.token is None and self.token_file is None and not is_loopback(self.host):
            raise misfit("host", f"{self.host} is not loopback and no token is set: set token_file")
        if self.token is not None:
            try:
                presentable(self.token.get_secret_value(), guessed_at=not is_loopback(self.host))
            except ValueError as error:
                raise misfit("token", str(error)) from None
        return self


class ReviewConfig(Configured):
    """Whose labels count."""

    reviewers: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = ()
    """Everybody whose labels are taken; empty: anybody's, of at most 20 names."""


class StagesConfig(Configured):
    """How the stages take their work."""

    batch_records: int = Field(default=500, ge=1, le=500)
    batch_s: float = Field(default=0.1, ge=0.001, le=60)
    claim_s: float = Field(default=300.0, ge=0.1, le=86_400)
    """How long a claim lasts: a killed worker's work is taken up again after it."""
    claim_batch: int = Field(default=64, ge=1, le=10_000)
    """Judgements that are held at a time, and most that are claimed at once. At least twice as many are held
    as the judge is asked about at once: no place in flight waits for a claim.
    """
    poll_s: Often = 1.0
    sample_least: int = Field(default=32, ge=1, le=100_000)
    """Sampling waits for so many prompts: a child takes seconds to start."""
    sample_most: int = Field(default=512, ge=1, le=100_000)
    sample_patience_s: Seconds = 300.0
    """A prompt waits no longer than this for others to be sampled with."""
    join_settle_s: float = Field(default=5.0, ge=0, le=86_400)
    """A trace of spans whose root has ended is joined when no part of it came for so long: parts travel on
    other partitions, and log records after their spans."""
    join_quiet_s: float = Field(default=30.0, ge=0, le=86_400)
    """One whose root has not, when none came for so long."""
    join_oldest_s: float = Field(default=600.0, ge=1, le=86_400)
    """And any that is open for so long. A part that comes later makes a revision."""
    dead_letter_ratio: float = Field(default=0.05, gt=0, le=1)
    """More than this share of the last 1,000 records in no known format (or 50 in a row) stops the source."""
    pressure: PressureRule = PressureRule()

    @model_validator(mode="after")
    def _most_is_enough(self) -> "StagesConfig":
        if self.sample_least > self.sample_most:
            raise misfit(
                "sample_least",
                f"{self.sample_least} is above sample_most ({self.sample_most}): so many prompts are never "
                "sampled with at a time",
            )
        return self


class RedactionConfig(Configured):
    """What is taken out of events before they are stored. It finds what has a form, and nothing else."""

    patterns: tuple[Pattern, ...] = ()


class LogConfig(Configured):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Settings(BaseSettings):
    """The whole configuration. Paths are relative to the file's directory."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        case_sensitive=False,
        allow_inf_nan=False,
    )

    state_dir: Path = Path(".rlaifd")
    store: StoreConfig = StoreConfig()
    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    judges: dict[JudgeName, JudgeConfig]
    policy: PolicySpec
    overrides: tuple[Override, ...] = ()
    """Independence rules that are set aside, by name."""
    training: TrainingConfig = TrainingConfig()
    rollout: RolloutConfig = RolloutConfig()
    targets: tuple[TargetConfig, ...] = Field(default=SERVING, min_length=1)
    """Where adapters are served. Each is brought to what is in force by itself."""
    web: WebConfig = WebConfig()
    review: ReviewConfig = ReviewConfig()
    stages: StagesConfig = StagesConfig()
    redaction: RedactionConfig = RedactionConfig()
    log: LogConfig = LogConfig()
    seed: int = Field(default=0, ge=0, lt=1 << 32)

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, written: Any) -> Any:
        return as_meant(cls, with_targets(written))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @property
    def store_url(self) -> str:
        """The database's URL with its password."""
        if self.store.url is not None:
            return self.store.url.get_secret_value()
        return f"sqlite:///{self.state_dir / 'rlaifd.db'}"

    @model_validator(mode="after")
    def _sources_have_names(self) -> "Settings":
        names: dict[str, int] = {}
        for number, source in enumerate(self.sources):
            first = names.setdefault(source.name, number)
            if first != number:
                raise ValueError(
                    f"sources.{number}.name is that of sources.{first} ({source.name}): only one of them "
                    "would be read: give each its own"
                )
        return self

    @model_validator(mode="after")
    def _targets_are_apart(self) -> "Settings":
        require_apart(self.targets)
        return self

    @model_validator(mode="after")
    def _judges_are_independent(self) -> "Settings":
        if not any(judge.role is Role.SMALL for judge in self.judges.values()):
            raise ValueError("judges: none has the role small: nothing would be scored")
        problem = independence.problem(asked(self.judges), self.policy, self.overrides)
        if problem is not None:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _claims_outlive_calls(self) -> "Settings":
        for name, judge in self.judges.items():
            if self.stages.claim_s <= judge.deadline_s:
                raise ValueError(
                    f"stages.claim_s ({self.stages.claim_s:g}) must be longer than judges.{name}.deadline_s "
                    f"({judge.deadline_s:g}): every claim would end before its first answer"
                )
        return self


def load(path: Path) -> Settings:
    """Reads, checks and resolves the configuration. Raises ConfigError: one line, and where judges are
    named by their roles the lines to write in their place.
    """
    raw = read_yaml(path)
    _refuse_unknown_variables()
    if (judges := respelt(raw)) is not None:
        raise ConfigError(f"{path}: {judges}")
    try:
        settings = Settings(**raw)
    except ValidationError as error:
        raise ConfigError(first(path, error, raw, known=Settings.model_fields)) from None
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))
        name = f"{PREFIX}{field[1].upper()}" if field else f"an {PREFIX} variable"
        raise ConfigError(f"environment variable {name}: not JSON: quote it as JSON, or unset it") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    settings = anchored(settings, path.resolve().parent)
    _require_pinned_model(path, settings.policy)
    return settings


def _require_pinned_model(path: Path, policy: PolicySpec) -> None:
    if Path(policy.base_model).is_dir():
        return
    if policy.revision is not None:
        return
    raise ConfigError(
        f"{path}: policy.base_model: {policy.base_model} is no directory; for a model of a hub set "
        "policy.revision to its commit, so that its weights cannot change under the adapters"
    )


def _refuse_unknown_variables() -> None:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    for variable in os.environ:
        upper = variable.upper()
        if not upper.startswith(PREFIX) or upper.startswith(TESTS) or upper == NO_SETTING:
            continue
        if upper.split("__", 1)[0] not in known:
            raise ConfigError(f"environment variable {variable}: no such setting; unset or correct it")
