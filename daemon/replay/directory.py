"""A directory of stored judgements: items, answers, a file of texts for each judge. JSONL, plain or gzip."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from daemon.errors import UsageError
from policies.judging.free_text import FreeVerdict, read_pair
from policies.judging.grammar import Letter
from policies.replayed import ReplayedPair, own_order

PREFIX = "judgments_"
ORDERS = ("AB", "BA")


@dataclass(frozen=True, slots=True)
class Replay:
    """The judges of a directory and what each says of its pairs."""

    judges: Mapping[str, tuple[ReplayedPair, ...]]


@dataclass(frozen=True, slots=True)
class _Duel:
    question: str
    models: tuple[str, str]
    votes: tuple[Letter, ...]
    lengths: tuple[int, int]


def load_replay(directory: Path) -> Replay:
    """Reads a directory. UsageError names the file, the line and what is wrong with it."""
    if not directory.is_dir():
        raise UsageError(
            f"{directory} is not a directory: name one with items.jsonl, answers.jsonl and "
            f"{PREFIX}JUDGE.jsonl, plain or .gz"
        )
    items = _items(_one(directory, "items"), _answers(_one(directory, "answers")))
    files: dict[str, Path] = {}
    for file in sorted([*directory.glob(f"{PREFIX}*.jsonl"), *directory.glob(f"{PREFIX}*.jsonl.gz")]):
        name = file.name.removeprefix(PREFIX).removesuffix(".gz").removesuffix(".jsonl")
        if name in files:
            raise UsageError(f"{file}: {files[name].name} is there too; keep one of them")
        files[name] = file
    if not files:
        raise UsageError(f"{directory}: no {PREFIX}JUDGE.jsonl or .jsonl.gz; add one a judge")
    return Replay({name: _judged(file, items) for name, file in files.items()})


def _one(directory: Path, stem: str) -> Path:
    found = [file for end in ("", ".gz") if (file := directory / f"{stem}.jsonl{end}").is_file()]
    if len(found) != 1:
        raise UsageError(f"{directory}: needs {stem}.jsonl or {stem}.jsonl.gz, and one of them only")
    return found[0]


def _records(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's place and object."""
    try:
        data = file.read_bytes()
        text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode()
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UsageError(f"{file}: not a whole gzip file; write it again") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: not UTF-8; write it again as UTF-8") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{file}:{number}"
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            raise UsageError(f"{place}: not one JSON object; mend or remove the line") from None
        if not isinstance(found, dict):
            raise UsageError(f"{place}: not one JSON object; mend or remove the line")
        yield place, found


def _text(record: Mapping[str, Any], key: str, place: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise UsageError(f"{place}: {key} must be a text")
    return value


def _question(record: Mapping[str, Any], place: str) -> str:
    """The question's id: the field, or what follows the last `|q` of the pair's id."""
    value = record.get("question_id")
    if value is None and isinstance(record.get("pair_id"), str):
        value = record["pair_id"].rpartition("|q")[2]
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise UsageError(f"{place}: question_id must be a number or a text")
    return str(value)


def _answers(file: Path) -> dict[tuple[str, str], int]:
    lengths: dict[tuple[str, str], int] = {}
    for place, record in _records(file):
        key = (_text(record, "model", place), _question(record, place))
        if key in lengths:
            raise UsageError(f"{place}: a second answer of {key[0]} to question {key[1]}; keep one")
        lengths[key] = len(_text(record, "text", place))
    return lengths


def _items(file: Path, answers: Mapping[tuple[str, str], int]) -> dict[str, _Duel]:
    items: dict[str, _Duel] = {}
    for place, record in _records(file):
        pair, question = _text(record, "pair_id", place), _question(record, place)
        models = (_text(record, "model_a", place), _text(record, "model_b", place))
        votes = record.get("human_votes")
        if not isinstance(votes, list) or any(vote not in get_args(Letter) for vote in votes):
            raise UsageError(f"{place}: human_votes must be a list of A, B and tie")
        missing = [model for model in models if (model, question) not in answers]
        if missing:
            raise UsageError(f"{place}: no answer of {missing[0]} to question {question} is there; add it")
        if pair in items:
            raise UsageError(f"{place}: a second item {pair}; keep one")
        lengths = (answers[models[0], question], answers[models[1], question])
        items[pair] = _Duel(question, models, tuple(votes), lengths)
    if not any(item.votes for item in items.values()):
        raise UsageError(f"{file}: nobody voted: human_votes needs A, B or tie in one item at least")
    return items


def _judged(file: Path, items: Mapping[str, _Duel]) -> tuple[ReplayedPair, ...]:
    texts: dict[str, dict[str, str]] = {}
    for place, record in _records(file):
        pair, order = _text(record, "pair_id", place), _text(record, "order", place)
        if pair not in items:
            raise UsageError(f"{place}: no item {pair}; add it or remove the line")
        if order not in ORDERS:
            raise UsageError(f"{place}: order must be AB or BA")
        if order in texts.setdefault(pair, {}):
            raise UsageError(f"{place}: a second text for {pair} in order {order}; keep one")
        texts[pair][order] = _text(record, "raw_text", place)
    return tuple(_pair(items[pair], said) for pair, said in texts.items())


def _pair(item: _Duel, texts: Mapping[str, str]) -> ReplayedPair:
    read = {order: read_pair(text) for order, text in texts.items()}
    verdicts = {
        order: own_order(found.winner, order)
        for order, found in read.items()
        if isinstance(found, FreeVerdict)
    }
    return ReplayedPair(item.question, item.models, item.votes, item.lengths, len(texts), verdicts)
