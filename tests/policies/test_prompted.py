"""Prompts to be answered anew: the file, what pairs are to it, and where an agent's turn begins."""

from pathlib import Path

import pytest

from policies import answers, prompted, snapshot
from policies.prompted import Known, Prompt, replayed
from policies.records import Message, Tokens, ToolCall
from policies.snapshot import Pair, SnapshotError

USER = Message(role="user", content="where is parcel 7?")
CALL = Message(role="assistant", tool_calls=(ToolCall(name="find", arguments={"n": 7}, id="c1"),))
RESULT = Message(role="tool", content="in Rome", tool_call_id="c1")
SAID = Message(role="assistant", content="In Rome.")
OTHER = Message(role="assistant", content="No idea.")


def pair(number: int, prompt: Message = USER, **changes: object) -> Pair:
    sides = {"chosen": (SAID,), "rejected": (OTHER,), "chosen_reward": 8.0, "rejected_reward": 2.0}
    return Pair.model_validate({"preference": number, "prompt": (prompt,), **sides, **changes})


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """The same prompts give the same file; another one, or a cut one, is refused by name."""
    asked = Prompt(trace=3, prompt=(USER,), answers=(Known(answer=(SAID,), reward=7.5),), tools=({"a": 1},))
    name, path = prompted.write(tmp_path, "support", [asked])
    assert prompted.write(tmp_path, "support", [asked]) == (name, path)
    found = prompted.read(path, name)
    assert (found.id, found.policy, found.prompts) == (name, "support", (asked,))
    assert prompted.holds_prompts(path)
    assert not answers.holds_answers(path)
    with pytest.raises(SnapshotError, match="its digest is"):
        prompted.read(path, "0" * 64)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(SnapshotError, match="holds 0 prompts where its header says 1"):
        prompted.read(path)
    path.write_text('{"format":"rlaifd-prompts-1","prompts":1,"policy":"p"}\n{"trace":1}\n')
    with pytest.raises(SnapshotError, match="line 2: prompt"):
        prompted.read(path)


def test_a_policy_that_is_called_like_a_format_is_none(tmp_path: Path) -> None:
    """The header's own key decides what a file holds, whatever names stand beside it."""
    _, path = snapshot.write(tmp_path, "rlaifd-prompts-1", [pair(1)])
    assert not prompted.holds_prompts(path)
    assert len(prompted.read(path).prompts) == 1


def test_pairs_are_prompts_with_both_answers(tmp_path: Path) -> None:
    """Each prompt once, whatever pairs it has, with the rewards that judges gave."""
    tokens = Tokens(ids=(1, 2), rendering="r")
    again = pair(2, chosen_tokens=tokens, rejected_truncated=True, chosen_reward=None)
    other = pair(3, Message(role="user", content="and 8?"))
    name, path = snapshot.write(tmp_path, "support", [pair(1), other, again])
    first, second = prompted.read(path, name).prompts
    assert [(each.reward, each.tokens, each.truncated) for each in first.answers] == [
        (8.0, None, False),
        (2.0, None, False),
        (None, tokens, False),
        (2.0, None, True),
    ]
    assert (second.prompt[0].content, len(second.answers)) == ("and 8?", 2)


@pytest.mark.parametrize(
    ("output", "context", "answer"),
    [
        ((SAID,), (), (SAID,)),
        ((CALL, RESULT, SAID), (CALL, RESULT), (SAID,)),
        ((CALL, RESULT, CALL, RESULT, SAID), (CALL, RESULT, CALL, RESULT), (SAID,)),
        ((CALL, RESULT), (), (CALL, RESULT)),
    ],
)
def test_recorded_results_belong_to_the_prompt(
    output: tuple[Message, ...], context: tuple[Message, ...], answer: tuple[Message, ...]
) -> None:
    """The policy speaks after the last of them; where nothing follows it, there is nothing to say there."""
    assert replayed((USER,), output) == ((USER, *context), answer)


def test_what_judges_preferred_has_the_bytes_that_it_always_had() -> None:
    """A run is known by its snapshot's digest: only pairs that people labelled say who chose."""
    assert b"source" not in snapshot.encoded("p", [pair(1)])
    assert b'"source":"people"' in snapshot.encoded("p", [pair(1, source="people")])
