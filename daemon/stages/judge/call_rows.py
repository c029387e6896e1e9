"""The rows of calls to judges: what was asked, what came, what was read, what can be used again."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from connectors.base import JudgeReply, JudgeRequest, Usage
from connectors.errors import ConnectorError
from daemon.store.candidates import storable
from policies.judging.grammar import Invalid, PairReply, ScoreReply
from policies.judging.verdicts import ScoreSpread


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What was read from a judge's answer. `cost_usd` is 0 for an answer out of the store. `cut_off`: it
    stopped at its token limit.
    """

    reply: ScoreReply | PairReply | Invalid
    spread: ScoreSpread | None = None
    cost_usd: float = 0.0
    cut_off: bool = False


def made(reply: JudgeReply, answer: ReadAnswer, *, repair: bool) -> dict[str, Any]:
    """The columns of a call that was answered. `read` is what a later judgement can use again."""
    read = asdict(answer.reply) | ({"spread": asdict(answer.spread)} if answer.spread else {})
    return {
        "repair": repair,
        "request": _clean(dict(reply.request)),
        "response": {"body": _clean(dict(reply.response)), "read": _clean(read)},
        "model": storable(reply.model),
        "input_tokens": reply.usage.input_tokens,
        "output_tokens": reply.usage.output_tokens,
        "latency_s": reply.latency_s,
    }


def failed(request: JudgeRequest, error: ConnectorError, usage: Usage, *, latency_s: float) -> dict[str, Any]:
    """The columns of a call that gave no answer, with what came all the same and what of it is billed."""
    received = error.received
    asked = [{"role": message.role, "content": message.content} for message in request.messages]
    return {
        "repair": len(request.messages) > 1,
        "request": _clean({"system": request.system, "messages": asked}),
        "response": _clean({"error": str(error)} | ({} if received is None else {"body": received.body})),
        "model": None,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "latency_s": latency_s,
    }


def _clean(value: dict[str, Any]) -> dict[str, Any]:
    """The value as `storable` makes it. Nearly all are so already, which one dump shows much faster. What is
    nested too deeply to be cleaned is not kept: JSON of such depth is nobody's answer.
    """
    try:
        written = json.dumps(value)
        if not any(odd in written for odd in ("\\u0000", "\\ud", "NaN", "Infinity")):
            return value
        cleaned: dict[str, Any] = storable(value)
    except RecursionError:
        return {"error": "nested too deeply to be kept", "keys": [str(key) for key in value]}
    return cleaned


def answer_of(read: dict[str, Any]) -> ReadAnswer:
    """A stored answer."""
    spread = ScoreSpread(**read["spread"]) if "spread" in read else None
    if "score" in read:
        return ReadAnswer(ScoreReply(read["score"], read["scores"], read["critique"]), spread)
    return ReadAnswer(PairReply(read["verdict"], read["scores"], read["critique"]), spread)
