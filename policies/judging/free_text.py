"""A strict reader of pairwise verdicts in free-form texts: judges that keep to no format, or to another one.

Four kinds of statement are read: a line that is the verdict alone or two scores, a choice in words, a whole
sentence that declares a winner or an equality, and, where nothing is chosen and no winner declared, a
comparison that sums up. Statements that name different winners are a conflict, never a matter of which comes
last. Nothing is a tie that does not say so.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from policies.judging.grammar import MAX_REPLY, Invalid, Letter

_LETTERS: dict[str, Letter] = {"1": "A", "2": "B", "3": "tie", "a": "A", "b": "B"}
_WHO = r"(?:assistant|answer|response|output|option)s?\s*(?:#\s*)?\(?([12ab])\b\)?"
_LABEL = (
    r"(?:(?:my |the |final |overall )*(?:output|choice|answer|verdict|decision|winner)(?: is)?\s*[:=]?\s*)"
)
_LINE = re.compile(rf"{_LABEL}?(?:assistant )?\(?([123])\)?\.?", re.IGNORECASE)
_NAMED_LINE = re.compile(rf"{_LABEL}?{_WHO}\.?", re.IGNORECASE)
_MARK = re.compile(r"\[\[(?:(A)\s*>+\s*B|(B)\s*>+\s*A|(A\s*=\s*B)|(A)|(B)|(C))\]\]")
_SCORES = re.compile(r"(\d{1,2}(?:\.\d{1,2})?)[ ,/]+(\d{1,2}(?:\.\d{1,2})?)")
_CHOOSE = re.compile(
    r"\b(?:choos(?:e|ing)|chose|pick|select|prefer|recommend|go with|(?:choice|best answer|better answer"
    r"|best response|better response) (?:is|would be)"
    r"|(?:the|my) (?:chosen |preferred |final )?answer is(?= (?:answer )?[123]\b))\b",
    re.IGNORECASE,
)
_TARGET = re.compile(rf"{_WHO}|(?<![\w/.])([123])(?![\w/]|\.\d)", re.IGNORECASE)
_BETTER = re.compile(
    rf"{_WHO}(?:'s)?(?:(?!\band {_WHO})[^.;]){{0,80}}?"
    r"\b(?:better|best|superior|preferred|slight edge|higher|easier"
    r"|(?:is|was|as|being|a|the)(?: (?:slightly|overall|generally|also|much))* more"
    r"(?! (?:superficial|limited|vague|generic|verbose|repetitive)\b))\b",
    re.IGNORECASE,
)
_JOINT = re.compile(rf"{_WHO}(?:'s \w+)? and {_WHO}", re.IGNORECASE)
_EQUAL = re.compile(
    r"\b(?:both|two)\b[^.;]{0,60}\b(?:equivalent|equally|equal|tied?)\b(?! in )|\b(?:is|as) a tie\b",
    re.IGNORECASE,
)
_EQUIVALENT = re.compile(
    r"\b(?:(?:two|both) (?:assistants|answers|responses)|they) are (?:both )?equivalent\b"
    r"(?! in (?!terms of (?:the |their )?overall\b))",
    re.IGNORECASE,
)
_EDGE = re.compile(rf"\bgive {_WHO}(?:'s)? [^.;]{{0,30}}\bedge\b", re.IGNORECASE)
_OUTRIGHT = re.compile(
    rf"(?:(?:therefore|overall|thus|in conclusion|in summary),? )?{_WHO} (?:is|was) "
    r"(?:clearly |overall |slightly )*(?:the )?(?:better|best)(?: one| overall)?[.!]?",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"([123])[.)]")
_NOT = re.compile(
    r"\b(?:not|never|neither|cannot|less|worse|if|either|between|difficult|depend\w*)\b|n't\b", re.IGNORECASE
)
_CONTRAST = re.compile(r",? \b(?:but|although|though|while|whereas|because|since|due to)\b", re.IGNORECASE)
_SUM = re.compile(
    r"\b(?:overall|therefore|in conclusion|in summary|as a result|thus|as such|i would|i believe)\b"
    r"|\b(?:is|was) (?:the )?(?:better|best)\b",
    re.IGNORECASE,
)
_CONCEDED = re.compile(r"\b(?:while|although|though|whereas)\b[^,.]*,", re.IGNORECASE)
_LESS_THAN = re.compile(r"\bless [^.;,]{1,60}? than (?:assistant|answer|response) ([12])\b", re.IGNORECASE)
_MORE_THAN = re.compile(r"\bmore [^.;,]{1,60}? than (?:assistant|answer|response) ([12])\b", re.IGNORECASE)
_CLOSING = re.compile(r"(?:in summary|in conclusion)\b", re.IGNORECASE)
_BREAK = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class FreeVerdict:
    """The winner in the order shown."""

    winner: Letter


def read_pair(text: str) -> FreeVerdict | Invalid:
    """Returns the one verdict of a text about two answers, in the order shown, or why there is none.

    Answers are called 1 and 2 or (a) and (b); 3 is a tie. Never raises.
    """
    if len(text) > MAX_REPLY:
        return Invalid("too long")
    lines = [line.strip(" \t*_`#\"'") for line in text.splitlines() if line.strip()]
    if not lines:
        return Invalid("empty")
    sentences = [part.strip() for part in _BREAK.split(text) if part.strip()]
    chosen = {*_stated(lines), *_marks(text), *_chosen(sentences)}
    found = chosen | {*_declared(sentences)}
    if (not chosen and found <= {"tie"}) or _SCORES.fullmatch(lines[0]):
        found |= set(_summed(sentences))
    if len(found) == 1 and _contradicted(text, lines, found):
        return Invalid("the words contradict the verdict")
    if len(found) > 1:
        return Invalid("conflicting verdicts")
    if not found:
        return Invalid("no verdict")
    return FreeVerdict(found.pop())


def _stated(lines: list[str]) -> Iterator[Letter]:
    """Verdicts that are the first or the last line, or the line under a choice that ends in a colon."""
    under = [line for above, line in pairwise(lines) if above.endswith(":") and _CHOOSE.search(above)]
    last = [] if _is_item(lines) else lines[-1:]
    for line in {lines[0], *last, *under}:
        if match := _LINE.fullmatch(line) or _NAMED_LINE.fullmatch(line):
            yield _LETTERS[match[1].lower()]
    if match := _SCORES.fullmatch(lines[0]):
        first, second = float(match[1]), float(match[2])
        if max(first, second) <= 10:
            yield "A" if first > second else "B" if second > first else "tie"


def _is_item(lines: list[str]) -> bool:
    """Whether the last line is the number of a list's item at which the text was cut off."""
    cut = _NUMBERED.fullmatch(lines[-1])
    before = str(int(cut[1]) - 1) if cut else ""
    return any((match := _NUMBERED.match(line)) and match[1] == before for line in lines[:-1])


