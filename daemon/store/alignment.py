"""What the store knows of the judges: labelled pairs, reward spread, flips, and since when to count.

Everything is of one version of a judge: a new model, prompt or rubric is a new judge, and has to earn its
alignment anew.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Subquery, Table, func, inspect, select, true
from sqlalchemy.sql import ColumnElement

from daemon.store.hints import unindexed
from daemon.store.tables import CandidateRow, HaltRow, LabelRow, TraceRow, VerdictRow
from policies.alignment import Alignment, Choice, Labelled, alignment, choice_of
from policies.halts import Spread
from policies.judging.judges import NamedJudge
from policies.policy import PolicySpec
from policies.records import Role, Split
from policies.reviewers import Agreement, Said, agreements
from policies.states import Purpose

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
VERDICT = cast(Table, inspect(VerdictRow).local_table)
LABEL = cast(Table, inspect(LabelRow).local_table)
HALT = cast(Table, inspect(HaltRow).local_table)

NEWEST_LABELS = 2000
"""Labels read at most: twice what 200 decided pairs take at the least coverage that counts."""
NEWEST_FIRST = (VERDICT.c.created_at.desc(), VERDICT.c.id.desc())
"""In the order of an index: the newest verdict of a judge that is rarely asked may be a million rows back."""
READ_BACK = 10
"""Windows of a judge's newest verdicts in which those of its version are looked for."""
SWAPPED: Mapping[str, Choice] = {"a": "b", "b": "a", "tie": "tie"}
Pair = tuple[int, int]
People = tuple[dict[Pair, list[Choice]], dict[Pair, "Of"], list[Said]]
"""What people said of each pair, newest label first, each pair's cluster, and who said what."""


@dataclass(frozen=True, slots=True)
class Of:
    """A pair's prompt: its cluster, and with which probability its trace was kept."""

    cluster: str
    kept_with: float


@dataclass(frozen=True, slots=True)
class _Verdict:
    choice: Choice | None
    flipped: bool


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What people said of audit pairs, and of each judge the pairs that its version was asked about too;
    each reviewer's agreement with the others and with the judges.
    """

    said: Mapping[Pair, Sequence[Choice]]
    judged: Mapping[NamedJudge, Sequence[Labelled]]
    reviewers: Sequence[Agreement]


def measure(
    connection: Connection,
    judge: NamedJudge,
    *,
    limit: float,
    min_labels: int,
    window: int | None,
    min_gap: float,
    since: float | None = None,
) -> Alignment:
    """The judge's alignment on labels given after `since` (seconds since the epoch; None: on all)."""
    rows = labelled(connection, judge, min_gap=min_gap, since=since)
    return alignment(rows, limit=limit, min_labels=min_labels, window=window)


def at_gate(connection: Connection, spec: PolicySpec, judge: NamedJudge) -> Alignment:
    """The judge's alignment as the gate asks for it."""
    return for_gate(labelled(connection, judge, min_gap=spec.curation.min_margin), spec)


def for_gate(rows: Sequence[Labelled], spec: PolicySpec) -> Alignment:
    """The alignment on these pairs, newest first, as the gate asks for it."""
    return alignment(
        rows,
        limit=spec.gate.min_alignment,
        min_labels=spec.gate.min_labels,
        window=spec.halts.alignment_window,
    )


def for_halts(rows: Sequence[Labelled], spec: PolicySpec) -> Alignment:
    """The alignment on these pairs, newest first, as the halt of training asks for it."""
    return alignment(
        rows,
        limit=spec.halts.min_alignment,
        min_labels=spec.halts.alignment_min_labels,
        window=spec.halts.alignment_window,
    )


def reviewed(connection: Connection, judges: Sequence[NamedJudge], *, min_gap: float) -> Reviewed:
    """All that people said, and what each judge said of it; people's labels are read once."""
    people = humans(connection)
    judged = {judge: _labelled(connection, judge, people, min_gap=min_gap) for judge in judges}
    chosen: dict[str, Mapping[Hashable, Choice | None]] = {
        judge.title: {pair: None if row.flipped else row.judge for pair, row in rows.items()}
        for judge, rows in judged.items()
    }
    by_judge = {judge: list(rows.values()) for judge, rows in judged.items()}
    return Reviewed(people[0], by_judge, agreements(people[2], chosen))


