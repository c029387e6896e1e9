"""The contract of `Decoder`: bytes to traces, feedback and spans, which are stored once and joined."""

import contextlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy.exc import DataError

from connectors.decoders.detect import Decoders
from connectors.decoders.jsontext import JsonDecoder
from connectors.decoders.native import Native
from connectors.errors import DecodeError, UnknownFormatError
from connectors.events import Found
from connectors.memory import MemorySource
from daemon.clock import FakeClock
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.ingest import Ingest
from daemon.stages.ingest.intake import IntakeRule
from daemon.store import feedback
from daemon.store.store import Store
from daemon.store.tables import FeedbackRow, SpanRow, TraceRow
from daemon.store.traces import Counts, store_traces
from policies.feedback import About, FeedbackEvent
from policies.policy import Splits
from policies.records import Feedback, Message, Trace
from policies.spans import Span
from tests.connectors.decoders.events import native
from tests.connectors.decoders.mutations import SAMPLES
from tests.daemon.stages.seeding import rows

TYPE = "application/x-parts"
MARK = b"\x01parts"


class Parts:
    """A small decoder of its own: a mark, then lines of fields between bars."""

    name = "parts"

    def takes(self, record: bytes, content_type: str | None) -> bool:
        return content_type == TYPE or record.startswith(MARK)

    def decode(
        self, record: bytes, content_type: str | None, *, source: str, timestamp: float | None
    ) -> list[Found]:
        if not record.startswith(MARK):
            raise DecodeError(f"{content_type} without its mark")
        try:
            lines = record.removeprefix(MARK).decode().splitlines()
            return [_event(line.split("|"), source, timestamp or 0.0) for line in lines]
        except ValueError as error:
            raise DecodeError(f"not parts: {error}") from None


def _event(fields: Sequence[str], source: str, timestamp: float) -> Found:
    kind, name, *more = fields
    if kind == "feedback":
        about, target, score = more[:3]
        ts = float(more[3]) if len(more) > 3 else timestamp
        said = Feedback(name="thumb", score=float(score))
        return FeedbackEvent(id=name, source=source, ts=ts, about=About(about), target=target, said=said)
    if kind == "span":
        trace_id, parent, answer = more
        call: dict[str, Any] = {"session": "s-1"} if not answer else {
            "messages": (Message(role="user", content="Where?"),),
            "output": (Message(role="assistant", content=answer),),
        }  # fmt: skip
        ended = timestamp if answer or not parent else None
        return Span(
            trace_id=trace_id, span_id=name, parent_id=parent or None, source=source, ts=timestamp,
            ended_at=ended, **call,
        )  # fmt: skip
    if kind == "trace":
        return Trace(source=source, **native(int(name), id=name))
    raise KeyError(f"a decoder's own bug: {kind}")


def parts(*lines: str) -> bytes:
    return MARK + "\n".join(lines).encode()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def source() -> MemorySource:
    return MemorySource("agent")


Make = Callable[[], Ingest]


@pytest.fixture
def make(store: Store, clock: FakeClock, metrics: Metrics, source: MemorySource) -> Make:
    """Makes a stage that reads JSON and parts; again: a restart."""

    def made() -> Ingest:
        decoders = Decoders("auto", others=(Parts(),))
        return Ingest(
            source=source,
            decoders=decoders,
            store=store,
            metrics=metrics,
            clock=clock,
            rule=IntakeRule(Splits()),
        )

    return made


def ingested(stage: Ingest, source: MemorySource, *records: bytes) -> Counts:
    for record in records:
        source.append(record, timestamp=1.7e9)
    before = stage.totals
    while stage.step(0.0):
        pass
    after = stage.totals
    return Counts(*(getattr(after, name) - getattr(before, name) for name in Counts.__slots__))


def later(stage: Ingest, clock: FakeClock, seconds: float) -> Counts:
    """What the stage has joined in all after so long."""
    clock.advance(seconds)
    stage.step(0.0)
    return stage.joined


