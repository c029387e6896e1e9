"""What a record is where it is no trace: skipped by a reason, known and refused, or known to no decoder."""

import bz2
import gzip
import json
import lzma
import zlib
from typing import Any

import pytest

from connectors.decoders.detect import Decoders
from connectors.decoders.jsontext import FEW, MOST_EVENTS
from connectors.errors import DecodeError, UnknownFormatError
from connectors.events import Skipped, SkipReason
from policies.records import Trace
from tests.connectors.decoders.events import native, openai
from tests.connectors.decoders.test_decoders import decode, reason, skipped, trace

CHUNK = {"id": "s", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "In"}}]}
ASKED = {"messages": [{"role": "user", "content": "Where is parcel 7?"}]}


def pair(response: Any, **payload: Any) -> dict[str, Any]:
    return {"request": ASKED, "response": response, **payload}


def choices(*made: dict[str, Any]) -> dict[str, Any]:
    return openai(choices=list(made))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, SkipReason.TOMBSTONE),
        (b"", SkipReason.TOMBSTONE),
        (b" \r\n", SkipReason.TOMBSTONE),
        (b"null", SkipReason.TOMBSTONE),
        (pair({"error": {"message": "overloaded", "code": 503}}), SkipReason.ERROR),
        (pair({"error": "overloaded"}), SkipReason.ERROR),
        (pair({"id": "x", "choices": [], "error": {"code": 429}}), SkipReason.ERROR),
        (pair(None, error="timed out"), SkipReason.ERROR),
        ({"request": ASKED, "error": {"message": "connection reset"}}, SkipReason.ERROR),
        (pair({"object": "error", "message": "too long", "code": 400}), SkipReason.ERROR),
        ({"request": {"input": "7?"}, "response": {"error": {"message": "no"}}}, SkipReason.ERROR),
        ({"error": {"message": "Rate limit reached", "type": "requests", "code": None}}, SkipReason.ERROR),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, SkipReason.ERROR),
        (choices({"finish_reason": "error", "message": {"content": "half of"}}), SkipReason.ERROR),
        (choices({"error": {"code": 502}, "message": {"content": ""}}), SkipReason.ERROR),
        (pair(None), SkipReason.EMPTY),
        (pair({}), SkipReason.EMPTY),
        (choices({"message": {"role": "assistant", "content": ""}}), SkipReason.EMPTY),
        (choices({"message": {"role": "assistant", "content": " \n"}}), SkipReason.EMPTY),
        (choices({"message": {"role": "assistant", "content": [], "tool_calls": []}}), SkipReason.EMPTY),
        (choices({"message": None, "finish_reason": "stop"}), SkipReason.EMPTY),
        (choices({"finish_reason": "content_filter"}), SkipReason.WITHHELD),
        (choices({"finish_reason": "SAFETY", "message": {"content": None}}), SkipReason.WITHHELD),
        (native(output=[]), SkipReason.EMPTY),
        (native(output=None), SkipReason.EMPTY),
        (native(output=[{"role": "assistant", "content": ""}]), SkipReason.EMPTY),
    ],
)
def test_what_is_no_answer_is_skipped(value: Any, why: SkipReason) -> None:
    """With its reason: it is no trace, nothing to put aside, and says nothing against the decoder."""
    assert skipped(value) is why


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (pair([CHUNK, CHUNK]), "is of a list of stream chunks that broke off"),
        (
            pair(f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n"),
            "is of a raw stream (SSE text) that broke off",
        ),
        (pair("event: message_start\ndata: {}\n\n"), "`response` is a raw stream (SSE text)"),
        (pair(CHUNK), "one chunk of a stream"),
        (pair({"choices": [{"delta": {"content": "In transit."}}]}), "holds a stream's `delta`"),
        (pair('{"choices": ['), "`response` is text that holds JSON"),
        ({"request": json.dumps(ASKED)[:-1], "response": {}}, "`request` is text that holds JSON"),
        ({"request": ASKED}, "a request without its response"),
        (pair("Internal Server Error"), "`response` must be an object"),
        (pair({"detail": "Not Found"}), "`response.choices` must be a list"),
        (CHUNK, "one chunk of a stream: log the assembled completion, or all of its chunks"),
        ({"object": "chat.completion", "choices": [{}]}, "a completion without its request"),
        (b'{"messages": NaN, "output": 1}', "NaN is not JSON"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"a": 1, "a": 2}', "written twice"),
    ],
)
def test_what_is_known_is_refused_with_what_to_do(value: Any, words: str) -> None:
    """A known format, or JSON that cannot be kept: the writer's or a stranger's fault, not the decoder's."""
    (found,) = decode(value)
    assert isinstance(found, DecodeError)
    assert not isinstance(found, UnknownFormatError)
    assert words in str(found)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"plain text", "not JSON"),
        (b"\x89PNG\r\n", "not UTF-8"),
        (
            b"\x00\x00\x00\x00\x05" + json.dumps(openai()).encode(),
            "Confluent's schema header (5 bytes), of schema 5",
        ),
        (gzip.compress(json.dumps(openai()).encode()), "compressed with gzip by what wrote it"),
        (zlib.compress(json.dumps(openai()).encode()), "compressed with zlib by what wrote it"),
        (bz2.compress(json.dumps(openai()).encode()), "compressed with bzip2 by what wrote it"),
        (lzma.compress(json.dumps(openai()).encode()), "compressed with xz by what wrote it"),
        (b"[", "one record a line: this is a piece of JSON over many lines"),
        (b'  "request": {', "one record a line: this is a piece of JSON over many lines"),
        ({"level": "info", "msg": "started"}, "no decoder knows this format (keys: level, msg"),
        ({"level": "error", "error": {"message": "x"}}, "no decoder knows this format"),
        (b"[1, 1, 1]", "an array of 3 items of which none is an object"),
        (b"7", "not int"),
    ],
)
def test_what_no_decoder_knows_is_told_apart(value: Any, words: str) -> None:
    """It may mean the wrong decoder, or another log."""
    (found,) = decode(value)
    assert isinstance(found, UnknownFormatError)
    assert words in str(found)


