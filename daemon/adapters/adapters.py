"""Adapters on disk: published whole or not at all, named by content, verified before every use.

An adapter is a directory of three files: the LoRA configuration, its weights as safetensors, and a manifest
with the SHA-256 of both and with where they came from. The manifest's own digest is the adapter's, and its
first twelve digits end its name. safetensors has no checksum of its own: flipped bits load without an error.
"""

import hashlib
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from daemon.adapters.artefacts import (
    TEMPORARY,
    building,
    check_config,
    check_weights,
    copy,
    describe,
    manifest_of,
)
from daemon.children.alive import another_lives
from daemon.errors import AdapterRefusedError
from policies import durable
from policies.basemodel import Base
from policies.records import Frozen, canonical
from policies.training.jobs import AdapterFile, Probe
from policies.training.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS

MANIFEST = "MANIFEST.json"
FILES = frozenset({ADAPTER_CONFIG, ADAPTER_WEIGHTS})
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}-[0-9a-f]{12}")
YOUNGER = frozenset({"base_digest", "served_as", "probe"})
"""Keys of a manifest that older ones do not have."""


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
    """Copies the two files that the manifest names into `<adapters>/<name>` and returns the adapter.

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
    durable.sync(adapters)  # also where another publisher renamed it there and was killed
    verify(target, name, digest=digest)
    return Published(name, digest, target, manifest)


def _write(source: Path, target: Path, manifest: Manifest, body: bytes) -> None:
    """Copies what the manifest names, and puts the manifest beside it."""
    with building(target) as directory:
        for name, expected in sorted(manifest.files.items()):
            copy(source / name, directory / name, expected)
        durable.create(directory / MANIFEST, body, mode=0o444)


def verify(directory: Path, name: str, *, digest: str | None = None) -> Manifest:
    """Checks everything that can be checked of an adapter before it is used, and returns its manifest.

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
        found = describe(directory / file)
        if found != expected:
            what = "size" if found.size != expected.size else "SHA-256"
            raise AdapterRefusedError(f"adapter {name}: {file}: its {what} is not the manifest's")
    check_config(
        directory / ADAPTER_CONFIG,
        f"adapter {name}",
        manifest.served_as or manifest.base_model,
        revision=manifest.revision,
        recipe=manifest.recipe,
    )
    check_weights(directory / ADAPTER_WEIGHTS, f"adapter {name}")
    return manifest


def sweep(adapters: Path) -> int:
    """Removes what publications of killed processes left behind, and returns how many.

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
    manifest = manifest_of(Manifest, directory / MANIFEST, f"adapter {name}", name=name, digest=digest)
    if manifest.files.keys() != FILES or name != f"{manifest.policy}-{name[-12:]}":
        raise AdapterRefusedError(f"adapter {name}: {MANIFEST}: it is that of another adapter")
    return manifest
