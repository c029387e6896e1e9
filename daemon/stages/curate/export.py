"""A snapshot as a data set to pass on: a Parquet file and the card that says what it is.

The directory appears whole or not at all, and only after the file was read back and found to be the snapshot.
"""

import hashlib
import os
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors import parquet
from daemon.config.settings import Settings
from daemon.errors import RlaifdError, UsageError
from daemon.store import lineage, snapshots
from daemon.store.snapshots import StoredSnapshot
from daemon.store.store import Store
from policies import durable
from policies import snapshot as frozen
from policies.datacard import Contents, card
from policies.selection import WHY
from policies.snapshot import Snapshot

DATA = "train.parquet"
CARD = "README.md"
LEAST_PREFIX = 8


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written where."""

    snapshot: str
    directory: Path
    pairs: int
    sha256: str


def export(store: Store, settings: Settings, snapshot_id: str, directory: Path) -> Exported:
    """Writes the snapshot (its id, or the first eight digits or more) into a new or empty directory.

    Raises UsageError where there is no such snapshot of pairs or the directory has something in it, and
    RlaifdError where the snapshot's file is not what it was.
    """
    row = _row(store, snapshot_id)
    if not row.of_pairs:
        what = "prompts" if row.candidate_ids is None else "answers by themselves"
        raise UsageError(f"snapshot {row.id[:12]} holds {what}: only one of pairs is exported")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory}: is there already and not an empty directory")
    try:
        content = frozen.read(settings.state_dir / row.path, row.id)
    except frozen.SnapshotError as error:
        raise RlaifdError(str(error)) from None
    part = directory.with_name(f".{directory.name}.part-{os.getpid()}")
    try:
        digest = _write(part, content, store, settings, row)
        if directory.exists():
            directory.rmdir()
        part.rename(directory)
        durable.sync(directory.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Exported(row.id, directory, len(content.pairs), digest)


def _row(store: Store, snapshot_id: str) -> StoredSnapshot:
    if len(snapshot_id) < LEAST_PREFIX:
        raise UsageError(f"{snapshot_id!r}: a snapshot is named by the first {LEAST_PREFIX} digits or more")
    found = store.read(lambda c: snapshots.starting(c, snapshot_id))
    if len(found) != 1:
        raise UsageError(f"{len(found) or 'no'} snapshots begin with {snapshot_id[:12]}")
    return found[0]


def _write(part: Path, content: Snapshot, store: Store, settings: Settings, row: StoredSnapshot) -> str:
    """Writes both files durably; returns the data's digest."""
    part.mkdir(parents=True)
    data = part / DATA
    parquet.write(data, content)
    if parquet.read(data) != content:
        raise RlaifdError(f"{data}: read back it is not snapshot {row.id[:12]}")
    with data.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    text = card(_contents(store, settings, row, content, digest))
    durable.create(part / CARD, text.encode())
    durable.sync(data)
    durable.sync(part)
    return digest


def _contents(
    store: Store, settings: Settings, row: StoredSnapshot, content: Snapshot, digest: str
) -> Contents:
    pairs = store.read(lambda c: lineage.pairs_of(c, row.preference_ids))
    known = [pair for pair in pairs if "trace" in pair]
    times = [pair["ts"] for pair in known]
    answers = [pair[side] for pair in known for side in ("chosen", "rejected") if pair[side]]
    verdicts = [verdict for pair in known for verdict in pair["verdicts"]]
    policy = settings.policy
    return Contents(
        snapshot=row.id,
        policy=content.policy,
        base_model=policy.base_model + (f"@{policy.revision}" if policy.revision else ""),
        family=policy.family,
        frozen=_at(row.created_at),
        note=row.note,
        splits=Counter(pair["split"] for pair in known),
        traces=Counter(pair["source"] for pair in known),
        contributors=len({pair["contributor"] for pair in known}),
        events=(_at(min(times)), _at(max(times))) if times else None,
        answers=Counter(map(_giver, answers)),
        verdicts=Counter(
            f"{each['judge']} ({each['family']}, version {each['version'][:12]})" for each in verdicts
        ),
        labels=sum(len(pair["labels"]) for pair in known),
        left_out={said: count for why, said in WHY.items() if (count := (row.left_out or {}).get(why))},
        people=(people := sum(pair.source == "people" for pair in content.pairs)),
        unknown=len(content.pairs) - len(known) - people,
        truncated=sum(pair.rejected_truncated for pair in content.pairs),
        files={DATA: digest},
    )


def _giver(answer: dict[str, Any]) -> str:
    if answer["origin"] != "sampled":
        return str(answer["origin"])
    return f"sampled from {answer['adapter'] or 'the base model'}"


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
