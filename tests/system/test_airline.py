"""Two hundred conversations of a real agent with tools, from its logs to an adapter."""

import json
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from connectors.base import Samples
from connectors.decoders.chat import message_of
from connectors.decoders.detect import Decoders
from connectors.memory import MemorySource
from daemon.clock import FakeClock
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.ingest import Ingest
from daemon.stages.ingest.intake import IntakeRule
from daemon.stages.train.freeze import Freezing, FrozenSnapshot
from daemon.store import candidates, preferences
from daemon.store.candidates import StoredPrompt
from daemon.store.store import Store
from daemon.store.tables import DeadLetterRow, TraceRow
from policies import snapshot
from policies.curation import NoPreference, preference_of
from policies.policy import CurationRule, Splits
from policies.records import Origin, Sampled, Trace
from policies.selection import Reason
from tests import airline
from tests.airline import Contest, Trial
from tests.daemon.stages.curate.curating import curate_of
from tests.daemon.stages.seeding import ROLES, add_verdicts, count, rows, spec, table
from tests.dialects import DIALECTS, ends_of, tokenizer_of
from tests.families import FAMILIES, build
from tests.workbench import RECIPE, Workbench

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.skipif(
        not airline.FILE.exists(), reason=f"the airline conversations are not at {airline.FILE}"
    ),
]

POLICY = spec(
    splits=Splits(train=1, calibrate=0, audit=0, gate=0),
    curation=CurationRule(max_source_share=0.05, max_source_fair=0.01),
)
POSITIONS = 4096
FIT = {
    **dict.fromkeys(("qwen2_5", "gemma4", "gptoss", "mistral"), 61),
    "llama3_2": 54,  # no text before a call
    "deepseekv3": 27,  # no call right after a result
    "gemma": 22,  # no calls
}
"""Pairs of 61 that a template can show, and what the others hold that it cannot."""
PAIRS = 176
"""88 of a won trial and a lost one, each at two places."""


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return airline.trials()


@pytest.fixture(scope="module")
def logged(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, trials: list[Trial]
) -> Iterator[Store]:
    """A store that has read every call of the agent to its model, as OpenAI request and response."""
    file = tmp_path_factory.mktemp("airline") / "rlaifd.db"
    shutil.copyfile(sqlite_template, file)
    store = Store(f"sqlite:///{file}")
    source = MemorySource(max_bytes=1 << 30)
    for event in airline.events(trials):
        source.append(json.dumps(event).encode())
    stage = Ingest(
        source=source,
        rule=IntakeRule(POLICY.splits),
        decoders=Decoders(),
        store=store,
        metrics=Metrics(),
        clock=FakeClock(),
    )
    while stage.step(0.0):
        pass
    yield store
    store.close()


def unasked(prompts: Sequence[StoredPrompt], *, count: int, adapter: str | None, seed: int) -> Samples:
    """The rival answers are those of the other trials: none is sampled."""
    return Samples([() for _ in prompts])


def reading(trials: list[Trial]) -> Any:
    """A tokenizer of Qwen's kind that knows the words of the airline's agent."""
    said = [turn["content"] or "" for trial in trials[::5] for turn in trial.turns[:6]]
    return tokenizer_of(DIALECTS["qwen2_5"], "\n".join([json.dumps(airline.tools(trials)), *said]), 1500)


def put_outcomes(store: Store, contests: list[Contest], now: float) -> int:
    """The losers' turns as further answers to the winners' prompts, and the outcomes as a judge's scores;
    answers how many prompts that are.
    """
    rivals: dict[str, list[Sampled]] = defaultdict(list)
    for contest in contests:
        lost = message_of(contest.loser.turns[contest.lost_at], "lost")
        rivals[contest.winner.event(contest.won_at)].append(Sampled(messages=(lost,)))
    trace = table(TraceRow)
    wanted = select(trace.c.event_id, trace.c.id).where(trace.c.event_id.in_(rivals))
    ids = {row.event_id: row.id for row in store.read(lambda c: c.execute(wanted).all())}
    answers = [(ids[event], given) for event, given in rivals.items()]
    store.write(lambda c: candidates.store_sampled(c, answers, adapter="", batch="trials", now=now))
    found = store.read(lambda c: candidates.answers_of(c, list(ids.values())))
    add_verdicts(
        store,
        [
            {"trace_id": trace_id, "candidate_id": each.id, "reward": 10.0 * (each.origin is Origin.LOGGED)}
            for trace_id, given in found.items()
            for each in given
        ],
    )
    return len(ids)


@dataclass(frozen=True, slots=True)
class Curated:
    """The snapshot, and what became of the pairs that could not be in it."""

    frozen: FrozenSnapshot
    missing: Counter[str]

    @property
    def pairs(self) -> tuple[snapshot.Pair, ...]:
        return snapshot.read(self.frozen.path, self.frozen.id).pairs


