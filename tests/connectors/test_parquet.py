"""A snapshot that went through Parquet is the same snapshot."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors import parquet
from policies import snapshot
from policies.records import Message, Tokens, ToolCall
from policies.snapshot import Pair, Snapshot, SnapshotError

TOOLS = ({"type": "function", "function": {"name": "find", "parameters": {"ü": [1, 2.5, None]}}},)


def pairs() -> list[Pair]:
    """Everything that a pair can hold, and nothing of it."""
    ask = Message(role="user", content='where is "it"?\n\u2028', name="ann")
    call = ToolCall(name="find", arguments={"id": "7", "deep": {"x": [True, None, 1.5, 10**15]}}, id="c1")
    other = ToolCall(name="find", arguments={"qty": 2})
    said = Message(role="assistant", reasoning="hm", tool_calls=(call, other))
    result = Message(role="tool", content="{}", tool_call_id="c1")
    bad = Message(role="assistant", content="no idea 🤷")
    return [
        Pair(
            preference=7,
            prompt=(Message(role="system", content=""), ask),
            chosen=(said, result, Message(role="assistant", content="there")),
            rejected=(bad,),
            weight=0.25,
            soft=0.8807970779778823,
            tools=TOOLS,
            chosen_tokens=Tokens(ids=(1, 2, 151_000), rendering="r"),
            rejected_truncated=True,
            chosen_reward=8.5,
            rejected_reward=0.1,
            source="people",
        ),
        Pair(preference=1, prompt=(ask,), chosen=(bad,), rejected=(Message(role="assistant"),)),
    ]


def frozen(directory: Path) -> Snapshot:
    name, path = snapshot.write(directory, "policy", pairs())
    return snapshot.read(path, name)


def test_read_back_it_is_the_snapshot(tmp_path: Path) -> None:
    """Pair for pair, in order, and to its digest."""
    before = frozen(tmp_path)
    parquet.write(tmp_path / "x.parquet", before)
    assert parquet.read(tmp_path / "x.parquet") == before


def test_every_field_of_a_pair_is_a_column() -> None:
    """One that is not would be lost, and the file would not be read back as the snapshot."""
    assert parquet.SCHEMA.names == list(Pair.model_fields)


def test_other_tools_read_chats(tmp_path: Path) -> None:
    """Messages are structures, and no call has the keys of another."""
    parquet.write(tmp_path / "x.parquet", frozen(tmp_path))
    row = pq.read_table(tmp_path / "x.parquet").to_pylist()[0]
    assert [message["role"] for message in row["chosen"]] == ["assistant", "tool", "assistant"]
    assert row["chosen"][0]["tool_calls"][1]["arguments"] == '{"qty":2}'


def test_what_was_changed_is_refused(tmp_path: Path) -> None:
    """A row less, another weight, another file, none at all: each in one line with its name."""
    path = tmp_path / "x.parquet"
    parquet.write(path, frozen(tmp_path))
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 1), path)
    with pytest.raises(SnapshotError, match=r"x\.parquet: its pairs are those of [0-9a-f]{12}, not of"):
        parquet.read(path)
    weights = table.schema.get_field_index("weight")
    doubled = table.set_column(weights, "weight", pa.array([0.5, 2.0]))
    pq.write_table(doubled.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(SnapshotError, match="its pairs are those of"):
        parquet.read(path)
    pq.write_table(table.replace_schema_metadata({}), path)
    with pytest.raises(SnapshotError, match="it is no rlaifd-snapshot-1"):
        parquet.read(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(SnapshotError, match=r"x\.parquet: "):
        parquet.read(path)
    with pytest.raises(SnapshotError, match=r"none\.parquet"):
        parquet.read(tmp_path / "none.parquet")
