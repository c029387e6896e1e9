"""The status object as a page: plain tables, escaped, no script. It shows whatever the object holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from daemon.clock import utc

HERE = Path(__file__).parent
FIRST = (
    *("needs", "conditions", "waits", "halts", "judges", "forecast", "readiness", "rollout", "judgements"),
    *("runs", "evaluations"),
)
TITLES = {"needs": "needs from a person", "waits": "why nothing happens"}
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Section:
    """One heading with a table. `columns` is empty where the rows are name and value."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    alarming: bool = False


class Page:
    """Renders the status page."""

    def __init__(self) -> None:
        environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._template = environment.get_template("status.html")
        self.style = (HERE / "templates" / "style.css").read_text(encoding="utf-8")

    def render(self, status: Mapping[str, Any], *, now: float) -> str:
        return self._template.render(sections=sections(status), at=cell("at", now))


def sections(status: Mapping[str, Any]) -> list[Section]:
    """What needs a person first; bare counts are gathered in one section at the end."""
    order = [*(key for key in FIRST if key in status), *(key for key in status if key not in FIRST)]
    counts = tuple((key, cell(key, status[key])) for key in order if not _is_nested(status[key]))
    found = [_section(key, status[key]) for key in order if _is_nested(status[key])]
    return [*found, Section("counts", (), counts)] if counts else found


def _section(key: str, value: Any) -> Section:
    alarming = key in {"halts", "conditions"} and bool(value)
    title = TITLES.get(key, key)
    if isinstance(value, Mapping):
        if value and all(isinstance(item, Mapping) for item in value.values()):
            rows = [{"": name, **item} for name, item in value.items()]
            return _table(title, rows, alarming)
        return Section(title, (), tuple((name, cell(name, item)) for name, item in value.items()), alarming)
    if value and all(isinstance(item, Mapping) for item in value):
        return _table(title, value, alarming)
    return Section(title, (), tuple((cell(key, item),) for item in value), alarming)


def _table(title: str, rows: Sequence[Mapping[str, Any]], alarming: bool) -> Section:
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    cells = tuple(tuple(cell(name, row.get(name)) for name in columns) for row in rows)
    return Section(title, columns, cells, alarming)


def cell(key: str, value: Any) -> str:
    """One value as text: times (keys that end in `at`) in UTC, lists joined, floats shortened."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(key, value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {cell(str(name), item)}" for name, item in value.items()) or NOTHING
    if isinstance(value, list | tuple):
        return "; ".join(cell("", item) for item in value) or NOTHING
    return NOTHING if value is None else str(value) or NOTHING


def _number(key: str, value: float) -> str:
    if key == "at" or key.endswith("_at"):
        return utc(value, "%Y-%m-%d %H:%M:%S UTC")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)