@pytest.mark.parametrize(
    "decoder", [Parts(), JsonDecoder((Native(),), auto=True)], ids=lambda each: each.name
)
def test_the_same_bytes_give_the_same_events(decoder: Any) -> None:
    """In order, at any time, whatever the transport says of them; other bytes raise nothing but one error."""
    record = {
        "parts": parts("trace|1", "feedback|f|event|1|1.0"),
        "json": json.dumps([native(1), native(2)]).encode(),
    }[decoder.name]
    told = {"source": "s", "timestamp": 5.0}
    first = decoder.decode(record, None, **told)
    assert decoder.takes(record, None)
    assert len(first) == 2
    assert decoder.decode(record, "text/odd", **told) == first
    for bad in (b"", b"\xff\xfe", b"{", record[:-3]):
        with contextlib.suppress(DecodeError):
            assert isinstance(decoder.decode(bad, TYPE, **told), list)


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_format_keeps_the_contract(sample: str) -> None:
    """The same bytes give the same events, by content and by name; cut anywhere, they are no trace."""
    record = json.dumps(SAMPLES[sample]()).encode()
    told: dict[str, Any] = {"source": "s", "timestamp": 5.0}
    first = Decoders().outcomes(record, **told)
    (name,) = {each.decoder for each in first}
    assert name is not None
    assert Decoders(name).outcomes(record, content_type="text/odd", **told) == first
    assert all(each.source == "s" for each in (one.result for one in first) if isinstance(each, Trace))
    for end in range(0, len(record), max(1, len(record) // 20)):
        assert all(not isinstance(each, Trace) for each in Decoders(name).decode(record[:end], **told))


def test_a_decoder_is_asked_before_json() -> None:
    """By its bytes, or by what the transport says of them; its faults are that record's dead letters."""
    decoders = Decoders("auto", others=(Parts(),))

    def told(value: bytes, content_type: str | None = None) -> list[tuple[str | None, str]]:
        found = decoders.outcomes(value, source="s", timestamp=1.0, content_type=content_type)
        return [(each.decoder, type(each.result).__name__) for each in found]

    assert told(parts("trace|1", "feedback|f|event|1|1.0", "span|b|t||")) == [
        ("parts", "Trace"), ("parts", "FeedbackEvent"), ("parts", "Span"),
    ]  # fmt: skip
    assert told(json.dumps(native(1)).encode(), "application/json") == [("native", "Trace")]
    assert told(json.dumps(native(1)).encode(), TYPE) == [("parts", "DecodeError")]
    assert told(parts("odd|1")) == [("parts", "DecodeError")]
    assert told(MARK) == [("parts", "DecodeError")]
    (alone,) = Decoders("parts", others=(Parts(),)).decode(b"{}", source="s", timestamp=1.0)
    assert isinstance(alone, UnknownFormatError)
    assert "no decoder knows this (type: unknown; decoders: parts)" in str(alone)


def test_every_kind_of_event_is_counted_once(make: Make, source: MemorySource, store: Store) -> None:
    """Twice is a duplicate, also after a restart; counts add up."""
    record = parts("trace|1", "feedback|f|event|1|1.0", "span|b|t||", "span|b|t||")
    stage = make()
    first = ingested(stage, source, record)
    assert first == Counts(records=1, stored=1, feedback=1, spans=1, duplicates=1)
    again = ingested(make(), source, record, json.dumps(native(2)).encode())
    assert again == Counts(records=2, stored=1, duplicates=4)
    assert (len(rows(store, FeedbackRow)), len(rows(store, SpanRow))) == (1, 1)


def test_feedback_is_joined_whenever_it_comes(make: Make, source: MemorySource, store: Store) -> None:
    """Before its trace, after it, twice and changed: the last in time counts, with its history."""
    stage = make()
    ingested(stage, source, parts("feedback|early|event|1|0.0|50"), parts("trace|1", "trace|2"))
    ingested(stage, source, parts("feedback|late|event|1|1.0|90", "feedback|late|event|1|1.0|90"))
    ingested(stage, source, parts("feedback|between|event|1|0.5|70"))
    traces = {row.event_id: row.id for row in rows(store, TraceRow)}
    found = store.read(lambda c: feedback.about(c, list(traces.values())))
    assert list(found) == [traces["1"]]
    assert [each.said.score for each in found[traces["1"]]] == [1.0]
    assert len(rows(store, FeedbackRow)) == 3


def test_feedback_said_again_without_a_time_of_its_own_is_the_last(
    make: Make, source: MemorySource, store: Store
) -> None:
    """Up, down, up: the third is delivered like the first, and stands."""
    stage = make()
    stage.start()
    for score, at in (("1.0", 10.0), ("0.0", 20.0), ("1.0", 30.0)):
        source.append(parts("trace|1", f"feedback|f|event|1|{score}"), timestamp=at)
    while stage.step(0.0):
        pass
    (trace,) = rows(store, TraceRow)
    (said,) = store.read(lambda c: feedback.about(c, [trace.id]))[trace.id]
    assert (said.said.score, said.ts) == (1.0, 30.0)


def test_an_event_id_of_two_sources_is_two_events(
    make: Make, source: MemorySource, store: Store, clock: FakeClock, metrics: Metrics
) -> None:
    """Feedback is about that of its own source; that of a source without such an event, about both."""
    ingested(make(), source, parts("trace|1", "feedback|a|event|1|1.0"))
    for name, lines in (("other", ("trace|1",)), ("people", ("feedback|b|event|1|0.0|5",))):
        place = MemorySource(name)
        decoders = Decoders("auto", others=(Parts(),))
        stage = Ingest(
            source=place,
            decoders=decoders,
            store=store,
            metrics=metrics,
            clock=clock,
            rule=IntakeRule(Splits()),
        )
        ingested(stage, place, parts(*lines))
    traces = {row.source: row.id for row in rows(store, TraceRow)}
    found = store.read(lambda c: feedback.about(c, list(traces.values())))
    assert [each.source for each in found[traces["agent"]]] == ["agent"]
    assert [each.source for each in found[traces["other"]]] == ["people"]


def test_parts_are_joined_over_records(
    make: Make, source: MemorySource, store: Store, clock: FakeClock, metrics: Metrics
) -> None:
    """A little after the root has ended: the answer has the session that its parent knows. A restart loses
    nothing.
    """
    stage = make()
    ingested(stage, source, parts("span|call|t|agent|In Ulm."), parts("span|agent|t|root|"))
    assert later(stage, clock, 5.0) == Counts()
    ingested(stage, source, parts("span|root|t||"))
    assert later(make(), clock, 4.0) == Counts()
    assert later(make(), clock, 1.0) == Counts(stored=1)
    (trace,) = rows(store, TraceRow)
    assert (trace.event_id, trace.session) == ("t:call", "s-1")
    assert later(stage, clock, 5.0) == Counts()
    name = {"source": "agent", "outcome": "stored"}
    assert metrics.registry.get_sample_value("rlaifd_traces_joined_total", name) == 1


def test_a_late_part_makes_a_revision(
    make: Make, source: MemorySource, store: Store, clock: FakeClock
) -> None:
    """Joined with what came before. One that changes nothing makes none."""
    stage = make()
    ingested(stage, source, parts("span|call|t|agent|In Ulm.", "span|root|t||"))
    assert later(stage, clock, 5.0) == Counts(stored=1)
    ingested(stage, source, parts("span|tool|t|root|"))
    assert later(stage, clock, 5.0) == Counts(stored=1, duplicates=1)
    ingested(stage, source, parts("span|call|t|agent|In Ulm, since noon."))
    assert later(stage, clock, 5.0) == Counts(stored=1, duplicates=1, revisions=1)
    first, second = rows(store, TraceRow)
    assert (first.event_id, first.revision) == (second.event_id, 0)
    assert "since noon" in str(second.payload)


@pytest.mark.parametrize(("quiet", "joined"), [(29.0, 0), (30.0, 1)])
def test_a_trace_without_an_end_is_joined_when_it_is_quiet(
    make: Make, source: MemorySource, clock: FakeClock, quiet: float, joined: int
) -> None:
    """Its root may never come."""
    stage = make()
    ingested(stage, source, parts("span|call|t|root|In Ulm."))
    assert later(stage, clock, quiet) == Counts(stored=joined)


def test_feedback_about_a_span_and_its_trace_is_about_the_answer(
    make: Make, source: MemorySource, store: Store, clock: FakeClock
) -> None:
    """And about a session: about each of its answers."""
    stage = make()
    ingested(stage, source, parts("span|call|t|root|In Ulm.", "span|root|t||"))
    later(stage, clock, 5.0)
    said = ("feedback|a|span|t:call|1.0|1", "feedback|b|trace|t|2.0|2", "feedback|c|session|s-1|3.0|3")
    ingested(stage, source, parts(*said, "feedback|d|span|t:other|4.0|4"))
    (trace,) = rows(store, TraceRow)
    found = store.read(lambda c: feedback.about(c, [trace.id]))
    assert [each.said.score for each in found[trace.id]] == [1.0, 2.0, 3.0]


def test_old_parts_are_let_go(make: Make, source: MemorySource, store: Store, clock: FakeClock) -> None:
    """A day after they were joined; what names an answer stays, so that feedback still finds it."""
    stage = make()
    ingested(stage, source, parts("span|call|t|root|In Ulm.", "span|root|t||"))
    later(stage, clock, 5.0)
    later(stage, clock, 86_500.0)
    (left,) = rows(store, SpanRow)
    assert (left.span_id, left.payload) == ("call", None)
    counts = ingested(stage, source, parts("span|call|t|root|In Ulm.", "feedback|a|trace|t|1.0|1"))
    assert counts == Counts(records=1, duplicates=1, feedback=1)
    (trace,) = rows(store, TraceRow)
    assert store.read(lambda c: feedback.about(c, [trace.id]))


def test_a_joined_trace_that_the_database_refuses_keeps_no_other_waiting(
    make: Make, source: MemorySource, store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is set aside with the reason, and those beside it are joined."""

    def refusing(connection: Any, **given: Any) -> Counts:
        if any("bad" in trace.id for trace in given["traces"]):
            raise DataError("INSERT", {}, ValueError("out of range"))
        return store_traces(connection, **given)

    monkeypatch.setattr("daemon.stages.ingest.joining.store_traces", refusing)
    stage = make()
    calls = [f"span|call|{name}|root|In Ulm." for name in ("a", "bad", "c")]
    ingested(stage, source, parts(*calls, *(f"span|root|{name}||" for name in ("a", "bad", "c"))))
    later(stage, clock, 5.0)
    assert sorted(row.event_id for row in rows(store, TraceRow)) == ["a:call", "c:call"]
    assert {row.trace_id: row.refused for row in rows(store, SpanRow)} == {
        "a": None, "bad": "out of range", "c": None,
    }  # fmt: skip
    assert later(stage, clock, 5.0).stored == 2
