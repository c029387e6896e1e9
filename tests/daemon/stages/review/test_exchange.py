"""Pairs out, labels in."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from connectors.review import jsonl
from daemon.clock import FakeClock
from daemon.errors import RlaifdError, UsageError
from daemon.stages.review.exchange import Review, pair_id, swapped
from daemon.store import labels, ledger
from daemon.store.labels import CANDIDATE, JUDGEMENT, LABEL, TRACE, Imported
from daemon.store.store import Store
from tests.growth import LINEAR, growth

PROMPTS = 12


def fill(store: Store) -> None:
    """Audit pairs of twelve prompts, asked of two judges each, and one pair of the gate's."""

    def work(c: Any) -> None:
        for trace in range(1, PROMPTS + 1):
            low, high = 2 * trace, 2 * trace + 1
            payload = {"messages": [{"role": "user", "content": f"question {trace}"}]}
            c.execute(insert(TRACE).values(_trace(trace, payload)))
            for candidate, text in ((low, f"low {trace}"), (high, f"high {trace} </html>\u2028\n")):
                c.execute(insert(CANDIDATE).values(_candidate(candidate, trace, text)))
            for role in ("small", "large"):
                c.execute(insert(JUDGEMENT).values(_judgement(trace, low, high, role, "audit")))
        c.execute(insert(JUDGEMENT).values(_judgement(1, 2, 5, "gate", "gate")))

    store.write(work)


def _trace(trace: int, payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": trace,
        "source": "s",
        "event_id": str(trace),
        "revision": 0,
        "digest": "d",
        "cluster": f"c{trace}",
        "split": "audit",
        "ts": 1.0,
        "stored_at": 1.0,
        "payload": payload,
    }


def _candidate(candidate: int, trace: int, text: str) -> dict[str, Any]:
    return {
        "id": candidate,
        "trace_id": trace,
        "origin": "sampled",
        "adapter": "",
        "batch": "",
        "sample": candidate,
        "output": [],
        "text": text,
        "created_at": 1.0,
    }


def _judgement(trace: int, low: int, high: int, role: str, purpose: str) -> dict[str, Any]:
    return {
        "key": f"{role}-{purpose}-{low}-{high}",
        "role": role,
        "kind": "pair",
        "purpose": purpose,
        "trace_id": trace,
        "candidate_id": low,
        "other_id": high,
        "probability": 0.25,
        "state": "open",
        "attempts": 0,
        "not_before": 0.0,
        "created_at": 1.0,
    }


@pytest.fixture
def review(store: Store, clock: FakeClock) -> Review:
    fill(store)
    return Review(store=store, clock=clock)


@pytest.fixture
def small(sqlite_store: Store, clock: FakeClock) -> Review:
    fill(sqlite_store)
    return Review(store=sqlite_store, clock=clock)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def answer(path: Path, choose: str = "low") -> None:
    """Fills in an exported file: always the answer that says low, or high."""
    answered = []
    for task in lines(path):
        choice = "1" if task["answer_1"].startswith(choose) else "2"
        answered.append(json.dumps(task | {"choice": choice, "reason": "clearer"}))
    path.write_text("\n".join(answered) + "\n", encoding="utf-8")


def test_pairs_to_calibrate_on_come_after_those_of_the_audit(small: Review, sqlite_store: Store) -> None:
    """Older ones, too: no judge is trusted before audit labels are there. Other splits' never come."""
    for split, trace in (("calibrate", 1), ("calibrate", 12), ("train", 2), ("gate", 3)):
        moved = update(TRACE).where(TRACE.c.id == trace).values(split=split)
        sqlite_store.write(lambda c, moved=moved: c.execute(moved))  # type: ignore[misc]
    asked = [int(task.messages[0].content.split()[1]) for task in small.tasks()]
    assert asked == [*range(4, 12), 1, 12]
    small.label(small.tasks()[-1].pair, "1", reviewer="ann")
    assert len(small.tasks()) == 9


