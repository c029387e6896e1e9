"""The 200 conversations of tau-bench's airline agent, as logs of the agent's calls to its model.

Fifty tasks, four trials each; `reward` is 1 where the database ended as the task wanted it. Only the logs are
seen by the daemon: one request with its response for each of the agent's turns.
"""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[2] / "shared" / "data" / "tau_airline" / "gpt-4o-airline.json.gz"

Turn = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """One conversation. `turns` are messages in OpenAI's shape."""

    task: int
    number: int
    won: bool
    turns: tuple[Turn, ...]

    def event(self, index: int) -> str:
        """The id of the response that is the turn at `index`."""
        return f"airline-{self.task}-{self.number}-{index}"


@dataclass(frozen=True, slots=True)
class Contest:
    """A won and a lost trial of one task, and a turn of the agent in each: after the same doings, since the
    simulated customers word their requests differently in each trial and no two histories are the same.
    """

    winner: Trial
    won_at: int
    loser: Trial
    lost_at: int


def trials(file: Path = FILE) -> list[Trial]:
    """All conversations, in the order of the file."""
    with gzip.open(file) as opened:
        raw = json.load(opened)
    return [Trial(each["task_id"], each["trial"], each["reward"] == 1, tuple(each["traj"])) for each in raw]


def tools(found: Sequence[Trial]) -> list[dict[str, Any]]:
    """Definitions of the tools that were called: names and keys as the calls have them."""
    keys: dict[str, set[str]] = defaultdict(set)
    for trial in found:
        for turn in trial.turns:
            for call in turn.get("tool_calls", ()):
                keys[call["function"]["name"]] |= json.loads(call["function"]["arguments"]).keys()
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": name.replace("_", " "),
                "parameters": {"type": "object", "properties": {key: {} for key in sorted(keys[name])}},
            },
        }
        for name in sorted(keys)
    ]


def events(found: Sequence[Trial]) -> Iterator[dict[str, Any]]:
    """One OpenAI chat request and response for each turn of the agent."""
    offered = tools(found)
    for trial in found:
        for index, turn in enumerate(trial.turns):
            if turn["role"] != "assistant":
                continue
            called = bool(turn.get("tool_calls"))
            yield {
                "request": {
                    "model": "gpt-4o",
                    "messages": trial.turns[:index],
                    "tools": offered,
                    "user": f"customer-{trial.task}",
                },
                "response": {
                    "id": trial.event(index),
                    "created": 1_716_000_000 + index,
                    "model": "gpt-4o",
                    "choices": [
                        {"index": 0, "message": turn, "finish_reason": "tool_calls" if called else "stop"}
                    ],
                },
            }


def openings(found: Sequence[Trial]) -> list[Contest]:
    """The first answers of every won trial and every lost one of its task."""
    return [
        Contest(winner, _first_answer(winner), loser, _first_answer(loser))
        for winner, loser in _rivals(found)
    ]


def partings(found: Sequence[Trial]) -> tuple[list[Contest], int]:
    """The first calls that differ of every won trial and every lost one of its task, and how many never call
    differently: one of the two only stops calling earlier.
    """
    turns = [(winner, loser, _parting(winner, loser)) for winner, loser in _rivals(found)]
    parted = [Contest(winner, at[0], loser, at[1]) for winner, loser, at in turns if at is not None]
    return parted, len(turns) - len(parted)


def _rivals(found: Sequence[Trial]) -> Iterator[tuple[Trial, Trial]]:
    by_task: dict[int, list[Trial]] = defaultdict(list)
    for trial in found:
        by_task[trial.task].append(trial)
    for of_task in by_task.values():
        won, lost = ([trial for trial in of_task if trial.won is kind] for kind in (True, False))
        yield from product(won, lost)


def _first_answer(trial: Trial) -> int:
    return next(index for index, turn in enumerate(trial.turns) if turn["role"] == "assistant")


def _parting(one: Trial, other: Trial) -> tuple[int, int] | None:
    """The turns of the first calls that differ."""
    for (ours, mine), (theirs, its) in zip(_calls(one), _calls(other), strict=False):
        if mine != its:
            return ours, theirs
    return None


def _calls(trial: Trial) -> list[tuple[int, list[tuple[str, Any]]]]:
    """What was called at which turn; ids are left out, which are drawn anew in each trial."""
    return [
        (index, [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in turn["tool_calls"]])
        for index, turn in enumerate(trial.turns)
        if turn.get("tool_calls")
    ]
