"""A made directory of stored judgements: four questions, models x and y, the judge x-9."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VOTES = (["A", "A", "A"], ["A", "A", "B"], ["B"], ["tie"])
SAID = (("1", "2"), ("1", "1"), ("3", "1"), ("2", "no idea"))
JUDGE = "judgments_x-9"


def rows() -> dict[str, list[dict[str, Any]]]:
    """The rows of each file by its stem; x, whose the judge is, has always the longer answer."""
    found: dict[str, list[dict[str, Any]]] = {"items": [], "answers": [], JUDGE: []}
    for number, (votes, said) in enumerate(zip(VOTES, SAID, strict=True)):
        pair = f"x|y|q{number}"
        found["items"].append({"pair_id": pair, "model_a": "x", "model_b": "y", "human_votes": votes})
        for model, text in (("x", "long"), ("y", "s")):
            found["answers"].append({"model": model, "question_id": number, "text": text})
        for order, text in zip(("AB", "BA"), said, strict=True):
            found[JUDGE].append({"pair_id": pair, "order": order, "raw_text": text})
    return found


def written(folder: Path, files: Mapping[str, list[dict[str, Any]]], *, zipped: bool = False) -> Path:
    """Writes the files, plain or gzipped; returns the folder."""
    folder.mkdir(exist_ok=True)
    for stem, lines in files.items():
        text = "".join(json.dumps(row) + "\n" for row in lines).encode()
        name = f"{stem}.jsonl.gz" if zipped else f"{stem}.jsonl"
        (folder / name).write_bytes(gzip.compress(text) if zipped else text)
    return folder
