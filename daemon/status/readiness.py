"""What is missing until the gate decides, as `rlaifd check`, `rlaifd status` and the status page say it."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from daemon.config.settings import Settings
from daemon.store.alignment import Reviewed, reviewed
from daemon.store.readiness import stock
from policies.judging.judges import NamedJudge
from policies.labelling import LABELS, no_pair_yet
from policies.readiness import Forecast, Suggestion, forecast
from policies.records import Split
from policies.requirements import Asks, Lacks, Requirement
from policies.stock import Stock
from policies.waits import Wait

AUDIT_PROMPTS = f"{Split.AUDIT.value} prompts"


def asks_of(settings: Settings, judges: Sequence[NamedJudge]) -> Asks:
    """What the configuration asks for before it trains."""
    training = settings.training
    min_new = None if training.interval_s is None else training.min_new_preferences
    return Asks(training.min_preferences, min_new, tuple(judges))


def stock_of(
    connection: Connection,
    settings: Settings,
    judges: Sequence[NamedJudge],
    *,
    now: float,
    people: Reviewed | None = None,
) -> Stock:
    """What there is in the store. `people`: what `alignment.reviewed` answers, where that is known."""
    training, policy = settings.training, settings.policy
    if people is None:
        people = reviewed(connection, judges, min_gap=policy.curation.min_margin)
    least = max(training.min_preferences, training.min_new_preferences)
    return stock(connection, policy, people, min_preferences=least, now=now)


def as_object(found: Stock, settings: Settings, judges: Sequence[NamedJudge]) -> dict[str, Any]:
    """JSON-serialisable: `forecast` is the whole, `readiness` one row a requirement.

    Without anything stored it is what the configuration alone lets expect.
    """
    expected = forecast(found, settings.policy, asks_of(settings, judges))
    return {"forecast": _whole(expected), "readiness": [_row(each) for each in expected.requirements]}


def of_labels(found: Stock, settings: Settings, judges: Sequence[NamedJudge], *, exported: int) -> list[str]:
    """What the labels still lack beside people, as text; of no exported pair, why there is none."""
    asks = asks_of(settings, judges)
    text = []
    if not exported:
        text.append(f"no pair to label: {no_pair_yet(found, settings.policy, asks.roles)}")
    rows = as_object(found, settings, judges)["readiness"]
    wanted = {Lacks.EVENTS, Lacks.CHANGE, Lacks.WORK}
    theirs = [row for row in rows if row["requirement"].startswith((LABELS, AUDIT_PROMPTS))]
    return [*text, *(line(row) for row in theirs if row["waits_for"] in wanted)]


def lines(state: Mapping[str, Any]) -> list[str]:
    """The object as text: the whole first, then one line a requirement, then what would be sooner."""
    whole, rows = state["forecast"], state["readiness"]
    text = [f"to the gate  {whole['said']}", f"             {whole['basis']}"]
    text += [line(row) for row in rows]
    if whole["sooner"]:
        text.append(f"  sooner     {whole['sooner']}")
    return text


def _whole(found: Forecast) -> dict[str, Any]:
    suggested = found.suggestion
    return {
        "said": _said(found),
        "events": _events(found.events),
        "bottleneck": found.bottleneck,
        "basis": found.basis,
        "sooner": "" if suggested is None else _sooner(suggested),
        "suggestion": None
        if suggested is None
        else {
            "splits": suggested.splits.model_dump(),
            "review_pairs": suggested.review_pairs,
            "events": _events(suggested.events),
        },
    }


def _row(found: Requirement) -> dict[str, Any]:
    return {
        "requirement": found.what,
        "have": found.have,
        "need": found.need,
        "missing": found.missing,
        "waits_for": found.lacks.value,
        "events": _events(found.events),
        "note": found.note,
    }


def _events(found: Wait | None) -> dict[str, int] | None:
    return None if found is None else {"about": found.about, "least": found.least, "most": found.most}


def _said(found: Forecast) -> str:
    """The whole in one clause."""
    if not found.bottleneck:
        return "nothing is missing: a training and the gate have what they ask for"
    slowest = next(each for each in found.requirements if each.what == found.bottleneck)
    if slowest.lacks is Lacks.CHANGE:
        return f"no number of events is enough: {slowest.what}: {slowest.note}"
    if slowest.lacks is Lacks.EVENTS and found.events is not None:
        people = any(each.what.startswith(LABELS) and each.missing for each in found.requirements)
        more = ", and people's labels" if people else ""
        sure = f"{found.events.least} to {found.events.most} in nine of ten cases"
        return f"about {found.events.about} more events ({sure}){more}; the {found.bottleneck} take longest"
    whose = {Lacks.PEOPLE: "people's labels are", Lacks.WORK: "the stages' work is"}
    return f"no more events are needed: {whose[slowest.lacks]} ({slowest.what}: {slowest.note})"


def _sooner(found: Suggestion) -> str:
    shares = ", ".join(f"{name}: {share:g}" for name, share in found.splits.model_dump().items())
    return (
        f"with policy.splits {{{shares}}} and policy.judging.review_pairs {found.review_pairs}: about "
        f"{_range(found.events)} (a prompt that is split already stays where it is)"
    )


def _range(events: Wait) -> str:
    return f"{events.about} more events ({events.least} to {events.most})"


def line(row: Mapping[str, Any]) -> str:
    """One requirement: what is there, what is missing, and what that takes."""
    counts = f"  {row['requirement']:<21}{row['have']} of {row['need']}"
    if row["waits_for"] == Lacks.NOTHING:
        return f"{counts}: enough"
    events = f", about {_range(Wait(**row['events']))}" if row["events"] else ""
    return f"{counts}: {row['missing']} missing{events}; {row['note']}"