def test_people_see_calls_and_results_and_no_thought(small: Review, tmp_path: Path) -> None:
    """Neither of the history nor of the answers: whoever asked did not see it either."""
    call = {"name": "find", "arguments": {"n": 7}, "id": "c1"}
    turns = [
        {"role": "assistant", "content": "I look.", "reasoning": "SECRET", "tool_calls": [call]},
        {"role": "tool", "content": "in Ulm", "tool_call_id": "c1", "name": "find"},
    ]
    output = [{"role": "assistant", "content": "In Ulm.", "reasoning": "SECRET"}]

    def think(c: Any) -> None:
        c.execute(update(TRACE).values(payload={"messages": turns}))
        c.execute(update(CANDIDATE).values(output=output))

    small._store.write(think)
    path = tmp_path / "pairs.jsonl"
    assert small.export(path) == PROMPTS
    assert "SECRET" not in path.read_text(encoding="utf-8")
    assert lines(path)[0]["messages"] == [
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"name": "find", "arguments": {"n": 7}}],
        },
        {"role": "tool", "content": "in Ulm", "name": "find"},
    ]


def stored(store: Store) -> list[dict[str, Any]]:
    return store.read(lambda c: [dict(row) for row in c.execute(select(LABEL)).mappings()])


def test_each_audit_pair_goes_out_once(review: Review, tmp_path: Path) -> None:
    """Two judges on one pair are one task; the gate's pairs are not for review; nothing tells who is who."""
    path = tmp_path / "tasks.jsonl"
    assert review.export(path) == PROMPTS
    tasks = lines(path)
    assert len({task["pair"] for task in tasks}) == PROMPTS
    for task in tasks:
        assert set(task) == {"pair", "messages", "answer_1", "answer_2", "choice", "reason"}
        assert {task["answer_1"][:3], task["answer_2"][:3]} == {"low", "hig"}
    assert [task["messages"][0]["content"] for task in tasks] == [
        f"question {n}" for n in range(1, PROMPTS + 1)
    ]


def test_the_order_is_drawn_by_hash(small: Review, sqlite_store: Store) -> None:
    """Both orders occur, and a second export shows the same."""
    first = small.tasks()
    assert {task.answer_1.startswith("low") for task in first} == {True, False}
    assert small.tasks() == first
    many = [labels.LabelPair(1, low, low + 1, 1.0) for low in range(2000)]
    assert 0.45 < sum(swapped(pair) for pair in many) / len(many) < 0.55
    assert len({pair_id(pair) for pair in many}) == len(many)


@pytest.mark.parametrize(("chosen", "choice"), [("low", "a"), ("high", "b")])
def test_choices_are_turned_back(
    review: Review, store: Store, clock: FakeClock, tmp_path: Path, chosen: str, choice: str
) -> None:
    """Whatever order was shown, `a` is the lower id; reason, probability and time are kept."""
    path = tmp_path / "tasks.jsonl"
    review.export(path)
    answer(path, chosen)
    assert review.load(path, reviewer="ann").labels == PROMPTS
    found = stored(store)
    assert len(found) == PROMPTS
    assert {row["choice"] for row in found} == {choice}
    assert all(row["candidate_id"] < row["other_id"] for row in found)
    assert {(row["reviewer"], row["reason"], row["probability"]) for row in found} == {
        ("ann", "clearer", 0.25)
    }
    assert {row["created_at"] for row in found} == {clock.now()}
    assert store.read(ledger.verify).entries == 1


