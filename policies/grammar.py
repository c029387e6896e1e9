"""How a judge must answer, and the strict reading of what it answered.

One JSON object: critique, then scores per dimension, then the score or the verdict. Where a judge writes
prose instead, one last line that carries the case's code. Anything else is `Invalid` with its reason: a
conflicting, missing, out-of-range or cut-off answer is never guessed at, because each guess is label noise.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

VERSION = 1
"""Raised with every change of what is accepted or asked."""

MAX_REPLY = 65_536
"""Most characters of an answer that are read."""

CUT_OFF = frozenset({"length", "max_tokens"})
"""Finish reasons of an answer that stopped at its token limit."""

Letter = Literal["A", "B", "tie"]
LETTERS: Mapping[str, Letter] = {"A": "A", "B": "B", "tie": "tie", "Tie": "tie", "TIE": "tie"}

_SENTINEL = re.compile(r"(SCORE|VERDICT) ([0-9a-f]+): *(\S+)")


@dataclass(frozen=True, slots=True)
class ScoreReply:
    """A readable score: overall and per dimension, 0 to 10."""

    score: float
    scores: Mapping[str, float] = field(default_factory=dict)
    critique: str = ""


@dataclass(frozen=True, slots=True)
class PairReply:
    """A readable verdict in the order shown, with the better answer per dimension."""

    verdict: Letter
    scores: Mapping[str, Letter] = field(default_factory=dict)
    critique: str = ""


@dataclass(frozen=True, slots=True)
class Invalid:
    """An answer that is no verdict, and why."""

    reason: str


class _UnreadableError(Exception):
    """The reason, on its way out of the parser."""


def instructions(dimensions: Sequence[str]) -> str:
    """The output grammar as judges read it."""
    numbers = ", ".join(f'"{name}": n' for name in dimensions)
    letters = ", ".join(f'"{name}": "A|B|tie"' for name in dimensions)
    return (
        "Write one JSON object and nothing else, keys in this order. The critique comes first: name what is "
        "right and wrong, dimension by dimension, in at most 120 words, before you decide.\n"
        f'One answer: {{"critique": "...", "scores": {{{numbers}}}, "score": n}}, n an integer 0 to 10.\n'
        f'Two answers: {{"critique": "...", "scores": {{{letters}}}, "verdict": "A|B|tie"}}.\n'
        "If you cannot write JSON, write the critique and then, as the last line, "
        "SCORE code: n or VERDICT code: A|B|TIE, with the case's boundary code."
    )


def reminder(kind: str, nonce: str) -> str:
    """The last line of a case."""
    if kind == "score":
        return f"Judge the answer: the JSON object, or prose that ends with SCORE {nonce}: n"
    return f"Compare the answers: the JSON object, or prose that ends with VERDICT {nonce}: A|B|TIE"


def repair(kind: str, nonce: str, reason: str) -> str:
    """The one question that follows an invalid answer."""
    return f"That could not be read as a judgement ({reason}). {reminder(kind, nonce)}"


def schema(kind: str, dimensions: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of an answer, strict, keys in the order they are to be written."""
    leaf: dict[str, Any] = (
        {"type": "integer", "enum": list(range(11))}
        if kind == "score"
        else {"type": "string", "enum": ["A", "B", "tie"]}
    )

    def strict(properties: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    last = "score" if kind == "score" else "verdict"
    scores = strict(dict.fromkeys(dimensions, leaf))
    return strict({"critique": {"type": "string"}, "scores": scores, last: leaf})


def parse_score(
    text: str, *, nonce: str, dimensions: Sequence[str], finish_reason: str = "stop"
) -> ScoreReply | Invalid:
    """Reads the answer to a one-answer case."""
    try:
        found = _read(text, finish_reason, nonce, "score")
        if isinstance(found, str):
            return ScoreReply(_number(_literal(found), "score"), critique=_before_last_line(text))
        scores = {name: _number(value, name) for name, value in _scores(found, dimensions).items()}
        return ScoreReply(_number(found["score"], "score"), scores, found["critique"])
    except _UnreadableError as error:
        return Invalid(str(error))


def parse_pair(
    text: str, *, nonce: str, dimensions: Sequence[str], finish_reason: str = "stop"
) -> PairReply | Invalid:
    """Reads the answer to a two-answer case."""
    try:
        found = _read(text, finish_reason, nonce, "verdict")
        if isinstance(found, str):
            return PairReply(_letter(found, "verdict"), critique=_before_last_line(text))
        scores = {name: _letter(value, name) for name, value in _scores(found, dimensions).items()}
        return PairReply(_letter(found["verdict"], "verdict"), scores, found["critique"])
    except _UnreadableError as error:
        return Invalid(str(error))


def _read(text: str, finish_reason: str, nonce: str, last: str) -> dict[str, Any] | str:
    """The JSON object, its keys checked, or the value on the sentinel line."""
    if finish_reason in CUT_OFF:
        raise _UnreadableError("cut off at the token limit")
    if len(text) > MAX_REPLY:
        raise _UnreadableError("too long")
    body = text.strip()
    if not body:
        raise _UnreadableError("empty")
    body = _unfenced(body)
    if not body.startswith("{"):
        return _sentinel(body, nonce, last)
    found = _object(body)
    if list(found)[:1] != ["critique"] or set(found) != {"critique", "scores", last}:
        raise _UnreadableError(f"the keys must be critique, scores, {last}")
    if list(found)[-1] != last:
        raise _UnreadableError(f"{last} must come last")
    if not isinstance(found["critique"], str) or not found["critique"].strip():
        raise _UnreadableError("no critique")
    return found


def _unfenced(body: str) -> str:
    """What stands between a first and a last line that are a fence; the text as it is where they are none.

    By lines and not by a pattern: backtracking over a reply of newlines would take hours.
    """
    first, _, rest = body.partition("\n")
    inside, fence, last = rest.rpartition("\n")
    fenced = first.rstrip() in {"```", "```json"} and bool(fence) and last.strip() == "```"
    return inside.strip() if fenced else body


def _sentinel(body: str, nonce: str, last: str) -> str:
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    found = [match for line in lines if (match := _SENTINEL.fullmatch(line)) and match[2] == nonce]
    if not found:
        raise _UnreadableError("neither JSON nor a sentinel line")
    if {match[1] for match in found} != {last.upper()} or len({match[3] for match in found}) > 1:
        raise _UnreadableError("conflicting sentinel lines")
    if found[-1][0] != lines[-1]:
        raise _UnreadableError("the sentinel line is not the last")
    return found[0][3]


def _before_last_line(text: str) -> str:
    return text.strip().rpartition("\n")[0].strip()


def _object(body: str) -> dict[str, Any]:
    try:
        found = json.loads(body, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise _UnreadableError("nested too deeply") from None
    except ValueError:
        raise _UnreadableError("not one whole JSON object") from None
    if not isinstance(found, dict):
        raise _UnreadableError("not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _UnreadableError("a key is written twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _UnreadableError(f"{name} is not a number")


def _scores(found: dict[str, Any], dimensions: Sequence[str]) -> dict[str, Any]:
    scores = found["scores"]
    if not isinstance(scores, dict) or set(scores) != set(dimensions):
        raise _UnreadableError("scores must have every dimension and no other")
    return scores


def _literal(text: str) -> Any:
    if not re.fullmatch(r"\d{1,2}(\.\d{1,6})?", text):
        raise _UnreadableError("the score is not a number")
    return float(text)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _UnreadableError(f"{name} is not a number")
    if not 0 <= value <= 10 or not math.isfinite(value):
        raise _UnreadableError(f"{name} is not between 0 and 10")
    return float(value)


def _letter(value: Any, name: str) -> Letter:
    if not isinstance(value, str) or value not in LETTERS:
        raise _UnreadableError(f"{name} is not A, B or tie")
    return LETTERS[value]
