"""Free-form texts of judges: one verdict is read, conflict and absence are none, and nothing raises."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.judging.free_text import FreeVerdict, read_pair
from policies.judging.grammar import Invalid

DATA = Path(__file__).parents[3].parent / "shared" / "data"
READINGS = Path(__file__).parent / "readings.json"
LEAST = {
    "gpt-4": 0.99,
    "gpt-4-qlora": 0.99,
    "claude-1": 0.98,
    "gpt-3.5-turbo": 0.95,
    "bard": 0.8,
    "vicuna-13b": 0.8,
}
"""Of Claude-1's 1,200 texts, 15 are refused: each was read, and closes with words for the first answer alone,
or calls both equivalent, and writes 2."""

CHOICES = (
    "I choose Assistant {}.",
    "Therefore, my choice is {}.",
    "Output: {}",
    "I would recommend Assistant {}.",
    "Output ({}) is better.",
    "Therefore, Assistant {} is better.",
    "However, I would give Assistant {} a slight edge.",
)
CONTRADICTIONS = {8, 11, 12, 13, 16, 17, 18, 19, 20, 143, 144, 166}
"""Lines of the odd verdicts, from 0: up to 20 those that, read, choose one answer beside the other or a tie,
then those that the file calls contradictory, less two: 232 names (a) alone, twice; 233 (b), and is cut."""

SUMMED = "In summary, {}\n\n{}"


def _texts(judge: str) -> dict[tuple[str, str], str]:
    file = DATA / "vicuna60" / f"judgments_{judge}.jsonl.gz"
    if not file.exists():
        pytest.skip(f"the reference data is not there: {file}")
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    return {(row["pair_id"], row["order"]): row["raw_text"] for row in rows}


@pytest.mark.parametrize(
    ("text", "winner"),
    [
        ("Both are good.\n\n3", "tie"),
        ("7 8\n\nAssistant 2 was clearer.", "B"),
        ("Therefore, I choose answer 2.", "B"),
        ("Output (a) is better.", "A"),
        ("I would recommend Assistant 1 because Assistant 2 is brief.", "A"),
        ("[[B>A]]", "B"),
        ("- Helpfulness: 4/5\n\nI choose 3 as the two assistants are equivalent.", "tie"),
        ("Both are helpful, I would choose:\n\n1\n\nThe response is tailored for a beginner.", "A"),
        ("Therefore, Output (a) is better.\nHere are some books:\n1. Dune\n2.", "A"),
        ("Both are good. However, I would give Assistant 1 the edge because it is brief.", "A"),
        (SUMMED.format("Assistant 2's response is more superficial.", "1"), "A"),
        (SUMMED.format("Assistant 1 gives examples and Assistant 2 provides a more general view.", "2"), "B"),
        (SUMMED.format("Assistant 1 has a higher detail. However, Assistant 2 may be easier.", "2"), "B"),
        ("Overall, I believe Assistant 1 and Assistant 2 are good and Assistant 2 is better.", "B"),
    ],
)
def test_one_verdict_is_read(text: str, winner: str) -> None:
    """A verdict is read in each of the forms that judges use."""
    assert read_pair(text) == FreeVerdict(winner)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("error", "no verdict"),
        ("I cannot choose between Assistant 1 and Assistant 2.", "no verdict"),
        ("I choose Assistant 2.\n\n3", "conflicting verdicts"),
        ("[[A>B]] then [[B>A]]", "conflicting verdicts"),
        ("7 8\n\nOverall, Assistant 1's answer was better.", "conflicting verdicts"),
        ("1" * 70_000, "too long"),
        ("Here are some books:\n1. Dune\n2.", "no verdict"),
        ("Assistant 1 is better.\n\n2", "conflicting verdicts"),
        ("Overall, the two responses are equivalent.\n\n2", "conflicting verdicts"),
        ("The two answers are equivalent. I would give Assistant 1 a slight edge.", "conflicting verdicts"),
        (SUMMED.format("Assistant 1 offers a superior overview.", "2"), "the words contradict the verdict"),
    ],
)
def test_conflict_and_absence_are_no_verdict(text: str, reason: str) -> None:
    """No verdict has its reason."""
    assert read_pair(text) == Invalid(reason)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.text(), st.sampled_from(CHOICES), st.sampled_from(CHOICES), st.sampled_from([("1", "2"), ("2", "1")])
)
def test_no_generated_conflict_is_a_verdict(noise: str, one: str, other: str, names: tuple[str, str]) -> None:
    """Whatever stands between two opposite choices, there is no verdict; and no text raises."""
    read_pair(noise)
    assert isinstance(read_pair(f"{one.format(names[0])}\n{noise}\n{other.format(names[1])}"), Invalid)


def test_odd_verdicts_give_none_from_conflicting_text() -> None:
    """Real odd outputs are read or are none: where two verdicts stand or none does, there is none."""
    file = DATA / "odd_verdicts.jsonl"
    if not file.exists():
        pytest.skip(f"the reference data is not there: {file}")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    found = [read_pair(row["raw_text"]) for row in rows]
    none = {at for at, row in enumerate(rows) if row["format"] == "no_label"} | CONTRADICTIONS
    assert {at for at in none if isinstance(found[at], FreeVerdict)} == set()
    assert (found[188], found[232]) == (FreeVerdict("A"), FreeVerdict("A")), "(a) is said twice in each"


@pytest.mark.parametrize("judge", LEAST)
def test_enough_texts_of_real_judges_are_read(judge: str) -> None:
    """The parse rate is at least what is asked of each judge."""
    texts = _texts(judge)
    read = sum(isinstance(read_pair(text), FreeVerdict) for text in texts.values())
    assert read / len(texts) >= LEAST[judge]


@pytest.mark.parametrize("judge", LEAST)
def test_no_verdict_contradicts_a_person(judge: str) -> None:
    """Where a person who had not seen the reader read a text, no verdict is another than the person's."""
    texts = _texts(judge)
    rows = [row for row in json.loads(READINGS.read_text()) if row["judge"] == judge]
    assert len(rows) == 20
    letters = {"A": "a", "B": "b", "tie": "tie"}
    for row in rows:
        found = read_pair(texts[row["pair_id"], row["order"]])
        if isinstance(found, FreeVerdict):
            assert letters[found.winner] == row["reading"], row