def labelled(
    connection: Connection, judge: NamedJudge, *, min_gap: float, since: float | None = None
) -> list[Labelled]:
    """Labelled audit pairs that the judge's version was asked about, newest label first.

    A small judge is asked for scores: it chooses where they differ by `min_gap` or more.
    """
    return list(_labelled(connection, judge, humans(connection, since), min_gap=min_gap).values())


def _labelled(
    connection: Connection, judge: NamedJudge, people: People, *, min_gap: float
) -> dict[Pair, Labelled]:
    said, of, _ = people
    if judge.role is Role.SMALL:
        verdicts = _by_score(connection, judge, said, min_gap)
    else:
        verdicts = _by_pair(connection, judge, said)
    lengths = _lengths(connection, {one for pair in verdicts for one in pair})
    return {
        pair: Labelled(
            cluster=of[pair].cluster,
            weight=1 / of[pair].kept_with,
            judge=verdicts[pair].choice,
            humans=tuple(choices),
            length_a=lengths[pair[0]],
            length_b=lengths[pair[1]],
            flipped=verdicts[pair].flipped,
        )
        for pair, choices in said.items()
        if pair in verdicts
    }


def choices(
    connection: Connection, judge: NamedJudge, pairs: Iterable[Pair], *, min_gap: float
) -> dict[Pair, Choice | None]:
    """What the judge's version said of the pairs that it was asked about; None: it did not decide."""
    if judge.role is Role.SMALL:
        found = _by_score(connection, judge, pairs, min_gap)
    else:
        found = _by_pair(connection, judge, pairs)
    return {pair: verdict.choice for pair, verdict in found.items()}


def spread(connection: Connection, judge: NamedJudge, *, window: int, since: float | None = None) -> Spread:
    """The sample standard deviation of the judge's last `window` rewards given after `since`.

    Rewards of gate evaluations are left out: they are of other prompts and of two policies. So are those of
    soundings: they are of a policy that nobody serves, to the same few prompts. `READ_BACK` windows of its
    newest verdicts, of whichever version, are looked through.
    """
    newest = _newest(judge, "score", READ_BACK * window)
    query = (
        select(newest.c.reward)
        .where(newest.c.version == judge.version, newest.c.reward.is_not(None))
        .where(newest.c.purpose.not_in((Purpose.GATE, Purpose.SOUNDING)))
        .where(_after(newest.c.created_at, since))
        .order_by(newest.c.created_at.desc(), newest.c.id.desc())
        .limit(window)
    )
    rewards = list(connection.scalars(query))
    if len(rewards) < 2:
        return Spread(len(rewards), None)
    mean = sum(rewards) / len(rewards)
    variance = sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1)
    return Spread(len(rewards), float(variance) ** 0.5)


def flip_ratio(connection: Connection, judge: NamedJudge, *, window: int) -> float | None:
    """The share of the judge's last comparisons whose orders contradict each other; None without any."""
    newest = _newest(judge, "pair", READ_BACK * window)
    query = (
        select(newest.c.flipped)
        .where(newest.c.version == judge.version, newest.c.choice.is_not(None) | newest.c.flipped)
        .order_by(newest.c.created_at.desc(), newest.c.id.desc())
        .limit(window)
    )
    flipped = list(connection.scalars(query))
    return sum(flipped) / len(flipped) if flipped else None


def _newest(judge: NamedJudge, kind: str, limit: int) -> Subquery:
    """The judge's newest verdicts of a kind, of whichever version, in the order of an index.

    What is looked for is picked from them: a version that is new, or abstains, has few of its own, and
    they would be looked for among all that was ever said.
    """
    columns = ("id", "version", "purpose", "reward", "choice", "flipped", "created_at")
    query = select(*(VERDICT.c[name] for name in columns))
    query = query.where(VERDICT.c.judge == judge.name, VERDICT.c.kind == kind)
    return query.order_by(*NEWEST_FIRST).limit(limit).subquery("newest")


