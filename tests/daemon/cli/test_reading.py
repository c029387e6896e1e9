"""Verdicts, dead letters and the ledger are read by commands."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from daemon.cli.app import app
from daemon.cli.reading import moment
from daemon.store import ledger
from daemon.store.tables import DeadLetterRow, PositionRow
from daemon.wiring.parts import Wiring
from policies.records import Split
from tests.daemon.configuration import settings
from tests.daemon.stages.seeding import add_candidate, add_traces, add_verdict, put


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose store holds verdicts, dead letters and entries."""
    parts = Wiring(settings(tmp_path))
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    store = parts.store
    one, two = add_traces(store, ["event-1", "event-2"], Split.TRAIN, text="It is blue.")
    other = add_candidate(store, one, "It is green.", batch="b")
    add_verdict(store, one, one, reward=7.5, created_at=60.0)
    add_verdict(store, two, two, reward=1.25, created_at=120.0)
    add_verdict(store, two, two, role="large", abstention="refused", created_at=180.0)
    add_verdict(store, one, one, role="gate", kind="pair", other_id=other, choice="a", created_at=240.0)
    place = {"source": "agent", "topic": "t", "partition": 0}
    counts = {"records": 4, "stored": 2, "duplicates": 0, "revisions": 0, "dead_letters": 2}
    put(store, PositionRow, **place, next_offset=4, updated_at=1.0, **counts)
    for offset, body in enumerate((b"{\n", b"\xff\xfe")):
        put(
            store,
            DeadLetterRow,
            **place,
            offset=offset,
            index=0,
            body=body,
            reason=f"bad {offset}",
            stored_at=1.0,
        )
    for number, action in enumerate(("promote", "halt", "resume")):
        entry: dict[str, Any] = {
            "at": 1000.0 * number,
            "actor": "ann",
            "action": action,
            "subject": "training",
        }
        store.write(lambda c, entry=entry: ledger.append(c, **entry, reason="why", detail={}))  # type: ignore[misc]
    parts.close()
    return tmp_path / "rlaifd.yaml"


def ran(config: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "-c", str(config)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def rows(config: Path, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ran(config, *arguments, "--json"))
    return found


def test_a_verdict_is_shown_with_its_critique_and_answer(config: Path) -> None:
    """What the judge said of event X, and of which answers."""
    text = ran(config, "verdicts", "event-1")
    assert "gate (gate)  event event-1: comparison, chose a" in text
    assert "small (small)  event event-1: score, reward 7.50" in text
    assert "  answer    It is blue." in text
    assert "  other     It is green." in text
    assert "event-2" not in text


def test_verdicts_are_picked_by_judge_score_and_abstention(config: Path) -> None:
    """Newest first, or the lowest first; no more than the limit."""
    assert [row["role"] for row in rows(config, "verdicts")] == ["gate", "large", "small", "small"]
    assert [row["reward"] for row in rows(config, "verdicts", "--lowest")] == [1.25, 7.5]
    assert [row["reward"] for row in rows(config, "verdicts", "--lowest", "-n", "1")] == [1.25]
    assert [row["event"] for row in rows(config, "verdicts", "--below", "5")] == ["event-2"]
    assert [row["event"] for row in rows(config, "verdicts", "--above", "5")] == ["event-1"]
    assert [row["abstention"] for row in rows(config, "verdicts", "--abstained")] == ["refused"]
    assert [row["event"] for row in rows(config, "verdicts", "--judge", "gate")] == ["event-1"]
    assert ran(config, "verdicts", "nothing") == "no such verdict\n"


def test_dead_letters_are_listed_and_written(config: Path, tmp_path: Path) -> None:
    """With reason and length; a file of them can be decoded, one of them is as it came."""
    assert [(row["reason"], row["bytes"]) for row in rows(config, "deadletters")] == [
        ("bad 1", 2),
        ("bad 0", 2),
    ]
    out = tmp_path / "letters"
    assert "agent t/0 at 1, 2 bytes: bad 1" in ran(config, "deadletters", "--out", str(out))
    assert out.read_bytes() == b"\xff\xfe\n{\n"
    ran(config, "deadletters", "--id", "1", "--out", str(out))
    assert out.read_bytes() == b"{\n"
    assert ran(config, "deadletters", "--source", "other") == "no dead letter\n"


def test_the_ledgers_entries_are_shown_by_kind_and_time(config: Path) -> None:
    """The newest of them, oldest first."""
    assert [row["action"] for row in rows(config, "ledger", "show")] == ["promote", "halt", "resume"]
    assert [row["action"] for row in rows(config, "ledger", "show", "-n", "2")] == ["halt", "resume"]
    assert [row["seq"] for row in rows(config, "ledger", "show", "--action", "halt")] == [2]
    late = rows(config, "ledger", "show", "--since", "1970-01-01T00:16:00", "--until", "1970-01-01T00:17:00")
    assert [row["action"] for row in late] == ["halt"]
    assert "     2  1970-01-01 00:16:40  ann  halt  training: why" in ran(config, "ledger", "show")
    assert ran(config, "ledger", "show", "--subject", "nothing") == "no such entry\n"


@pytest.mark.parametrize(
    ("said", "at"),
    [("90m", 4600.0), ("1d", -76_400.0), ("1970-01-01", 0.0), ("1970-01-01T00:01+00:00", 60.0)],
)
def test_times_are_said_in_two_ways(said: str, at: float) -> None:
    """A date in UTC, or so long ago."""
    assert moment(said, now=10_000.0) == at


def test_what_is_no_time_is_told() -> None:
    """With the forms there are."""
    with pytest.raises(typer.BadParameter, match="'yesterday' is no time: 2026-11-27"):
        moment("yesterday", now=0.0)
