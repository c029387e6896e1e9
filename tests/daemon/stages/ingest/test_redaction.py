"""What is redacted reaches no table: neither as an event nor as a dead letter."""

from sqlalchemy import text

from connectors.memory import MemorySource
from daemon.store.store import Store
from daemon.store.tables import DeadLetterRow, FeedbackRow, TraceRow
from policies.redaction import Pattern, Redaction
from tests.connectors.decoders.events import native
from tests.daemon.stages.ingest.intake import Make, drain, raw
from tests.daemon.stages.seeding import rows

MAIL = "ann@mail.example"
ASKED = [{"role": "user", "content": f"I am {MAIL}."}]


def send(source: MemorySource) -> None:
    """A trace, what is said of it, one event that is refused, and bytes that nobody knows."""
    edit = {"about": "event", "target": "e-1", "kind": "edit", "correction": f"Dear {MAIL}"}
    records = [raw(native(1, messages=ASKED)), raw(edit), raw(native(2, **{MAIL: 1})), MAIL.encode()]
    for record in records:
        source.append(record, timestamp=1.0)


def test_what_is_redacted_is_stored_nowhere(store: Store, source: MemorySource, make: Make) -> None:
    """Neither in payloads and candidates nor in dead letters and their reasons; again it is a duplicate."""
    stage = make(redaction=Redaction([Pattern.EMAIL]), dead_letter_ratio=1.0)
    send(source)
    assert drain(stage) == 4
    (trace,) = rows(store, TraceRow)
    assert trace.payload["messages"][0]["content"] == "I am [email]."
    (said,) = rows(store, FeedbackRow)
    assert said.payload["correction"] == "Dear [email]"
    letters = rows(store, DeadLetterRow)
    assert len(letters) == 2
    for letter in letters:
        assert b"[email]" in letter.body
        assert MAIL not in letter.reason
    for table in ("trace", "feedback", "candidate", "dead_letter"):
        columns = store.read(lambda c, table=table: c.execute(text(f"SELECT * FROM {table}")).all())  # type: ignore[misc]  # noqa: S608
        assert "mail.example" not in str(columns)
    source.append(raw(native(1, messages=ASKED)), timestamp=2.0)
    drain(stage)
    assert stage.totals.duplicates == 1


def test_nothing_is_redacted_unless_it_is_asked_for(store: Store, source: MemorySource, make: Make) -> None:
    """The log is stored as it is."""
    send(source)
    drain(make(dead_letter_ratio=1.0))
    (trace,) = rows(store, TraceRow)
    assert trace.payload["messages"][0]["content"] == f"I am {MAIL}."
