"""What the daemon needs from a person, and why nothing happens where nothing does, read off the status.

Each is a line that names the figure, and the command or key that changes it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from daemon.clock import utc
from policies.labelling import LABELS
from policies.records import Scope
from policies.requirements import Lacks
from policies.training.turn import TRAINING, waits_for_turn


def needs(state: Mapping[str, Any], *, auto_promote: bool) -> list[str]:
    """What only people can do or bring, most pressing first; [] where nothing waits for them."""
    return [
        *_halted(state["halts"]),
        *_stuck(state["readiness"]),
        *_labels(state["readiness"], state["review"]),
        *_release(state["reward_model"], state["review"]),
        *(() if auto_promote else _passed(state["passed"])),
        *_preferences(state["readiness"], state["draft"]["called"]),
    ]


def waits(state: Mapping[str, Any]) -> list[dict[str, str]]:
    """One row for each part that does nothing now although it could: the part and what it waits for."""
    found = [
        ("ingest", _reading(state["records"], state["daemon"].get("lag", {}))),
        *(
            (f"judge {name}", _judging(name, judge, state["halts"]))
            for name, judge in state["judges"].items()
        ),
        ("sampling", state["sampling"]),
        (
            "training",
            _training(state["runs"], state["daemon"].get("training") or state["training"]["reason"])
            or waits_for_turn(state["device"], TRAINING),
        ),
        ("ppo", "" if state["reward_model"] is None else state["reward_model"]["reason"]),
        ("snapshot", _left_out(state["draft"])),
        ("gate", _deciding(state["evaluations"])),
    ]
    return [{"part": part, "waits": line} for part, line in found if line]


def _halted(halts: list[dict[str, Any]]) -> Iterator[str]:
    for halt in halts:
        scope = halt["scope"]
        yield (
            f"{scope} is halted since {utc(halt['created_at'])}: {halt['reason']}: "
            f"`rlaifd resume {scope} --reason …` lets it go on"
        )


def _stuck(readiness: list[dict[str, Any]]) -> Iterator[str]:
    for row in readiness:
        if row["waits_for"] == Lacks.CHANGE:
            yield f"no number of events is enough for the {row['requirement']}: {row['note']}"


def _labels(readiness: list[dict[str, Any]], review: Mapping[str, Any]) -> Iterator[str]:
    """The judge that lacks the most counts: what is labelled for one is labelled for all."""
    lacking = [row for row in readiness if row["requirement"].startswith(LABELS) and row["missing"]]
    wanted = (Lacks.PEOPLE, Lacks.EVENTS, Lacks.WORK)
    most = max(
        (row for row in lacking if row["waits_for"] in wanted), key=lambda row: row["missing"], default=None
    )
    if most is None:
        return
    waiting = review["unlabelled"]
    line = f"{most['missing']} labelled pairs are missing until the gate can decide"
    if waiting:
        yield f"{line}: `rlaifd review export` ({waiting} pairs wait to be labelled){_more(most)}"
    else:
        yield f"{line}, and no pair waits to be labelled{_more(most) or ': the stages have them in hand'}"


def _release(awaited: Mapping[str, Any] | None, review: Mapping[str, Any]) -> Iterator[str]:
    """The labels by which a held reward model is released, or what to do where no number of them would."""
    if awaited is None or awaited["name"] is None:
        return
    name, missing, waiting = awaited["name"], awaited["missing"], review["unlabelled"]
    if missing:
        hand = f"`rlaifd review export` ({waiting} audit pairs wait to be labelled)"
        yield (
            f"about {missing} labelled audit pairs are missing until reward model {name} is decided on, for "
            f"which PPO waits: {hand if waiting else 'no pair waits to be labelled'}"
        )
    else:
        yield f"{awaited['reason']}: train another one (`rlaifd train --method reward`)"


def _more(row: Mapping[str, Any]) -> str:
    """How many events bring the pairs that are missing."""
    events = row["events"]
    return (
        ""
        if not events or row["waits_for"] != Lacks.EVENTS
        else f"; about {events['about']} more events bring them"
    )


def _passed(adapter: str | None) -> Iterator[str]:
    if adapter is not None:
        yield f"{adapter} passed the gate and is not in force: `rlaifd promote {adapter}`"


def _preferences(readiness: list[dict[str, Any]], called: str) -> Iterator[str]:
    """`called`: what the first recipe learns from."""
    rows = [row for row in readiness if row["requirement"] in {called, f"new {called}"} and row["missing"]]
    most = max(
        (row for row in rows if row["waits_for"] != Lacks.CHANGE),
        key=lambda row: row["missing"],
        default=None,
    )
    if most is not None:
        counts = f"{most['have']} of {most['need']} {most['requirement']}"
        yield f"training waits for {most['missing']} more {called} ({counts})"


def _reading(records: Mapping[str, Mapping[str, int]], lag: Mapping[str, int]) -> str:
    behind = "; ".join(f"{source} is {count} records behind" for source, count in lag.items() if count)
    if behind or any(counts["records"] for counts in records.values()):
        return behind
    return "nothing was read yet: `rlaifd decode FILE` says what it makes of a log file"


def _judging(name: str, judge: Mapping[str, Any], halts: list[dict[str, Any]]) -> str:
    """Why the queue stands; a queue that moves is no wait."""
    if not judge["open"]:
        return ""
    spent, budget, later = judge["spent_usd"], judge["budget_usd"], judge["later"]
    queue = f"{judge['open']} judgements, the oldest since {utc(judge['oldest_at'])}"
    if any(halt["scope"] == Scope.JUDGING for halt in halts):
        return f"{queue}: judging is halted"
    if budget is not None and spent >= budget * (1 - 1e-9):
        return (
            f"{queue}: {spent:.2f} of {budget:.2f} US dollars are spent or reserved today: they wait for "
            f"00:00 UTC, or for a higher judges.{name}.daily_budget_usd"
        )
    if judge["error"]:
        until = f"; {later} wait until {utc(judge['due_at'])} or longer" if later else ""
        return f"{queue}: put back: {judge['error']}{until}"
    return queue


def _training(runs: list[dict[str, Any]], reason: str) -> str:
    """A run under way waits for nothing."""
    return "" if any(run["state"] == "running" for run in runs) else reason


def _left_out(draft: Mapping[str, Any]) -> str:
    left_out = draft["stored"] - draft["kept"]
    if not left_out:
        return ""
    return (
        f"{left_out} of the newest {draft['stored']} {draft['called']} would be left out: {draft['left_out']}"
    )


def _deciding(evaluations: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{each['adapter']} waits for {each['open']} comparisons"
        for each in evaluations
        if each["state"] == "judging" and each["open"]
    )
