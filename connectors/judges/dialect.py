"""How a server wants to be asked: what it calls the limit, and what of the request it takes at all.

Nobody can tell that from a model's name or address. It is learnt from the refusal that names a setting which
was sent, once, and kept as long as the judge is; each step takes something away, so that it ends.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from connectors.refusals import Refusal

Limit = Literal["max_tokens", "max_completion_tokens"]
Form = Literal["json_schema", "json_object", "none"]
Name = Literal["limit", "temperature", "top_logprobs", "logprobs", "form"]

TOP_LOGPROBS = 20
"""Alternatives of a token that are asked for: the most that OpenAI gives."""

_UNKNOWN = (
    r"unsupported|not (yet )?support|does ?n[o']t support|n[o']t (permitted|allowed)"
    r"|unknown|unrecogni[sz]ed|unexpected|extra|instead"
)
_SPELLING = re.compile(_UNKNOWN, re.IGNORECASE)
_REFUSES = re.compile(
    rf"{_UNKNOWN}|n[o']t (available|valid|enabled)|unavailable|deprecated|invalid|only|must be|cannot|can't",
    re.IGNORECASE,
)
_AMOUNT = re.compile(r"(?i)too (large|big|high|small)|at (most|least)|exceed|less than|greater than|between")
_UP_TO = re.compile(
    r"(?i)(?:between 0 and|at most|up to|less than or equal to|maximum(?: is| of)?|<=) *(\d{1,3})\b"
)


@dataclass(frozen=True, slots=True)
class RequestPart:
    """A part of the request, by the names that servers have for it, and what a person can change about it."""

    name: Name
    names: tuple[str, ...]
    change: str

    def advice(self, role: str) -> str:
        """What to set in the configuration of a judge (`judges.small`)."""
        return f"set {role}.{self.change}"

    def is_named(self, refusal: Refusal) -> bool:
        """Whether the refusal names it: as its parameter, or in a message that says no."""
        param = re.split(r"[.\[]", refusal.param)[0]
        if param:
            return param in self.names
        found = any(
            re.search(rf"(?<![\w-]){name}(?![\w-])", refusal.message, re.IGNORECASE) for name in self.names
        )
        return found and _REFUSES.search(refusal.message) is not None


SETTINGS = (
    RequestPart("limit", ("max_tokens", "max_completion_tokens"), "max_tokens"),
    RequestPart("temperature", ("temperature",), "temperature: null"),
    RequestPart("top_logprobs", ("top_logprobs",), "logprobs: false"),
    RequestPart("logprobs", ("logprobs", "log probabilities"), "logprobs: false"),
    RequestPart(
        "form",
        (
            "response_format",
            "json_schema",
            "output_config",
            "output_format",
            "structured outputs?",
            "guided_json",
        ),
        "structured: false",
    ),
)


def setting_of(refusal: Refusal) -> RequestPart | None:
    """The part of the request that the refusal names; None where it names none."""
    return next((setting for setting in SETTINGS if setting.is_named(refusal)), None)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to ask. `spelled`: the name of the limit is known. `top_logprobs` 0: none are asked for."""

    limit: Limit = "max_tokens"
    spelled: bool = False
    temperature: bool = True
    top_logprobs: int = TOP_LOGPROBS
    form: Form = "json_schema"

    def learnt(self, refusal: Refusal, sent: Mapping[str, Any]) -> "Dialect | None":
        """The dialect without what is refused of what was sent; None where nothing new is said."""
        named = (setting.name for setting in SETTINGS if setting.is_named(refusal))
        return next((found for name in named if (found := self._without(name, refusal, sent))), None)

    def _without(self, name: Name, refusal: Refusal, sent: Mapping[str, Any]) -> "Dialect | None":
        match name:
            case "limit":
                return self._other_spelling(refusal)
            case "temperature" if "temperature" in sent and not _AMOUNT.search(refusal.message):
                return replace(self, temperature=False)
            case "top_logprobs" | "logprobs" if "logprobs" in sent:
                return replace(self, top_logprobs=self._fewer(refusal))
            case "form" if "response_format" in sent:
                simpler: Form = "json_object" if self.form == "json_schema" else "none"
                return replace(self, form=simpler)
            case "form" if "output_config" in sent:
                return replace(self, form="none")
        return None

    def _other_spelling(self, refusal: Refusal) -> "Dialect | None":
        said = f"{refusal.message} {' '.join(sorted(refusal.codes))}"
        if self.spelled or not _SPELLING.search(said) or _AMOUNT.search(refusal.message):
            return None
        other: Limit = "max_completion_tokens" if self.limit == "max_tokens" else "max_tokens"
        return replace(self, limit=other, spelled=True)

    def _fewer(self, refusal: Refusal) -> int:
        most = _UP_TO.search(refusal.message)
        fewer = int(most[1]) if most else 0
        return fewer if 0 < fewer < self.top_logprobs else 0
