"""Two daemons with their own files on one PostgreSQL for two minutes: what was decided once stays decided.

The gate passes two adapters, one after the other, and people promote them, each through another daemon. Then
the leader is killed: the other one leads, serves what was served, and trains from it.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from sqlalchemy import insert, select

from daemon.store import rollouts
from daemon.store.rollouts import EVALUATION
from daemon.store.runs import RUN
from daemon.store.store import Store
from daemon.store.tables import PreferenceRow
from policies.recipes import DpoRecipe
from policies.records import Split
from tests import tiny
from tests.daemon.configuration import TEXT
from tests.daemon.stages.seeding import Within, add_candidate, add_trace, at_once, put
from tests.soak import servers
from tests.soak.bounds import BoundsBrokenError, Figures, within
from tests.soak.servers import Servers
from tests.soak.victim import Victim
from tests.system.command import rlaifd
from tests.system.test_promotion import Site
from tests.system.test_several import leader, site

WATCHED_S: Final = 120.0
LOOK_S: Final = 0.25
PATIENCE_S: Final = 300.0
PAIRS: Final = 32
NEVER: Final = "{limit: 1000000, mode: dry_run}"
RULES: Final = f"""\
  judging: {{small_rate: 0, audit_rate: 0}}
  recipe: {{learning_rate: 0.01, epochs: 2, batch_size: 8, gradient_accumulation: 1, lora: {{r: 4, alpha: 8}},
           max_length: 200}}
  guards: {{every_steps: 4, samples: 4, kl_nats: {NEVER}, entropy_low_ratio: {{limit: 0.3, mode: dry_run}},
           entropy_high_ratio: {NEVER}, chosen_logp_drop_nats: {NEVER}}}
"""
TRAINING: Final = (
    f"training: {{interval_s: 5, min_new_preferences: {PAIRS}, min_preferences: 8, device: cpu}}\n"
)


def run() -> Figures:
    """Changes of epoch, flips and the takeover. Raises BoundsBrokenError."""
    with servers.started() as own, tempfile.TemporaryDirectory() as folder:
        figures = _two(own, tiny.build(Path(folder)))
    none, once = (0.0, 0.0), (1.0, 1.0)
    return within(
        figures,
        {
            "several_epochs": (2.0, 2.0),
            "several_flips": none,
            "several_fell": none,
            "several_takeover_s": (0.0, 60.0),
            "several_served_after": once,
            "several_trained": once,
        },
    )


def _two(own: Servers, base: Path) -> Figures:
    text = TEXT.replace("directory: serving", "directory: serving, auto_promote: false")
    text = text.replace("base_model: base\n", f"base_model: {base}\n{RULES}").replace(
        "...\n", f"{TRAINING}...\n"
    )
    with ExitStack() as stack:
        store = Store(own.postgres.create())
        stack.callback(store.close)
        first = site(store, own.folder / "first", text=text)
        second = site(store, own.folder / "second", shares=first.parts.adapters_dir, text=text)
        for each in (first, second):
            stack.callback(each.parts.close)
        one, other = _passed(first, store)
        leads = stack.enter_context(Victim(first.config).running())
        _wait("the first to lead", lambda: leader(store))
        by_first = leader(store)
        follows = stack.enter_context(Victim(second.config).running())
        served = _watched([first, second], {0.1: (first, one), 0.5: (second, other)})
        figures = {
            "several_epochs": float(len(store.read(rollouts.changes))),
            "several_flips": float(sum(_flips(names, [one, other]) for names in served)),
        }
        teach(store, "later", now=first.parts.clock.now())
        leads.kill()
        killed = time.monotonic()
        _wait("the second to lead", lambda: leader(store) != by_first)
        figures["several_takeover_s"] = time.monotonic() - killed
        figures["several_trained"] = float(_trained(store, other, since=first.parts.clock.now()))
        figures["several_served_after"] = float(second.served == other)
        figures["several_fell"] = float(not follows.up)
        follows.end()
        return figures


def _passed(home: Site, store: Store) -> tuple[str, str]:
    """Two adapters that were really trained and that the gate has passed, the second against the first."""
    teach(store, "early", now=0.0)
    names: list[str] = []
    for rate in (0.01, 0.02):
        recipe = home.parts.settings.policy.recipe
        assert isinstance(recipe, DpoRecipe)
        done = home.parts.trainer.train(
            home.parts.occasion.freezing.freeze().id,
            actor="soak",
            recipe=recipe.model_copy(update={"learning_rate": rate}),
            from_base=True,
        )
        if done.adapter is None:
            raise BoundsBrokenError({}, [f"the training gave no adapter: {done.state}, {done.reason}"])
        names.append(done.adapter)
    passed: list[dict[str, object]] = [
        {
            "adapter": name,
            "stable": stable,
            "state": "decided",
            "epoch": 0,
            "evidence": {},
            "decision": "promote",
            "reasons": ["good"],
            "created_at": home.parts.clock.now(),
        }
        for name, stable in zip(names, [None, names[0]], strict=True)
    ]
    store.write(lambda c: c.execute(insert(EVALUATION), passed))
    return names[0], names[1]


def teach(store: Store, named: str, *, now: float) -> None:
    """Preferences of so many customers, as curation leaves them."""

    def _add(to: Within) -> None:
        for number in range(PAIRS):
            name = f"{named}-{number}"
            done = {"sampled_at": 1.0, "curated_at": 1.0}
            trace = add_trace(to, name, Split.TRAIN, text="hello", **done)
            good, bad = (
                add_candidate(to, trace, answer, sample=sample, batch="b")
                for sample, answer in enumerate(("of course we can check that for you", "no go away"))
            )
            put(to, PreferenceRow, trace_id=trace, cluster=name, contributor=name, chosen_id=good,
                rejected_id=bad, margin=5.0, difference=1.0, verdict_ids=[], created_at=now)  # fmt: skip

    at_once(store, _add)


def _watched(homes: Sequence[Site], promoting: dict[float, tuple[Site, str]]) -> list[list[str | None]]:
    """What each target named, one after the other, while people promote at those shares of the time."""
    started, waiting = time.monotonic(), sorted(promoting)
    seen: list[list[str | None]] = [[] for _ in homes]
    while (passed := time.monotonic() - started) < WATCHED_S:
        if waiting and passed >= waiting[0] * WATCHED_S:
            home, name = promoting[waiting.pop(0)]
            done = rlaifd("promote", name, cwd=home.directory)
            if done.code:
                raise BoundsBrokenError({}, [f"promote {name}: {done.said}"])
        for home, names in zip(homes, seen, strict=True):
            if not names or names[-1] != home.served:
                names.append(home.served)
        time.sleep(LOOK_S)
    return seen


def _flips(served: Sequence[str | None], wanted: Sequence[str]) -> int:
    """How many moves there were too many or too few, from the base model on; 1 for others in their place."""
    moves = list(served[1:] if served[0] is None else served)
    return max(abs(len(moves) - len(wanted)), int(moves != list(wanted)))


def _trained(store: Store, parent: str, *, since: float) -> bool:
    """Whether a run from that adapter came to its end."""
    query = select(RUN.c.state).where(RUN.c.parent == parent, RUN.c.started_at >= since - LOOK_S)
    _wait("a training", lambda: set(store.read(lambda c: c.scalars(query).all())) - {"running"})
    return "done" in store.read(lambda c: c.scalars(query).all())


def _wait(what: str, true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            raise BoundsBrokenError({}, [f"waited {PATIENCE_S:g} s for {what}"])
        time.sleep(LOOK_S)
