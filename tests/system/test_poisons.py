"""Everything that strangers can write, at once, to a running daemon: each is told apart, and nothing stops.

A poison is a function that feeds it to the daemon, waits at its `yield` until the daemon has worked on all of
them, and then says what must have become of it.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
from sqlalchemy import Connection, select

from daemon.store.traces import DEAD_LETTER, TRACE
from daemon.store.verdicts import VERDICT
from policies.records import Scope
from tests.connectors.decoders.events import native, openai
from tests.daemon.configuration import TEXT
from tests.daemon.waiting import until
from tests.daemon.web.test_connections import MANY, open_connections
from tests.servers.judge import Behaviour, JudgeServer, Seen
from tests.servers.kafka import Broker
from tests.servers.processes import free_port, get
from tests.soak.victim import Victim
from tests.system.test_promotion import Site
from tests.system.watcher import PATIENCE_S, Watcher

pytestmark = [pytest.mark.alone, pytest.mark.kafka]

SETTLED_S = 120.0
MARKS = 131_072
"""Pairs of combining marks: 524 kB, which froze the process while they were normalised."""
LARGEST = 10_000_000
"""Characters of a prompt whose line is just short enough to be read."""
IN_A_ROW = 60
NUMBERS = 500_000
FENCED = "the fence"
"""The answer at which the judge's model loses itself in newlines."""


class Poison(Protocol):
    """Feeds, yields, and says what must be."""

    __name__: str

    def __call__(self, scene: "Scene") -> Iterator[None]: ...


@dataclass
class Scene:
    """A running daemon with a topic and a directory that it reads, and a watcher at its door."""

    home: Site
    victim: Victim
    broker: Broker
    topic: str
    port: int
    watcher: Watcher
    good: list[str] = field(default_factory=list)
    """The events that must be stored and judged."""
    promoted: str = ""
    """What the gate passed meanwhile."""
    fed: dict[str, Iterator[None] | OSError] = field(default_factory=dict)
    """The poisons by name, at their `yield`, or what kept one from being fed."""

    def feed(self, poison: "Poison") -> None:
        fed = poison(self)
        try:
            next(fed)
        except OSError as error:
            self.fed[poison.__name__] = error
        else:
            self.fed[poison.__name__] = fed

    def log(self, *events: Any, file: str = "agent.jsonl") -> None:
        """Appends lines to a file of the directory."""
        with (self.home.directory / "logs" / file).open("a", encoding="utf-8") as log:
            log.writelines(json.dumps(event, ensure_ascii=False) + "\n" for event in events)

    def produce(self, *events: Any) -> None:
        """Writes records to the topic, None as a tombstone."""
        self.broker.produce(
            self.topic, [None if each is None else json.dumps(each).encode() for each in events]
        )

    def event(self, **other: Any) -> dict[str, Any]:
        """One more good record."""
        event = native(len(self.good), **other)
        self.good.append(event["id"])
        return event

    def dead(self) -> list[bytes]:
        """What became a dead letter."""
        return list(self._read(lambda c: list(c.scalars(select(DEAD_LETTER.c.body)))))

    def stored(self) -> list[str]:
        return list(self._read(lambda c: list(c.scalars(select(TRACE.c.event_id)))))

    def verdicts(self) -> dict[str, str | None]:
        """Of each judged event why the judge abstained, None where it did not."""
        query = select(TRACE.c.event_id, VERDICT.c.abstention).join(VERDICT, VERDICT.c.trace_id == TRACE.c.id)
        return dict(self._read(lambda c: [(row[0], row[1]) for row in c.execute(query)]))

    def settle(self) -> None:
        """Waits until everything good is stored and judged: what was fed before the last is passed then. What
        is not so in time is told by the tests.
        """
        deadline = time.monotonic() + SETTLED_S
        while time.monotonic() < deadline and self.victim.up:
            if set(self.good) <= self.verdicts().keys():
                break
            time.sleep(0.1)

    def _read(self, work: Callable[[Connection], Any]) -> Any:
        return self.home.parts.store.read(work)


def bad_feedback_numbers(scene: Scene) -> Iterator[None]:
    """Numbers that are none are dead letters."""
    for score in ("NaN", "inf", "1e400"):
        scene.log(native(900, feedback=[{"name": "stars", "score": score}]))
    yield
    assert len([body for body in scene.dead() if b"stars" in body]) == 3


def combining_marks(scene: Scene) -> Iterator[None]:
    """A prompt of nothing but them is a prompt."""
    event = scene.event(messages=[{"role": "user", "content": "\u0301\u0323" * MARKS}])
    scene.log(event)
    yield
    assert event["id"] in scene.stored()