def test_a_reviewer_has_one_label_a_pair(
    review: Review, store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    """The same file again changes nothing, times included; a changed mind replaces; another person adds."""
    path = tmp_path / "tasks.jsonl"
    review.export(path)
    answer(path)
    review.load(path, reviewer="ann")
    before = stored(store)
    clock.advance(60)
    review.load(path, reviewer="ann")
    assert stored(store) == before
    assert store.read(ledger.verify).entries == 1
    answer(path, "high")
    review.load(path, reviewer="ann")
    assert {(row["choice"], row["created_at"]) for row in stored(store)} == {("b", clock.now())}
    review.load(path, reviewer="bob")
    assert len(stored(store)) == 2 * PROMPTS


def test_labelled_pairs_are_not_shown_again(small: Review, tmp_path: Path) -> None:
    """A reviewer gets what is left to this one, others all; without a name it is what nobody labelled."""
    task = small.tasks()[0]
    assert small.label(task.pair, "tie", reviewer="ann") == Imported(1, 0, 0)
    assert task.pair not in {left.pair for left in small.tasks(reviewer="ann")}
    assert len(small.tasks(reviewer="bob")) == PROMPTS
    assert len(small.tasks(reviewer="ann", limit=3)) == 3
    assert len(small.tasks(reviewer=" ANN ")) == len(small.tasks()) == PROMPTS - 1


def test_unanswered_lines_are_passed_over(small: Review, sqlite_store: Store, tmp_path: Path) -> None:
    """An export that nobody filled in is told as one; where some lines are filled in, those count."""
    path = tmp_path / "tasks.jsonl"
    small.export(path)
    with pytest.raises(RlaifdError, match=f"{PROMPTS} pairs, and none has a choice yet"):
        small.load(path, reviewer="ann")
    assert stored(sqlite_store) == []
    first, *others = lines(path)
    filled = [first | {"choice": "tie"}, *others]
    path.write_text("".join(json.dumps(each) + "\n" for each in filled), encoding="utf-8")
    loaded = small.load(path, reviewer="ann")
    assert (loaded.labels, loaded.open) == (1, PROMPTS - 1)


BAD = [
    ("{", "line 2: is not JSON"),
    ("[1]", "line 2: is not a JSON object"),
    ('{"choice": "1"}', "line 2: has no 'pair'"),
    ('{"pair": "x"}', "line 2: has no 'choice'"),
    ('{"pair": "x", "choice": "a"}', 'line 2: `choice` must be "1", "2" or "tie", not "a"'),
    ('{"pair": "x", "choice": 1}', 'line 2: `choice` must be "1", "2" or "tie", not 1'),
    ('{"pair": "x", "choice": ["1"]}', "line 2: `choice` must be"),
    ('{"pair": 7, "choice": "1"}', "line 2: `pair` must be"),
    ('{"pair": "x", "choice": "1"}', "line 2: pair x is not one that was exported"),
    ('{"pair": "x", "choice": "1", "verdict": "b"}', "line 2: has an unknown key 'verdict'"),
    ('{"pair": "x", "choice": "1", "reason": "\\u0000"}', "line 2: `reason` must be text"),
    ('{"pair": "x", "choice": "1", "reason": "\\ud800"}', "line 2: `reason` must be text"),
    ("[" * 100_000, "line 2: is n"),
    ('{"pair": "x", "choice": "1", "choice": "2"}', "line 2: has the key 'choice' twice"),
    ('{"pair": "x", "choice": "1", "reason": "' + "r" * 3_000 + '"}', "line 2: `reason` is longer"),
]


@pytest.mark.parametrize(("line", "says"), BAD, ids=[says for _, says in BAD])
def test_one_bad_line_keeps_all_out(
    small: Review, sqlite_store: Store, tmp_path: Path, line: str, says: str
) -> None:
    """All or nothing: the message has the line's number and what is wrong, and the exit code is 1."""
    good = json.dumps({"pair": small.tasks()[0].pair, "choice": "1"})
    path = tmp_path / "labels.jsonl"
    path.write_text(f"{good}\n{line}\n")
    with pytest.raises(RlaifdError) as caught:
        small.load(path, reviewer="ann")
    assert caught.value.exit_code == 1
    told = str(caught.value).splitlines()
    assert "1 bad line, nothing was imported" in told[0]
    assert told[1].startswith(says)
    assert len(told) == 2
    assert stored(sqlite_store) == []


def test_every_bad_line_is_told(small: Review, tmp_path: Path) -> None:
    """One line each, in order, and not more than a screen of them; a doubled pair is bad too."""
    good = json.dumps({"pair": small.tasks()[0].pair, "choice": "1"})
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join([good, "{", good, '{"pair": "x", "choice": "tie"}', *["{"] * 30]))
    with pytest.raises(RlaifdError) as caught:
        small.load(path, reviewer="ann")
    told = str(caught.value).splitlines()
    assert "33 bad lines" in told[0]
    assert [line.split(":")[0] for line in told[1:4]] == ["line 2", "line 3", "line 4"]
    assert "is on line 1 already" in told[2]
    assert told[-1] == "and 13 more"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-be", "latin-1"])
