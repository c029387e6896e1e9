"""Whole conversations of an agent with tools, as spans: the same answers as in its chat log, once a loop."""

import json
from collections.abc import Sequence

import pytest

from connectors.decoders.detect import Decoders
from policies.joining import joined
from policies.records import Trace
from policies.spans import Span
from tests.airline import FILE, Trial, events, trials
from tests.airlinespans import requests

pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"no {FILE}: the written cases beside it stay")


def answers(trial: Trial) -> list[int]:
    """The turns that a reader takes for answers: what the agent said to the customer, and what it did last.

    A call of a tool whose result the agent went on from is a step.
    """
    mine = [at for at, turn in enumerate(trial.turns) if turn["role"] == "assistant"]
    return [at for at in mine if not trial.turns[at].get("tool_calls") or at == mine[-1]]


def as_chat(found: Sequence[Trial]) -> dict[str, Trace]:
    """The same turns from the chat log, by their ids."""
    decoders = Decoders()
    made = [
        event
        for logged in events(found)
        for event in decoders.decode(json.dumps(logged).encode(), source="s", timestamp=1.0)
    ]
    return {each.id: each for each in made if isinstance(each, Trace)}


def test_conversations_as_spans() -> None:
    """Of all 200 each answer is there once, and each step in a later one; of every tenth task's first trial
    the answers are word for word those of the chat log, whose reading costs as much again.
    """
    found = trials()
    assert len(found) == 200
    steps = 0
    for trial, request in zip(found, requests(found), strict=True):
        spans = Decoders().decode(request, source="s", timestamp=1.0)
        made = joined([each for each in spans if isinstance(each, Span)])
        assert len(spans) == 1 + sum(turn["role"] == "assistant" for turn in trial.turns)
        assert [each.id for each in made.traces] == [trial.event(at) for at in answers(trial)]
        assert {each.session for each in made.traces} == {f"talk-{trial.task}-{trial.number}"}
        steps += made.steps
        chat = as_chat([trial]) if trial.number == 0 and trial.task % 10 == 0 else {}
        for each in made.traces if chat else ():
            other = chat[each.id]
            assert (each.messages, each.output) == (other.messages, other.output)
            assert (each.model, each.subject) == (other.model, other.subject)
    calls = sum(turn["role"] == "assistant" for trial in found for turn in trial.turns)
    assert steps == calls - sum(len(answers(trial)) for trial in found)
    assert steps > 1000
