"""Structured personal data taken out of what is stored: mail addresses, numbers with a check, keys.

Off by default. It finds what has a form, and nothing else: names, addresses and what people tell in sentences
stay (see the README for what is still missing). Every pattern is bounded, so that the cost is linear in the
text, which strangers write; numbers with a check digit are only taken where it is right. What is found
becomes a word in brackets, the same for all, so that the same event stays the same event.
"""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, TypeVar

from policies.feedback import FeedbackEvent
from policies.records import Feedback, Frozen, Message, Trace
from policies.spans import Span

T = TypeVar("T", bound=Frozen)


class Pattern(StrEnum):
    """What can be taken out. The value is the word that is left."""

    EMAIL = "email"
    CARD = "card"
    """Payment card numbers, 13 to 19 digits with their check (Luhn)."""
    IBAN = "iban"
    """Account numbers with their check (ISO 13616)."""
    PHONE = "phone"
    """Telephone numbers in the international form, with the plus."""
    IP = "ip"
    """IPv4 addresses."""
    SSN = "ssn"
    """Social security numbers of the US, with their hyphens."""
    SECRET = "secret"  # noqa: S105 - the word that is left in its place
    """Keys of well-known forms (OpenAI, AWS, GitHub, Slack) and signed web tokens."""


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_FORMS: dict[Pattern, str] = {
    Pattern.SECRET: (
        r"(?<![A-Za-z0-9_-])(?:sk-[A-Za-z0-9_-]{16,200}|AKIA[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{36,255}"
        r"|xox[abp]-[A-Za-z0-9-]{10,200}"
        r"|eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,1000})(?![A-Za-z0-9_-])"
    ),
    Pattern.EMAIL: (
        r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}"
    ),
    Pattern.IBAN: r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}",
    Pattern.CARD: r"(?<![0-9])[2-6](?:[ -]?[0-9]){12,18}(?![0-9])",
    Pattern.PHONE: r"(?<![A-Za-z0-9+])\+[1-9](?:[ ().-]{0,2}[0-9]){6,14}(?![0-9])",
    Pattern.SSN: r"(?<![0-9-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![0-9-])",
    Pattern.IP: rf"(?<![0-9.])(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9]|\.[0-9])",
}
"""In the order in which they are looked for: a card's number is looked for before a telephone's."""


class Redaction:
    """Takes the patterns out of texts, and of the events that hold them."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        wanted = frozenset(patterns)
        self._forms = [
            (re.compile(form), _replacing(kind)) for kind, form in _FORMS.items() if kind in wanted
        ]

    def __bool__(self) -> bool:
        """Whether there is anything to take out."""
        return bool(self._forms)

    def text(self, text: str) -> str:
        """The text without what the patterns find."""
        for form, replace in self._forms:
            text = form.sub(replace, text)
        return text

    def raw(self, body: bytes) -> bytes:
        """Bytes that are no event, as far as they are readable. What they escape is not found."""
        return self.text(body.decode("latin-1")).encode("latin-1") if self._forms else body

    def event(self, event: T) -> T:
        """The event with its texts redacted. What identifies it (ids, session, subject) stays as it is."""
        if isinstance(event, Trace):
            return event.model_copy(update=self._exchange(event) | self._of_trace(event))
        if isinstance(event, Span):
            return event.model_copy(update=self._exchange(event) | self._of_span(event))
        if isinstance(event, FeedbackEvent):
            update = {"said": self._said(event.said), "correction": self._maybe(event.correction)}
            return event.model_copy(update=update)
        return event

    def _exchange(self, event: Trace | Span) -> dict[str, Any]:
        return {
            "messages": tuple(map(self._message, event.messages)),
            "output": tuple(map(self._message, event.output)),
            "tags": {key: self.text(value) for key, value in event.tags.items()},
        }

    def _of_trace(self, trace: Trace) -> dict[str, Any]:
        said = tuple(map(self._said, trace.feedback))
        return {"reference": self._maybe(trace.reference), "feedback": said}

    def _of_span(self, span: Span) -> dict[str, Any]:
        choices = tuple(tuple(map(self._message, each)) for each in span.choices)
        pieces = (each.model_copy(update={"message": self._message(each.message)}) for each in span.pieces)
        return {"choices": choices, "pieces": tuple(pieces)}

    def _message(self, message: Message) -> Message:
        calls = tuple(
            call.model_copy(update={"arguments": self._value(call.arguments)}) for call in message.tool_calls
        )
        texts = {"content": self.text(message.content), "reasoning": self.text(message.reasoning)}
        return message.model_copy(update={**texts, "tool_calls": calls})

    def _said(self, said: Feedback) -> Feedback:
        return said.model_copy(
            update={"label": self._maybe(said.label), "comment": self._maybe(said.comment)}
        )

    def _maybe(self, text: str | None) -> str | None:
        return None if text is None else self.text(text)

    def _value(self, value: Any) -> Any:
        """JSON with its texts redacted; keys stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._value(item) for key, item in value.items()}
        return [self._value(item) for item in value] if isinstance(value, list) else value


def _replacing(kind: Pattern) -> Callable[[re.Match[str]], str]:
    word = f"[{kind.value}]"
    if kind is Pattern.CARD:
        return lambda found: word if _luhn(found[0]) else found[0]
    if kind is Pattern.IBAN:
        return lambda found: _without_iban(found[0], word)
    return lambda _: word


def _luhn(number: str) -> bool:
    """ISO/IEC 7812: every second digit from the right doubled, the digits summed, divisible by ten."""
    digits = [int(char) for char in reversed(number) if char.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _without_iban(found: str, word: str) -> str:
    """Without the longest beginning that is an IBAN: a word in capitals may follow it."""
    for end in range(len(found), 14, -1):
        number = found[:end].replace(" ", "")
        whole = found[end - 1] != " " and (end == len(found) or found[end] == " ")
        if whole and _mod97(number):
            return word + found[end:]
    return found


def _mod97(number: str) -> bool:
    """ISO 7064: country and check digits at the end, letters as numbers from 10, the rest is one."""
    moved = number[4:] + number[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1
