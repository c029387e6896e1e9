"""What pydantic found wrong with the configuration, as one line for a person."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from policies.configured import MEANT

UNWRITTEN = frozenset({"dpo"})
"""Members of unions that are meant where the key that tells them apart is left out."""


def first(path: Path, error: ValidationError, raw: Any, *, known: Iterable[str]) -> str:
    """The most telling problem as one line: file, key, what is wrong. A typo explains a missing key."""
    problems = error.errors(include_url=False, include_input=False)
    problem = min(problems, key=lambda found: found["type"] != "extra_forbidden")
    key = _key_of(_listed((*problem["loc"], *_inner(problem)), raw), raw) or "configuration"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        wanted = [str(other["loc"][-1]) for other in problems if other["type"] == "missing"]
        close = get_close_matches(str(problem["loc"][-1]), [*wanted, *known], n=1)
        message = f"unknown key: did you mean {close[0]}?" if close else "unknown key: remove or correct it"
    elif problem["type"] == "missing":
        message = "is required and missing"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{path}: {key}: {' '.join(message.split())}{more}"


def _listed(loc: tuple[int | str, ...], raw: Any) -> tuple[int | str, ...]:
    """The place in `policy.recipe` as it is written, where that is a list: the policy has its first recipe
    apart, and the others in `also`.
    """
    found = raw.get("policy") if isinstance(raw, Mapping) else None
    policy: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    listed = policy.get("recipe")
    if not isinstance(listed, list) or not listed:
        return loc
    match loc:
        case ("policy", "recipe", *rest) if rest:
            return ("policy", "recipe", 0, *rest)
        case ("policy", "also", int(number), *rest) if number + 1 < len(listed):
            return ("policy", "recipe", number + 1, *rest)
        case ("policy", "also", int(number), *rest):
            return ("policy", "also", number + 1 - len(listed), *rest)
        case ("policy", "also") if "also" not in policy:
            return ("policy", "recipe")
    return loc


def _inner(problem: ErrorDetails) -> tuple[str, ...]:
    """The key within the place, where pydantic names it apart."""
    if problem["type"] == MEANT:
        return (str(problem["ctx"]["key"]),)
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return (str(problem["ctx"]["discriminator"]).strip("'"),)
    return ()


def _key_of(loc: tuple[int | str, ...], raw: Any) -> str:
    """The key as it is written: pydantic's place also has the members of unions, which nobody wrote."""
    written: list[str] = []
    for part in loc:
        if isinstance(raw, Mapping) and part not in raw:
            if part in (raw.get("type"), raw.get("method"), *UNWRITTEN) and written:
                continue
            raw = None
        elif isinstance(raw, Mapping):
            raw = raw.get(str(part))
        elif isinstance(raw, list) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
        elif written and raw is not None:
            break  # the members of a union of plain values
        written.append(str(part))
    return ".".join(written)
