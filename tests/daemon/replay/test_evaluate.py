"""`judge evaluate`: figures of a small made data set, known by hand, and one clear line for bad input."""

from pathlib import Path
from typing import Any

import pytest

from daemon.errors import UsageError
from daemon.replay.evaluate import evaluated
from tests.daemon.replay.made import JUDGE, rows, written


def test_figures_of_a_made_set(tmp_path: Path) -> None:
    """Each figure is what a person counts."""
    written(tmp_path, rows())
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


def test_gzipped_files_give_what_plain_ones_give(tmp_path: Path) -> None:
    """And a directory may hold both kinds."""
    plain = evaluated(written(tmp_path / "plain", rows()))
    assert evaluated(written(tmp_path / "zipped", rows(), zipped=True)) == plain
    mixed = {stem: lines for stem, lines in rows().items() if stem != "items"}
    written(tmp_path / "mixed", mixed, zipped=True)
    assert evaluated(written(tmp_path / "mixed", {"items": rows()["items"]})) == plain


def test_a_judge_may_have_any_name(tmp_path: Path) -> None:
    """It is in the file's name whole; where no answers are its own, there is no gap to give."""
    names = ("Jürgen 7.1 [b]", "judgments_", "x.jsonl", "xy")
    files = rows()
    texts = files.pop(JUDGE)
    found = evaluated(written(tmp_path, files | {f"judgments_{name}": texts for name in names}))
    assert {row["judge"] for row in found} == set(names)
    own = {row["judge"] for row in found if row["self_preference_gap"] is not None}
    assert own == {"x.jsonl"}
    figures = [{k: v for k, v in row.items() if k != "judge" and "self" not in k} for row in found]
    assert all(each == figures[0] for each in figures)


@pytest.mark.parametrize(
    ("stem", "line", "said"),
    [
        (JUDGE, {"pair_id": "x|y|q0", "order": "CA", "raw_text": "1"}, "order must be AB or BA"),
        (JUDGE, {"pair_id": "x|y|q9", "order": "AB", "raw_text": "1"}, r"no item x\|y\|q9"),
        (
            JUDGE,
            {"pair_id": "x|y|q0", "order": "AB", "raw_text": "1"},
            r"a second text for x\|y\|q0 in order",
        ),
        (JUDGE, {"pair_id": 7, "order": "AB", "raw_text": "1"}, "pair_id must be a text"),
        ("items", {"pair_id": "x|y|q4", "model_a": "x", "model_b": "y"}, "human_votes must be a list"),
        (
            "items",
            {"pair_id": "x|y|q0", "model_a": "x", "model_b": "y", "human_votes": ["C"]},
            "human_votes must be a list of A, B and tie",
        ),
        (
            "items",
            {"pair_id": "x|y|q4", "model_a": "x", "model_b": "y", "human_votes": []},
            "no answer of x to question 4",
        ),
        ("answers", {"model": "x", "question_id": 0, "text": ""}, "a second answer of x to question 0"),
        ("answers", {"model": "x", "text": ""}, "question_id must be a number or a text"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, stem: str, line: dict[str, Any], said: str) -> None:
    """By file and number, with what is wrong with it."""
    files = rows()
    files[stem].append(line)
    written(tmp_path, files)
    with pytest.raises(UsageError, match=rf"{stem}\.jsonl:{len(files[stem])}: {said}"):
        evaluated(tmp_path)


@pytest.mark.parametrize("line", [b'{"pair_id": "x|y', b"[1]", b"NaN", b"\xff"])
def test_a_broken_line_is_named(tmp_path: Path, line: bytes) -> None:
    """Cut off, another value, or no text at all."""
    written(tmp_path, rows())
    with (tmp_path / "answers.jsonl").open("ab") as file:
        file.write(line)
    with pytest.raises(UsageError, match=r"answers\.jsonl(:9: not one JSON object|: not UTF-8)"):
        evaluated(tmp_path)


def test_a_set_on_which_nobody_voted_is_refused(tmp_path: Path) -> None:
    """One item without votes is none that people decided; without any there is nothing to measure by."""
    files = rows()
    files["items"][3]["human_votes"] = []
    assert evaluated(written(tmp_path, files))[0]["agreement_single"] == 4 / 5
    for item in files["items"]:
        item["human_votes"] = []
    with pytest.raises(UsageError, match=r"items\.jsonl: nobody voted: human_votes needs"):
        evaluated(written(tmp_path, files))


@pytest.mark.parametrize("missing", ["items", "answers", JUDGE])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    """As is one that is there twice, and a gzip file that was cut off."""
    files = rows()
    lines = files.pop(missing)
    written(tmp_path, files)
    with pytest.raises(UsageError, match=missing.replace("x-9", "JUDGE")):
        evaluated(tmp_path)
    written(tmp_path, {missing: lines})
    written(tmp_path, {missing: lines}, zipped=True)
    with pytest.raises(UsageError, match=r"one of them|keep one"):
        evaluated(tmp_path)
    (tmp_path / f"{missing}.jsonl").unlink()
    zipped = tmp_path / f"{missing}.jsonl.gz"
    zipped.write_bytes(zipped.read_bytes()[:-9])
    with pytest.raises(UsageError, match=rf"{missing}\.jsonl\.gz: not a whole gzip file"):
        evaluated(tmp_path)
