"""Records that no decoder knows stop their source, until a person accepts them or mends the decoder."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from connectors.memory import MemorySource
from daemon.clock import FakeClock
from daemon.errors import SourceStoppedError
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.ingest import MOST_EVENTS
from daemon.store import ledger, stops
from daemon.store.store import Store, StoreError
from daemon.store.traces import Counts, positions
from policies.unknowns import IN_A_ROW, Unknowns
from tests.connectors.decoders.events import native, openai
from tests.daemon.stages.ingest.intake import Make, T, drain, raw, rows

WRONG = b'{"wrong": "format"}'
CHUNK = raw({"id": "s", "object": "chat.completion.chunk", "choices": []})


def failed(number: int) -> bytes:
    """A call that the provider answered with an error."""
    return raw({"request": openai(number)["request"], "response": {"error": {"code": 503}}})


def gauge(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"rlaifd_{name}", {"source": "memory", **labels})


def standing(store: Store) -> list[stops.Stop]:
    return store.read(stops.standing)


def accept(store: Store) -> bool:
    return store.write(lambda c: stops.accept(c, "memory", actor="ann", now=5.0))


def test_a_run_in_no_known_format_stops_the_source(
    store: Store, source: MemorySource, make: Make, metrics: Metrics
) -> None:
    """Fifty in a row: one clear line with the ways out; what came before is stored, the run waits."""
    for number in range(20):
        source.append(raw(native(number)))
    for _ in range(400):
        source.append(WRONG)
    stage = make()
    with pytest.raises(SourceStoppedError) as caught:
        drain(stage)
    line = str(caught.value)
    assert "source memory: 50 records in a row are in no format that its decoder knows" in line
    assert "keys: wrong" in line
    assert "rlaifd decode FILE" in line
    assert "rlaifd ingest --accept memory" in line
    assert "\n" not in line
    assert stage.totals == Counts(records=20, stored=20)
    assert rows(store, "dead_letter") == 0
    assert store.read(lambda c: positions(c, "memory", [T])) == {T: 20}
    assert [(each.source, each.line) for each in standing(store)] == [("memory", line)]
    assert gauge(metrics, "source_stopped") == 1
    with pytest.raises(SourceStoppedError):
        stage.step(0.0)


@pytest.mark.parametrize("restart", [False, True])
def test_an_accepted_run_becomes_dead_letters(
    store: Store, source: MemorySource, make: Make, metrics: Metrics, restart: bool
) -> None:
    """All of it, however long, also by another process; then the guard is as watchful as before."""
    for value in [raw(native(1)), *[WRONG] * 700, raw(native(2))]:
        source.append(value)
    stage = make(batch_records=100)
    with pytest.raises(SourceStoppedError):
        drain(stage)
    assert not store.write(lambda c: stops.accept(c, "other", actor="ann", now=5.0))
    assert accept(store)
    if restart:
        stage = make(batch_records=100)
    drain(stage)
    assert (rows(store, "trace"), rows(store, "dead_letter")) == (2, 700)
    assert standing(store) == []
    assert gauge(metrics, "source_stopped") == 0
    entry = store.read(lambda c: c.execute(ledger.LEDGER.select()).one())
    assert (entry.actor, entry.action, entry.subject) == ("ann", "accept", "ingest:memory")
    for _ in range(IN_A_ROW):
        source.append(WRONG)
    with pytest.raises(SourceStoppedError):
        drain(stage)
    assert not standing(store)[0].accepted
    assert rows(store, "dead_letter") == 700


def test_a_stop_outlives_a_restart(store: Store, source: MemorySource, make: Make) -> None:
    """Also where most of the run is behind it: one unknown record is enough, with the line of before."""
    stage = make()
    for number in range(60):
        source.append(b'{"n": %d}' % number)
        if number < IN_A_ROW - 1:
            assert stage.step(0.0) == 1
    with pytest.raises(SourceStoppedError) as first:
        stage.step(0.0)
    with pytest.raises(SourceStoppedError) as again:
        make().step(0.0)
    assert str(again.value) == str(first.value)
    assert rows(store, "dead_letter") == IN_A_ROW - 1
    assert accept(store)
    assert drain(make()) == 60 - (IN_A_ROW - 1)
    assert rows(store, "dead_letter") == 60


def test_what_waits_for_the_store_is_stored_before_a_stop_is_told(
    store: Store, source: MemorySource, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good records of the batch in which it became plain are not held back by it."""
    for value in [raw(native(1)), *[WRONG] * IN_A_ROW]:
        source.append(value)
    stage = make()
    with monkeypatch.context() as away:
        away.setattr("daemon.stages.ingest.ingest.store_isolated", fail)
        with pytest.raises(StoreError):
            stage.step(0.0)
    with pytest.raises(SourceStoppedError):
        stage.step(0.0)
    assert rows(store, "trace") == 1


def fail(*_given: object, **_named: object) -> Counts:
    raise StoreError("store: gone")


def test_a_mended_decoder_passes_the_run(store: Store, source: MemorySource, make: Make) -> None:
    """The daemon that starts with it reads the run, and nothing is accepted."""
    log = MemorySource()
    for _ in range(60):
        log.append(WRONG)
    with pytest.raises(SourceStoppedError):
        drain(make(source=log))
    for number in range(60):
        source.append(raw(native(number)))
    assert drain(make()) == 60
    assert standing(store) == []
    assert rows(store, "dead_letter") == 0


