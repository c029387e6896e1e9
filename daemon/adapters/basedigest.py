"""The policy's base model as it is on disk now: told by its content, looked at before every use.

Hashing a large model takes as long as loading it, and a promotion must not wait for that. So the digest of a
file is kept beside the state with what the file looked like (size, times, inode), and read again only when
that changed. Beyond WHOLE bytes of weights not every byte is read: names, shapes and types of all tensors are
(the header), and of each tensor SAMPLES blocks. Another fine-tune of the same model changes every tensor it
trained, and is found by that; a few edited rows of one matrix may not be.
"""

import hashlib
import json
import struct
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from connectors.errors import TransientError
from daemon.errors import AdapterRefusedError
from daemon.log import get
from policies import durable
from policies.basemodel import Base, WeightFile, digest_of_commit, digest_of_files
from policies.checkpoint import CONFIG, INDEX, Checkpoint, CheckpointError, read

log = get("basemodel")

CACHE = "base-digests.json"
"""The file under the state directory."""
WHOLE = 8 << 30
"""Weights up to so many bytes are hashed whole: some 20 seconds, once."""
SETTLED_S = 2.0
"""A file that was written within it is not remembered: the clock of a file system ticks too slowly to tell a
second write from the first.
"""
SAMPLES = 8
BLOCK = 4096

Look = tuple[int, int, int, int, int]
"""Device, inode, size, time of the last write and of the last change: what a touched file differs in."""


class BaseOnDisk:
    """Returns the base model with its digest. May be asked from several threads.

    `base` is what the configuration names. `whole` is the most bytes of weights that are hashed whole, and
    `settled_s` how old a write must be for what was read to be remembered.
    """

    def __init__(self, base: Base, *, cache: Path, whole: int = WHOLE, settled_s: float = SETTLED_S) -> None:
        self._base = base
        self._cache = cache
        self._whole = whole
        self._settled_s = settled_s
        self._lock = threading.Lock()
        self._known: tuple[tuple[Look, ...], str] | None = None
        self._noted: set[str] = set()

    def now(self) -> Base:
        """The base model with the digest of what is there now, or with the reason why it has none."""
        directory = Path(self._base.model)
        if not directory.is_dir():
            return self._elsewhere()
        base = replace(self._base, model=str(directory.resolve()))
        try:
            with self._lock:
                return replace(base, digest=self._digest(directory.resolve()))
        except CheckpointError as error:
            return replace(base, unread=str(error))
        except OSError as error:
            return replace(base, unread=f"{error.filename or directory}: {error.strerror}")

    def check(self, adapter: str, made_for: Base, *, fix: str = "") -> None:
        """Raises AdapterRefusedError where an adapter was made for another base model than what is there now;
        `fix` ends the message. One that is held by its base model's name alone is told of, once. Raises
        TransientError where the base model cannot be read: that says nothing of the adapter, and may pass.
        """
        base = self.now()
        why = base.refusal(adapter, made_for)
        if why is not None and base.digest is None and made_for.digest is not None:
            raise TransientError(why)
        if why is not None:
            raise AdapterRefusedError(f"{why}; {fix}" if fix else why)
        note = base.note(adapter, made_for)
        if note is not None and adapter not in self._noted:
            self._noted.add(adapter)
            log.warning("base_model_by_name", adapter=adapter, note=note)

    def require(self, digest: str | None) -> None:
        """Raises AdapterRefusedError where the base model is not what had that digest any more."""
        base = self.now()
        if base.digest != digest:
            why = f" ({base.unread})" if base.unread else ""
            raise AdapterRefusedError(f"the base model {base}{why} was replaced under the run: train again")

    def _elsewhere(self) -> Base:
        if self._base.revision is None:
            return replace(self._base, unread=f"{self._base.model} is no directory")
        return replace(self._base, digest=digest_of_commit(self._base.model, self._base.revision))

    def _digest(self, directory: Path) -> str:
        """Raises CheckpointError and OSError."""
        checkpoint = read(directory)
        settings = [directory / name for name in (CONFIG, INDEX) if (directory / name).exists()]
        looks = tuple(_look(path) for path in (*settings, *checkpoint.weights))
        if self._known is None or self._known[0] != looks:
            weights = self._weights(checkpoint)
            if tuple(_look(path) for path in (*settings, *checkpoint.weights)) != looks:
                raise CheckpointError(
                    f"{directory}: its files change while they are read: wait until they are"
                )
            digest = digest_of_files(checkpoint.config, weights)
            if not all(self._settled(look) for look in looks):
                return digest
            self._known = (looks, digest)
        return self._known[1]

    def _settled(self, look: Look) -> bool:
        return abs(time.time() - max(look[-2:]) / 1e9) > self._settled_s

    def _weights(self, checkpoint: Checkpoint) -> list[WeightFile]:
        kept = _kept(self._cache)
        sampled = sum(path.stat().st_size for path in checkpoint.weights) > self._whole
        found: list[WeightFile] = []
        fresh: dict[str, Any] = {}
        for path in checkpoint.weights:
            look = _look(path)
            seen = [*look, sampled]
            entry = kept.get(str(path))
            known = entry["sha256"] if isinstance(entry, dict) and entry.get("look") == seen else None
            sha256 = known or (_sample if sampled else _hash)(path)
            if self._settled(look):
                fresh[str(path)] = {"look": seen, "sha256": sha256}
            found.append(WeightFile(path.name, path.stat().st_size, sha256))
        if any(kept.get(name) != entry for name, entry in fresh.items()):
            _keep(self._cache, {**kept, **fresh})
        return found


def _look(path: Path) -> Look:
    found = path.stat()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _kept(cache: Path) -> dict[str, Any]:
    """What is remembered; nothing where the file is not there or not whole: it can be made anew."""
    try:
        found = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _keep(cache: Path, entries: dict[str, Any]) -> None:
    """Files that are gone are forgotten."""
    body = {name: entry for name, entry in entries.items() if Path(name).exists()}
    cache.parent.mkdir(parents=True, exist_ok=True)
    durable.write(cache, json.dumps(body, indent=1, sort_keys=True).encode())


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sample(path: Path) -> str:
    """SHA-256 of the header and of blocks of every tensor. Raises CheckpointError."""
    with path.open("rb") as file:
        head, spans = _header(file, path)
        total = hashlib.sha256(head)
        for begin, end in spans:
            for number in range(SAMPLES):
                file.seek(8 + len(head) + begin + max(end - begin - BLOCK, 0) * number // (SAMPLES - 1))
                total.update(file.read(min(BLOCK, end - begin)))
    return total.hexdigest()


def _header(file: BinaryIO, path: Path) -> tuple[bytes, list[tuple[int, int]]]:
    """The safetensors header, and the stretch of each tensor behind it in the file's order."""
    try:
        (length,) = struct.unpack("<Q", file.read(8))
        head = file.read(min(length, path.stat().st_size))
        tensors = [entry for name, entry in json.loads(head).items() if name != "__metadata__"]
        return head, sorted((int(begin), int(end)) for begin, end in (t["data_offsets"] for t in tensors))
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{path}: no safetensors header: fetch the file again") from None