def mark(connection: Connection) -> tuple[Any, ...]:
    """Changes whenever a label, a verdict or a resume is added or a label is changed."""
    found = (
        select(func.max(LABEL.c.id), func.max(LABEL.c.created_at)),
        select(func.max(VERDICT.c.id)),
        select(func.max(HALT.c.resumed_at)),
    )
    return tuple(value for query in found for value in connection.execute(query).one())


def resumed_at(connection: Connection, fingerprint: str) -> float | None:
    """When a halt with this fingerprint was last resumed; None if never."""
    query = select(func.max(HALT.c.resumed_at)).where(HALT.c.fingerprint == fingerprint)
    found: float | None = connection.scalar(query)
    return found


def humans(connection: Connection, since: float | None = None) -> People:
    """What people said of audit pairs after `since`."""
    query = (
        select(LABEL.c.candidate_id, LABEL.c.other_id, LABEL.c.choice, LABEL.c.reviewer)
        .add_columns(TRACE.c.cluster, TRACE.c.kept_with)
        .join(TRACE, TRACE.c.id == LABEL.c.trace_id)
        .where(unindexed(TRACE.c.split) == Split.AUDIT.value, _after(LABEL.c.created_at, since))
        .order_by(LABEL.c.id.desc())
        .limit(NEWEST_LABELS)
    )
    said: dict[Pair, list[Choice]] = {}
    of: dict[Pair, Of] = {}
    labels: list[Said] = []
    for each in connection.execute(query):
        pair = (each.candidate_id, each.other_id)
        said.setdefault(pair, []).append(each.choice)
        of[pair] = Of(each.cluster, each.kept_with)
        labels.append(Said(each.reviewer, pair, each.choice))
    return said, of, labels


def _by_score(
    connection: Connection, judge: NamedJudge, pairs: Iterable[Pair], min_gap: float
) -> dict[Pair, _Verdict]:
    """Pairs whose answers both were judged; the newest verdict on an answer counts, an abstention too."""
    wanted = list(pairs)
    query = (
        select(VERDICT.c.candidate_id, VERDICT.c.reward)
        .where(*_of(judge, "score"))
        .where(VERDICT.c.candidate_id.in_({one for pair in wanted for one in pair}))
        .order_by(VERDICT.c.id)
    )
    rewards = {each.candidate_id: each.reward for each in connection.execute(query)}
    return {
        (a, b): _Verdict(choice_of(rewards[a], rewards[b], min_gap=min_gap), flipped=False)
        for a, b in wanted
        if a in rewards and b in rewards
    }


def _by_pair(connection: Connection, judge: NamedJudge, pairs: Iterable[Pair]) -> dict[Pair, _Verdict]:
    """Pairs that the judge compared, its choice turned into the label's order."""
    wanted = set(pairs)
    query = (
        select(VERDICT.c.candidate_id, VERDICT.c.other_id, VERDICT.c.choice, VERDICT.c.flipped)
        .where(*_of(judge, "pair"), VERDICT.c.purpose == Purpose.AUDIT)
        .where(VERDICT.c.candidate_id.in_({one for pair in wanted for one in pair}))
        .order_by(VERDICT.c.id)
    )
    found: dict[Pair, _Verdict] = {}
    for each in connection.execute(query):
        if (each.candidate_id, each.other_id) in wanted:
            found[each.candidate_id, each.other_id] = _Verdict(each.choice, each.flipped)
        elif (each.other_id, each.candidate_id) in wanted:
            choice = None if each.choice is None else SWAPPED[each.choice]
            found[each.other_id, each.candidate_id] = _Verdict(choice, each.flipped)
    return found


def _lengths(connection: Connection, ids: Iterable[int]) -> dict[int, int]:
    query = select(CANDIDATE.c.id, func.length(CANDIDATE.c.text)).where(CANDIDATE.c.id.in_(set(ids)))
    return {each[0]: each[1] for each in connection.execute(query)}


def _after(column: ColumnElement[float], since: float | None) -> ColumnElement[bool]:
    return true() if since is None else column > since


def _of(judge: NamedJudge, kind: str) -> Sequence[ColumnElement[Any]]:
    """A list of candidates goes with it, by which the verdicts are to be found."""
    return (
        unindexed(VERDICT.c.judge) == judge.name,
        VERDICT.c.kind == kind,
        VERDICT.c.version == judge.version,
    )
