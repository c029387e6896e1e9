"""A reward model scores the demo's traffic as its small judge, while its child is killed again and again.

The model is trained on pairs of the demo's world by a training child and published as a run's is; the traffic
is what the demo's customers ask. The judge is on the policy's own base here, which is set aside by name.
"""

import json
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import yaml

from connectors.decoders.detect import Decoders
from daemon.children.child import Child
from daemon.config.settings import load
from daemon.demo import world
from daemon.demo.scores import rubric_view
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.files import ingest_file
from daemon.stages.judge.local import LocalAssessor
from daemon.stages.train import publication
from daemon.store.tables import JudgementRow, VerdictRow
from daemon.wiring import by_hand
from daemon.wiring.local import REWARDS
from daemon.wiring.parts import Wiring
from policies.recipes import RewardRecipe
from policies.records import Message, Role
from policies.snapshot import Pair, write
from policies.training.jobs import TrainJob, TrainResult
from tests.daemon.stages.seeding import rows
from tests.soak.bounds import BoundsBrokenError, Figures, within

SEED: Final = 1
LESSONS: Final = 400
PAIRS: Final = 400
TRAFFIC: Final = 300
KILLS: Final = 10
BOUNDS: Final = {
    "local_judge_kills": (float(KILLS), float(KILLS)),
    "local_judge_lost": (0.0, 0.0),
    "local_judge_doubled": (0.0, 0.0),
    "local_judge_abstained": (0.0, 0.0),
    "local_judge_order_ratio": (0.8, 1.0),
}


def run() -> Figures:
    """What was lost and doubled, and how often a willing answer is scored above a rude one. Raises
    BoundsBrokenError.
    """
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        model = _published(directory)
        (directory / "logs").mkdir()
        path = directory / "rlaifd.yaml"
        path.write_text(_configured(model), encoding="utf-8")
        parts = Wiring(load(path))
        try:
            parts.prepare_store()
            return within(_judged(parts, directory), BOUNDS)
        finally:
            parts.close()


def _said(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)


def _pairs() -> list[Pair]:
    """A willing and a rude answer to the same customer, with what the words say of each as their rewards."""
    chance = random.Random(SEED)
    found = []
    for number, case in enumerate(world.customers(SEED)[:PAIRS]):
        good, bad = world.good_reply(case, chance), world.rude_reply(case, chance)
        prompt = (Message(role="user", content=case.prompt),)
        views = [10 * rubric_view(case.prompt, each) for each in (good, bad)]
        rewards = {"chosen_reward": min(10.0, views[0]), "rejected_reward": max(0.0, views[1])}
        pair = Pair(preference=number, prompt=prompt, chosen=_said(good), rejected=_said(bad), **rewards)
        found.append(pair)
    return found


def _published(directory: Path) -> str:
    """The name of a reward model that learned the pairs."""
    from policies.training.toy import tiny
    from policies.training.toy.agent import TinySpec

    base = directory / "base"
    tiny.build(base, world.lessons(SEED, LESSONS), TinySpec(steps=150), seed=SEED)
    snapshot_id, path = write(directory / "snapshots", "demo", _pairs())
    job = TrainJob(
        out=directory / "run", base_model=str(base), snapshot=path, snapshot_id=snapshot_id, device="cpu",
        recipe=RewardRecipe(learning_rate=1e-3, epochs=2, max_length=256), lock=directory / "lock", seed=SEED,
    )  # fmt: skip
    result: TrainResult = Child(job).run()
    assert result.state == "done", result.reason
    to = directory / "state" / REWARDS
    return publication.reward_model(job, "run", result, policy="shop-agent", to=to).name


def _configured(model: str) -> str:
    document: dict[str, Any] = {
        "state_dir": "state",
        "sources": [{"type": "jsonl", "name": "agent", "path": "logs"}],
        "policy": {"name": "shop-agent", "family": "shop", "base_model": "base"},
        "judges": {
            "words": {"role": "small", "type": "local", "model": model, "family": "shop", "concurrency": 4}
        },
        "overrides": ["judge-of-own-family"],
        "web": {"port": 0},
    }
    return yaml.safe_dump(document, explicit_end=True, sort_keys=False)


def _logged(path: Path) -> None:
    """Log lines of the demo's customers, answered rudely and willingly in turn: rude are the odd traces."""
    chance, lines = random.Random(SEED + 1), []
    for number, case in enumerate(world.customers(SEED)[PAIRS : PAIRS + TRAFFIC]):
        reply = world.good_reply if number % 2 else world.rude_reply
        answer, event = reply(case, chance), f"answer-{number:06d}"
        said = {"role": "assistant", "content": answer}
        turns = [{"role": "user", "content": case.prompt}]
        lines.append(json.dumps({"id": event, "messages": turns, "output": [said], "ts": float(number)}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _judged(parts: Wiring, directory: Path) -> Figures:
    _logged(directory / "traffic.jsonl")
    ingest_file(
        directory / "traffic.jsonl", decoders=Decoders("auto"), store=parts.store, metrics=Metrics(),
        clock=parts.clock, splits=parts.settings.policy.splits,
    )  # fmt: skip
    ended, kills = threading.Event(), [0]
    killer = threading.Thread(target=_kill, args=(parts, ended, kills))
    killer.start()
    started = time.monotonic()
    try:
        while True:
            (found,) = by_hand.judge(parts, Role.SMALL).values()
            if found.stopped:
                raise BoundsBrokenError({}, [found.stopped])
            states = Counter(row.state for row in rows(parts.store, JudgementRow))
            if states.total() == TRAFFIC and states["done"] == TRAFFIC:
                break
            time.sleep(0.2)
    finally:
        ended.set()
        killer.join()
    seconds = time.monotonic() - started
    return {**_counted(parts), "local_judge_kills": float(kills[0]), "local_judge_seconds": seconds}


def _kill(parts: Wiring, ended: threading.Event, kills: list[int]) -> None:
    """Kills the child whenever another share of the traffic is scored."""
    while not ended.wait(0.05) and kills[0] < KILLS:
        scored = len(rows(parts.store, VerdictRow))
        assessors = parts.__dict__.get("assessors", ())
        child = next((each.scorer for each in assessors if isinstance(each, LocalAssessor)), None)
        pid = getattr(child, "pid", None)
        if pid is not None and scored >= kills[0] * TRAFFIC // (2 * KILLS):
            os.kill(pid, signal.SIGKILL)
            kills[0] += 1


def _counted(parts: Wiring) -> Figures:
    verdicts = rows(parts.store, VerdictRow)
    each = Counter(row.candidate_id for row in verdicts)
    by_event = {row.trace_id: row.value for row in verdicts if row.value is not None}
    rude = [value for trace, value in by_event.items() if trace % 2]
    willing = [value for trace, value in by_event.items() if not trace % 2]
    above = sum(good > bad for good in willing for bad in rude)
    return {
        "local_judge_lost": float(TRAFFIC - len(each)),
        "local_judge_doubled": float(len(verdicts) - len(each)),
        "local_judge_abstained": float(sum(row.abstention is not None for row in verdicts)),
        "local_judge_order_ratio": above / (len(willing) * len(rude)) if willing and rude else 0.0,
    }
