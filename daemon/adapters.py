"""Adapters on disk: published whole or not at all, named by content, verified before every use.

An adapter is a directory of three files: the LoRA configuration, its weights as safetensors, and a manifest
with the SHA-256 of both and with where they came from. The manifest's own digest is the adapter's, and its
first twelve digits end its name. safetensors has no checksum of its own: flipped bits load without an error.
"""

import hashlib
import json
import math
import os
import re
import shutil
import stat
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, ValidationError, model_serializer

from daemon.children import another_lives
from daemon.errors import AdapterRefusedError
from policies import loraconfig
from policies.basemodel import Base
from policies.loraconfig import LoraConfigError
from policies.records import Frozen, canonical
from policies.training.jobs import ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterFile, Probe

MANIFEST = "MANIFEST.json"
FILES = frozenset({ADAPTER_CONFIG, ADAPTER_WEIGHTS})
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}-[0-9a-f]{12}")
TEMPORARY = ".tmp-"
DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
MAX_HEADER = 100 << 20
MAX_CONFIG = 16 << 20
MOST_TENSORS = 200_000
YOUNGER = frozenset({"base_digest", "served_as", "probe"})
"""Keys of a manifest that older ones do not have."""
CHUNK = 1 << 20


class Manifest(Frozen):
    """What the adapter is made of and came from."""

    format: Literal["rlaifd-adapter-1"] = "rlaifd-adapter-1"
    policy: str
    base_model: str
    revision: str | None
    parent: str | None
    """The adapter that training started from."""
    snapshot: str
    run: str
    recipe: dict[str, Any]
    code_version: str
    files: dict[str, AdapterFile]
    base_digest: str | None = None
    """What the base model was made of; None: only its name was noted."""
    served_as: str | None = None
    """The name that the configuration gives the base model; None: `base_model`."""
    probe: Probe | None = None
    """Log-probabilities that a server with this adapter gives to a few answers of the snapshot."""

    @property
    def base(self) -> Base:
        """What the adapter was trained on."""
        return Base(self.base_model, self.revision, self.base_digest)

    @model_serializer(mode="wrap")
    def _as_named(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Younger keys are written only where they say something: the canonical JSON is the adapter's name,
        and adapters without them keep theirs.
        """
        body: dict[str, Any] = write(self)
        return {key: value for key, value in body.items() if value is not None or key not in YOUNGER}


@dataclass(frozen=True, slots=True)
class Published:
    """A published adapter. `digest` is the SHA-256 of its manifest."""

    name: str
    digest: str
    path: Path
    manifest: Manifest


def publish(source: Path, *, adapters: Path, manifest: Manifest) -> Published:
    """Copies the two files that the manifest names into `<adapters>/<name>` and answers the adapter.

    At every instant, also across a kill, the directory is whole or not there. Publishing the same content
    again answers the adapter that is there. Raises AdapterRefusedError where the files are not those of the
    manifest, or a broken directory has the name.
    """
    if manifest.files.keys() != FILES:
        raise AdapterRefusedError(f"{source}: an adapter is {', '.join(sorted(FILES))}, nothing else")
    body = canonical(manifest.model_dump(mode="json"))
    digest = hashlib.sha256(body).hexdigest()
    name = f"{manifest.policy}-{digest[:12]}"
    target = adapters / name
    if not target.exists():
        _write(source, target, manifest, body)
    _sync(adapters)  # also where another publisher renamed it there and was killed
    verify(target, name, digest=digest)
    return Published(name, digest, target, manifest)


def _write(source: Path, target: Path, manifest: Manifest, body: bytes) -> None:
    """Builds the directory beside its place, makes it durable, and renames it there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{os.getpid()}-", dir=target.parent))
    try:
        for name, expected in sorted(manifest.files.items()):
            _copy(source / name, temporary / name, expected)
        _durable(temporary / MANIFEST, body)
        temporary.chmod(0o755)
        _sync(temporary)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # another publisher of the same content was first otherwise
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    target.chmod(0o555)


def verify(directory: Path, name: str, *, digest: str | None = None) -> Manifest:
    """Checks everything that can be checked of an adapter before it is used, and answers its manifest.

    `digest` is the manifest's whole digest, where the store has it. Raises AdapterRefusedError naming the
    file and the reason.
    """
    if not NAME.fullmatch(name):
        raise AdapterRefusedError(f"{name!r} is not an adapter's name")
    if directory.is_symlink() or not directory.is_dir():
        raise AdapterRefusedError(f"adapter {name}: {directory} is not a directory")
    try:
        return _verified(directory, name, digest)
    except OSError as error:
        file = Path(error.filename or directory).name
        raise AdapterRefusedError(f"adapter {name}: {file}: {error.strerror}") from None


def _verified(directory: Path, name: str, digest: str | None) -> Manifest:
    _only_known_files(directory, name)
    manifest = _manifest(directory, name, digest)
    for file, expected in sorted(manifest.files.items()):
        found = _describe(directory / file)
        if found != expected:
            what = "size" if found.size != expected.size else "SHA-256"
            raise AdapterRefusedError(f"adapter {name}: {file}: its {what} is not the manifest's")
    _check_config(directory / ADAPTER_CONFIG, name, manifest)
    _check_weights(directory / ADAPTER_WEIGHTS, name)
    return manifest


def sweep(adapters: Path) -> int:
    """Removes what publications of killed processes left behind, and answers how many.

    This process must not be publishing itself.
    """
    left = list(adapters.glob(f"{TEMPORARY}*")) if adapters.is_dir() else []
    found = [path for path in left if not _publishing(path)]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return len(found)


def _publishing(temporary: Path) -> bool:
    """Whether another process that builds the directory is still there. Its name holds the number."""
    number = temporary.name.removeprefix(TEMPORARY).split("-", 1)[0]
    try:
        touched = temporary.lstat().st_mtime
    except FileNotFoundError:  # renamed to its place meanwhile
        return True
    return number.isdigit() and another_lives(int(number), touched)


def _only_known_files(directory: Path, name: str) -> None:
    for path in directory.iterdir():
        if path.name not in FILES | {MANIFEST}:
            raise AdapterRefusedError(f"adapter {name}: {path.name}: only three files belong there")
        if not stat.S_ISREG(path.lstat().st_mode):
            raise AdapterRefusedError(f"adapter {name}: {path.name}: not a regular file")
    missing = sorted(file for file in FILES | {MANIFEST} if not (directory / file).exists())
    if missing:
        raise AdapterRefusedError(f"adapter {name}: {missing[0]}: missing")


def _manifest(directory: Path, name: str, digest: str | None) -> Manifest:
    body = (directory / MANIFEST).read_bytes()
    found = hashlib.sha256(body).hexdigest()
    if not name.endswith(f"-{found[:12]}") or digest not in {None, found}:
        raise AdapterRefusedError(f"adapter {name}: {MANIFEST}: its SHA-256 {found[:12]}… is not the name's")
    try:
        manifest = Manifest.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise AdapterRefusedError(f"adapter {name}: {MANIFEST}: {where}: {problem['msg']}") from None
    if manifest.files.keys() != FILES or name != f"{manifest.policy}-{found[:12]}":
        raise AdapterRefusedError(f"adapter {name}: {MANIFEST}: it is that of another adapter")
    return manifest


def _check_config(path: Path, name: str, manifest: Manifest) -> None:
    """The configuration is one that our trainings write, on our base model."""
    if path.stat().st_size > MAX_CONFIG:
        raise AdapterRefusedError(f"adapter {name}: {path.name}: longer than {MAX_CONFIG} bytes")
    lora = manifest.recipe.get("lora")
    targets = lora.get("target_modules") if isinstance(lora, dict) else None
    try:
        config = loraconfig.parse(path.read_bytes())
        loraconfig.check(config, revision=manifest.revision, targets=targets)
    except LoraConfigError as error:
        raise AdapterRefusedError(f"adapter {name}: {path.name}: {error}") from None
    if config.get("base_model_name_or_path") != (manifest.served_as or manifest.base_model):
        raise AdapterRefusedError(f"adapter {name}: {path.name}: made for another base model")


def _check_weights(path: Path, name: str) -> None:
    """The safetensors header is sound: known float types, and offsets that cover the file without a gap."""

    def refuse(why: str) -> AdapterRefusedError:
        return AdapterRefusedError(f"adapter {name}: {path.name}: {why}")

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


def _copy(source: Path, target: Path, expected: AdapterFile) -> None:
    """Copies durably what has the expected digest. Raises AdapterRefusedError."""
    total, size = hashlib.sha256(), 0
    try:
        with source.open("rb") as reader, target.open("xb") as writer:
            while block := reader.read(CHUNK):
                total.update(block)
                size += len(block)
                writer.write(block)
            writer.flush()
            os.fsync(writer.fileno())
    except FileNotFoundError:
        raise AdapterRefusedError(f"{source}: missing") from None
    if (total.hexdigest(), size) != (expected.sha256, expected.size):
        raise AdapterRefusedError(f"{source}: its SHA-256 is not what the training reported")
    target.chmod(0o444)


def _durable(path: Path, body: bytes) -> None:
    with path.open("xb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o444)


def _describe(path: Path) -> AdapterFile:
    with path.open("rb") as file:
        return AdapterFile(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
