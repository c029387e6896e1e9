"""What a model thought never stays in its answer, however the log spells it."""

import time
from typing import Any

import pytest

from connectors.decoders import thoughts
from connectors.decoders.chat import message_of
from connectors.events import SkipReason
from policies.records import Message, Trace, text_of
from tests.connectors.decoders.events import native, openai
from tests.connectors.decoders.test_decoders import skipped, trace

THOUGHT, ANSWER = "The user asks for parcel 7.", "In transit."


def assistant(**fields: Any) -> Message:
    return message_of({"role": "assistant", **fields}, "m")


def choice(finish: str | None = "stop", **message: Any) -> Trace:
    """A logged completion with this message."""
    made = {"finish_reason": finish, "message": {"role": "assistant", **message}}
    return trace(openai(choices=[made]))


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": THOUGHT},
        {"reasoning": THOUGHT},
        {"thinking": THOUGHT},
        {"thinking": [{"type": "text", "text": THOUGHT}]},
        {"reasoning_content": THOUGHT, "reasoning": THOUGHT},
        {
            "reasoning_content": f" {THOUGHT}\n",
            "thinking_blocks": [{"type": "thinking", "thinking": THOUGHT}],
        },
        {"thinking_blocks": [{"type": "thinking", "thinking": THOUGHT, "signature": "c2ln"}]},
        {"reasoning": None, "reasoning_details": [{"type": "reasoning.text", "text": THOUGHT, "index": 0}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}, {"summary": THOUGHT}]},
        {"content": [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": ANSWER}]},
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": ANSWER},
            ]
        },
        {
            "content": [
                {"type": "reasoning", "summary": [{"text": THOUGHT}]},
                {"type": "text", "text": ANSWER},
            ]
        },
        {"content": [{"type": "reasoning", "text": THOUGHT}, ANSWER]},
        {"content": f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"},
        {"content": f"\n<think>{THOUGHT}</think>{ANSWER}"},
        {"content": f"<think></think><think>{THOUGHT}</think>{ANSWER}"},
        {"content": f"{THOUGHT}</think>{ANSWER}"},
        {"content": f"{THOUGHT}\n</think>\n\n{ANSWER}"},
        {"content": f"<thinking>{THOUGHT}</thinking>\n{ANSWER}"},
        {"content": f"[THINK]{THOUGHT}[/THINK]{ANSWER}"},
        {"content": f"◁think▷{THOUGHT}◁/think▷{ANSWER}"},
        {"content": f"<seed:think>{THOUGHT}</seed:think>{ANSWER}"},
        {"content": f"<think>{THOUGHT}</think>{ANSWER}", "reasoning_content": THOUGHT},
        {
            "content": f"<|channel|>analysis<|message|>{THOUGHT}<|end|>"
            f"<|start|>assistant<|channel|>final<|message|>{ANSWER}<|return|>"
        },
        {
            "content": f"<|start|>assistant<|channel|>analysis<|message|>{THOUGHT}<|end|>"
            f"<|start|>assistant<|channel|>final<|message|>{ANSWER}"
        },
        {"content": f"analysis{THOUGHT}assistantfinal{ANSWER}"},
    ],
)
def test_a_thought_is_told_apart_from_the_answer(fields: dict[str, Any]) -> None:
    """Beside the text, among its parts, in tags or in channels: once, and not in the answer."""
    found = assistant(**{"content": ANSWER, **fields})
    assert (found.reasoning, found.content) == (THOUGHT, ANSWER)
    for each in (
        choice(**{"content": ANSWER, **fields}),
        trace(native(output=[{"role": "assistant", "content": ANSWER, **fields}])),
    ):
        assert (each.output[0].reasoning, text_of(each.output), each.truncated) == (THOUGHT, ANSWER, False)


@pytest.mark.parametrize(
    "content",
    [
        "Write `</think>` to end a thought.",
        'The tag "</think>" ends it.',
        "First:\n```\nthought\n</think>\nanswer\n```\nand so on.",
        "Use <think> and </think> around it.",
        "analysis: three parcels are late.",
        "analysis of parcel 7 is under way",
        "The <|channel|> token is gpt-oss'.",
        " a line\n\n  indented ",
    ],
)
def test_an_answer_that_talks_of_tags_stays_whole(content: str) -> None:
    """Only what begins the answer, or ends a thought that the template began, is a thought."""
    found = assistant(content=content)
    assert (found.reasoning, found.content) == ("", content)


def test_a_quoted_tag_does_not_end_the_thought() -> None:
    """The thought goes on to the tag that stands by itself, also right after a quotation."""
    found = assistant(content="<think>It says '</think>', or \"yes\"</think>Yes.")
    assert (found.reasoning, found.content) == ("It says '</think>', or \"yes\"", "Yes.")


