"""Snapshots as Parquet, for whoever works on them with other tools.

One row a pair. Messages are lists of structures, as chat datasets have them; what is free JSON (a tool's
definition, a call's arguments) is text, because Arrow would give every object the keys of all others. Reading
back gives the snapshot, to the digest.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from policies.records import canonical
from policies.snapshot import FORMAT, Pair, Snapshot, SnapshotError, encoded

SNAPSHOT_KEY = b"rlaifd.snapshot"
POLICY_KEY = b"rlaifd.policy"
FORMAT_KEY = b"rlaifd.format"

_CALL = pa.struct([("name", pa.string()), ("arguments", pa.string()), ("id", pa.string())])
_MESSAGE = pa.struct(
    [
        ("role", pa.string()),
        ("content", pa.string()),
        ("reasoning", pa.string()),
        ("tool_calls", pa.list_(_CALL)),
        ("tool_call_id", pa.string()),
        ("name", pa.string()),
    ]
)
_TOKENS = pa.struct([("ids", pa.list_(pa.int64())), ("rendering", pa.string())])
SCHEMA = pa.schema(
    [
        ("preference", pa.int64()),
        ("prompt", pa.list_(_MESSAGE)),
        ("chosen", pa.list_(_MESSAGE)),
        ("rejected", pa.list_(_MESSAGE)),
        ("weight", pa.float64()),
        ("soft", pa.float64()),
        ("tools", pa.list_(pa.string())),
        ("chosen_tokens", _TOKENS),
        ("rejected_tokens", _TOKENS),
        ("rejected_truncated", pa.bool_()),
        ("source", pa.string()),
        ("chosen_reward", pa.float64()),
        ("rejected_reward", pa.float64()),
    ]
)


def write(path: Path, snapshot: Snapshot) -> None:
    """Writes the snapshot's pairs, in their order. Raises OSError where that fails."""
    metadata = {
        SNAPSHOT_KEY: snapshot.id.encode(),
        POLICY_KEY: snapshot.policy.encode(),
        FORMAT_KEY: FORMAT.encode(),
    }
    rows = [_row(pair) for pair in snapshot.pairs]
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(metadata))
    pq.write_table(table, path, compression="zstd")


def read(path: Path) -> Snapshot:
    """The snapshot in the file. Raises SnapshotError where it is none, or not the one that it says."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise SnapshotError(f"{path}: {' '.join(str(error).split())}") from None
    metadata = table.schema.metadata or {}
    if metadata.get(FORMAT_KEY, b"").decode() != FORMAT:
        raise SnapshotError(f"{path}: it is no {FORMAT}")
    try:
        pairs = tuple(_pair(row) for row in table.to_pylist())
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise SnapshotError(f"{path}: {' '.join(str(error).split())}") from None
    policy, name = metadata[POLICY_KEY].decode(), metadata[SNAPSHOT_KEY].decode()
    found = hashlib.sha256(encoded(policy, pairs)).hexdigest()
    if found != name:
        raise SnapshotError(f"{path}: its pairs are those of {found[:12]}, not of {name[:12]}")
    return Snapshot(id=name, policy=policy, pairs=pairs)


def _row(pair: Pair) -> dict[str, Any]:
    row = pair.model_dump(mode="json")
    for side in ("prompt", "chosen", "rejected"):
        for message in row[side]:
            for call in message["tool_calls"]:
                call["arguments"] = canonical(call["arguments"]).decode()
    return {**row, "tools": [canonical(tool).decode() for tool in row["tools"]]}


def _pair(row: dict[str, Any]) -> Pair:
    for side in ("prompt", "chosen", "rejected"):
        for message in row[side]:
            for call in message["tool_calls"]:
                call["arguments"] = json.loads(call["arguments"])
    return Pair.model_validate({**row, "tools": [json.loads(tool) for tool in row["tools"]]})