def test_a_named_decoder_knows_only_its_own() -> None:
    """Another decoder's events are unknown to it; its own broken ones are not."""
    (other,), (own,) = decode(openai(), "native"), decode(native(colour=1), "native")
    assert isinstance(other, UnknownFormatError)
    assert not isinstance(own, UnknownFormatError)


def test_each_choice_stands_for_itself() -> None:
    """Its own index names it, in any order; a filtered or broken one takes no other with it."""
    found = decode(
        choices(
            {"index": 2, "message": {"content": "Two"}},
            {"index": 0, "message": {"content": "None"}},
            {"index": 1, "finish_reason": "content_filter"},
            {"index": 3, "message": {"content": 5}},
        )
    )
    assert [each.id for each in found if isinstance(each, Trace)] == ["chatcmpl-0#2", "chatcmpl-0"]
    assert isinstance(found[2], Skipped)
    assert "`response.choices[3].message.content` must be text" in str(found[3])
    again = choices({"index": 0, "message": {"content": "a"}}, {"index": 0, "message": {"content": "b"}})
    assert [each.id for each in decode(again) if isinstance(each, Trace)] == ["chatcmpl-0", "chatcmpl-0#1"]


def test_many_small_items_are_one_dead_letter() -> None:
    """A record that has no room for so many events does not become a dead letter for each."""
    for value in (b"[" + b"{}," * 200_000 + b"{}]", b"{}\n" * (FEW + 1)):
        assert "items in" in reason(value)
    events = [native(number) for number in range(2 * FEW)]
    assert all(isinstance(each, Trace) for each in decode(events))
    long = json.dumps([{"a": "x" * 60}] * (MOST_EVENTS + 1)).encode()
    assert f"at most {MOST_EVENTS} events" in reason(long)


def test_a_few_broken_items_are_told_one_by_one() -> None:
    """As long as they are few."""
    found = Decoders().decode(b"[{}, {}, 5]", source="s", timestamp=0.0)
    assert [isinstance(each, UnknownFormatError) for each in found] == [True, True, True]


def test_what_cannot_be_shown_is_marked() -> None:
    """A placeholder stands in the text, for people and judges, and the trace says that it is one."""
    parts: list[Any] = [
        {"type": "text", "text": "Here:"},
        {"type": "image_url", "image_url": {"url": "data:x"}},
    ]
    for message, text in (
        ({"content": parts}, "Here:\n[image_url]"),
        ({"content": "Here:", "images": [{"type": "image_url"}]}, "Here:\n[image_url]"),
        ({"content": None, "audio": {"id": "a", "data": "AAAA"}}, "[audio]"),
        ({"content": [{"type": "output_audio", "data": "AAAA"}]}, "[output_audio]"),
        ({"content": {"type": "image_url"}}, "[image_url]"),
    ):
        for found in (
            trace(choices({"message": {"role": "assistant", **message}})),
            trace(native(output=[{"role": "assistant", **message}])),
        ):
            assert (found.output[0].content, found.unshown) == (text, True)
            assert found.digest != found.model_copy(update={"unshown": False}).digest


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None, "audio": {"id": "a", "data": "AAAA", "transcript": "In transit."}}, "In transit."),
        ({"content": [{"type": "output_audio", "transcript": "In transit."}]}, "In transit."),
        ({"content": [{"type": "text", "text": {"value": "In transit.", "annotations": []}}]}, "In transit."),
        ({"content": {"type": "text", "text": "In transit."}}, "In transit."),
        ({"content": [{"type": "thinking", "thinking": "7?"}, {"type": "text", "text": "Yes."}]}, "Yes."),
        ({"content": [{"type": "text", "text": None}, "Yes."]}, "\nYes."),
        ({"content": None, "refusal": "I cannot."}, "I cannot."),
    ],
)
def test_what_was_said_is_text_however_it_came(message: dict[str, Any], text: str) -> None:
    """Spoken words, nested values, a part without its list: nothing is hidden, and no thought is left."""
    found = trace(choices({"message": {"role": "assistant", **message}}))
    assert (found.output[0].content, found.unshown) == (text, False)