@pytest.mark.parametrize(
    "message",
    [
        {"content": f"<think>{THOUGHT}"},
        {"content": f"{THOUGHT}</think>\n"},
        {"content": None, "reasoning_content": THOUGHT},
        {"content": "", "reasoning": THOUGHT},
        {"content": f"analysis{THOUGHT}"},
        {"content": f"<|channel|>analysis<|message|>{THOUGHT}"},
        {"content": [{"type": "thinking", "thinking": THOUGHT}]},
    ],
)
@pytest.mark.parametrize("finish", ["stop", "length", None])
def test_a_thought_without_an_answer_is_none(message: dict[str, Any], finish: str | None) -> None:
    """It is told apart from an answer, and a record that holds nothing else is skipped."""
    said = assistant(**message)
    assert (said.reasoning, said.content) == (THOUGHT, "")
    made = {"finish_reason": finish, "message": {"role": "assistant", **message}}
    assert skipped(openai(choices=[made])) is SkipReason.THOUGHT
    assert skipped(native(output=[{"role": "assistant", **message}])) is SkipReason.THOUGHT


def test_a_thought_after_a_call_is_cut_off() -> None:
    """The agent did something, and its last words never came, whatever the log says of its end."""
    call = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": '{"n": 7}'}}
    output = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "in transit"},
        {"role": "assistant", "content": f"<think>{THOUGHT}"},
    ]
    found = trace(native(output=output, truncated=False))
    assert (found.output[2].reasoning, found.output[2].content, found.truncated) == (THOUGHT, "", True)


def test_a_thought_before_a_call_is_whole() -> None:
    """A call is an answer, and so is one that gpt-oss wrote into its raw text."""
    call = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": '{"n": 7}'}}
    found = choice("tool_calls", content=None, tool_calls=[call], reasoning=THOUGHT)
    assert (found.output[0].reasoning, found.truncated) == (THOUGHT, False)
    for raw in (
        (
            f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>commentary "
            'to=functions.track <|constrain|>json<|message|>{"n": 7}<|call|>'
        ),
        (
            f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant to=functions.track"
            '<|channel|>commentary json<|message|>{"n": 7}<|call|>'
        ),
        f'analysis{THOUGHT}assistantcommentary to=functions.track json{{"n": 7}}',
    ):
        found = choice(content=raw)
        (output,) = found.output
        assert (output.reasoning, output.content, found.truncated) == (THOUGHT, "", False)
        assert [(each.name, each.arguments) for each in output.tool_calls] == [("track", {"n": 7})]


def test_earlier_thoughts_are_kept_and_nobody_elses() -> None:
    """The assistant's turns of the history have theirs; a user who writes the tag has written text."""
    written = "<think>am I?</think>"
    history = [
        {"role": "user", "content": written, "reasoning": "no"},
        {"role": "assistant", "content": f"<think>{THOUGHT}</think>{ANSWER}"},
        {"role": "user", "content": "and 8?"},
    ]
    found = trace(native(messages=history)).messages
    assert [(each.content, each.reasoning) for each in found] == [
        (written, ""),
        (ANSWER, THOUGHT),
        ("and 8?", ""),
    ]


@pytest.mark.parametrize("junk", [7, True, {"effort": "high"}, [[]], {"text": None}, [{"type": {}}]])
def test_a_thought_that_cannot_be_read_costs_no_record(junk: Any) -> None:
    """Nothing depends on it: the answer is what counts."""
    found = assistant(content=ANSWER, reasoning=junk, thinking_blocks=junk)
    assert (found.reasoning, found.content) == ("", ANSWER)


@pytest.mark.parametrize(
    "piece",
    [
        "<think></think>",
        "<think>",
        "</think>'",
        "'</think>'",
        "```</think>",
        " \n",
        "[THINK]",
        "analysisA",
        "assistantfinal",
    ],
)
def test_the_cost_is_linear_in_the_text(piece: str) -> None:
    """A hundred times the text takes about a hundred times as long; the square would be ten thousand."""

    def cost(size: int) -> float:
        text = piece * (size // len(piece))
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            assistant(content=f"analysisA{text}" if piece == "assistantfinal" else text)
            best = min(best, time.process_time() - start)
        return best

    assert cost(2_000_000) < 1_500 * max(cost(20_000), 1e-3)


def test_the_same_thought_twice_is_one() -> None:
    """Servers repeat it under several names while they change over."""
    assert thoughts.joined([THOUGHT, "", f"{THOUGHT} ", "Then this."]) == f"{THOUGHT}\nThen this."
