"""A prompt that kills the policy's process is set aside, and costs the others nothing but time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from connectors.base import Samples
from connectors.errors import TransientError
from daemon.children.policy import SamplerDiedError
from daemon.children.trials import PLAIN, DiesOnAnythingError
from daemon.metrics.registry import Metrics
from daemon.stages.curate.curate import Curate
from daemon.stages.curate.sample import Sample
from daemon.store import candidates, trials
from daemon.store.candidates import StoredPrompt
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, TraceRow
from policies.records import Split
from policies.trials import ALONE_TWICE
from tests.daemon.stages.curate.curating import curate_of
from tests.daemon.stages.seeding import add_trace, add_traces, rows, sampled, table


@dataclass
class Mortal:
    """A sampler that dies on some prompts, on all, or fails otherwise. `asked` keeps what it was given."""

    kills: set[str] = field(default_factory=set)
    kills_all: bool = False
    error: BaseException | None = None
    asked: list[list[str]] = field(default_factory=list)

    def __call__(
        self, prompts: Sequence[StoredPrompt], *, count: int, adapter: str | None, seed: int
    ) -> Samples:
        names = [prompt.event_id for prompt in prompts]
        self.asked.append(names)
        if self.error is not None:
            raise self.error
        if self.kills_all or self.kills & set(names):
            raise SamplerDiedError("was killed by SIGKILL")
        return Samples([[sampled("word")] * count for _ in prompts])


@dataclass
class Bench:
    store: Store
    directory: Path
    sampler: Mortal = field(default_factory=Mortal)
    metrics: Metrics = field(default_factory=Metrics)

    def stage(self, sample: Sample | None = None) -> Curate:
        """A new one each time: nothing in memory matters."""
        return curate_of(self.store, sample or self.sampler, metrics=self.metrics)

    def run(self) -> int:
        """Steps until there is nothing to do; returns how many steps it took."""
        steps = 0
        while self.stage().sample():
            steps += 1
            assert steps < 200
        return steps

    def traces(self, column: str) -> dict[str, object]:
        return {row.event_id: getattr(row, column) for row in rows(self.store, TraceRow)}

    def answered(self) -> set[str]:
        names = {row.id: row.event_id for row in rows(self.store, TraceRow)}
        return {names[row.trace_id] for row in rows(self.store, CandidateRow) if row.origin == "sampled"}


@pytest.fixture
def bench(store: Store, tmp_path: Path) -> Bench:
    return Bench(store, tmp_path)


NAMES = [f"p{number:02}" for number in range(20)]


def test_the_culprit_is_set_aside_and_the_others_are_answered(bench: Bench) -> None:
    """It is marked as sampled, with none and with the reason, counted once, and never comes again."""
    add_traces(bench.store, NAMES, Split.TRAIN)
    bench.sampler.kills = {"p13"}
    with capture_logs() as logged:
        bench.run()
    assert bench.answered() == set(NAMES) - {"p13"}
    assert bench.traces("refused")["p13"] == (
        "the process that answered it died of it, twice while it was alone"
    )
    assert set(bench.traces("trial").values()) == {None}
    assert None not in bench.traces("sampled_at").values()
    assert [each["event_id"] for each in logged if each["event"] == "prompt_set_aside"] == ["p13"]
    counted = bench.metrics.registry.get_sample_value
    assert counted("rlaifd_sampling_prompts_total", {"outcome": "set_aside"}) == 1
    assert counted("rlaifd_sampling_prompts_total", {"outcome": "answered"}) == 19
    deaths = sum("p13" in names for names in bench.sampler.asked)
    assert deaths <= 7
    asked = len(bench.sampler.asked)
    assert bench.stage().sample() == 0
    assert len(bench.sampler.asked) == asked


def test_one_that_never_answers_holds_up_no_newer_ones(bench: Bench) -> None:
    """What comes in while the search goes on is answered too."""
    add_traces(bench.store, NAMES[:3], Split.TRAIN)
    bench.sampler.kills = {"p00", "p02"}
    bench.stage().sample()
    add_traces(bench.store, NAMES[3:], Split.TRAIN)
    bench.run()
    assert bench.answered() == set(NAMES) - {"p00", "p02"}


def test_a_process_that_dies_on_a_plain_question_too_accuses_nobody(bench: Bench) -> None:
    """No memory left, no device: it is tried again later, in whole batches, and nothing is set aside."""
    add_traces(bench.store, NAMES, Split.TRAIN)
    bench.sampler.kills_all = True
    for _ in range(5):
        with pytest.raises(DiesOnAnythingError, match="dies on a plain question as well: was killed"):
            bench.stage().sample()
    assert bench.sampler.asked == [NAMES, [PLAIN.event_id]] * 5
    assert set(bench.traces("trial").values()) == {None}
    bench.sampler.kills_all = False
    assert bench.stage().sample() == 20
    assert bench.answered() == set(NAMES)


def test_an_outage_during_the_search_clears_everybody(bench: Bench) -> None:
    """Also one that was alone twice: it is not set aside before a plain question is answered."""
    add_traces(bench.store, NAMES[:2], Split.TRAIN)
    bench.sampler.kills = {"p00"}
    while bench.traces("trial")["p00"] != ALONE_TWICE:
        bench.stage().sample()
    bench.sampler.kills_all = True
    with pytest.raises(DiesOnAnythingError):
        bench.stage().sample()
    assert set(bench.traces("trial").values()) == {None}
    bench.sampler = Mortal()
    bench.run()
    assert bench.answered() == {"p00", "p01"}


@pytest.mark.parametrize("error", [TransientError("no answer in 5 s"), KeyboardInterrupt()])
def test_what_passes_is_nobodys_fault(bench: Bench, error: BaseException) -> None:
    """An endpoint that is away, a model that cannot be loaded, a stop: the batch stays whole."""
    add_traces(bench.store, NAMES, Split.TRAIN)
    bench.sampler.error = error
    for _ in range(3):
        with pytest.raises(type(error)):
            bench.stage().sample()
    assert set(bench.traces("trial").values()) == {None}
    assert bench.sampler.asked == [NAMES] * 3


def test_a_prompt_that_takes_this_process_with_it_is_found(bench: Bench) -> None:
    """The note is written before the batch is given: who is killed finds it when it is started again."""
    add_traces(bench.store, NAMES[:4], Split.TRAIN)

    left: dict[int, object] = {}

    def work(prompts: Sequence[StoredPrompt], *, count: int, adapter: str | None, seed: int) -> Samples:
        left.update({row.id: row.trial for row in rows(bench.store, TraceRow)})
        if "p02" in {prompt.event_id for prompt in prompts}:
            raise KeyboardInterrupt
        return Samples([[sampled("word")] * count for _ in prompts])

    def killed() -> None:
        """What `kill -9` leaves: the notes as they were when the sampler began."""
        trace = table(TraceRow)
        for trace_id, trial in left.items():
            statement = update(trace).where(trace.c.id == trace_id).values(trial=trial)
            bench.store.write(lambda c, statement=statement: c.execute(statement))  # type: ignore[misc]

    for _ in range(20):
        stage = bench.stage(work)
        try:
            if not stage.sample():
                break
        except KeyboardInterrupt:
            killed()
    assert bench.answered() == {"p00", "p01", "p03"}
    assert bench.traces("refused")["p02"] is not None


def test_one_that_another_worker_answered_is_not_set_aside(bench: Bench) -> None:
    """Its answers stay, and nothing is said against it."""
    add_trace(bench.store, "slow", Split.TRAIN)
    (prompt,) = bench.store.read(lambda c: candidates.unsampled(c, limit=1))
    bench.store.write(
        lambda c: candidates.store_sampled(
            c, [(prompt.trace_id, [sampled("a")])], adapter="", batch="b", now=1.0
        )
    )
    assert not bench.store.write(lambda c: trials.set_aside(c, prompt, reason="died", now=2.0))
    assert bench.traces("refused") == {"slow": None}
