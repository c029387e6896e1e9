"""The stages, in the order in which a user meets them. Each is a few of the daemon's own commands.

The programme plays what is around the daemon: the agent and its customers, the judges' servers, the reviewer,
and the person who edits rollout.yaml. Everything else is `rlaifd`, by its command line and its files.
"""

import itertools
import json
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from daemon.demo import watcher
from daemon.demo.screen import Screen
from daemon.demo.watcher import Attempt
from policies import rollout
from policies.records import Sampled
from tests.learning import agent, commands, judge, settings, task
from tests.learning.agent import Agent
from tests.learning.checker import check
from tests.learning.commands import LearnError
from tests.learning.report import Outcome
from tests.learning.settings import Method, Sizes
from tests.learning.task import Request

SIMULATED: Final = (
    "SIMULATED: three judges and a reviewer, played by rules on loopback. They see order number, courtesy, "
    "length, a shared word and the last character, with noise; the judges also with a taste for length. "
    "The checker is other code that none of them knows."
)

HELD_OUT_FROM: Final = 270
"""The place of the first request that is held out."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What the one training gave. `peak_mb` is its child's largest resident size."""

    adapter: str
    peak_mb: float
    recipe: dict[str, Any]


class Learning:
    """One run in a directory of its own, which is removed first."""

    def __init__(
        self, *, method: Method, seed: int, directory: Path, base: Path, sizes: Sizes, screen: Screen
    ) -> None:
        self._method = method
        self._seed = seed
        self._dir = directory.resolve()
        self._config = self._dir / "rlaifd.yaml"
        self._sizes = sizes
        self._screen = screen
        self._agent = Agent(base, self._dir / "agent", sizes.max_new_tokens)
        self._logged, self._held_out = drawn(seed, sizes)

    def run(self) -> Outcome:
        """All stages. Raises LearnError where one does not do what it is there for."""
        started = time.monotonic()
        shutil.rmtree(self._dir, ignore_errors=True)
        self._dir.mkdir(parents=True)
        with judge.serving(self._seed) as judges:
            self._configure(judges)
            before = self._serve()
            self._collect()
            self._label()
            trained = self._train()
            attempt = self._gate(trained.adapter)
        after = self._measure(self._promote(trained.adapter))
        return Outcome(
            method=self._method,
            requests=self._held_out,
            before=_texts(before),
            after=_texts(after),
            scores_before=self._scores(before),
            scores_after=self._scores(after),
            attempt=attempt,
            recipe=trained.recipe,
            peak_mb=trained.peak_mb,
            seconds=time.monotonic() - started,
        )

    def _configure(self, judges: dict[Any, str]) -> None:
        """The two files that a user writes, checked by the command that checks them."""
        content = settings.document(
            base=self._agent.base, judges=judges, seed=self._seed, sizes=self._sizes, method=self._method
        )
        settings.write(self._config, content)
        (self._dir / "rollout.yaml").write_text(rollout.render(None), encoding="utf-8")
        self._screen.say(SIMULATED)
        for line in self._sizes.said():
            self._screen.say(line)
        self._command("check")

    def _serve(self) -> tuple[Sampled, ...]:
        """The agent answers its customers, which is logged. Beside it, on another core, the base model
        answers the held-out ones; these answers are returned.
        """
        with ThreadPoolExecutor(1) as beside:
            held_out = beside.submit(
                self._agent.base_answers, "held-out-before", self._held_out, seed=self._seed,
                tell=self._tell("held-out requests are answered by the base model"),
            )  # fmt: skip
            answers = self._agent.answers(
                "served", self._logged, temperature=self._sizes.serving_temperature, seed=self._seed,
                tell=self._tell("customers are served by the base model, and logged"),
            )  # fmt: skip
            before = held_out.result()
        lines = (json.dumps(line) + "\n" for line in agent.logged(self._logged, answers))
        logs = self._dir / "logs"
        logs.mkdir()
        (logs / "agent.jsonl").write_text("".join(lines), encoding="utf-8")
        return before

    def _collect(self) -> None:
        """Logs to verdicts, candidates and preferences."""
        self._command("ingest", str(self._dir / "logs" / "agent.jsonl"))
        self._command("judge")
        self._command("curate")

    def _label(self) -> None:
        """The reviewer answers what the daemon asks people."""
        tasks, labels = self._dir / "review-tasks.jsonl", self._dir / "review-labels.jsonl"
        self._command("review", "export", str(tasks))
        found = judge.review(tasks, labels, self._seed)
        self._screen.say(f"the simulated reviewer looked at {found.pairs} pairs and decided {found.decided}")
        self._command("review", "import", str(labels), "--reviewer", judge.REVIEWER)

    def _train(self) -> Trained:
        """One training, with the method's default recipe. PPO's is after that of its reward model, which
        people's labels must release.
        """
        peak_mb = 0.0
        if self._method == "ppo":
            peak_mb = self._command("train", "--method", "reward").peak_mb
            self._release()
        done = self._command("train", "--method", self._method)
        adapter = self._status()["runs"][0]["adapter"]
        manifest = json.loads((self._dir / "state" / "adapters" / adapter / "MANIFEST.json").read_bytes())
        return Trained(adapter, max(peak_mb, done.peak_mb), manifest["recipe"])

    def _release(self) -> None:
        """The daemon holds the reward model against the labels that there are."""
        self._screen.say("rlaifd rewards …")
        done = commands.must("rewards", "--json", config=self._config)
        self._screen.say(f"rlaifd rewards ({done.seconds:.0f} s): {released(json.loads(done.out))}")

    def _gate(self, adapter: str) -> Attempt:
        """The gate decides; anything but `promote` ends the programme."""
        self._screen.say("rlaifd evaluate …")
        done = commands.run("evaluate", "--json", config=self._config)
        self._screen.say(f"rlaifd evaluate ({done.seconds:.0f} s)")
        store = watcher.store_of(self._dir)
        try:
            found = [each for each in watcher.attempts(store) if each.adapter == adapter]
        finally:
            store.close()
        if not found:
            raise LearnError(f"the gate did not decide: {done.said}")
        self._screen.say(f"gate: {found[-1].decision}: {'; '.join(found[-1].reasons)}")
        if found[-1].decision != "promote":
            raise LearnError(f"the gate's decision is {found[-1].decision}: {'; '.join(found[-1].reasons)}")
        return found[-1]

    def _promote(self, adapter: str) -> Path:
        """The person's part: the adapter's name in rollout.yaml. Answers the directory that is served."""
        path = self._dir / "rollout.yaml"
        path.write_text(rollout.render(adapter), encoding="utf-8")
        self._screen.say(f"rollout.yaml is edited: stable: {adapter}")
        self._command("reconcile")
        served = (self._dir / "serving" / "current").resolve()
        if served.name != adapter:
            raise LearnError(f"serving/current names {served.name}, not {adapter}")
        return served

    def _measure(self, adapter: Path) -> tuple[Sampled, ...]:
        """The same held-out customers, served from the directory that the daemon points to."""
        return self._agent.answers(
            "held-out-after", self._held_out, temperature=1.0, seed=self._seed, adapter=adapter,
            tell=self._tell("held-out requests are answered by the promoted adapter"),
        )  # fmt: skip

    def _scores(self, answers: Sequence[Sampled]) -> tuple[float, ...]:
        return tuple(
            check(request, text).score for request, text in zip(self._held_out, _texts(answers), strict=True)
        )

    def _command(self, *arguments: str) -> commands.Done:
        shown = " ".join(part for part in arguments if "/" not in part)
        self._screen.say(f"rlaifd {shown} …")
        done = commands.must(*arguments, config=self._config)
        self._screen.say(f"rlaifd {shown} ({done.seconds:.0f} s): {done.said}")
        return done

    def _status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(commands.must("status", "--json", config=self._config).out)
        return found

    def _tell(self, name: str) -> agent.Tell:
        return lambda done, total: self._screen.progress(name, done, total)


def drawn(seed: int, sizes: Sizes) -> tuple[tuple[Request, ...], tuple[Request, ...]]:
    """Who is served and logged, and who is held out: these are the same of a seed however many are logged."""
    found = tuple(itertools.islice(task.requests(seed), max(sizes.logs, HELD_OUT_FROM) + sizes.held_out))
    after = HELD_OUT_FROM + sizes.held_out
    logged = (*found[:HELD_OUT_FROM], *found[after:])
    return logged[: sizes.logs], found[HELD_OUT_FROM:after]


def released(rows: Sequence[dict[str, Any]]) -> str:
    """What is said of the newest reward model, in a line. Raises LearnError unless it is released."""
    newest = rows[0]
    said = f"{newest['name']} {newest['state']} by {newest['labels']} labels"
    if newest["state"] != "release":
        raise LearnError(f"{said}: {'; '.join(newest['reasons'])}")
    return said


def _texts(answers: Sequence[Sampled]) -> tuple[str, ...]:
    return tuple(answer.messages[-1].content for answer in answers)
