"""Which version of the agent answered: what must stay the same for evidence to be of one thing.

The name that the log gives, else the tools with the template of the system prompt. The template is learnt
from the first `WINDOW` traces of a version: text that is equal in all is fixed, and what varies (names,
retrieved text) is a slot. From then on a prompt without the fixed text is another version's. Dates and times
are slots at once: they stay equal over many traces, and then change without a change of the agent.

A version is named by the digest of tools and prompt at its first trace, and keeps the name while its
template is learnt. Where more than `MOST` versions come in `RECENT` traces, neither names nor prompts tell
versions apart: for the next `AGAIN` traces tools alone do.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from policies.records import Message, Trace, digest
from policies.templates import Template, fits, wider

Rule = Literal["auto", "name", "tools", "prompt"]
"""By what versions are told apart; auto: by name where the log gives one, else by prompt."""

WINDOW = 200
RECENT = 1000
MOST = 20
AGAIN = 10_000
LAG = 100
"""How many traces the noted number of a version's last one may be behind."""
MAX_TEXT = 8_000
"""Characters of a system prompt that are looked at: what strangers write into it costs no more."""
MAX_NAME = 200
DATE = "◌"
UNKNOWN, OTHER = "unknown", "other"
SHOWN = 5

_DAYS = r"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_MONTHS = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_DATES = re.compile(
    r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?(?:Z|[+-]\d\d:?\d\d)?\b"
    r"|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b|\b\d{1,2}:\d\d(?::\d\d)?(?: ?[AaPp][Mm])?\b|\b(?:19|20)\d\d\b"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    rf"|\b{_DAYS}\b|\b(?:\d{{1,2}}(?:st|nd|rd|th)? )?{_MONTHS}\b(?: \d{{1,2}}(?:st|nd|rd|th)?\b)?"
)


_NO_TOOLS = digest([])


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a trace shows of the agent: a name, a digest of its tools, the words of its system prompt."""

    name: str | None
    tools: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Share:
    """A version, and how many of the newest traces it has, from the `first` of them to the `last`, by id."""

    version: str | None
    traces: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a source's agent. `traces` are counted up to `WINDOW`; `last` is the number, among all of
    the source's traces, of one of its newest. `template` None: it is not told by its prompt.
    """

    name: str
    tools: str
    template: Template | None
    traces: int
    last: int


def sighting(trace: Trace, lines: dict[str, str] | None = None) -> Sighting:
    """What the trace shows. `lines` remembers those that were looked at: most are in every prompt."""
    name = trace.agent_version or trace.tags.get("agent_version") or None
    prompt = prompt_of(trace.messages, {} if lines is None else lines)
    return Sighting(None if name is None else name[:MAX_NAME], _tools(trace.tools), prompt)


def prompt_of(messages: Sequence[Message], lines: dict[str, str]) -> str:
    """The words of the system messages before the first other one, one space between two; dates are slots."""
    parts, left = [], MAX_TEXT
    for message in messages:
        if message.role != "system" or left <= 0:
            break
        parts += message.content[:left].split("\n")
        left -= len(message.content)
    for line in parts:
        if line not in lines:
            lines[line] = " ".join(_DATES.sub(DATE, " ".join(line.split())).split())
    return " ".join(filter(None, (lines[line] for line in parts)))


def _tools(tools: Sequence[Mapping[str, Any]]) -> str:
    """A digest of names and parameters, whatever their order and the provider's way to write them."""
    if not tools:
        return _NO_TOOLS
    return digest(sorted(digest(_tool(each)) for each in tools))


def _tool(tool: Mapping[str, Any]) -> list[Any]:
    inner = tool.get("function")
    known = inner if isinstance(inner, Mapping) else tool
    schema = known.get("parameters", known.get("input_schema"))
    return [known.get("name", tool.get("type")), schema]


