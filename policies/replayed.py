"""How well a judge's stored texts agree with people: the figures of `rlaifd judge evaluate`.

Each figure is a ratio of two sums over questions, so that one bootstrap by question serves all of them.
People decide by the majority of A and B, ties aside; a judge's ties are left out of agreements.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from policies.judging.grammar import Letter

RESAMPLES = 2000
SEED = 7
_OTHER: Mapping[Letter, Letter] = {"A": "B", "B": "A", "tie": "tie"}
_WORTH: Mapping[Letter, float] = {"A": 1.0, "B": 0.0, "tie": 0.5}
RATES = (
    "parse_rate",
    "hard_flip_rate",
    "agreement_single",
    "agreement_consistent",
    "coverage",
    "agreement_certain",
    "agreement_split",
    "human_ceiling",
    "length_baseline",
    "self_preference_gap",
)


@dataclass(frozen=True, slots=True)
class ReplayedPair:
    """A pair of answers, its votes, and what one judge's texts say of it: winners in the pair's own order.

    `texts` counts the texts; `verdicts` holds the readable ones by order, AB and BA. Lengths in characters.
    """

    question: str
    models: tuple[str, str]
    votes: tuple[Letter, ...]
    lengths: tuple[int, int]
    texts: int
    verdicts: Mapping[str, Letter]

    @property
    def decided(self) -> Letter | None:
        """The majority of people's A and B, or None."""
        counts = Counter(self.votes)
        if counts["A"] == counts["B"]:
            return None
        return "A" if counts["A"] > counts["B"] else "B"

    @property
    def agreed(self) -> Letter | None:
        """The winner that both orders name, or None."""
        found = set(self.verdicts.values())
        return found.pop() if len(self.verdicts) == 2 and len(found) == 1 and "tie" not in found else None


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its 95 % interval; None where nothing bears on it."""

    value: float | None
    interval: tuple[float, float] | None


def own_order(winner: Letter, order: str) -> Letter:
    """Returns the winner in the pair's own order, from the order shown."""
    return winner if order == "AB" else _OTHER[winner]


def own_model(judge: str, models: Iterable[str]) -> str | None:
    """Returns the model that is the judge's own: of its name, spelt without punctuation, or the longest one
    that its name goes on from after a whole word ("claude-1" is of claude, "gpt-4-x" of gpt4, "gpt-4o" of
    neither); None where there is none.
    """
    starts = {_plain(judge[:at]) for at in range(len(judge) + 1) if not judge[at : at + 1].isalnum()}
    fitting = [model for model in models if _plain(model) and _plain(model) in starts]
    return max(fitting, key=lambda model: (len(_plain(model)), model), default=None)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def figures(judge: str, pairs: Sequence[ReplayedPair]) -> dict[str, Figure]:
    """Returns each figure of `RATES`."""
    own = own_model(judge, {model for pair in pairs for model in pair.models})
    questions = sorted({pair.question for pair in pairs})
    sums: dict[str, dict[str, list[float]]] = {name: defaultdict(lambda: [0.0, 0.0]) for name in RATES}
    for pair in pairs:
        for name, part, whole in _shares(pair, own):
            held = sums[name][pair.question]
            held[0] += part
            held[1] += whole
    table = {name: [sums[name][question] for question in questions] for name in RATES}
    return _rates(table, len(questions))


def _shares(pair: ReplayedPair, own: str | None) -> Iterator[tuple[str, float, float]]:
    """What a pair adds to each figure: name, numerator, denominator."""
    yield "parse_rate", len(pair.verdicts), pair.texts
    if len(pair.verdicts) == 2:
        yield "hard_flip_rate", set(pair.verdicts.values()) == {"A", "B"}, 1
    for at, vote in enumerate(pair.votes):
        others = pair.votes[:at] + pair.votes[at + 1 :]
        for one, other in combinations(others, 2):
            if one == other and "tie" not in (vote, one):
                yield "human_ceiling", vote == one, 1
    if own in pair.models and pair.verdicts and pair.votes:
        judged = sum(_WORTH[each] for each in pair.verdicts.values()) / len(pair.verdicts)
        people = sum(_WORTH[each] for each in pair.votes) / len(pair.votes)
        yield "self_preference_gap", judged - people if own == pair.models[0] else people - judged, 1
    if pair.decided:
        yield from _agreements(pair, pair.decided)


def _agreements(pair: ReplayedPair, decided: Letter) -> Iterator[tuple[str, float, float]]:
    for winner in pair.verdicts.values():
        if winner != "tie":
            yield "agreement_single", winner == decided, 1
    yield "coverage", pair.agreed is not None, 1
    if pair.lengths[0] != pair.lengths[1]:
        longer = "A" if pair.lengths[0] > pair.lengths[1] else "B"
        yield "length_baseline", longer == decided, 1
    if pair.agreed:
        yield "agreement_consistent", pair.agreed == decided, 1
        if len(pair.votes) >= 3:
            name = "agreement_certain" if len(set(pair.votes)) == 1 else "agreement_split"
            yield name, pair.agreed == decided, 1


def _rates(table: Mapping[str, Sequence[Sequence[float]]], questions: int) -> dict[str, Figure]:
    """Ratios of sums and their percentile intervals; all figures share the draws of questions."""
    import numpy as np

    if not questions:
        return dict.fromkeys(table, Figure(None, None))
    weights = np.random.default_rng(SEED).multinomial(questions, [1 / questions] * questions, RESAMPLES)
    found = {}
    for name, rows in table.items():
        sums = np.asarray(rows, dtype=float)
        part, whole = sums.sum(axis=0)
        if not whole:
            found[name] = Figure(None, None)
            continue
        drawn = weights @ sums
        some = drawn[:, 1] > 0
        low, high = np.quantile(drawn[some, 0] / drawn[some, 1], [0.025, 0.975])
        found[name] = Figure(float(part / whole), (float(low), float(high)))
    return found
