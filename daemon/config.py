"""rlaifd.yaml, parsed once into a frozen tree.

Sources, later ones winning: the file, then `RLAIFD_` environment variables (`__` for nesting, JSON for
lists). Unknown keys and unknown `RLAIFD_` variables are errors. The file ends with YAML's document-end
marker `...`: without it, it was cut off, and a cut-off YAML file usually still parses.
"""

import ipaddress
import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from daemon.errors import ConfigError
from daemon.yamlfile import read_yaml
from policies import library
from policies.policy import PolicySpec
from policies.records import Frozen, Role

PREFIX = "RLAIFD_"
TESTS = "RLAIFD_TEST_"
NO_SETTING = "RLAIFD_CONFIG"
COMMIT = re.compile(r"[0-9a-f]{40}")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class StoreConfig(Frozen):
    """Where rows live. None is SQLite inside the state directory."""

    url: SecretStr | None = None


class JsonlConfig(Frozen):
    """A directory of JSONL files, followed like a topic. The embedded default."""

    type: Literal["jsonl"]
    name: str = "agent"
    path: Path
    pattern: str = "*.jsonl*"
    decoder: str = "auto"
    poll_s: PositiveFloat = 0.5


class KafkaConfig(Frozen):
    """Kafka topics, consumed as a group."""

    type: Literal["kafka"]
    name: str = "agent"
    bootstrap_servers: str
    topics: tuple[str, ...] = Field(min_length=1)
    group_id: str = "rlaifd"
    decoder: str = "auto"
    auto_offset_reset: Literal["earliest", "none"] = "earliest"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password_file: Path | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    max_in_flight_records: PositiveInt = 5000
    max_in_flight_bytes: PositiveInt = 64 << 20
    bootstrap_timeout_s: PositiveFloat = 10.0
    session_timeout_s: PositiveFloat = 45.0


SourceConfig = Annotated[JsonlConfig | KafkaConfig, Field(discriminator="type")]


class Price(Frozen):
    """US dollars per million tokens. A written 0 is a price; an absent price refuses under a budget."""

    input_per_million: float = Field(ge=0)
    output_per_million: float = Field(ge=0)


class JudgeConfig(Frozen):
    """One judge. `family` is never guessed: it decides whether a model would judge itself."""

    type: Literal["openai", "anthropic"]
    model: str
    family: str = Field(min_length=1)
    base_url: str | None = None
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    price: Price | None = None
    """None: looked up by model name; a model that is in no price list cannot be called under a budget."""
    daily_budget_usd: float | None = Field(default=None, ge=0)
    concurrency: PositiveInt = 16
    requests_per_minute: PositiveFloat | None = None
    deadline_s: PositiveFloat = 60.0
    attempts: PositiveInt = 4
    """Tries per judgement before it is put back for later."""
    max_tokens: PositiveInt = 1024
    temperature: float | None = Field(default=0.0, ge=0)
    """Null leaves it to the provider: reasoning models refuse any other."""
    structured: bool = True
    """Send the answer's JSON schema; off for servers that refuse `response_format`."""
    logprobs: bool = False
    """The judge offers token log-probabilities: a score is then the expected value from one call."""


class TrainingConfig(Frozen):
    """When training starts, and what the child process may use."""

    interval_s: PositiveFloat | None = 3600.0
    """How often to look whether a run is due; None: only `rlaifd train` starts one."""
    min_new_preferences: PositiveInt = 256
    min_preferences: PositiveInt = 64
    device: Literal["auto", "cuda", "cpu"] = "auto"
    bf16: Literal["auto", "off"] = "auto"
    """auto: on cards that have it in hardware; off: float32 everywhere."""
    memory_gb: PositiveFloat | None = None
    """What a training may take of the device, in 10^9 bytes; None: what is there."""
    threads: PositiveInt = 1
    """CPU threads of the child. More than the free cores makes small models many times slower."""
    stall_s: PositiveFloat = 600.0
    """A child that reports no step for so long is killed."""
    lock: str = "training.lock"
    """File under the state directory that one child at a time holds."""


class RolloutConfig(Frozen):
    """Where the wanted and the served adapter are named."""

    file: Path = Path("rollout.yaml")
    directory: Path = Path("serving")
    """The target: `current` is a link to the served adapter, `current.json` names it with the epoch."""
    auto_promote: bool = True
    """An adapter the gate passed is written into the rollout file by the daemon itself."""
    poll_s: PositiveFloat = 5.0
    lead: bool = True
    """False: one of several daemons on a database that only ingests and judges. It never trains, decides or
    serves, and needs neither the adapters nor the rollout file."""


class WebConfig(Frozen):
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
            raise ValueError(f"host {self.host} is not loopback and no token is set: set token_file")
        return self


class StagesConfig(Frozen):
    """How the stages take their work."""

    batch_records: int = Field(default=500, ge=1, le=500)
    batch_s: PositiveFloat = 0.1
    claim_s: PositiveFloat = 300.0
    """How long a claim lasts: a killed worker's work is taken up again after it."""
    claim_batch: PositiveInt = 64
    poll_s: PositiveFloat = 1.0
    sample_least: PositiveInt = 32
    """Sampling waits for so many prompts: a child takes seconds to start."""
    sample_most: PositiveInt = 512
    sample_patience_s: PositiveFloat = 300.0
    """A prompt waits no longer than this for others to be sampled with."""
    dead_letter_ratio: float = Field(default=0.05, gt=0, le=1)
    """More than this share of the last 1,000 records in no known format (or 50 in a row) stops the source."""


