"""Reviewers: who a label is of, and how far each agrees with the others and with the judges."""

import unicodedata
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from policies.alignment import Choice, adjudicate

LONGEST = 100
"""Characters of a name."""
MOST_TYPED = 1000
"""Characters that are looked at: folding a name makes it longer."""
MOST = 20
"""Reviewers where none are listed: one person who calls himself something else each time is not a panel."""


class NoReviewerError(ValueError):
    """The name is none, or is not one whose labels are taken. One line."""


def reviewer(name: str, *, listed: Sequence[str] = (), known: Sequence[str] = ()) -> str:
    """The name as labels are stored under: without the differences that nobody means.

    Width and composition (Unicode's NFKC), case, and blanks around and between words are such. `listed` are
    those whose labels are taken, all where it is empty; `known` have given labels. Raises NoReviewerError.
    """
    found = normal(name) if len(name) <= MOST_TYPED and name.strip().isprintable() else ""
    if not found or len(found) > LONGEST:
        raise NoReviewerError("the reviewer must be a name: labels count for people, one by one")
    if listed and found not in {normal(each) for each in listed}:
        raise NoReviewerError(f"{found} is not among review.reviewers: add the name there, or correct it")
    if not listed and found not in known and len(set(known)) >= MOST:
        raise NoReviewerError(
            f"{len(set(known))} reviewers gave labels already, and {found} is none of them: correct the "
            "name, or list everybody whose labels count under review.reviewers"
        )
    return found


def normal(name: str) -> str:
    """The name's normal form. Case is folded between two normalisations: folding may undo the first."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split())


@dataclass(frozen=True, slots=True)
class Said:
    """One label: who chose what of which pair."""

    reviewer: str
    pair: Hashable
    choice: Choice


@dataclass(frozen=True, slots=True)
class Agreement:
    """A reviewer's labels, and on how many of so many pairs others, and each judge, chose the same."""

    reviewer: str
    labels: int
    others: tuple[int, int]
    judges: Mapping[str, tuple[int, int]]


def agreements(
    labels: Sequence[Said], judged: Mapping[str, Mapping[Hashable, Choice | None]]
) -> tuple[Agreement, ...]:
    """Each reviewer's, by name. Ties, and pairs on which the others or the judge are undecided, are left
    out.
    """
    by_pair: dict[Hashable, list[Said]] = {}
    by_reviewer: dict[str, list[Said]] = {}
    for label in labels:
        by_pair.setdefault(label.pair, []).append(label)
        by_reviewer.setdefault(label.reviewer, []).append(label)
    return tuple(
        Agreement(
            name,
            len(said),
            _same((each.choice, _others(each, by_pair[each.pair])) for each in said),
            {
                judge: _same((each.choice, choices.get(each.pair)) for each in said)
                for judge, choices in judged.items()
            },
        )
        for name, said in sorted(by_reviewer.items())
    )


def _others(label: Said, on_pair: Sequence[Said]) -> Choice | None:
    return adjudicate([each.choice for each in on_pair if each.reviewer != label.reviewer])


def _same(choices: Iterable[tuple[Choice | None, Choice | None]]) -> tuple[int, int]:
    """On how many pairs both chose the same answer, of those on which both chose one."""
    decided = [(one, other) for one, other in choices if {one, other} <= {"a", "b"}]
    return sum(one == other for one, other in decided), len(decided)