@pytest.fixture(scope="module")
def curated(logged: Store, trials: list[Trial], tmp_path_factory: pytest.TempPathFactory) -> Curated:
    """Every won trial beside every lost one of its task, at their first answers and at their first calls that
    differ, as far as they become preferences.
    """
    parted, alike = airline.partings(trials)
    contests = [*airline.openings(trials), *parted]
    clock = FakeClock()
    assert len(contests) + alike == PAIRS
    prompts = put_outcomes(logged, contests, clock.now())
    judged = logged.read(lambda c: preferences.uncurated(c, limit=500))
    kept = [preference_of(prompt, POLICY.curation) for prompt in judged]
    close = [each.reason for each in kept if isinstance(each, NoPreference)]
    assert all(re.match(r"the texts differ by \d", reason) for reason in close)
    stage = curate_of(logged, unasked, policy=POLICY, roles=ROLES, clock=clock)
    while stage.curate():
        pass
    folder = tmp_path_factory.mktemp("snapshots")
    frozen = Freezing(store=logged, clock=clock, spec=POLICY, directory=folder).freeze()
    missing = {
        "never call differently": alike,
        "another pair of the prompt": len(contests) - prompts,
        "differ too little": len(close),
        "beyond a customer's share": frozen.left_out.get(Reason.CONTRIBUTOR, 0),
    }
    return Curated(frozen, Counter(missing))


def rendering(tokenizer: Any, name: str) -> Any:
    from transformers import GenerationConfig

    from policies.training.model.rendering import Rendering

    ends = ends_of(DIALECTS[name], tokenizer)
    return Rendering(tokenizer, generation=GenerationConfig(eos_token_id=ends))


def test_every_pair_is_trained_on_or_counted(curated: Curated, trials: list[Trial], tmp_path: Path) -> None:
    """From logs to two steps and a comparison; what does not arrive has its reason, and the sum is all."""
    bench = Workbench(tmp_path)
    build(FAMILIES["qwen2"], bench.base, tokenizer=reading(trials), max_position_embeddings=POSITIONS)
    recipe = RECIPE.model_copy(update={"max_length": 10 * POSITIONS})
    trained = bench.train_on("first", curated.frozen.id, curated.frozen.path, recipe=recipe)
    assert (trained.state, trained.reason, trained.steps) == ("done", "", 2)
    assert {**curated.missing, **trained.left_out} == {
        "never call differently": 24,
        "another pair of the prompt": 59,
        "differ too little": 10,
        "beyond a customer's share": 22,
        "identical": 0,
        "too_long": 11,
        "unfit": 0,
    }
    left = sum(trained.left_out.values())
    assert trained.examples == PAIRS - sum(curated.missing.values()) - left == 50

    asked = sorted(curated.pairs, key=lambda pair: len(str(pair.prompt)))
    asked = [*asked[:3], asked[-1]]
    compared = bench.compare(
        [pair.prompt for pair in asked],
        tools=tuple(pair.tools for pair in asked),
        stable=None,
        candidate="first",
        max_new_tokens=12,
    )
    assert list(compared.refused) == [3]
    assert re.search(rf"the model takes {POSITIONS}", compared.refused[3])
    assert None not in (*compared.stable[:3], *compared.candidate[:3])
    assert compared.kl_sequence > 0


def test_the_logs_reach_the_store_whole(logged: Store, trials: list[Trial]) -> None:
    """Every turn of the agent is a trace: what it was told, the tools it had, and what it said."""
    assert (count(logged, TraceRow), count(logged, DeadLetterRow)) == (2454, 0)
    payloads = {row.event_id: row.payload for row in rows(logged, TraceRow)}
    names = [tool["function"]["name"] for tool in airline.tools(trials)]
    for trial in trials:
        for index, turn in enumerate(trial.turns):
            if turn["role"] != "assistant":
                continue
            trace = Trace.model_validate(payloads[trial.event(index)])
            told = [message_of(each, "turn") for each in trial.turns[: index + 1]]
            assert [*trace.messages, *trace.output] == told
            assert [tool["function"]["name"] for tool in trace.tools] == names


@pytest.mark.parametrize(("dialect", "fit"), FIT.items())
def test_real_templates_show_a_real_agents_pairs(dialect: str, fit: int, curated: Curated) -> None:
    """All that the template has a place for; the others are unfit, with a reason."""
    from policies.training.model.dataset import prepare

    prepared = prepare(curated.pairs, rendering(tokenizer_of(DIALECTS[dialect]), dialect), 100 * POSITIONS)
    assert len(prepared.examples) == fit
    assert prepared.left_out == Counter(identical=0, too_long=0, unfit=len(curated.pairs) - fit)
    assert ("unfit" in prepared.words) == (fit < len(curated.pairs))