@pytest.mark.parametrize(
    "poison", [failed(0), b"", CHUNK, b'{"messages": NaN}', b"[" * 99 + b"]" * 99, raw(native(x=1))]
)
def test_nothing_that_the_world_can_send_stops_a_source(
    store: Store, source: MemorySource, make: Make, poison: bytes
) -> None:
    """An outage, tombstones, logged chunks, odd numbers of users: all good records are stored."""
    for value in [raw(native(1)), *[poison] * 300, raw(native(2))]:
        source.append(value)
    stage = make()
    assert drain(stage) == 302
    assert rows(store, "trace") == 2
    assert stage.totals.skipped + stage.totals.dead_letters == 300
    assert standing(store) == []


def test_what_is_skipped_is_counted_by_its_reason(
    store: Store, source: MemorySource, make: Make, metrics: Metrics
) -> None:
    """In the metric and with the position; it leaves no row."""
    thought = {"role": "assistant", "content": "", "reasoning": "7?"}
    for value in (failed(0), failed(1), None, raw([native(1), native(2, output=[thought])])):
        source.append(value)
    stage = make()
    drain(stage)
    assert stage.totals == Counts(records=4, stored=1, skipped=4)
    assert rows(store, "dead_letter") == 0
    assert gauge(metrics, "records_total", outcome="skipped") == 4
    for reason, count in (("error", 2), ("tombstone", 1), ("thought", 1)):
        assert gauge(metrics, "records_skipped_total", reason=reason) == count
    cut = metrics.registry.get_sample_value("rlaifd_answers_total", {"origin": "logged", "ending": "cut"})
    assert cut == 1
    assert store.read(lambda c: c.execute(text("SELECT skipped FROM position")).scalar_one()) == 4


def test_a_large_share_stops_it_too(store: Store, source: MemorySource, make: Make) -> None:
    """More than the allowed share of the last thousand, though never many in a row; a key allows more."""
    for number in range(2000):
        source.append(b"{}" if number % 10 == 9 else raw(native(number)))
    stage = make(dead_letter_ratio=0.05)
    with pytest.raises(SourceStoppedError, match=r"51 of the last 510 records.*dead_letter_ratio"):
        drain(stage)
    assert rows(store, "dead_letter") <= 50
    assert rows(store, "trace") >= 449


def test_few_bad_records_do_not_stop_it(source: MemorySource, make: Make) -> None:
    """Below the share it goes on for ever."""
    for number in range(3000):
        source.append(b"{}" if number % 25 == 0 else raw(native(number)))
    stage = make(dead_letter_ratio=0.05)
    assert drain(stage) == 3000
    assert stage.totals == Counts(records=3000, stored=2880, dead_letters=120)


def test_the_guard_begins_anew_after_a_run() -> None:
    """What was accepted counts for nothing afterwards."""
    guard = Unknowns(0.05)
    assert [guard.passed(unknown=True) for _ in range(IN_A_ROW)] == [False] * (IN_A_ROW - 1) + [True]
    guard.accept()
    assert not any(guard.passed(unknown=True) for _ in range(10_000))
    assert not guard.passed(unknown=False)
    assert not any(guard.passed(unknown=True) for _ in range(IN_A_ROW - 1))
    assert guard.passed(unknown=True)


def test_records_of_many_events_do_not_make_a_batch_without_bound(
    source: MemorySource, make: Make, store: Store
) -> None:
    """Beyond the bound the further records wait for the next batch; none is lost."""
    body = raw([{"x": "y" * 60}] * 1000)
    for _ in range(7):
        source.append(body)
    stage, most = make(dead_letter_ratio=1.0), 0
    while done := stage.step(0.0):
        most = max(most, done)
    assert most * 1000 <= MOST_EVENTS + 1000
    assert rows(store, "dead_letter") == 7_000


def test_what_the_source_lost_is_counted(
    make: Make, source: MemorySource, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that says how many before it are gone is told once and stored."""
    whole = source._take

    def taken(limit: int) -> list[Any]:
        from dataclasses import replace

        return [replace(each, lost=7) for each in whole(limit)]

    monkeypatch.setattr(source, "_take", taken)
    source.append(raw(native(1)))
    stage = make()
    assert drain(stage) == 1
    assert gauge(metrics, "records_lost_total") == 7


def test_a_file_in_another_format_is_accepted_by_hand(
    store: Store, clock: FakeClock, metrics: Metrics, tmp_path: Path
) -> None:
    """The command stops at it with the line; accepted, the same command stores it."""
    from connectors.decoders.detect import Decoders
    from daemon.stages.ingest.files import ingest_file
    from policies.policy import Splits

    file = tmp_path / "events.jsonl"
    file.write_text("".join(f"{json.dumps({'n': number})}\n" for number in range(60)), encoding="utf-8")
    given: dict[str, Any] = {
        "decoders": Decoders(), "store": store, "metrics": metrics, "clock": clock, "splits": Splits(),
    }  # fmt: skip
    with pytest.raises(SourceStoppedError, match="rlaifd ingest --accept file"):
        ingest_file(file, **given)
    assert store.write(lambda c: stops.accept(c, "file", actor="ann", now=5.0))
    assert ingest_file(file, **given) == Counts(records=60, dead_letters=60)
