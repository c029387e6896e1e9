"""Damaged requests: nothing is raised, and each event is one, or why it is none."""

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import DecodeError
from connectors.events import Found, Skipped
from policies.feedback import FeedbackEvent
from policies.joining import joined
from policies.records import Trace
from policies.spans import Span
from tests.connectors.decoders.otlp.requests import CHAT, as_text, decoded, log, logs, proto, span, traces
from tests.connectors.decoders.otlp.test_otlp import OPENINFERENCE

REQUESTS = (
    traces(span("agent", attributes={"session.id": "s"}), span("call", "agent", attributes=as_text(CHAT))),
    traces(span("call", attributes=OPENINFERENCE)),
    traces(span("call", attributes={"gen_ai.prompt.0.content": "7?", "gen_ai.completion.0.content": "Ulm"})),
    logs(log("gen_ai.client.inference.operation.details", "call", attributes=CHAT)),
    logs(log("gen_ai.user.message", "call", body={"stringValue": "7?"})),
    logs(log("gen_ai.evaluation.result", "call", attributes={"gen_ai.evaluation.name": "n"})),
)
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1 << 70, 1.5, "", "x", "\0", "[", "{}", "[{}]", [], {}, [[]], {"a": {}}, "9" * 400,
    {"stringValue": 7}, {"arrayValue": []}, {"kvlistValue": {"values": [7]}}, {"intValue": "x"}, ["\0"],
)  # fmt: skip


def damaged(rng: random.Random) -> bytes:
    """A request with one of its values replaced, or its bytes damaged."""
    request = copy.deepcopy(rng.choice(REQUESTS))
    if rng.random() < 0.3:
        raw = bytearray(proto(request))
        for _ in range(rng.randrange(1, 4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        return bytes(raw[: rng.randrange(1, len(raw) + 1)] if rng.random() < 0.2 else raw)
    node: Any = request
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if rng.random() < 0.2 or not (isinstance(node[key], dict | list) and node[key]):
            node[key] = rng.choice(VALUES)
            return json.dumps(request).encode()
        node = node[key]


def check(found: list[Found]) -> None:
    assert found
    for each in found:
        assert isinstance(each, Trace | FeedbackEvent | Span | Skipped | DecodeError)
        assert "failed:" not in str(each) or not isinstance(each, DecodeError), str(each)
    joined([each for each in found if isinstance(each, Span)])


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_request_raises_nothing(seed: int) -> None:
    """And no decoder fails by a fault of its own."""
    rng = random.Random(seed)
    for _ in range(400):
        check(decoded(damaged(rng)))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_after_a_request_s_first(raw: bytes) -> None:
    """Protobuf of nobody knows what."""
    body = b"\x12" + bytes([len(raw) % 128]) + raw
    check(decoded(b"\n" + bytes([len(body) % 128]) + body))
    check(decoded(raw or b"x"))
