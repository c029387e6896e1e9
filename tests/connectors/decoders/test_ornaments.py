"""No record is lost for what nothing depends on."""

from typing import Any

import pytest

from tests.connectors.decoders.events import openai
from tests.connectors.decoders.test_decoders import trace


def asked(**request: Any) -> dict[str, Any]:
    event = openai()
    event["request"] |= request
    return event


def test_tags_are_text() -> None:
    """Numbers, booleans and objects as JSON; what is null is no tag."""
    metadata = {"ticket": 4711, "beta": True, "user": {"tier": "gold"}, "note": None, "name": "x"}
    tags = trace(asked(metadata=metadata)).tags
    tags.pop("finish_reason")
    assert tags == {"ticket": "4711", "beta": "true", "user": '{"tier":"gold"}', "name": "x"}
    for odd in ([1], "text", 7):
        assert trace(asked(metadata=odd)).tags == {"finish_reason": "stop"}


@pytest.mark.parametrize(
    ("request_", "subject"),
    [
        ({"user": 4711}, "4711"),
        ({"user": None, "safety_identifier": "s-9"}, "s-9"),
        ({"user": None}, None),
        ({"user": ""}, None),
        ({"user": {"id": 7}}, '{"id":7}'),
    ],
)
def test_the_subject_is_text(request_: dict[str, Any], subject: str | None) -> None:
    """Whatever names the user."""
    assert trace(asked(**request_)).subject == subject


def test_long_names_are_kept_as_digests() -> None:
    """A token for a user, or an endless id: the same one gives the same name, which an index can take."""
    event = {**asked(user="t" * 5000), "response": {**openai()["response"], "id": "i" * 5000, "model": ["m"]}}
    found = trace(event)
    assert (len(found.subject or ""), len(found.id), found.model) == (64, 64, '["m"]')
    assert found.id == trace(event).id


@pytest.mark.parametrize("created", [0, None, "soon", 1_750_000_000_000, -1, True, [], 1e300])
def test_a_time_that_is_none_is_the_transports(created: Any) -> None:
    """The log's own is taken where it can be read."""
    assert trace(openai(created=created)).ts == 1.6e9
    assert trace(openai(created=1_750_000_000.5)).ts == 1_750_000_000.5


@pytest.mark.parametrize("identity", [None, "", 7, 7.5, {"a": 1}, True])
def test_an_id_is_text_or_the_payloads_digest(identity: Any) -> None:
    """An event without one is the same event when it comes again."""
    first = trace(openai(id=identity))
    assert first.id
    assert trace(openai(id=identity)).id == first.id


@pytest.mark.parametrize("role", ["Assistant", "model", "ai", None, "", "wizard", 7])
def test_a_choice_is_the_assistants(role: Any) -> None:
    """Whatever the log calls it, and where it calls it nothing."""
    message = {"role": role, "content": "In transit."}
    assert trace(openai(choices=[{"message": message}])).output[0].role == "assistant"


def test_roles_of_the_history_are_read_as_they_are_spelt() -> None:
    """Other names of the same roles are the same roles; a name that is no text is none."""
    history = [
        {"role": "Developer", "content": "Be brief.", "name": 7},
        {"role": "human", "content": "7?", "name": {"a": 1}},
        {"role": "ai", "content": "In transit."},
        {"role": "USER", "content": "and 8?"},
    ]
    found = trace(asked(messages=history)).messages
    assert [message.role for message in found] == ["system", "user", "assistant", "user"]
    assert [message.name for message in found] == ["7", None, None, None]


def test_a_call_may_have_a_number_for_its_id_and_tools_need_no_list() -> None:
    """Both are tied and kept as text."""
    call = {"id": 7, "type": "function", "function": {"name": "track", "arguments": {"n": 7}}}
    event = asked(tools={"type": "function", "function": {"name": "track"}})
    event["response"]["choices"] = [{"message": {"content": None, "tool_calls": [call]}}]
    found = trace(event)
    assert (found.output[0].tool_calls[0].id, len(found.tools)) == ("7", 1)