def the_largest_record(scene: Scene) -> Iterator[None]:
    """It costs what it is worth."""
    event = scene.event(messages=[{"role": "user", "content": "why is it so " * (LARGEST // 13)}])
    scene.log(event)
    yield
    assert event["id"] in scene.stored()


def newlines_from_a_judge(scene: Scene) -> Iterator[None]:
    """An answer that cannot be read is an abstention, and no other judgement waits for it."""
    event = scene.event(output=[{"role": "assistant", "content": FENCED}])
    scene.log(event)
    yield
    assert scene.verdicts()[event["id"]] is not None


def links_to_themselves(scene: Scene) -> Iterator[None]:
    """A link that leads nowhere, or back, holds up no other file."""
    logs = scene.home.directory / "logs"
    (logs / "loop.jsonl").symlink_to("loop.jsonl")
    (logs / "nowhere.jsonl").symlink_to("missing.jsonl")
    (logs / "above.jsonl").symlink_to(logs)
    event = scene.event()
    scene.log(event, file="beside.jsonl")
    yield
    assert event["id"] in scene.stored()


def tombstones(scene: Scene) -> Iterator[None]:
    """They are skipped: neither traces nor dead letters."""
    scene.produce(*[None] * IN_A_ROW, scene.event())
    yield
    assert b"" not in scene.dead()


def chunks_of_a_stream(scene: Scene) -> Iterator[None]:
    """Each is a dead letter, and more of them in a row than a wrong decoder would be told by stop nothing."""
    chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "a"}}]}
    chunks = [{**openai(number), "response": {"id": f"c-{number}", **chunk}} for number in range(IN_A_ROW)]
    event = scene.event()
    scene.produce(*chunks, event)
    yield
    assert event["id"] in scene.stored()
    assert len([body for body in scene.dead() if b"completion.chunk" in body]) == IN_A_ROW


def an_array_of_numbers(scene: Scene) -> Iterator[None]:
    """One record that holds no event is one dead letter."""
    scene.log([1] * NUMBERS)
    yield
    assert len([body for body in scene.dead() if b"stars" not in body and b"chunk" not in body]) == 1


def idle_connections(scene: Scene) -> Iterator[None]:
    """A thousand that say nothing or half of something keep nobody out."""
    with open_connections(scene.port, MANY):
        yield
        assert get(f"http://127.0.0.1:{scene.port}/healthz", timeout_s=6 * PATIENCE_S)


POISONS: Sequence[Poison] = (
    combining_marks,
    the_largest_record,
    bad_feedback_numbers,
    newlines_from_a_judge,
    links_to_themselves,
    tombstones,
    chunks_of_a_stream,
    an_array_of_numbers,
    idle_connections,
)


def text(broker: Broker, topic: str, judge: JudgeServer, port: int) -> str:
    """A daemon that reads a topic and a directory."""
    kafka = f"type: kafka, name: topic, bootstrap_servers: '{broker.bootstrap}', topics: [{topic}]"
    made = TEXT.replace("sources:\n", f"sources:\n  - {{{kafka}, group_id: {topic}}}\n")
    made = made.replace("http://127.0.0.1:1/v1", judge.openai_url).replace("{port: 0}", f"{{port: {port}}}")
    few = "  judging: {samples: 1, audit_rate: 0}\n"
    made = made.replace("  base_model: base\n", "  base_model: base\n" + few)
    return made.replace("...\n", "training: {interval_s: null}\n...\n")


def loses_itself(seen: Seen) -> Behaviour:
    return "newlines" if FENCED in seen.case.answers[0] else "good"


@pytest.fixture(scope="module")
def scene(kafka_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The daemon after all poisons at once, still running."""
    port, topic = free_port(), kafka_broker.create_topic()
    with ExitStack() as stack:
        judge = stack.enter_context(JudgeServer(script=loses_itself))
        home = Site(tmp_path_factory.mktemp("poisons"), text(kafka_broker, topic, judge, port))
        stack.callback(home.parts.close)
        victim = stack.enter_context(Victim(home.config).running())
        until(lambda: _ready(port), timeout_s=SETTLED_S)
        made = Scene(home, victim, kafka_broker, topic, port, Watcher(port))
        with made.watcher.watching():
            for poison in POISONS:
                made.feed(poison)
            made.promoted = home.publish(1, "promote", "good")
            made.log(made.event())
            made.produce(made.event())
            made.settle()
        yield made
        assert victim.up
        victim.end()
        assert victim.badly == 0


def _ready(port: int) -> bool:
    with suppress(OSError):
        return bool(get(f"http://127.0.0.1:{port}/readyz"))
    return False


@pytest.mark.parametrize("poison", [poison.__name__ for poison in POISONS])
def test_a_poison_is_what_it_is_taken_for(scene: Scene, poison: str) -> None:
    """Fed together with all the others."""
    fed = scene.fed[poison]
    assert not isinstance(fed, OSError), fed
    with pytest.raises(StopIteration):
        next(fed)


def test_every_alert_was_answered(scene: Scene) -> None:
    """Within its sender's patience, and the halt is stored, once."""
    assert len(scene.watcher.answers) > 1
    assert {code for code, _ in scene.watcher.answers} == {200}
    assert max(seconds for _, seconds in scene.watcher.answers) < PATIENCE_S
    assert [halt.scope for halt in scene.home.parts.latch.active()] == [Scope.TRAINING]


def test_every_good_record_is_stored_and_judged(scene: Scene) -> None:
    """Once, and by an answer, where the judge gave one that can be read."""
    assert sorted(scene.stored()) == sorted(scene.good)
    verdicts = scene.verdicts()
    assert verdicts.keys() == set(scene.good)
    assert len([why for why in verdicts.values() if why is not None]) == 1


def test_every_other_part_works(scene: Scene) -> None:
    """What the gate passed is served, and the pages answer."""
    until(lambda: scene.home.served == scene.promoted, timeout_s=SETTLED_S)
    for page in ("/", "/readyz", "/metrics"):
        assert get(f"http://127.0.0.1:{scene.port}{page}", timeout_s=6 * PATIENCE_S)
