"""Configurations with one key that says nonsense, made from the schema: every key is among them."""

import math
import typing
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from daemon.config.settings import Settings
from tests.daemon.configuration import TEXT

VALUES: tuple[Any, ...] = (
    None, True, False, "", " ", "a\nb", "lla\u200bma", "!nonsense", "1e400", math.inf, -math.inf, math.nan,
    -1, 0, 1, 0.5, 1e-300, 1e308, 10**9, -(10**30), [], ["x", ""], {}, {"a": 1}, [[]],
)  # fmt: skip
PLAIN = ("yes", "on", "off", "1:30", "0x1F", "010", "1_0", "2026-01-01", ".inf", "-.INF", ".NaN", "1e999")
"""Written without quotes, as YAML 1.1 would make truths, times and infinities of them."""
NEEDED: dict[str, Any] = {
    "bootstrap_servers": "broker:9092", "topics": ["t"], "path": "logs", "base_url": "http://127.0.0.1:9/v1",
    "model": "m", "input_per_million": 1.0, "output_per_million": 1.0, "limit": 2.0, "name": "other",
    "family": "other", "tag": "topic", "type": None, "base_model": "base",
}  # fmt: skip

Document = dict[str, Any]
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Key:
    """A place in the configuration, with the document that has its surroundings."""

    place: Place
    document: Document
    default: Any

    @property
    def name(self) -> str:
        return ".".join(map(str, self.place))

    def written(self, value: str) -> str:
        """The document as text, with the value as it is written."""
        return self._text.replace("'@@@'", value)

    @cached_property
    def _text(self) -> str:
        """The document with a mark in the place."""
        document = deepcopy(self.document)
        inner: Any = document
        for part in self.place[:-1]:
            if isinstance(inner, dict) and inner.get(part) is None:
                inner[part] = {}
            inner = inner[part]
        inner[self.place[-1]] = "@@@"
        text: str = yaml.safe_dump(document, explicit_end=True, sort_keys=False, width=10**6)
        return text


def every_key() -> list[Key]:
    """Every key of the schema, once for each member of a union."""
    start: Document = yaml.safe_load(TEXT)
    start["sources"].append(
        {"type": "kafka", "name": "topic", "bootstrap_servers": "b:9092", "topics": ["t"]}
    )
    start["targets"] = [{"type": "directory", "path": start["rollout"].pop("directory")}]
    start["judges"]["small"]["price"] = {"input_per_million": 1.0, "output_per_million": 1.0}
    return list(_keys(Settings, (), start))


def _keys(model: type[BaseModel], at: Place, document: Document) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        place = (*at, name)
        default = field.get_default(call_default_factory=True)
        if not at and name in {"sources", "targets"}:
            for number, variant in enumerate(_models(field.annotation)):
                yield from _keys(variant, (name, number), document)
            continue
        if not at and name == "judges":
            chat, local = _models(field.annotation)
            yield from _keys(chat, (name, "small"), document)
            yield from _keys(local, (name, "small"), _local(document))
            continue
        yield Key(place, document, default)
        if place == ("policy", "also"):
            for variant in _models(field.annotation):
                yield from _keys(variant, (*place, 0), _also(document, variant))
            continue
        for variant in _models(field.annotation):
            yield from _keys(variant, place, _with(document, place, variant))


def _local(document: Document) -> Document:
    """The document with a reward model for its small judge."""
    document = deepcopy(document)
    document["judges"]["small"] = {"role": "small", "type": "local", "model": "m", "family": "gpt"}
    return document


def _also(document: Document, model: type[BaseModel]) -> Document:
    """The document with a further recipe beside one of another method."""
    method = model.model_fields["method"].default
    document = deepcopy(document)
    document["policy"]["recipe"] = {"method": "sft" if method == "dpo" else "dpo"}
    document["policy"]["also"] = [{"method": method}]
    return document


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for each in typing.get_args(annotation) for found in _models(each)]


def _with(document: Document, place: Place, model: type[BaseModel]) -> Document:
    """The document with what the section needs, where it is not there yet."""
    document = deepcopy(document)
    inner: Any = document
    for part in place[:-1]:
        if isinstance(inner, dict) and inner.get(part) is None:
            inner[part] = {}
        inner = inner[part]
    section = dict(inner.get(place[-1]) or {}) if isinstance(inner, dict) else {}
    for name, field in model.model_fields.items():
        kinds = typing.get_args(field.annotation)
        if name in {"type", "method"} and len(kinds) == 1:
            section[name] = kinds[0]
        elif field.is_required() and name not in section:
            section[name] = NEEDED[name]
    inner[place[-1]] = section
    return document


def spelt(value: Any) -> str:
    """A value as YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def write(directory: Path, text: str) -> Path:
    path = directory / "rlaifd.yaml"
    path.write_text(text, encoding="utf-8")
    return path
