"""The figures of `judge evaluate`, counted in plain Python from the raw files: no code of the command's own.

Only the verdict of a text is read by the free-text reader.
"""

import gzip
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from policies.judging.free_text import FreeVerdict, read_pair

OWN = {
    "bard": "bard",
    "claude-1": "claude",
    "gpt-3.5-turbo": "gpt35",
    "gpt-4": "gpt4",
    "gpt-4-qlora": "gpt4",
    "vicuna-13b": "vicuna-13b",
}
"""Each judge's own answers in the reference data, as a person matches the names."""

DRAWS = 2000
WORTH = {"A": 1.0, "tie": 0.5, "B": 0.0}

Share = tuple[str, float]
"""What one case adds to a figure: the figure's name and 0 to 1, or the difference of two such numbers."""


def counted(directory: Path) -> dict[str, dict[str, Any]]:
    """Returns for each judge its number of verdicts, every figure and every figure's interval."""
    items = {row["pair_id"]: row for row in _rows(directory / "items.jsonl.gz")}
    lengths = {
        (row["model"], row["question_id"]): len(row["text"]) for row in _rows(directory / "answers.jsonl.gz")
    }
    return {
        judge: _judge(_rows(directory / f"judgments_{judge}.jsonl.gz"), items, lengths, own)
        for judge, own in OWN.items()
    }


def _rows(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _judge(
    texts: list[dict[str, Any]],
    items: dict[str, dict[str, Any]],
    lengths: dict[tuple[str, int], int],
    own: str,
) -> dict[str, Any]:
    said: dict[str, dict[str, str]] = defaultdict(dict)
    shares: list[tuple[int, Share]] = []
    for row in texts:
        verdict = read_pair(row["raw_text"])
        read = isinstance(verdict, FreeVerdict)
        shares.append((items[row["pair_id"]]["question_id"], ("parse_rate", float(read))))
        winners = said[row["pair_id"]]
        if isinstance(verdict, FreeVerdict):
            shown = {"A": row["first"], "B": row["second"], "tie": "tie"}[verdict.winner]
            winners[row["order"]] = shown
    for pair, winners in said.items():
        item = items[pair]
        of_judge = _of_orders(item, list(winners.values()))
        of_people = _of_people(item, lengths)
        question = item["question_id"]
        shares += [(question, share) for share in (*of_judge, *of_people, *_of_own(item, winners, own))]
    return {"verdicts": sum(map(len, said.values())), **_figures(shares)}


def _person(item: dict[str, Any]) -> str | None:
    """The model that most votes of A or B are for."""
    votes = Counter(item["human_votes"])
    if votes["A"] == votes["B"]:
        return None
    model: str = item["model_a"] if votes["A"] > votes["B"] else item["model_b"]
    return model


def _of_orders(item: dict[str, Any], winners: list[str]) -> Iterator[Share]:
    if len(winners) == 2:
        yield "hard_flip_rate", float("tie" not in winners and winners[0] != winners[1])
    person = _person(item)
    if person is None:
        return
    yield from (("agreement_single", float(winner == person)) for winner in winners if winner != "tie")
    same = len(winners) == 2 and winners[0] == winners[1] != "tie"
    yield "coverage", float(same)
    if same:
        right = float(winners[0] == person)
        yield "agreement_consistent", right
        if len(item["human_votes"]) >= 3:
            one = len(set(item["human_votes"])) == 1
            yield ("agreement_certain" if one else "agreement_split"), right


def _of_people(item: dict[str, Any], lengths: dict[tuple[str, int], int]) -> Iterator[Share]:
    votes = item["human_votes"]
    for at, vote in enumerate(votes):
        for one, other in combinations([*votes[:at], *votes[at + 1 :]], 2):
            if one == other and "tie" not in (vote, one):
                yield "human_ceiling", float(vote == one)
    first, second = (lengths[item[side], item["question_id"]] for side in ("model_a", "model_b"))
    person = _person(item)
    if person is not None and first != second:
        longer = item["model_a"] if first > second else item["model_b"]
        yield "length_baseline", float(longer == person)


def _of_own(item: dict[str, Any], winners: dict[str, str], own: str) -> Iterator[Share]:
    """Of a pair with an own answer: what the judge gives it, mean of the orders, minus what people do."""
    if own not in (item["model_a"], item["model_b"]) or not winners:
        return
    worth = [0.5 if winner == "tie" else float(winner == own) for winner in winners.values()]
    votes = [WORTH[vote] for vote in item["human_votes"]]
    people = sum(votes) / len(votes)
    yield (
        "self_preference_gap",
        sum(worth) / len(worth) - (people if own == item["model_a"] else 1 - people),
    )


def _figures(shares: list[tuple[int, Share]]) -> dict[str, Any]:
    """Each figure's mean, and the middle 95 % of its means over questions drawn with replacement."""
    questions = sorted({question for question, _ in shares})
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(questions))
    cases: dict[str, list[int]] = defaultdict(lambda: [0] * len(questions))
    place = {question: at for at, question in enumerate(questions)}
    for question, (name, share) in shares:
        sums[name][place[question]] += share
        cases[name][place[question]] += 1
    means: dict[str, list[float]] = defaultdict(list)
    dice = random.Random(20261128)
    for _ in range(DRAWS):
        drawn = dice.choices(range(len(questions)), k=len(questions))
        for name, of in sums.items():
            means[name].append(sum(map(of.__getitem__, drawn)) / sum(map(cases[name].__getitem__, drawn)))
    found: dict[str, Any] = {name: sum(of) / sum(cases[name]) for name, of in sums.items()}
    for name, of in means.items():
        of.sort()
        found[f"{name}_interval"] = (of[DRAWS // 40], of[DRAWS - DRAWS // 40 - 1])
    return found
