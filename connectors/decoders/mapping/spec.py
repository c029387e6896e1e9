"""What a mapping file says. Every field of an event is one path, or several of which the first that leads
somewhere counts.
"""

from pathlib import Path as File
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from connectors.decoders.chat import first_problem
from connectors.decoders.mapping.paths import Path, parsed
from connectors.errors import FatalError
from policies import strictyaml

PRESENT = "present"
"""In place of values: whatever is there, other than nothing."""


def _path(raw: Any) -> Path:
    if isinstance(raw, Path):
        return raw
    if not isinstance(raw, str):
        raise ValueError("must be a path")  # noqa: TRY004 - pydantic takes only that
    return parsed(raw)


def _paths(raw: Any) -> tuple[Path, ...]:
    given = raw if isinstance(raw, list | tuple) else [raw]
    if not given:
        raise ValueError("must be a path, or a list of some")
    return tuple(_path(each) for each in given)


Paths = Annotated[tuple[Path, ...], BeforeValidator(_paths)]
Scalar = str | int | float | bool


class _Described(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class PathCondition(_Described):
    """One of `paths` leads to one of `values`, or to anything that is not nothing where they are None."""

    paths: tuple[Path, ...]
    values: tuple[Scalar, ...] | None

    @property
    def text(self) -> str:
        return " | ".join(path.text for path in self.paths)

    def holds(self, event: Any, record: Any) -> bool:
        return any(self._is_met(path.find(event, record)) for path in self.paths)

    def _is_met(self, found: Any) -> bool:
        if self.values is None:
            return found not in (None, False, "", [], {})
        return any(found == value and type(found) is type(value) for value in self.values)


def _conditions(raw: Any) -> tuple[PathCondition, ...]:
    """From `{"a.b | a.c": value, a list of values, or present}`."""
    if isinstance(raw, tuple):
        return raw
    if not isinstance(raw, dict):
        raise ValueError("must be paths with what they lead to")  # noqa: TRY004 - pydantic takes only that
    return tuple(_condition(str(key), value) for key, value in raw.items())


def _condition(key: str, value: Any) -> PathCondition:
    values = None if value == PRESENT else tuple(value if isinstance(value, list) else [value])
    if values is not None and not all(isinstance(each, Scalar) for each in values):
        raise ValueError(f"{key}: must be a value, a list of values, or {PRESENT}")
    return PathCondition(paths=tuple(parsed(each.strip()) for each in key.split("|")), values=values)


Conditions = Annotated[tuple[PathCondition, ...], BeforeValidator(_conditions)]


class UsageSpec(_Described):
    """`cache_apart`: the input leaves out what was read from a cache or written to one."""

    input_tokens: Paths
    output_tokens: Paths
    cache_read_tokens: Paths | None = None
    cache_write_tokens: Paths | None = None
    reasoning_tokens: Paths | None = None
    cache_apart: bool = False


class MappingSpec(_Described):
    """One format.

    `when`: all of them hold of an event of this format. `each`: where in a record its events are; where none
    of these paths leads to a list, the record is one event. `nested`: further events are under these keys of
    an event. `unflatten`: objects whose dotted keys stand for nested ones (`$`: the event itself). `skip`:
    any of them holds of what is recognised and no call of a model. `failed`: any of them holds of a call that
    failed. `incomplete`: any of them holds where what was asked is not all in the record.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    when: Conditions = Field(min_length=1)
    each: Paths = ()
    nested: tuple[str, ...] = ()
    unflatten: Paths = ()
    skip: Conditions = ()
    failed: Conditions = ()
    messages: Paths
    output: Paths
    system: Paths = ()
    id: Paths = ()
    ts: Paths = ()
    ts_unit: Literal["s", "ms", "us", "ns"] = "s"
    model: Paths = ()
    requested_model: Paths = ()
    adapter: Paths = ()
    agent_version: Paths = ()
    session: Paths = ()
    subject: Paths = ()
    reference: Paths = ()
    tools: Paths = ()
    finish_reason: Paths = ()
    incomplete: Conditions = ()
    usage: UsageSpec | None = None
    tags: dict[str, Paths] = Field(default_factory=dict)


def read(file: File) -> MappingSpec:
    """The mapping in a file. Raises FatalError with its place and what is wrong."""
    try:
        return described(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise FatalError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FatalError(f"{file}: not UTF-8") from None


def described(text: str, place: str) -> MappingSpec:
    """The mapping that a text describes. Raises FatalError."""
    try:
        raw = strictyaml.read(text)
        if not isinstance(raw, dict):
            raise FatalError(f"{place}: a mapping has keys: name, when, messages, output, …")
        return MappingSpec.model_validate(raw)
    except strictyaml.StrictYamlError as error:
        raise FatalError(f"{place}: {error}") from None
    except ValidationError as error:
        raise FatalError(f"{place}: {first_problem(error)}") from None
