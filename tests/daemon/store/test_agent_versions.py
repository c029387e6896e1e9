"""A preference has the version of the agent of its trace, and a snapshot says which it comes from."""

from daemon.store import preferences
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, PreferenceRow, SnapshotRow, TraceRow
from policies.curation import Preference
from policies.records import Split
from tests.daemon.preferring import freeze
from tests.daemon.stages.seeding import add_candidate, add_trace, rows


def test_preferences_and_snapshots_have_the_versions_of_their_traces(store: Store) -> None:
    """Pairs by their preference, single answers by their trace; what is not known is counted, too."""
    for name, version in (("a", "v1"), ("b", "v1"), ("c", "v2"), ("d", None)):
        trace = add_trace(store, name, Split.TRAIN, agent_version=version)
        better, worse = (add_candidate(store, trace, text, sample=at) for at, text in enumerate(("x", "y")))
        made = Preference(
            trace_id=trace, cluster=name, contributor=name, chosen_id=better, rejected_id=worse, margin=5.0,
            difference=1.0, soft=0.9, verdict_ids=(1, 2),
        )  # fmt: skip
        store.write(
            lambda c, made=made: preferences.store_preferences(c, [made], looked_at=[made.trace_id], now=1.0)  # type: ignore[misc]
        )
    stored = rows(store, PreferenceRow)
    assert [row.agent_version for row in stored] == ["v1", "v1", "v2", None]
    freeze(store, "pairs", [row.id for row in stored])
    logged = [row.id for row in rows(store, CandidateRow) if row.origin == "logged"]
    freeze(store, "answers", [], answers=logged[1:])
    assert {row.id: row.agent_versions for row in rows(store, SnapshotRow)} == {
        "pairs": {"v1": 2, "v2": 1, "": 1},
        "answers": {"v1": 1, "v2": 1, "": 1},
    }
    assert len(rows(store, TraceRow)) == 4
