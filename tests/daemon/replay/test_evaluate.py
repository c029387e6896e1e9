"""`judge evaluate`: figures of a small made data set, known by hand, and one clear line for bad input."""

import json
from pathlib import Path

import pytest

from daemon.errors import UsageError
from daemon.replay.evaluate import evaluated

VOTES = (["A", "A", "A"], ["A", "A", "B"], ["B"], ["tie"])
SAID = (("1", "2"), ("1", "1"), ("3", "1"), ("2", "no idea"))


def _written(folder: Path) -> None:
    """Four questions, models x and y; the judge x-9 is of x, whose answer is always the longer one."""
    items, answers, texts = [], [], []
    for number, (votes, said) in enumerate(zip(VOTES, SAID, strict=True)):
        pair = f"x|y|q{number}"
        items.append({"pair_id": pair, "model_a": "x", "model_b": "y", "human_votes": votes})
        answers += [{"model": m, "question_id": number, "text": t} for m, t in (("x", "long"), ("y", "s"))]
        texts += [
            {"pair_id": pair, "order": order, "raw_text": text}
            for order, text in zip(("AB", "BA"), said, strict=True)
        ]
    for name, rows in (("items", items), ("answers", answers), ("judgments_x-9", texts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_figures_of_a_made_set(tmp_path: Path) -> None:
    """Each figure is what a person counts."""
    _written(tmp_path)
    (row,) = evaluated(tmp_path)
    assert row["verdicts"] == 7
    assert row["parse_rate"] == 7 / 8
    assert row["hard_flip_rate"] == 1 / 3
    assert row["agreement_single"] == 4 / 5
    assert row["agreement_consistent"] == 1
    assert row["coverage"] == 1 / 3
    assert (row["agreement_certain"], row["agreement_split"]) == (1, None)
    assert row["human_ceiling"] == 3 / 4
    assert row["length_baseline"] == 2 / 3
    assert row["self_preference_gap"] == pytest.approx((0 + (0.5 - 2 / 3) + 0.25 + -0.5) / 4)
    assert evaluated(tmp_path) == [row]


def test_bad_input_is_one_line_that_names_the_place(tmp_path: Path) -> None:
    """A wrong order names file and line."""
    _written(tmp_path)
    with (tmp_path / "judgments_x-9.jsonl").open("a") as file:
        file.write('{"pair_id": "x|y|q0", "order": "CA", "raw_text": "1"}\n')
    with pytest.raises(UsageError, match=r"judgments_x-9\.jsonl:9: order must be AB or BA"):
        evaluated(tmp_path)
