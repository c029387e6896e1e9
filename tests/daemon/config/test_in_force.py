"""Who lowers a limit leaves a trace in the ledger."""

from pathlib import Path
from typing import Any

from sqlalchemy import select

from daemon.cli.context import wired
from daemon.config import in_force
from daemon.store import ledger
from daemon.store.ledger import LEDGER
from daemon.store.store import Store
from tests.daemon.configuration import TEXT, settings, write


def entries(store: Store) -> list[tuple[str, dict[str, Any]]]:
    wanted = (
        select(LEDGER.c.reason, LEDGER.c.detail).where(LEDGER.c.action == "settings").order_by(LEDGER.c.seq)
    )
    return store.read(lambda c: [(row.reason, row.detail) for row in c.execute(wanted)])


def test_settings_are_recorded_when_they_change_and_only_then(store: Store, tmp_path: Path) -> None:
    """The first time whole; then from what to what, by the keys of the configuration."""
    first = settings(tmp_path, TEXT.replace("api_key: k", "api_key: canary-5"))
    assert in_force.record(store, first, actor="ann", now=1.0) == {}
    assert in_force.record(store, first, actor="ann", now=2.0) == {}
    lax = TEXT.replace(
        "  base_model: base\n", "  base_model: base\n  gate: {min_win_rate: 0.4, min_labels: 10}\n"
    )
    changed = in_force.record(store, settings(tmp_path, lax), actor="bob", now=3.0)
    assert changed == {"policy.gate.min_labels": [50, 10], "policy.gate.min_win_rate": [0.5, 0.4]}
    (first_reason, whole), (reason, detail) = entries(store)
    assert first_reason == "the first settings of this policy"
    assert whole["settings"]["policy"]["gate"]["min_win_rate"] == 0.5
    assert reason == "policy.gate.min_labels: 50 -> 10; policy.gate.min_win_rate: 0.5 -> 0.4"
    assert detail["changed"] == changed
    assert "canary-5" not in str([whole, detail])
    assert in_force.record(store, settings(tmp_path, lax), actor="bob", now=4.0) == {}
    assert store.read(ledger.verify).broken_at is None


def test_every_policy_has_its_own_settings(store: Store, tmp_path: Path) -> None:
    """Two configurations on one store, one after the other, change nothing of each other."""
    one, two = settings(tmp_path), settings(tmp_path, TEXT.replace("support-agent", "other-agent"))
    for each in (one, two, one, two):
        assert in_force.record(store, each, actor="ann", now=1.0) == {}
    assert len(entries(store)) == 2


def test_a_long_list_of_changes_is_told_in_short(store: Store, tmp_path: Path) -> None:
    """The reason is one line; the detail has all."""
    in_force.record(store, settings(tmp_path), actor="ann", now=1.0)
    training = ", ".join(
        f"{key}: 7" for key in ("interval_s", "min_new_preferences", "min_preferences", "threads")
    )
    gate = ", ".join(f"{key}: 41" for key in ("min_prompts", "max_prompts", "min_labels"))
    halts = ", ".join(f"{key}: 61" for key in ("alignment_window", "alignment_min_labels", "reward_window"))
    text = TEXT.replace(
        "  base_model: base\n", f"  base_model: base\n  gate: {{{gate}}}\n  halts: {{{halts}}}\n"
    ).replace("web:", f"training: {{{training}}}\nweb:")
    text = text.replace("model: small-judge", "model: other-judge")
    changed = in_force.record(store, settings(tmp_path, text), actor="ann", now=2.0)
    assert len(changed) == 11
    reason, detail = entries(store)[-1]
    assert reason.endswith("; and 1 more")
    assert detail["changed"]["judges.small.model"] == ["small-judge", "other-judge"]


def test_a_command_that_works_records_what_it_works_with(tmp_path: Path) -> None:
    """A look does not; nor does a daemon that never decides."""
    path = write(tmp_path)
    with wired(path) as parts:
        assert entries(parts.store) == []
    write(tmp_path, TEXT.replace("directory: serving", "directory: serving, lead: false"))
    with wired(path, working=True) as parts:
        assert entries(parts.store) == []
    write(tmp_path)
    with wired(path, working=True) as parts:
        assert len(entries(parts.store)) == 1