def newest_five(shares: Sequence[Share]) -> dict[str, int]:
    """Traces by version, of the `SHOWN` versions that came last; the others together."""
    by_age = sorted(shares, key=lambda each: each.first, reverse=True)
    shown = {each.version or UNKNOWN: each.traces for each in by_age[:SHOWN]}
    others = sum(each.traces for each in by_age[SHOWN:])
    return shown | ({OTHER: others} if others else {})


def too_many(source: str) -> str:
    """What a person is told of a source whose versions neither name nor prompt tells."""
    return (
        f"agent_versions: source {source} had more than {MOST} versions of the agent in {RECENT} traces, and "
        f"for {AGAIN} traces tools alone tell them: log `agent_version`, or set agent_version: tools"
    )


class Telling:
    """Tells the versions of one source's traces, in their order.

    `known` are the source's versions, the newest first; `number` is how many of its traces came before, and
    until trace `fallen_until` tools alone are looked at. `changed` are versions that are new or not what they
    were; `fell`: more than `MOST` came, and tools alone are looked at from there on.
    """

    def __init__(
        self, rule: Rule, known: Sequence[Version], *, number: int = 0, fallen_until: int = 0
    ) -> None:
        self._rule = rule
        self._known = {version.name: version for version in known}
        self._number = number
        self._memory: dict[tuple[str, str], str] = {}
        self._lines: dict[str, str] = {}
        self.fallen_until = fallen_until
        self.fell = False
        self.changed: dict[str, Version] = {}

    def tell(self, trace: Trace) -> str | None:
        """The version's name; None where versions go by name and the trace has none."""
        self._number += 1
        seen = sighting(trace, self._lines)
        if self._rule == "name" and seen.name is None:
            return None
        found = self._found(seen)
        if self._is_new(found) and self._too_many():
            self.fell = True
            self.fallen_until = self._number + AGAIN
            found = self._by_tools(seen)
        self._note(found)
        return found.name

    def _found(self, seen: Sighting) -> Version:
        if self._rule == "tools" or self._number <= self.fallen_until:
            return self._by_tools(seen)
        if seen.name is not None and self._rule != "prompt":
            return self._known.get(seen.name) or Version(seen.name, seen.tools, None, 0, 0)
        return self._by_prompt(seen)

    def _by_tools(self, seen: Sighting) -> Version:
        name = f"tools-{seen.tools[:12]}"
        return self._known.get(name) or Version(name, seen.tools, None, 0, 0)

    def _by_prompt(self, seen: Sighting) -> Version:
        key = (seen.tools, seen.prompt)
        if key in self._memory:
            return self._known[self._memory[key]]
        found = self._placed(seen)
        self._memory[key] = found.name
        return found

    def _placed(self, seen: Sighting) -> Version:
        likely = [each for each in self._known.values() if each.template is not None]
        likely = [each for each in likely if each.tools == seen.tools]
        # The learnt ones first: a version of rare variants, still being learnt, would soon fit all prompts.
        likely.sort(key=lambda each: -each.traces)
        for each in likely:
            if each.template is not None and fits(each.template, seen.prompt):
                return each
        for each in likely:
            if each.template is not None and each.traces < WINDOW:
                template = wider(each.template, seen.prompt)
                if template is not None:
                    return replace(each, template=template)
        name = f"prompt-{digest([seen.tools, seen.prompt])[:12]}"
        return Version(name, seen.tools, (seen.prompt,), 0, 0)

    def _is_new(self, found: Version) -> bool:
        return found.name not in self._known and not found.name.startswith("tools-")

    def _too_many(self) -> bool:
        return sum(each.last > self._number - RECENT for each in self._known.values()) >= MOST

    def _note(self, found: Version) -> None:
        """Notes what changed of a version. What is there already is not written with every trace."""
        known = self._known.get(found.name)
        learning = found.traces < WINDOW
        if known is None or known.template != found.template or learning or self._number - found.last >= LAG:
            found = replace(found, traces=min(found.traces + 1, WINDOW), last=self._number)
            self._known[found.name] = self.changed[found.name] = found
