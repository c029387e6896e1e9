"""How a judge must answer, and the strict reading of what it answered.

One JSON object: the critique first, then scores per dimension and the score or the verdict. Where a judge
writes prose instead, one last line that carries the case's code. Anything else is `Invalid` with its reason:
a conflicting, missing, out-of-range or cut-off answer is never guessed at, because each guess is label noise.
What a model or a server puts around an answer is taken off (`shells`).
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from policies.shells import is_quoted, unwrapped

VERSION = 1
"""Raised with every change of what is asked, or of what is read in an answer: judges are others then, and
their alignment starts anew. One more shell that is taken off changes no answer that could be read before.
"""

MAX_REPLY = 65_536
"""Most characters of an answer that are read."""

CUT_OFF = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"}
)
"""Finish reasons, in lower case, of an answer that stopped at a token limit."""

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


def is_cut_off(finish_reason: str) -> bool:
    """Whether an answer stopped at a token limit."""
    return finish_reason.lower() in CUT_OFF


def parse_score(
    text: str, *, nonce: str, dimensions: Sequence[str], finish_reason: str = "stop", case: str = ""
) -> ScoreReply | Invalid:
    """Reads the answer to a one-answer case. `case` is what was shown: an object from there that follows
    other words is a quotation.
    """
    try:
        found = _read(text, finish_reason, nonce, "score", case)
        if isinstance(found, _Line):
            return ScoreReply(_number(_literal(found.value), "score"), critique=found.critique)
        scores = {name: _number(value, name) for name, value in _scores(found, dimensions).items()}
        return ScoreReply(_number(found["score"], "score"), scores, found["critique"])
    except _UnreadableError as error:
        return Invalid(str(error))


def parse_pair(
    text: str, *, nonce: str, dimensions: Sequence[str], finish_reason: str = "stop", case: str = ""
) -> PairReply | Invalid:
    """Reads the answer to a two-answer case. `case` as in `parse_score`."""
    try:
        found = _read(text, finish_reason, nonce, "verdict", case)
        if isinstance(found, _Line):
            return PairReply(_letter(found.value, "verdict"), critique=found.critique)
        scores = {name: _letter(value, name) for name, value in _scores(found, dimensions).items()}
        return PairReply(_letter(found["verdict"], "verdict"), scores, found["critique"])
    except _UnreadableError as error:
        return Invalid(str(error))


@dataclass(frozen=True, slots=True)
class _Line:
    """The sentinel line of an answer in prose, and what stands before it."""

    value: str
    critique: str


def _read(text: str, finish_reason: str, nonce: str, last: str, case: str) -> dict[str, Any] | _Line:
    """The JSON object, its keys checked, or the sentinel line."""
    if is_cut_off(finish_reason):
        raise _UnreadableError("cut off at the token limit")
    if len(text) > MAX_REPLY:
        raise _UnreadableError("too long")
    body = unwrapped(text)
    if not body.text:
        raise _UnreadableError("empty")
    if not body.text.startswith("{"):
        return _sentinel(body.text, nonce, last)
    found = _object(body.text)
    if list(found)[:1] != ["critique"] or set(found) != {"critique", "scores", last}:
        raise _UnreadableError(f"the keys must be critique, scores, {last}, the critique first")
    if not isinstance(found["critique"], str) or not found["critique"].strip():
        raise _UnreadableError("no critique")
    if body.after_words and is_quoted(body.text, case):
        raise _UnreadableError("the object stands in the case: it is a quotation")
    return found


def _sentinel(body: str, nonce: str, last: str) -> _Line:
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    found = [match for line in lines if (match := _SENTINEL.fullmatch(line)) and match[2] == nonce]
    if not found:
        raise _UnreadableError("neither JSON nor a sentinel line")
    if {match[1] for match in found} != {last.upper()} or len({match[3] for match in found}) > 1:
        raise _UnreadableError("conflicting sentinel lines")
    if found[-1][0] != lines[-1]:
        raise _UnreadableError("the sentinel line is not the last")
    critique = body.rpartition("\n")[0].strip()
    if not critique:
        raise _UnreadableError("no critique")
    return _Line(found[0][3], critique)


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
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,6})?", text):
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
