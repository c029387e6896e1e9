"""The policy's base model is told by what is on disk now."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import structlog

from daemon.adapters.basedigest import BaseOnDisk
from daemon.errors import AdapterRefusedError
from policies.basemodel import Base, digest_of_commit
from tests.daemon.adapters.basefiles import tensors, write_base


def told(directory: Path, cache: Path | None = None, **options: Any) -> Base:
    """The base model in the directory, asked by a process of its own."""
    return BaseOnDisk(Base(str(directory)), cache=cache or directory.parent / "cache.json", **options).now()


def test_a_model_is_known_wherever_it_lies(tmp_path: Path) -> None:
    """Moved and renamed it is the same; its path is given without detours."""
    first = told(write_base(tmp_path / "base"))
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "base", tmp_path / "elsewhere" / "renamed")
    moved = told(tmp_path / "elsewhere" / ".." / "elsewhere" / "renamed")
    assert first.digest is not None
    assert moved == Base(str(tmp_path / "elsewhere" / "renamed"), digest=first.digest)


def test_another_model_in_its_place_is_another(tmp_path: Path) -> None:
    """One who keeps looking sees it: other weights, one flipped bit, another setting."""
    base = BaseOnDisk(Base(str(write_base(tmp_path / "base"))), cache=tmp_path / "cache.json")
    seen = [base.now().digest]
    write_base(tmp_path / "base", seed=1)
    seen.append(base.now().digest)
    body = bytearray((tmp_path / "base" / "model.safetensors").read_bytes())
    body[-1] ^= 1
    (tmp_path / "base" / "model.safetensors").write_bytes(body)
    seen.append(base.now().digest)
    write_base(tmp_path / "base", config={"rope_theta": 1.0})
    seen.append(base.now().digest)
    assert len({*seen, None}) == 5


def forged(cache: Path) -> None:
    """Remembers another content of every file."""
    remembered = json.loads(cache.read_text())
    cache.write_text(json.dumps({name: {**entry, "sha256": "0" * 64} for name, entry in remembered.items()}))


def test_weights_are_read_once_and_again_when_touched(tmp_path: Path) -> None:
    """What is remembered is believed while the file looks as it did, by every process; and not after that."""
    directory, cache = write_base(tmp_path / "base"), tmp_path / "state" / "cache.json"
    first = told(directory, cache, settled_s=0)
    forged(cache)
    believed = told(directory, cache, settled_s=0)
    file = directory / "model.safetensors"
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:
        file.write_bytes(file.read_bytes())
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert believed.digest != first.digest
    assert told(directory, cache, settled_s=0).digest == first.digest


def test_what_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    """A second write within the tick of the file system's clock would look like the first."""
    directory, cache = write_base(tmp_path / "base"), tmp_path / "cache.json"
    base = BaseOnDisk(Base(str(directory)), cache=cache, settled_s=3600)
    first = base.now()
    write_base(directory, seed=1)
    assert base.now().digest != first.digest
    assert not cache.exists()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"x": 3}'])
def test_a_damaged_memory_is_made_anew(tmp_path: Path, damage: str) -> None:
    """It is only a memory."""
    directory, cache = write_base(tmp_path / "base"), tmp_path / "cache.json"
    first = told(directory, cache, settled_s=0)
    cache.write_text(damage)
    assert told(directory, cache, settled_s=0) == first
    assert str(directory / "model.safetensors") in json.loads(cache.read_text())


def test_of_large_weights_header_and_blocks_of_every_tensor_count(tmp_path: Path) -> None:
    """Another fine-tune changes every tensor; other names, and a change at the ends, are seen as well."""
    directory = write_base(tmp_path / "base")
    file, seen = directory / "model.safetensors", set()
    size = 1 << 20
    plain = tensors(size=size)
    first, last = len(plain) - 2 * size, len(plain) - 1
    for body in (
        plain,
        tensors(size=size, seed=1),
        tensors(size=size, names=("a", "c")),
        plain[:first] + bytes([plain[first] ^ 1]) + plain[first + 1 :],
        plain[:last] + bytes([plain[last] ^ 1]),
    ):
        file.write_bytes(body)
        seen.add(told(directory, whole=size).digest)
    file.write_bytes(plain)
    assert len(seen - {None}) == 5
    assert told(directory, whole=size).digest in seen
    assert told(directory).digest not in seen, "the two ways of reading are never taken for each other"


@pytest.mark.parametrize("body", [b"", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", b"\x02" + b"\0" * 7 + b"{x"])
def test_large_weights_without_a_header_are_told(tmp_path: Path, body: bytes) -> None:
    """Cut off, or no safetensors at all."""
    directory = write_base(tmp_path / "base")
    (directory / "model.safetensors").write_bytes(body)
    assert "model.safetensors: no safetensors header" in told(directory, whole=-1).unread


def test_what_is_no_model_has_a_reason(tmp_path: Path) -> None:
    """A directory without weights, and a name that is neither a directory nor pinned."""
    (write_base(tmp_path / "base") / "model.safetensors").unlink()
    found = told(tmp_path / "base")
    assert (found.digest, "no weights" in found.unread) == (None, True)
    assert told(tmp_path / "none").unread == f"{tmp_path / 'none'} is no directory"


def test_a_hubs_model_is_its_commit(tmp_path: Path) -> None:
    """Nothing is read, here or there."""
    found = BaseOnDisk(Base("org/model", "a" * 40), cache=tmp_path / "cache.json").now()
    assert found == Base("org/model", "a" * 40, digest_of_commit("org/model", "a" * 40))
    assert not (tmp_path / "cache.json").exists()


def test_an_adapter_without_a_digest_is_noted_once(tmp_path: Path) -> None:
    """It is held by the base model's name, and that is said."""
    base = BaseOnDisk(Base(str(write_base(tmp_path / "base"))), cache=tmp_path / "cache.json")
    with structlog.testing.capture_logs() as logs:
        base.check("agent-1", Base("/old/base"))
        base.check("agent-1", Base("/old/base"))
    assert [entry["adapter"] for entry in logs] == ["agent-1"]
    with pytest.raises(AdapterRefusedError, match="fits no other; go back"):
        base.check("agent-2", Base("/old/other"), fix="go back")
