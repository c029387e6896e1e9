"""One agent has one version, whatever its prompts are filled with, and another one when it was changed."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from policies.agentversion import (
    AGAIN,
    MAX_TEXT,
    MOST,
    RECENT,
    WINDOW,
    Rule,
    Share,
    Telling,
    newest_five,
    prompt_of,
    sighting,
)
from policies.records import Message, Trace
from tests.growth import LINEAR, growth

NAMES = ("Ann", "Bob Smith", "Carl", "Dora de Vries")
FIND = {
    "type": "function",
    "function": {"name": "find", "description": "x", "parameters": {"type": "object"}},
}


def prompt(number: int, rule: str = "Never promise a refund.") -> str:
    """What a support agent is told: with a date, a name and retrieved text."""
    facts = " ".join(f"fact{number * 7 + at}" for at in range(number % 5))
    return (
        f"Today is Monday, March {1 + number % 28}, 2026.\nYou help {NAMES[number % 4]} with an order.\n"
        f"{rule} Ask for the order number first.\nWhat we know: {facts}\nAnswer in one sentence."
    )


def trace(system: str | None, *, tools: Sequence[Mapping[str, Any]] = (), name: str | None = None) -> Trace:
    said = [] if system is None else [{"role": "system", "content": system}]
    return Trace.model_validate(
        {
            "id": "x",
            "source": "s",
            "ts": 0.0,
            "messages": [*said, {"role": "user", "content": "hello"}],
            "output": [{"role": "assistant", "content": "hi"}],
            "tools": list(tools),
            "agent_version": name,
        }
    )


def told(telling: Telling, traces: Sequence[Trace]) -> list[str | None]:
    return [telling.tell(each) for each in traces]


def test_dates_names_and_retrieved_text_are_slots() -> None:
    """A thousand prompts of one agent are one version."""
    found = told(Telling("auto", ()), [trace(prompt(number)) for number in range(1000)])
    assert len(set(found)) == 1
    assert str(found[0]).startswith("prompt-")


@pytest.mark.parametrize(
    "rule", ["Never promise a discount.", "Never promise a refund, ever.", "Promise it."]
)
def test_a_changed_instruction_is_a_new_version_at_once(rule: str) -> None:
    """From its first trace on, under one name, and the old name when the change is taken back."""
    telling = Telling("auto", ())
    before = told(telling, [trace(prompt(number)) for number in range(WINDOW)])
    after = told(telling, [trace(prompt(number, rule)) for number in range(300)])
    back = told(telling, [trace(prompt(number)) for number in range(50)])
    assert [len(set(each)) for each in (before, after, back)] == [1, 1, 1]
    assert set(before) == set(back) != set(after)


def test_two_agents_on_one_source_are_two_versions() -> None:
    """From the first trace on, though neither was learnt yet."""
    poems = "Write a poem about what the user names, in four lines, and say nothing else."
    found = told(Telling("auto", ()), [trace(poems if at % 2 else prompt(at)) for at in range(100)])
    assert [len(set(found[::2])), len(set(found[1::2])), len(set(found))] == [1, 1, 2]


def test_tools_are_told_by_names_and_parameters() -> None:
    """Not by their order, their description, or the provider's way to write them."""
    other = {"name": "send", "description": "y", "input_schema": {"type": "object"}}
    same = {"name": "find", "input_schema": {"type": "object"}}
    first = sighting(trace(None, tools=[FIND, other])).tools
    assert sighting(trace(None, tools=[other, same])).tools == first
    changed = {"name": "find", "input_schema": {"type": "object", "required": ["id"]}}
    assert sighting(trace(None, tools=[other, changed])).tools != first
    found = told(
        Telling("auto", ()), [trace("Help.", tools=[FIND]), trace("Help."), trace("Help.", tools=[FIND])]
    )
    assert found[0] == found[2] != found[1]


def test_the_log_s_own_name_counts_first() -> None:
    """As a field or a tag; the rule may take it alone, or not at all."""
    tagged = trace("Help.").model_copy(update={"tags": {"agent_version": "v8"}})
    traces = [trace("Help.", name="v7"), tagged, trace("Help.")]
    expected: dict[Rule, list[str | None]] = {"auto": ["v7", "v8"], "name": ["v7", "v8", None]}
    for rule, names in expected.items():
        assert told(Telling(rule, ()), traces)[: len(names)] == names
    assert len(set(told(Telling("prompt", ()), traces))) == 1
    assert {str(each)[:6] for each in told(Telling("tools", ()), traces)} == {"tools-"}


def test_above_twenty_versions_tools_alone_tell() -> None:
    """Whether prompts or names are too many; later they are tried again."""
    for many in (
        [trace(f"{number} " + " ".join(f"w{number}x{at}" for at in range(30))) for number in range(50)],
        [trace("Help.", name=f"build-{number}") for number in range(50)],
    ):
        telling = Telling("auto", ())
        found = told(telling, many)
        assert telling.fell
        assert len(set(found[:MOST])) == MOST
        assert {str(each)[:6] for each in found[MOST:]} == {"tools-"}
        known = list(telling.changed.values())
        later = Telling("auto", known, number=MOST + AGAIN + RECENT, fallen_until=telling.fallen_until)
        assert later.tell(trace("Help.", name="v1")) == "v1"
        assert not later.fell


def test_what_was_learnt_is_carried_on_by_the_next_batch() -> None:
    """Only what changed is given back: a version that is learnt, once in a hundred traces."""
    first = Telling("auto", ())
    name = told(first, [trace(prompt(number)) for number in range(WINDOW)])[0]
    second = Telling("auto", list(first.changed.values()), number=WINDOW)
    assert told(second, [trace(prompt(number)) for number in range(50)]) == [name] * 50
    assert second.changed == {}
    third = Telling("auto", list(first.changed.values()), number=2 * WINDOW)
    third.tell(trace(prompt(1)))
    assert third.changed[str(name)].last == 2 * WINDOW + 1


def test_only_the_leading_system_messages_are_looked_at() -> None:
    """And of these no more than their first part."""
    messages = [
        Message(role="system", content="a  b"),
        Message(role="system", content="on 2026-03-01 at 10:30"),
        Message(role="user", content="c"),
        Message(role="system", content="d"),
    ]
    assert prompt_of(messages, {}) == "a b on ◌ at ◌"
    assert len(prompt_of([Message(role="system", content="x " * MAX_TEXT)], {})) <= MAX_TEXT
    assert prompt_of([], {}) == ""


def test_the_newest_five_are_shown() -> None:
    """And the others together; traces without a version are `unknown`."""
    shares = [Share(None if at == 6 else f"v{at}", 10 * at, at, 100) for at in range(1, 8)]
    shown = {"v7": 70, "unknown": 60, "v5": 50, "v4": 40, "v3": 30, "other": 30}
    assert newest_five(shares) == shown
    assert newest_five(shares[:1]) == {"v1": 10}


def test_no_prompt_costs_more_than_its_bound() -> None:
    """A stranger may write a long prompt, and another one each time."""

    def tell(size: int) -> object:
        telling = Telling("auto", ())
        return [telling.tell(trace(f"{at} " + "a b " * size)) for at in range(5)]

    assert growth(tell, 40_000) < LINEAR