class LogConfig(Frozen):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Settings(BaseSettings):
    """The whole configuration. Paths are relative to the file's directory."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", case_sensitive=False
    )

    state_dir: Path = Path(".rlaifd")
    store: StoreConfig = StoreConfig()
    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    judges: dict[Role, JudgeConfig]
    policy: PolicySpec
    overrides: tuple[Literal["judge-of-own-family", "gate-of-training-family"], ...] = ()
    """Independence rules that are set aside, by name."""
    training: TrainingConfig = TrainingConfig()
    rollout: RolloutConfig = RolloutConfig()
    web: WebConfig = WebConfig()
    stages: StagesConfig = StagesConfig()
    log: LogConfig = LogConfig()
    seed: int = 0

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
    def _judges_are_independent(self) -> "Settings":
        if Role.SMALL not in self.judges:
            raise ValueError("judges.small is missing: nothing would be scored")
        for role, judge in self.judges.items():
            same = judge.family.casefold() == self.policy.family.casefold()
            if same and "judge-of-own-family" not in self.overrides:
                raise ValueError(
                    f"judges.{role}.family is the policy's own ({judge.family}): "
                    "a policy is never its own judge"
                )
        gate = self.judges.get(Role.GATE)
        if gate is not None and "gate-of-training-family" not in self.overrides:
            for role in (Role.SMALL, Role.LARGE):
                other = self.judges.get(role)
                if other is not None and other.family.casefold() == gate.family.casefold():
                    raise ValueError(
                        f"judges.gate.family is that of judges.{role} ({other.family}): the gate would ask "
                        "the family that made the training data"
                    )
        return self

    @model_validator(mode="after")
    def _claims_outlive_calls(self) -> "Settings":
        for role, judge in self.judges.items():
            if self.stages.claim_s <= judge.deadline_s:
                raise ValueError(
                    f"stages.claim_s ({self.stages.claim_s:g}) must be longer than judges.{role}.deadline_s "
                    f"({judge.deadline_s:g}): every claim would end before its first answer"
                )
        return self


def load(path: Path) -> Settings:
    """Reads, checks and resolves the configuration. Raises ConfigError, one line."""
    raw = read_yaml(path)
    _refuse_unknown_variables()
    try:
        settings = Settings(**raw)
    except ValidationError as error:
        raise ConfigError(_first(path, error)) from None
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))
        name = f"{PREFIX}{field[1].upper()}" if field else f"an {PREFIX} variable"
        raise ConfigError(f"environment variable {name}: not JSON: quote it as JSON, or unset it") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    settings = _anchored(settings, path.resolve().parent)
    _require_pinned_model(path, settings.policy)
    return settings


def _require_pinned_model(path: Path, policy: PolicySpec) -> None:
    if Path(policy.base_model).is_dir():
        return
    if policy.revision is not None:
        if COMMIT.fullmatch(policy.revision):
            return
        raise ConfigError(
            f"{path}: policy.revision: {policy.revision} is no commit (40 hexadecimal digits): a branch or a "
            "tag moves, and its weights would change under the adapters"
        )
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


def _first(path: Path, error: ValidationError) -> str:
    """The most telling problem as one line: file, key, what is wrong. A typo explains a missing key."""
    problems = error.errors(include_url=False, include_input=False)
    problem = min(problems, key=lambda found: found["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in problem["loc"]) or "configuration"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        wanted = [str(other["loc"][-1]) for other in problems if other["type"] == "missing"]
        close = get_close_matches(str(problem["loc"][-1]), [*wanted, *Settings.model_fields], n=1)
        message = f"unknown key: did you mean {close[0]}?" if close else "unknown key: remove or correct it"
    elif problem["type"] == "missing":
        message = "is required and missing"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{path}: {key}: {' '.join(message.split())}{more}"


def _anchored(settings: Settings, base: Path) -> Settings:
    """The same settings with every path made absolute from the file's directory."""
    settings = settings.model_copy(update={name: _under(base, each) for name, each in settings})
    policy, local = settings.policy, base / settings.policy.base_model
    named = {
        "base_model": str(local.resolve()) if local.is_dir() else policy.base_model,
        "constitution": library.anchored(policy.constitution, base),
        "rubric": library.anchored(policy.rubric, base),
    }
    store = settings.store.model_copy(update={"url": _file_under(base, settings.store.url)})
    return settings.model_copy(update={"store": store, "policy": policy.model_copy(update=named)})


def _under(base: Path, value: Any) -> Any:
    """The value with every `Path` in it resolved against the directory."""
    if isinstance(value, Path):
        return base / value
    if isinstance(value, BaseModel):
        return value.model_copy(update={name: _under(base, each) for name, each in value})
    if isinstance(value, tuple):
        return tuple(_under(base, each) for each in value)
    if isinstance(value, dict):
        return {key: _under(base, each) for key, each in value.items()}
    return value


def _file_under(base: Path, url: SecretStr | None) -> SecretStr | None:
    """A SQLite file by relative path is in the configuration's directory, wherever the command runs."""
    start, _, file = ("" if url is None else url.get_secret_value()).partition(":///")
    if not start.startswith("sqlite") or not file or file.startswith(("/", ":", "file:")):
        return url
    return SecretStr(f"{start}:///{base / file}")


def secret(value: SecretStr | None, file: Path | None) -> str | None:
    """A secret from the configuration or from its file, without the trailing newline."""
    if file is not None:
        try:
            found = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{file}: not UTF-8: a secret is one line of text") from None
        if not found or not found.isprintable():
            raise ConfigError(f"{file}: a secret is one line of text, and this file is not")
        return found
    return None if value is None else value.get_secret_value()
