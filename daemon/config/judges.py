"""The judges of the configuration: each has the name it is written under, a role, and its type's keys."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, SecretStr, model_validator

from policies.configured import BaseUrl, Configured, Family, misfit
from policies.judging.independence import JudgeIdentity
from policies.records import Role

DEFAULT_URLS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
KEPT = "as it was written"
"""What stands for a secret where a judge is shown."""


class Price(Configured):
    """US dollars per million tokens. A written 0 is a price; an absent price refuses under a budget."""

    input_per_million: float = Field(ge=0, le=1e6)
    output_per_million: float = Field(ge=0, le=1e6)


class _JudgeConfig(Configured):
    """What every judge has. `family` is never guessed: it decides whether a model would judge itself."""

    role: Role
    model: str
    family: Family
    concurrency: int = Field(default=16, ge=1, le=4096)
    deadline_s: float = Field(default=60.0, ge=0.01, le=3600)
    attempts: int = Field(default=4, ge=1, le=100)
    """Tries per judgement before it is put back for later."""


class ChatJudgeConfig(_JudgeConfig):
    """A chat model that is asked over HTTP."""

    type: Literal["openai", "anthropic"]
    base_url: BaseUrl | None = None
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    price: Price | None = None
    """None: looked up by model name; a model that is in no price list cannot be called under a budget."""
    daily_budget_usd: float | None = Field(default=None, ge=0, le=1e9)
    requests_per_minute: float | None = Field(default=None, ge=0.01, le=1e6)
    max_tokens: int = Field(default=1024, ge=32, le=1 << 20)
    """A verdict of a few words takes more than a handful."""
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    """Null leaves it to the provider: reasoning models refuse any other."""
    structured: bool = True
    """Send the answer's JSON schema; off for servers that refuse `response_format`."""
    logprobs: bool = False
    """The judge offers token log-probabilities: a score is then the expected value from one call."""

    @model_validator(mode="after")
    def _asks_where_it_is(self) -> "ChatJudgeConfig":
        if self.type == "anthropic" and (self.base_url or "").rstrip("/").endswith("/v1"):
            raise misfit("base_url", "ends in /v1, which is put behind it: leave that away")
        return self

    @property
    def url(self) -> str:
        """Where it is asked."""
        return self.base_url or DEFAULT_URLS[self.type]


class LocalJudgeConfig(_JudgeConfig):
    """A published reward model that a child process on this machine asks. `model` is its name.

    Its family is its base model's. It costs no money, and never compares for the gate: what PPO may learn
    from does not decide what is promoted.
    """

    type: Literal["local"]
    pessimism: float = Field(default=0.0, ge=0, le=10)
    """Standard deviations over the folds that are taken from their mean."""
    device: Literal["cpu", "cuda"] = "cpu"
    """cpu leaves the card to training; a resident judge does not take turns on it."""

    @model_validator(mode="after")
    def _is_no_gate(self) -> "LocalJudgeConfig":
        if self.role is Role.GATE:
            raise misfit("role", "a reward model never judges for the gate: small or large")
        return self

    @property
    def url(self) -> str:
        """Nowhere: no network is asked."""
        return ""

    @property
    def daily_budget_usd(self) -> None:
        """There is nothing to pay."""
        return


JudgeConfig = Annotated[ChatJudgeConfig | LocalJudgeConfig, Field(discriminator="type")]


def asked(judges: Mapping[str, ChatJudgeConfig | LocalJudgeConfig]) -> dict[str, JudgeIdentity]:
    """The judges as the rules of independence see them, by name."""
    return {
        name: JudgeIdentity(judge.role, judge.family, judge.model, judge.url)
        for name, judge in judges.items()
    }


def shared_role(judges: Mapping[str, ChatJudgeConfig | LocalJudgeConfig]) -> str | None:
    """That two judges have one role, in a line; None where none do."""
    by_role: dict[Role, str] = {}
    for name, judge in judges.items():
        first = by_role.setdefault(judge.role, name)
        if first != name:
            return (
                f"judges.{name}.role is {judge.role.value}, which is that of judges.{first} too: how several "
                "judges of a role decide together is not built, so take one of them out"
            )
    return None


def respelt(raw: Mapping[str, Any]) -> str | None:
    """The judges of a configuration that names them by their roles, as they are to be written; None where
    none is named so. A key that is a secret is not shown.
    """
    judges = raw.get("judges")
    if not isinstance(judges, Mapping):
        return None
    roles = {role.value for role in Role}
    old = [
        name for name, judge in judges.items()
        if name in roles and isinstance(judge, Mapping) and "role" not in judge
    ]  # fmt: skip
    if not old:
        return None
    shown = {
        name: {"role": name, **_shown(judge)} if name in old else _shown(judge)
        for name, judge in judges.items()
    }
    lines = yaml.safe_dump({"judges": shown}, sort_keys=False, allow_unicode=True)
    return f"judges.{old[0]}.role is missing: a judge has a name and a role. Write\n{lines}".rstrip()


def _shown(judge: Any) -> Any:
    if not isinstance(judge, Mapping):
        return judge
    return {name: KEPT if name == "api_key" else value for name, value in judge.items()}
