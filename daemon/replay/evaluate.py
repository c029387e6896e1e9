"""The figures of each judge of a directory, as `rlaifd judge evaluate` prints them."""

from pathlib import Path
from typing import Any

from daemon.replay.directory import load_replay
from policies.replayed import figures


def evaluated(directory: Path) -> list[dict[str, Any]]:
    """Returns one object a judge: its name, its number of verdicts, each figure and its interval."""
    rows = []
    for judge, pairs in load_replay(directory).judges.items():
        row: dict[str, Any] = {"judge": judge, "verdicts": sum(len(pair.verdicts) for pair in pairs)}
        for name, rate in figures(judge, pairs).items():
            row[name] = rate.value
            row[f"{name}_interval"] = None if rate.interval is None else list(rate.interval)
        rows.append(row)
    return rows
