"""Preferences in a store, for tests of what happens to them later."""

from collections.abc import Sequence
from typing import Any

from daemon.store import preferences
from daemon.store.snapshots import Held
from daemon.store.tables import PreferenceRow
from policies.records import Split
from tests.daemon.stages.seeding import Writes, add_candidate, add_traces, put_many


def prefer(to: Writes, names: Sequence[str], *, at: float = 1.0, **columns: Any) -> list[int]:
    """A preference of each name, of a train prompt and a contributor of its own unless told otherwise.

    Returns their ids, oldest first.
    """
    traces = add_traces(to, names, Split.TRAIN, stored_at=columns.pop("stored_at", at))
    made = []
    for name, trace in zip(names, traces, strict=True):
        chosen, rejected = (
            add_candidate(to, trace, f"{text} {name}", sample=n) for n, text in enumerate(("good", "bad"))
        )
        made.append(
            {
                "trace_id": trace,
                "cluster": name,
                "contributor": f"subject:{name}",
                "chosen_id": chosen,
                "rejected_id": rejected,
                "margin": 5.0,
                "difference": 1.0,
                "weight": 1.0,
                "soft": 0.9,
                "verdict_ids": [],
                "created_at": at,
                **columns,
            }
        )
    return put_many(to, PreferenceRow, made)


def freeze(
    to: Writes, name: str, ids: Sequence[int], *, at: float = 1.0, answers: Sequence[int] | None = None
) -> None:
    """The row of a snapshot of these preferences, or of `answers` by themselves."""
    path, held = f"snapshots/{name}.jsonl", Held(ids, answers)
    to.write(lambda c: preferences.store_snapshot(c, name, path, held, note="", now=at))