def _marks(text: str) -> Iterator[Letter]:
    for match in _MARK.finditer(text):
        yield "A" if match[1] or match[4] else "B" if match[2] or match[5] else "tie"


def _chosen(sentences: list[str]) -> Iterator[Letter]:
    """Choices in words: what a verb of choosing names first."""
    for sentence in sentences:
        verb = _CHOOSE.search(sentence)
        if verb is None:
            continue
        clause = _CONTRAST.split(sentence[verb.start() :])[0]
        target = _TARGET.search(clause)
        before = _CONTRAST.split(sentence[: verb.start()])[-1]
        if target and not _NOT.search(before) and not _NOT.search(clause[: target.end()]):
            yield _LETTERS[(target[1] or target[2]).lower()]


def _declared(sentences: list[str]) -> Iterator[Letter]:
    """Whole sentences that one answer is better, that it has the edge, or that both are equivalent."""
    for sentence in sentences:
        if _NOT.search(sentence):
            continue
        if _EQUIVALENT.search(sentence):
            yield "tie"
        if match := _OUTRIGHT.fullmatch(sentence) or _EDGE.search(sentence):
            yield _LETTERS[match[1].lower()]


def _summed(sentences: list[str]) -> Iterator[Letter]:
    """Winners of comparisons that sum up."""
    for sentence in sentences:
        if not _SUM.search(sentence):
            continue
        for clause in _CONTRAST.split(sentence):
            if _NOT.search(clause):
                continue
            if _EQUAL.search(clause):
                yield "tie"
            elif winner := _better(clause):
                yield winner


def _better(clause: str) -> Letter | None:
    """Returns the first answer that a comparison names better. Two answers named as one are neither."""
    match = _BETTER.search(_JOINT.sub("both", clause))
    return _LETTERS[match[1].lower()] if match else None


def _contradicted(text: str, lines: list[str], found: set[Letter]) -> bool:
    """Whether a verdict in numbers has only words for the other answer: in a closing summary before a bare
    number, and in outright comparisons after two scores. What a sentence concedes does not count.
    """
    said: set[Letter] = set()
    if _SCORES.fullmatch(lines[0]):
        said |= {_LETTERS[number] for number in _LESS_THAN.findall(text)}
        said |= {"B" if number == "1" else "A" for number in _MORE_THAN.findall(text)}
    elif len(lines) > 1 and _LINE.fullmatch(lines[-1]) and _CLOSING.match(lines[-2]):
        for sentence in _BREAK.split(lines[-2]):
            clause = _CONTRAST.split(_CONCEDED.sub("", sentence))[0]
            winner = _better(clause)
            if winner and not _NOT.search(clause):
                said.add(winner)
    return said in ({"A"}, {"B"}) and "tie" not in found and said != found
