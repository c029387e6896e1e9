"""Files that are published once and never change: written durably, known by digest, checked before use.

safetensors has no checksum of its own: flipped bits load without an error.
"""

import hashlib
import json
import math
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from daemon.errors import AdapterRefusedError
from policies import durable, loraconfig
from policies.loraconfig import LoraConfigError
from policies.records import Frozen
from policies.training.jobs import AdapterFile

DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
MAX_HEADER = 100 << 20
MAX_CONFIG = 16 << 20
MOST_TENSORS = 200_000
CHUNK = 1 << 20
TEMPORARY = ".tmp-"
"""Begins the name of a directory that is being built; the number of its process follows."""

M = TypeVar("M", bound=Frozen)


def check_config(path: Path, who: str, base: str, *, revision: str | None, recipe: Mapping[str, Any]) -> None:
    """Raises AdapterRefusedError unless the configuration is one that our trainings write, by that recipe, on
    the base of that name and commit.

    `who` is what the file belongs to, as errors say it.
    """
    if path.stat().st_size > MAX_CONFIG:
        raise AdapterRefusedError(f"{who}: {path.name}: longer than {MAX_CONFIG} bytes")
    lora = recipe.get("lora")
    targets = lora.get("target_modules") if isinstance(lora, dict) else None
    try:
        config = loraconfig.parse(path.read_bytes())
        loraconfig.check(config, revision=revision, targets=targets)
    except LoraConfigError as error:
        raise AdapterRefusedError(f"{who}: {path.name}: {error}") from None
    if config.get("base_model_name_or_path") != base:
        raise AdapterRefusedError(f"{who}: {path.name}: made for another base model")


def check_weights(path: Path, who: str) -> None:
    """Raises AdapterRefusedError unless the safetensors header is sound: known float types, and offsets that
    cover the file without a gap.
    """

    def refuse(why: str) -> AdapterRefusedError:
        return AdapterRefusedError(f"{who}: {path.name}: {why}")

    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise refuse("no safetensors header")
        try:
            header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_unique)
            tensors = [entry for key, entry in header.items() if key != "__metadata__"]
            spans = sorted(map(_span, tensors[: MOST_TENSORS + 1]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise refuse("its safetensors header is not sound") from None
    if len(spans) > MOST_TENSORS:
        raise refuse(f"more than {MOST_TENSORS} tensors")
    end = 0
    for start, stop in spans:
        if start != end:
            raise refuse("its tensors leave a gap or overlap")
        end = stop
    if not spans or end != size - 8 - length:
        raise refuse("its tensors do not cover the file")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is written twice")
    return found


def _span(entry: Mapping[str, Any]) -> tuple[int, int]:
    """Where a tensor's bytes are, which must be as many as its shape has. Raises ValueError and its like."""
    start, stop = entry["data_offsets"]
    numbers = [*entry["shape"], start, stop]
    if any(type(number) is not int or not 0 <= number < 1 << 63 for number in numbers):
        raise ValueError("a number is no size")
    if stop - start != math.prod(entry["shape"]) * DTYPES[entry["dtype"]]:
        raise ValueError("size")
    return start, stop


def copy(source: Path, target: Path, expected: AdapterFile) -> None:
    """Copies durably what has the expected digest. Raises AdapterRefusedError."""
    total, size = hashlib.sha256(), 0
    try:
        with source.open("rb") as reader, target.open("xb") as writer:
            while block := reader.read(CHUNK):
                total.update(block)
                size += len(block)
                writer.write(block)
    except FileNotFoundError:
        raise AdapterRefusedError(f"{source}: missing") from None
    durable.sync(target)
    if (total.hexdigest(), size) != (expected.sha256, expected.size):
        raise AdapterRefusedError(f"{source}: its SHA-256 is not what the training reported")
    target.chmod(0o444)


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A directory to fill beside its place, in the block. Where that ends without an error, the directory is
    made durable and unchangeable, and renamed to `target`: at every instant, also across a kill, what has the
    name is whole. Where another publisher of the same content was first, its directory stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{os.getpid()}-", dir=target.parent))
    try:
        yield temporary
        for part in _directories(temporary):
            durable.sync(part)
            part.chmod(0o555)
        temporary.chmod(0o755)  # a directory that nobody may write to cannot be renamed
        durable.sync(temporary)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        for part in _directories(temporary):
            part.chmod(0o755)
        shutil.rmtree(temporary, ignore_errors=True)
    target.chmod(0o555)
    durable.sync(target.parent)


def _directories(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []


def describe(path: Path) -> AdapterFile:
    """The file's digest and size."""
    with path.open("rb") as file:
        return AdapterFile(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)


def manifest_of(model: type[M], file: Path, who: str, *, name: str, digest: str | None) -> M:
    """The manifest of what `who` says it is of. The first twelve digits of its SHA-256 end the name.

    Raises OSError, and AdapterRefusedError where they do not, where it is not that of `digest`, or is none.
    """
    body = file.read_bytes()
    found = hashlib.sha256(body).hexdigest()
    if not name.endswith(f"-{found[:12]}") or digest not in {None, found}:
        raise AdapterRefusedError(f"{who}: {file.name}: its SHA-256 {found[:12]}… is not the name's")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise AdapterRefusedError(f"{who}: {file.name}: {where}: {problem['msg']}") from None
