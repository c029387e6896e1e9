"""Single answers in a file of their own: what may be in it, and what a snapshot of pairs is beside it."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from policies import answers, snapshot
from policies.answers import Answer
from policies.records import Message
from policies.snapshot import Pair, SnapshotError


def said(text: str, role: str = "assistant") -> tuple[Message, ...]:
    return (Message.model_validate({"role": role, "content": text}),)


def answer(asked: str, text: str, **changes: object) -> Answer:
    return Answer.model_validate(
        {"kind": "best", "prompt": said(asked, "user"), "answer": said(text), **changes}
    )


def pair(number: int, **changes: object) -> Pair:
    fields = {"preference": number, "prompt": said("hello", "user"), "chosen": said("good"), **changes}
    return Pair.model_validate({"rejected": said(f"bad {number}"), **fields})


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Named by its digest; the same answers are the same file, and another digest is refused."""
    given = [answer("a", "b", weight=0.5), answer("c", "d", kind="thumb", good=False, truncated=True)]
    name, path = answers.write(tmp_path, "support", given)
    assert answers.write(tmp_path, "support", given) == (name, path)
    found = answers.read(path, name)
    assert (found.id, found.policy, list(found.answers)) == (name, "support", given)
    with pytest.raises(SnapshotError, match="the file was changed"):
        answers.read(path, "0" * 64)


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (lambda body: body[: body.index(b"\n") + 1], "holds 0 answers where its header says 1"),
        (lambda body: body.replace(b'"weight":1.0', b'"weight":-1'), r"line 2: weight: "),
        (lambda body: body.replace(b"rlaifd-answers-1", b"others"), r"line 1: format: "),
        (lambda _body: b"", r"line 1: "),
    ],
)
def test_what_is_wrong_with_a_file_is_told_by_its_line(tmp_path: Path, spoil: object, wanted: str) -> None:
    """A file that is cut, odd or something else is no data."""
    _, path = answers.write(tmp_path, "support", [answer("a", "b")])
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(SnapshotError, match=wanted):
        answers.read(path)


def test_an_answer_that_was_cut_off_is_no_target() -> None:
    """It may be bad, and never good."""
    with pytest.raises(ValidationError, match="cut off is no target"):
        answer("a", "b", truncated=True)
    assert answer("a", "b", truncated=True, good=False).truncated


def test_pairs_are_answers_of_both_kinds(tmp_path: Path) -> None:
    """What was chosen is good and what was rejected is bad, cut off or not, each with the pair's weight."""
    name, path = snapshot.write(tmp_path, "support", [pair(1, rejected_truncated=True, weight=0.25)])
    found = answers.read(path, name)
    assert found.id == name
    assert [(each.good, each.truncated, each.weight) for each in found.answers] == [
        (True, False, 0.25),
        (False, True, 0.25),
    ]


def test_a_prompt_has_one_target() -> None:
    """A person's text goes before any reward, a higher reward before a lower one, and bad ones are none."""
    first, second = answer("a", "x", reward=6.0), answer("a", "y", reward=8.0)
    person, other = answer("a", "z", kind="correction"), answer("b", "x", reward=1.0)
    bad = answer("c", "x", good=False, reward=9.0)
    assert answers.best([first, second, other, bad]) == [second, other]
    assert answers.best([second, person, first, bad]) == [person]
    tools = ({"type": "function", "function": {"name": "look"}},)
    assert len(answers.best([first, answer("a", "x", tools=tools)])) == 2
