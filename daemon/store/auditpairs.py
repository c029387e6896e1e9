"""Audit pairs that people labelled, with both answers: what a reward model is held against."""

from dataclasses import dataclass

from sqlalchemy import Connection

from daemon.store import alignment, answerpairs
from policies import snapshot
from policies.alignment import Choice
from policies.judging.judges import NamedJudge


@dataclass(frozen=True, slots=True)
class AuditPair:
    """A labelled pair. In `pair` chosen is answer a and rejected answer b, whatever people said of them;
    `judge` None: the judge did not decide, or was not asked.
    """

    cluster: str
    humans: tuple[Choice, ...]
    judge: Choice | None
    length_a: int
    length_b: int
    pair: snapshot.Pair


def labelled(connection: Connection, judge: NamedJudge | None, *, min_gap: float) -> list[AuditPair]:
    """All of them, the newest label first, with what the judge said of each; None: there is none."""
    said, of, _ = alignment.humans(connection)
    judged = {} if judge is None else alignment.choices(connection, judge, said, min_gap=min_gap)
    answers = answerpairs.answers(connection, sorted({one for pair in said for one in pair}))
    return [
        AuditPair(
            cluster=of[a, b].cluster,
            humans=tuple(humans),
            judge=judged.get((a, b)),
            length_a=len(answers[a].text),
            length_b=len(answers[b].text),
            pair=answerpairs.pair(number, answers[a], answers[b]),
        )
        for number, ((a, b), humans) in enumerate(said.items())
    ]
