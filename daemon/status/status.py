"""The state as one object: what `rlaifd status --json`, `/` and `/api/v1/status` show.

It begins with what the daemon needs from a person, and with what its parts wait for.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.config.settings import Settings
from daemon.stages.curate.due import NONE_ASKED_FOR, few
from daemon.stages.train.schedule import Due
from daemon.status.needs import needs, waits
from daemon.status.readiness import as_object, stock_of
from daemon.store import agentversions, alignment, candidates, queues, rewardmodels, spend, tally, verdicts
from daemon.store.overview import overview
from daemon.store.store import Store
from policies.agentversion import UNKNOWN, too_many
from policies.alignment import Labelled
from policies.judging.judges import NamedJudge
from policies.reviewers import Agreement
from policies.selection import told
from policies.training.turn import SAMPLING, TURN, holder, waits_for_turn


class Status:
    """Reads the state in one look at the store.

    `training` says whether a run is due and why not; `conditions` are the rollout's.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        settings: Settings,
        judges: Sequence[NamedJudge],
        training: Callable[[], Due],
        conditions: Callable[[], Sequence[str]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._judges = judges
        self._training = training
        self._conditions = conditions

    def __call__(self, daemon: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One JSON-serialisable object. `daemon`: what only the running daemon knows, as far as it is known:
        `lag` by source, and with what `training` waits.
        """
        looked = self._store.read(self._look)
        conditions = [*self._conditions(), *looked.pop("untold")]
        device = self._device()
        state = {
            **looked,
            "device": device,
            "training": self._why(),
            "conditions": conditions,
            "daemon": dict(daemon or {}),
        }
        first = {
            "needs": needs(state, auto_promote=self._settings.rollout.auto_promote),
            "waits": waits(state),
        }
        return {**first, **state}

    def _why(self) -> dict[str, Any]:
        """Whether a training run is due, and what it waits for if not."""
        found = self._training()
        return {"due": found.yes, "waits_for": found.waits.value, "reason": found.reason}

    def _look(self, connection: Connection) -> dict[str, Any]:
        now = self._clock.now()
        day = datetime.fromtimestamp(now, UTC).date().isoformat()
        min_gap = self._settings.policy.curation.min_margin
        people = alignment.reviewed(connection, self._judges, min_gap=min_gap)
        found = stock_of(connection, self._settings, self._judges, now=now, people=people)
        return {
            **overview(connection, day=day),
            **as_object(found, self._settings, self._judges),
            "judges": {judge.name: self._judge(connection, judge, day) for judge in self._judges},
            "sampling": self._sampling(connection),
            "reward_model": _awaited(rewardmodels.awaited(connection, self._settings.policy.recipes)),
            "draft": {
                "called": found.called,
                "stored": found.stored,
                "kept": found.kept,
                "left_out": told(found.left_out),
            },
            "review": {"unlabelled": found.unlabelled, "labelled": found.labelled, "settled": found.settled},
            "reviewers": {each.reviewer: _reviewer(each) for each in people.reviewers},
            "alignment": {judge.name: self._alignment(judge, rows) for judge, rows in people.judged.items()},
            "agent_versions": {
                each.version or UNKNOWN: each.traces for each in agentversions.shares(connection)
            },
            "untold": [too_many(source) for source, now in agentversions.untold(connection).items() if now],
        }

    def _judge(self, connection: Connection, judge: NamedJudge, day: str) -> dict[str, Any]:
        """What waits for a judge, why it was put back, what it cost today, and how often it abstains."""
        queue = queues.look(connection, judge.name, now=self._clock.now())
        money = spend.spent(connection, day=day, judge=judge.name)
        abstentions, of, why = verdicts.abstained(connection, judge.name)
        return {
            "role": judge.role.value,
            "open": tally.read(connection).open().get(judge.name, 0),
            "oldest_at": queue.oldest,
            "later": queue.later,
            "due_at": queue.due_at,
            "error": queue.error,
            "spent_usd": money.total,
            "budget_usd": self._settings.judges[judge.name].daily_budget_usd,
            "abstained": f"{abstentions} of the newest {of}" if abstentions else "",
            "abstention": why,
        }

    def _sampling(self, connection: Connection) -> str:
        """Why no prompt is sampled now; "" where one is due."""
        stages, sampling = self._settings.stages, self._settings.policy.sampling
        if sampling.candidates == 0:
            return NONE_ASKED_FOR
        waiting = candidates.waiting(connection, most=stages.sample_least)
        patience_s, now = stages.sample_patience_s, self._clock.now()
        return few(waiting, now=now, least=stages.sample_least, patience_s=patience_s) or (
            waits_for_turn(self._device(), SAMPLING) if sampling.type == "child" else ""
        )

    def _device(self) -> str:
        """What is done on the device; "" where nothing is, or where it is not taken in turns."""
        return holder(self._settings.state_dir / TURN)

    def _alignment(self, judge: NamedJudge, rows: Sequence[Labelled]) -> dict[str, Any]:
        measured = alignment.for_halts(rows, self._settings.policy)
        return {
            "role": judge.role.value,
            "ratio": measured.ratio,
            "lower": measured.lower,
            "upper": measured.upper,
            "labels": measured.labels,
            "coverage": measured.coverage,
            "length_baseline": measured.length_baseline,
            "ceiling": measured.ceiling,
            "standing": measured.standing.value,
        }


def _awaited(found: rewardmodels.Awaited | None) -> dict[str, Any] | None:
    """The reward model that PPO waits for."""
    return None if found is None else {"name": found.name, "missing": found.missing, "reason": found.reason}


def _reviewer(found: Agreement) -> dict[str, Any]:
    """Of how many pairs on which both decided a reviewer chose as the others did, and as each judge."""
    judges = {name: f"{same} of {of}" for name, (same, of) in found.judges.items() if of}
    same, of = found.others
    return {"labels": found.labels, "others": f"{same} of {of}" if of else "", **judges}
