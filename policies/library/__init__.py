"""The shipped documents that judges read, and how such a document is read: by name, or from a path.

A document is a YAML mapping. It is found under its kind's folder here by name (`support`), or anywhere by
path (`./ours.yaml`, `/etc/rlaifd/ours.yaml`).
"""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError

from policies import strictyaml

Kind = Literal["constitutions", "rubrics"]
Document = TypeVar("Document", bound=BaseModel)
FOLDER = Path(__file__).parent


class LibraryError(ValueError):
    """A document is missing or wrong. The message is one line: file, key, what is wrong."""


def names(kind: Kind) -> tuple[str, ...]:
    """The shipped documents of a kind."""
    return tuple(sorted(path.stem for path in (FOLDER / kind).glob("*.yaml")))


def load(kind: Kind, name: str, model: type[Document]) -> Document:
    """The document of that shipped name or path. Raises LibraryError."""
    path = _find(kind, name)
    try:
        with path.open(encoding="utf-8") as file:
            raw = strictyaml.read(file.read(strictyaml.LARGEST + 1))
    except OSError as error:
        raise LibraryError(f"{path}: {error.strerror}") from None
    except (strictyaml.StrictYamlError, UnicodeDecodeError) as error:
        raise LibraryError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise LibraryError(f"{path}: the file must be a mapping of keys")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in problem["loc"]) or "document"
        raise LibraryError(f"{path}: {key}: {problem['msg'].removeprefix('Value error, ')}") from None


def anchored(name: str, base: Path) -> str:
    """A path made absolute from that directory; a shipped document's name as it is."""
    return str(base / name) if _is_path(name) else name


def _is_path(name: str) -> bool:
    return "/" in name or name.endswith((".yaml", ".yml"))


def _find(kind: Kind, name: str) -> Path:
    if _is_path(name):
        return Path(name)
    if name not in names(kind):
        raise LibraryError(
            f"{kind}: no {name!r} is shipped; write a path, or one of {', '.join(names(kind))}"
        )
    return FOLDER / kind / f"{name}.yaml"