def test_a_file_in_another_encoding_is_refused(
    small: Review, sqlite_store: Store, tmp_path: Path, encoding: str
) -> None:
    """A label is what a person wrote, and no guess; UTF-8 may begin with its mark."""
    line = json.dumps({"pair": small.tasks()[0].pair, "choice": "1", "reason": "é"}, ensure_ascii=False)
    path = tmp_path / "labels.jsonl"
    path.write_bytes(line.encode(encoding))
    with pytest.raises(RlaifdError, match="nothing was imported"):
        small.load(path, reviewer="ann")
    path.write_bytes(line.encode("utf-8-sig"))
    assert small.load(path, reviewer="ann").imported.new == 1


def test_a_file_of_something_else_is_not_read_to_its_end(small: Review, tmp_path: Path) -> None:
    """A thousand bad lines are enough to say so."""
    path = tmp_path / "labels.jsonl"
    path.write_text("{\n" * 50_000)
    with pytest.raises(RlaifdError, match="1001 bad lines"):
        small.load(path, reviewer="ann")
    assert jsonl.read(path).bad == 1001


@pytest.mark.parametrize(
    "unit",
    [
        '{{"pair": "p{}", "choice": "1"}}\n',
        '{{"pair": "p", "choice": "1"}}{}\n',
        "\n",
        '{{"pair": "p{}"}} ' + "[" * 90,
    ],
    ids=["labels", "doubled", "empty", "one line"],
)
def test_reading_labels_costs_no_more_than_the_length(tmp_path: Path, unit: str) -> None:
    """Eight times the file is at most twelve times the work, whatever is in it."""
    path = tmp_path / "labels.jsonl"

    def read(size: int) -> None:
        path.write_text("".join(unit.format(number) for number in range(size)))
        jsonl.read(path)

    assert growth(read, 1000) < LINEAR


def test_an_export_is_for_its_owner_and_follows_no_link(small: Review, tmp_path: Path) -> None:
    """Customers' words are in it; what lies at the temporary name is not written over."""
    victim, path = tmp_path / "victim", tmp_path / "tasks.jsonl"
    victim.write_text("precious")
    (tmp_path / ".tasks.jsonl.00000000.new").symlink_to(victim)
    assert small.export(path) == PROMPTS
    assert victim.read_text() == "precious"
    assert path.stat().st_mode & 0o777 == 0o600
    assert not path.is_symlink()


@pytest.mark.parametrize("reviewer", ["", "  ", "a\nb", "x" * 300])
def test_a_label_needs_a_person(small: Review, reviewer: str) -> None:
    """Without a reviewer's name nothing is stored, and the exit code is that of a wrong command."""
    with pytest.raises(UsageError):
        small.label(small.tasks()[0].pair, "1", reviewer=reviewer)


def test_one_person_is_one_reviewer(small: Review, sqlite_store: Store) -> None:
    """However the name is typed: a changed mind, not a second voice."""
    pair = small.tasks()[0].pair
    for name in ("ann", "ann ", "  Ann", "\uff41nn", "ANN"):
        small.label(pair, "1", reviewer=name)
    assert [row["reviewer"] for row in stored(sqlite_store)] == ["ann"]


def test_reviewers_are_bounded_or_listed(small: Review, sqlite_store: Store, clock: FakeClock) -> None:
    """Without a list a further name is refused at some point, those known are not; a list is the whole."""
    pair = small.tasks()[0].pair
    for number in range(20):
        small.label(pair, "1", reviewer=f"reviewer {number}")
    with pytest.raises(UsageError, match="20 reviewers gave labels already, and ann is none of them"):
        small.label(pair, "1", reviewer="Ann")
    assert small.label(pair, "2", reviewer="Reviewer 7") == Imported(0, 1, 0)
    listed = Review(store=sqlite_store, clock=clock, listed=("Ann", "Bob"))
    assert listed.label(pair, "1", reviewer="ann") == Imported(1, 0, 0)
    with pytest.raises(UsageError, match=r"reviewer 7 is not among review\.reviewers"):
        listed.label(pair, "1", reviewer="reviewer 7")


def test_files_that_cannot_be_used_are_one_line(small: Review, tmp_path: Path) -> None:
    """A missing file and an unwritable place are errors with the path."""
    with pytest.raises(RlaifdError, match="No such file"):
        small.load(tmp_path / "none.jsonl", reviewer="ann")
    with pytest.raises(RlaifdError, match="No such file"):
        small.export(tmp_path / "none" / "tasks.jsonl")
