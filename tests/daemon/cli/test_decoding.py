"""`rlaifd decode --explain` says of each event what matched, what it holds and lacks, and what it becomes."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from daemon.cli.app import app
from tests.connectors.decoders.events import native, openai

MAPPING = "name: home\nwhen: {kind: turn}\nmessages: asked\noutput: said\nmodel: by\n...\n"
ASKED = ("otlp", "native", "feedback", "litellm", "anthropic", "openai_responses", "openai_chat")
HOME = {"kind": "turn", "asked": "Where is parcel 7?", "said": "In Ulm.", "by": "agent-7"}


def decode(tmp_path: Path, events: list[Any], *options: str) -> tuple[int, str]:
    file = tmp_path / "log.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in events), encoding="utf-8")
    (tmp_path / "home.yaml").write_text(MAPPING, encoding="utf-8")
    done = CliRunner().invoke(app, ["decode", str(file), *options], catch_exceptions=False)
    return done.exit_code, done.output


def test_what_was_found_and_what_is_missing(tmp_path: Path) -> None:
    """With what follows from it."""
    cut = openai(choices=[{"finish_reason": "length", "message": {"content": "It is"}}])
    code, text = decode(tmp_path, [cut], "--explain")
    assert code == 0
    assert text.startswith(
        "line 1: openai_chat: id chatcmpl-0, 4 messages, 1 in the output, model gpt-x-2026"
    )
    for line in (
        f"    matched  openai_chat (asked, in this order: {', '.join(ASKED)})",
        "    found    messages: 4 (1 system, 1 user, 1 assistant, 1 tool, 1 calls)",
        "    found    usage: 9 tokens in, 4 out",
        "    found    tools: lookup",
        "    missing  session: it is joined with no other turn of its conversation",
        "    note     the answer was cut off: it wins no pair and is no target",
    ):
        assert line in text.splitlines()
    assert "missing  subject" not in text


def test_why_an_event_is_refused_or_skipped(tmp_path: Path) -> None:
    """With all that were asked; exit 1 where something becomes a dead letter."""
    failed = {"request": {"messages": []}, "response": {"error": {"message": "x"}}}
    code, text = decode(tmp_path, [failed], "--explain")
    assert (code, "becomes  skipped and counted by its reason: the response is an error" in text) == (0, True)
    code, text = decode(tmp_path, [{"level": "info"}], "--explain")
    assert code == 1
    assert "    matched  none (asked, in this order: otlp, native, feedback, litellm, anthropic," in text
    assert "    becomes  a dead letter, with its bytes: no decoder knows this format (keys: level" in text


@pytest.mark.parametrize("whole", [False, True])
def test_as_json(tmp_path: Path, whole: bool) -> None:
    """One object an event."""
    code, text = decode(tmp_path, [native(1), 5], "--json", *["--explain"] * whole)
    first, second = map(json.loads, text.splitlines())
    assert (code, first["trace"]["id"], second["reason"]) == (1, "e-1", "an event must be an object, not int")
    assert ("found" in first) is whole
    if whole:
        assert first["asked"] == ["otlp", "native"]
        assert first["found"]["id"] == "e-1"
        assert set(first["missing"]) == {"model", "session", "subject", "system prompt", "usage"}
        assert second["found"] == second["missing"] == {}


def test_a_mapping_file(tmp_path: Path) -> None:
    """Is asked first; a wrong one is a usage error in one line."""
    code, text = decode(tmp_path, [HOME], "--explain", "--mapping", str(tmp_path / "home.yaml"))
    assert code == 0
    assert "matched  home (asked, in this order: otlp, home)" in text
    assert "missing  id: it is named by the digest of its content" in text
    assert "missing  time: it is the transport's" in text
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: home\nwhen: {kind: turn}\nmessages: a..b\noutput: said\n...\n", encoding="utf-8")
    with pytest.raises(Exception, match=r"bad.yaml: messages: Value error, 'a..b' is no path"):
        decode(tmp_path, [HOME], "--mapping", str(bad))
