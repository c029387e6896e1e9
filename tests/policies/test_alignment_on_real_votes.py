"""Alignment on real judges and real votes gives the figures that were measured independently of this code."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from policies.alignment import Alignment, Choice, Labelled, alignment

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "vicuna60"
VOTES: dict[str, Choice] = {"A": "a", "B": "b", "tie": "tie"}
SHOWN: dict[str, dict[int, Choice]] = {"AB": {1: "a", 2: "b", 3: "tie"}, "BA": {1: "b", 2: "a", 3: "tie"}}


def read(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def measured(judge: str, *, votes: int) -> Alignment:
    """A judge's alignment on the pairs with that many votes; a verdict needs both orders to agree."""
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not here")
    items = {item["pair_id"]: item for item in read("items")}
    lengths = {(each["model"], each["question_id"]): len(each["text"]) for each in read("answers")}
    said: dict[str, dict[str, Choice | None]] = {}
    for row in read(f"judgments_{judge}"):
        choice = SHOWN[row["order"]].get(row["upstream_score"])
        said.setdefault(row["pair_id"], {})[row["order"]] = choice
    rows = []
    for pair, orders in said.items():
        item, one, other = items[pair], orders.get("AB"), orders.get("BA")
        if len(item["human_votes"]) != votes:
            continue
        question = item["question_id"]
        rows.append(
            Labelled(
                cluster=str(question),
                judge=one if one == other else None,
                humans=tuple(VOTES[vote] for vote in item["human_votes"]),
                length_a=lengths[item["model_a"], question],
                length_b=lengths[item["model_b"], question],
                flipped={one, other} == {"a", "b"},
            )
        )
    return alignment(rows, limit=0.8, min_labels=50)


def test_gpt_4_on_1680_pairs_lands_in_the_published_range() -> None:
    """Reference on all 80 questions: 77.5 % (75.0 to 79.9) of 58 % of the pairs, 20.4 % hard flips."""
    found = measured("gpt-4-qlora", votes=3)
    assert found.ratio == pytest.approx(0.79, abs=0.03)
    assert found.coverage == pytest.approx(0.58, abs=0.03)
    assert found.flips == pytest.approx(0.20, abs=0.02)
    assert found.ceiling == pytest.approx(0.71, abs=0.02)


def test_859_pairs_of_60_questions_are_not_859_observations() -> None:
    """Eight systems answered each question: the pairs are worth less than half of their number."""
    found = measured("gpt-4-qlora", votes=3)
    assert found.labels == 859
    assert found.effective < 0.5 * found.labels
    assert found.lower < 0.78


def test_position_biased_judges_lose_coverage_not_their_ratio() -> None:
    """Bard and Vicuna contradict themselves on six pairs of ten; what remains is a third of the pairs."""
    for judge in ("bard", "vicuna-13b"):
        found = measured(judge, votes=3)
        assert found.flips is not None
        assert found.flips > 0.55
        assert found.coverage == pytest.approx(0.35, abs=0.05)
        assert not found.decisive


def test_a_high_ratio_can_be_no_more_than_length() -> None:
    """On these pairs GPT-4 agrees with people as often as "the longer one" does: both numbers are shown."""
    found = measured("gpt-4", votes=3)
    assert found.ratio is not None
    assert found.length_baseline is not None
    assert abs(found.ratio - found.length_baseline) < 0.02
