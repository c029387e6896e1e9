"""The play: an agent gets better from its own logs through the real daemon, and two bad adapters are refused.

The demo only plays the world around rlaifd: the agent, its customers, the judges' models and the reviewer.
Everything else is `rlaifd run` and the other commands, started as anybody would start them. The customer
score is computed here alone and is never told to any of them.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NoReturn

from daemon.demo import agent_log, reviewer, settings, watcher, world
from daemon.demo.agent_log import FileLog, KafkaLog, Logbook
from daemon.demo.bad_adapters import Villains
from daemon.demo.outcome import DemoOutcome
from daemon.demo.processes import Agent, PlayError, environment, judge_server, on_leash, rlaifd
from daemon.demo.scores import customer_score
from daemon.demo.screen import Screen
from daemon.demo.settings import Method
from daemon.demo.watcher import Daemon, Status
from policies import rollout
from policies.training.toy.agent import ResidentJob, TinySpec

BEFORE: Final = 850
AFTER: Final = 300
AGAIN: Final = 100
BATCH: Final = 150
LESSONS: Final = 8000
PATIENCE_S: Final[Mapping[Method, float]] = {"dpo": 240.0, "ppo": 600.0}
REAL_JUDGE_PATIENCE_S: Final = 3600.0
COMMAND_S: Final = 300.0
SERVED_S: Final = 60.0
HELD_S: Final = 30.0
"""A good adapter that is held for so long will not be promoted: the gate looks again every ten seconds."""
GOOD: Final = "shop-agent-"


class Play:
    """One performance. `run` fills the outcome; the acts follow each other in the order of the methods."""

    def __init__(
        self, *, seed: int, kafka: str | None, judge: str | None, directory: Path, screen: Screen,
        method: Method = "dpo",
    ) -> None:  # fmt: skip
        self._seed = seed
        self._method = method
        self._kafka = kafka
        self._judge = judge
        self._dir = directory.resolve()
        self._screen = screen
        self._customers = world.customers(seed)
        self._served = 0
        self._labelled = False
        self._villains = False
        self._held_since: float | None = None
        self._bad: Villains | None = None
        self._patience_s = REAL_JUDGE_PATIENCE_S if judge else PATIENCE_S[method]
        self.outcome = DemoOutcome(seed=seed, simulated=_simulated(judge), method=method)

    def run(self, stack: ExitStack) -> None:
        """All acts. Raises PlayError when one does not come off."""
        self._villains = True
        self.improve(stack)
        self._refuse()
        self._roll_back()

    def improve(self, stack: ExitStack) -> None:
        """The first half: from an untrained agent to fresh customers of the promoted adapter."""
        self._set_up()
        self._log_book(stack)
        self._cast(stack)
        self._train_the_agent()
        self._serve_before()
        self._learn()
        self._serve_after()

    # --- the acts

    def _set_up(self) -> None:
        """A fresh directory: nothing of an earlier run counts."""
        shutil.rmtree(self._dir, ignore_errors=True)
        for name in ("base", "log"):
            (self._dir / name).mkdir(parents=True)
        (self._dir / "rollout.yaml").write_text(rollout.render(None), encoding="utf-8")
        lessons = self._dir / "lessons.json"
        lessons.write_text(json.dumps(world.lessons(self._seed, LESSONS)), encoding="utf-8")
        job = ResidentJob(
            base=self._dir / "base",
            serving=self._dir / "serving",
            lessons=lessons,
            spec=TinySpec(),
            seed=self._seed,
        )
        (self._dir / "agent.json").write_text(job.model_dump_json(), encoding="utf-8")

    def _log_book(self, stack: ExitStack) -> None:
        self._topic: tuple[str, str] | None = None
        self._book: Logbook
        if self._kafka is None:
            self._book = FileLog(self._dir / "logs")
        else:
            book = KafkaLog(self._kafka)
            self._book, self._topic = book, (self._kafka, book.topic)
            self._screen.say(f"the agent logs to Kafka at {self._kafka}, topic {book.topic}")
        stack.callback(self._book.close)

    def _cast(self, stack: ExitStack) -> None:
        """Agent, judges and the daemon. The daemon starts while the agent is still being trained."""
        self._agent = Agent(self._dir / "agent.json", log=self._log("agent"))
        stack.callback(self._agent.player.leave)
        judges, port = judge_server(self._seed, log=self._log("judges"))
        stack.callback(judges.leave)
        prompts = [case.prompt for case in self._customers[:BEFORE]]
        web_port = watcher.free_port()
        self._config = settings.base(
            seed=self._seed,
            judges_port=port,
            web_port=web_port,
            sample_least=settings.sampled_prompts(prompts, settings.SPLITS[self._method]),
            kafka=self._topic,
            real_judge=self._judge,
            method=self._method,
        )
        settings.write(self._dir / "rlaifd.yaml", self._config)
        daemon = on_leash("the daemon", self._rlaifd("run"), log=self._log("daemon"), more=_keys(self._judge))
        stack.callback(daemon.leave)
        self._daemon = Daemon(daemon, web_port)
        if self._villains:
            self._bad = Villains(directory=self._dir, document=self._config, screen=self._screen, stack=stack)
        self._screen.say(f"SIMULATED in this demo: {', '.join(self.outcome.simulated)}.")
        self._screen.say(
            f"rlaifd run -c {self._dir / 'rlaifd.yaml'}   (status: http://127.0.0.1:{web_port}/)"
        )

    def _train_the_agent(self) -> None:
        """The base model, from nothing: half of what it learns from is rude."""
        name = "the agent's base model is trained"
        for said in self._agent.training():
            if said.event == "trained":
                self._screen.progress(name, said.step, said.steps)

    def _serve_before(self) -> None:
        scores, adapters = self._serve(BEFORE, "customers are served by the base model", log=True)
        if adapters != {None}:
            raise PlayError(f"the base model should have served; {adapters} did")
        self.outcome.customers_before = scores

    def _learn(self) -> None:
        """The daemon does all it does up to the promotion; meanwhile the bad adapters are trained."""

        def promoted(status: Status) -> bool:
            self._show(status)
            self._review(status)
            self._look_at_gate(status)
            stable = status["rollout"]["stable"]
            return stable is not None and str(stable).startswith(GOOD)

        status = self._wait("the promotion", promoted, timeout_s=self._patience_s)
        self.outcome.promoted = status["rollout"]["stable"]
        self._screen.say(f"promoted through rollout.yaml: {self.outcome.promoted}")

    def _serve_after(self) -> None:
        """Fresh customers. The agent looks at its serving directory before it answers."""
        wanted = self.outcome.promoted
        self._until_served(wanted)
        scores, adapters = self._serve(AFTER, "fresh customers are served by the new adapter", log=True)
        if adapters != {wanted}:
            raise PlayError(f"{wanted} should have served; {adapters} did")
        self.outcome.customers_after = scores

    def _refuse(self) -> None:
        """Both bad adapters are decided on, and the new traffic is judged."""

        def decided(status: Status) -> bool:
            self._show(status)
            names = {each["adapter"].rsplit("-", 1)[0] for each in status["evaluations"] if each["decision"]}
            open_small = status["judgements"].get("small", {}).get("open", 0)
            ingested = _read(status) >= BEFORE + AFTER
            return {"shop-flipped", "shop-unanchored"} <= names and ingested and not open_small

        self._wait("the refusal of both bad adapters", decided, timeout_s=self._patience_s)
        self.take_stock()
        for attempt in self.outcome.refused:
            self._screen.say(f"gate: {attempt.adapter} {attempt.decision}: {'; '.join(attempt.reasons)}")

    def _roll_back(self) -> None:
        """By configuration: the rollout file names the base model again."""
        path = self._dir / "rollout.yaml"
        path.write_text(rollout.render(None), encoding="utf-8")
        self._screen.say("rollout.yaml is edited back: stable: null")
        self._wait(
            "the rollback",
            lambda status: status["rollout"]["stable"] is None and status["rollout"]["epoch"] >= 2,
        )
        self._until_served(None)
        scores, adapters = self._serve(AGAIN, "customers are served after the rollback", log=False)
        self.outcome.customers_rolled_back = scores
        self.outcome.rolled_back = adapters == {None}

    # --- what the acts are made of

    def _serve(self, count: int, name: str, *, log: bool) -> tuple[list[float], set[str | None]]:
        """The next customers: answers, their customer scores, and the adapters that answered."""
        scores: list[float] = []
        adapters: set[str | None] = set()
        self._screen.progress(name, 0, count)
        while len(scores) < count:
            batch = self._customers[self._served : self._served + min(BATCH, count - len(scores))]
            prompts = [case.prompt for case in batch]
            said = self._agent.answer(prompts, seed=self._seed * 1_000_003 + self._served)
            if log:
                self._book.write(agent_log.events(prompts, said, first=self._served, seed=self._seed))
            scores += [customer_score(*pair) for pair in zip(prompts, said.answers, strict=True)]
            adapters.add(said.adapter)
            self._served += len(batch)
            self._screen.progress(name, len(scores), count)
        return scores, adapters

    def _until_served(self, adapter: str | None) -> None:
        """Waits until the directory that the agent serves from names this adapter."""
        pointer = self._dir / "serving" / "current.json"

        def named(_status: Status) -> bool:
            return bool(json.loads(pointer.read_bytes())["adapter"] == adapter) if pointer.exists() else False

        self._wait(f"serving {adapter or 'the base model'}", named)

    def _wait(self, what: str, arrived: Callable[[Status], bool], *, timeout_s: float = SERVED_S) -> Status:
        """The first status that shows it; meanwhile the bad adapters are trained."""

        def busy() -> None:
            if self._bad is not None:
                self._bad.advance()

        return self._daemon.wait(what, arrived, timeout_s=timeout_s, busy=busy)

    def _look_at_gate(self, status: Status) -> None:
        """Raises PlayError when the gate does not let the good adapter through."""
        found = [each for each in status["evaluations"] if each["adapter"].startswith(GOOD)]
        decision = found[0]["decision"] if found else None
        if decision not in {"hold", "reject"}:
            self._held_since = None
            return
        self._held_since = self._held_since or time.monotonic()
        if decision == "reject" or time.monotonic() - self._held_since > HELD_S:
            reasons = "; ".join(found[0]["reasons"])
            raise PlayError(f"the gate did not let {found[0]['adapter']} through: {decision}: {reasons}")

    def _show(self, status: Status) -> None:
        self.outcome.alignment = status["alignment"]
        self._screen.progress("logs are ingested", min(_read(status), BEFORE), BEFORE)
        small = status["judgements"].get("small", {})
        total = sum(small.values())
        if total > BEFORE:
            self._screen.progress("answers and candidates are judged", small.get("done", 0), total)
        for run in status["runs"]:
            if run["state"] in {"failed", "halted", "stopped", "unchanged"}:
                raise PlayError(f"training run {run['id']} {run['state']}: {run['reason']}")

    def _review(self, status: Status) -> None:
        """Once the pairs are judged: export, label, import, as a reviewer would."""
        asked = [status["judgements"].get(role, {}) for role in ("large", "gate")]
        if self._labelled or not all(counts.get("done") and not counts.get("open") for counts in asked):
            return
        self._labelled = True
        tasks, labels = self._dir / "review-tasks.jsonl", self._dir / "review-labels.jsonl"
        self._command("review", "export", str(tasks))
        found = reviewer.review(tasks, labels, self._seed)
        self._command("review", "import", str(labels), "--reviewer", reviewer.NAME)
        self.outcome.labels_decided = found.decided
        self._screen.say(
            f"the simulated reviewer labelled {found.pairs} pairs and decided {found.decided} of them"
        )

    def take_stock(self) -> None:
        """Reads what the gate decided and what the small judge thought, as far as it came."""
        if not (self._dir / "state" / "rlaifd.db").exists():
            return
        store = watcher.store_of(self._dir)
        try:
            self.outcome.attempts = watcher.attempts(store)
            found = watcher.rewards(store)
            self.outcome.reward_models = watcher.reward_models(store)
        finally:
            store.close()
        self.outcome.rewards_before = found.get("", [])
        self.outcome.rewards_after = found.get(self.outcome.promoted or "-", [])

    def _rlaifd(self, *arguments: str, config: str = "rlaifd.yaml") -> list[str]:
        return rlaifd(*arguments, "-c", str(self._dir / config))

    def _command(self, *arguments: str) -> None:
        """One `rlaifd` command to its end. Raises PlayError with its last line."""
        done = subprocess.run(
            self._rlaifd(*arguments),
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise PlayError(f"rlaifd {arguments[0]} {arguments[1]} failed: {said[-1] if said else 'no word'}")

    def _log(self, name: str) -> Path:
        return self._dir / "log" / f"{name}.log"


def main(*, seed: int, kafka: str | None, judge: str | None, directory: Path, method: Method = "dpo") -> int:
    """The demo; returns the exit code. 0 only if everything that it is meant to show happened."""
    screen = Screen()
    if judge and not os.environ.get("OPENAI_API_KEY"):
        screen.say("--judge needs OPENAI_API_KEY: without it, leave --judge out and the judges are simulated")
        return 2
    signal.signal(signal.SIGTERM, _stop)
    play = Play(seed=seed, kafka=kafka, judge=judge, directory=directory, screen=screen, method=method)
    try:
        with ExitStack() as stack, screen:
            play.run(stack)
    except PlayError as error:
        play.outcome.failure = str(error)
        play.take_stock()
    except KeyboardInterrupt:
        screen.say("stopped")
        return 130
    return _close(play.outcome, directory, screen)


def _close(outcome: DemoOutcome, directory: Path, screen: Screen) -> int:
    from daemon.demo import report
    from daemon.demo.table import show

    outcome.seconds = screen.seconds
    outcome.write(directory / "summary.json")
    report.write(outcome, directory / "report.html")
    show(outcome, directory, screen.console)
    missing = outcome.missing()
    for line in missing:
        screen.say(f"NOT SHOWN: {line}")
    return 1 if missing else 0


def _simulated(judge: str | None) -> tuple[str, ...]:
    judges = ("the gate judge",) if judge else ("the judges",)
    return ("the customers", *judges, "the reviewer")


def _keys(judge: str | None) -> dict[str, str]:
    """The real judge's key, in the daemon's environment only."""
    if not judge:
        return {}
    key = os.environ["OPENAI_API_KEY"]
    return {"RLAIFD_JUDGES__SMALL__API_KEY": key, "RLAIFD_JUDGES__LARGE__API_KEY": key}


def _stop(_number: int, _frame: Any) -> NoReturn:
    sys.exit(143)


def _read(status: Status) -> int:
    """Records that were read, silence included: an agent from nothing sometimes says nothing."""
    return sum(source["records"] for source in status["records"].values())
