"""Adapters on disk: whole or not there, and refused when a single bit is not as published."""

import hashlib
import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.adapters import adapters
from daemon.adapters.adapters import MANIFEST
from daemon.adapters.artefacts import MOST_TENSORS, TEMPORARY
from daemon.errors import AdapterRefusedError
from policies.basemodel import Base
from policies.records import canonical
from policies.training.jobs import Probe, ProbeSequence
from policies.training.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tests.daemon.adapters import kill_sweep
from tests.daemon.adapters.adapterfiles import BASE, manifest, source, weights
from tests.killing import sweep


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return source(tmp_path / "made")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "adapters"


def writable(directory: Path, target: Path) -> Path:
    """A copy that can be damaged."""
    shutil.copytree(directory, target)
    target.chmod(0o755)
    for file in target.iterdir():
        file.chmod(0o644)
    return target


def refused(directory: Path, name: str) -> bool:
    """Whether the directory is refused; any other error is the test's."""
    try:
        adapters.verify(directory, name)
    except AdapterRefusedError:
        return True
    return False


def test_an_adapter_is_named_by_its_manifest_and_holds_three_files(made: Path, folder: Path) -> None:
    """The name ends with the manifest's digest, and only three read-only files are there."""
    published = adapters.publish(made, adapters=folder, manifest=manifest(made))
    body = (published.path / MANIFEST).read_bytes()
    assert published.name == f"support-{hashlib.sha256(body).hexdigest()[:12]}"
    assert sorted(p.name for p in published.path.iterdir()) == [MANIFEST, ADAPTER_CONFIG, ADAPTER_WEIGHTS]
    assert all(p.stat().st_mode & 0o222 == 0 for p in [published.path, *published.path.iterdir()])
    assert adapters.verify(published.path, published.name, digest=published.digest) == published.manifest


def test_what_a_manifest_does_not_say_is_not_in_its_name(made: Path, folder: Path) -> None:
    """Adapters from before a key was thought of keep their names; with it the name is another."""
    older = manifest(made)
    body = canonical(older.model_dump(mode="json"))
    assert set(json.loads(body)) == {
        "format", "policy", "base_model", "revision", "parent", "snapshot", "run", "recipe", "code_version",
        "files",
    }  # fmt: skip
    probe = Probe(
        tokens_sha256="0" * 64,
        kl_sequence=0.5,
        sequences=(ProbeSequence(tokens=3, parent=-2.0, adapter=-1.5),),
    )
    younger = older.model_copy(update={"base_digest": "a" * 64, "served_as": BASE, "probe": probe})
    first = adapters.publish(made, adapters=folder, manifest=older)
    second = adapters.publish(made, adapters=folder, manifest=younger)
    assert first.name != second.name
    assert (first.path / MANIFEST).read_bytes() == body
    assert adapters.verify(second.path, second.name) == younger
    assert younger.base == Base(BASE, None, "a" * 64)


def test_the_configuration_names_the_base_model_as_the_server_does(tmp_path: Path, folder: Path) -> None:
    """Where the manifest says under which name it is served, and only then."""
    made = source(tmp_path / "served", config={"base_model_name_or_path": "our-model"})
    said = manifest(made).model_copy(update={"served_as": "our-model"})
    published = adapters.publish(made, adapters=folder, manifest=said)
    assert adapters.verify(published.path, published.name).base.model == BASE
    with pytest.raises(AdapterRefusedError, match="made for another base model"):
        adapters.publish(made, adapters=folder, manifest=manifest(made))


def test_the_same_content_is_published_once(made: Path, folder: Path) -> None:
    """A second publication of the same content answers the adapter that is there."""
    first = adapters.publish(made, adapters=folder, manifest=manifest(made))
    again = adapters.publish(made, adapters=folder, manifest=manifest(made))
    assert first == again
    assert [p.name for p in folder.iterdir()] == [first.name]


def test_files_that_changed_since_training_are_not_published(made: Path, folder: Path) -> None:
    """The digests come from the training child; a file that does not match leaves nothing behind."""
    promised = manifest(made)
    (made / ADAPTER_WEIGHTS).write_bytes(weights(seed=9))
    with pytest.raises(AdapterRefusedError, match="SHA-256"):
        adapters.publish(made, adapters=folder, manifest=promised)
    assert list(folder.iterdir()) == []


def test_every_flipped_bit_and_every_cut_is_refused(made: Path, folder: Path, tmp_path: Path) -> None:
    """300 random bit flips and truncations over all three files: none verifies."""
    published = adapters.publish(made, adapters=folder, manifest=manifest(made))
    copy = writable(published.path, tmp_path / "copy" / published.name)
    rng = random.Random(7)
    missed = []
    for trial in range(300):
        file = copy / rng.choice([MANIFEST, ADAPTER_CONFIG, ADAPTER_WEIGHTS])
        good = file.read_bytes()
        if trial % 3 == 0:
            bad = good[: rng.randrange(len(good))]
        else:
            spot = rng.randrange(len(good))
            bad = good[:spot] + bytes([good[spot] ^ (1 << rng.randrange(8))]) + good[spot + 1 :]
        file.write_bytes(bad)
        if not refused(copy, published.name):
            missed.append((trial, file.name))
        file.write_bytes(good)
    assert missed == []
    adapters.verify(copy, published.name)


def link(directory: Path) -> None:
    real = directory.parent / "elsewhere"
    (directory / ADAPTER_WEIGHTS).rename(real)
    (directory / ADAPTER_WEIGHTS).symlink_to(real)


def pickle(directory: Path) -> None:
    (directory / "adapter_model.bin").write_bytes(b"\x80\x04.")


def gone(directory: Path) -> None:
    (directory / ADAPTER_CONFIG).unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(link, "not a regular file"), (pickle, "adapter_model.bin: only three files"), (gone, "missing")],
)
def test_foreign_files_are_refused_by_name(
    made: Path, folder: Path, tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    """A link, a pickle and a missing file are each refused, naming the file."""
    published = adapters.publish(made, adapters=folder, manifest=manifest(made))
    copy = writable(published.path, tmp_path / "copy" / published.name)
    damage(copy)
    with pytest.raises(AdapterRefusedError, match=reason):
        adapters.verify(copy, published.name)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"peft_type": "IA3"}, "not a LoRA"),
        ({"auto_mapping": {"parent_library": "evil"}}, "auto_mapping: no training"),
        ({"megatron_config": {"a": 1}, "megatron_core": "evil"}, "megatron_config: no training"),
        ({"megatron_core": "evil"}, "megatron_core: no training"),
        ({"base_model_name_or_path": "other/base"}, "another base model"),
        ({"corda_config": {"cache_file": "/etc/passwd"}}, "corda_config: no training"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save: no training"),
        ({"layer_replication": [[0, 9]]}, "layer_replication: no training"),
        ({"target_modules": "(a+)+$"}, "target_modules: no training"),
        ({"target_modules": ["fine", "(a+)+$"]}, "target_modules: no training"),
        ({"rank_pattern": {"(a+)+$": 8}}, "rank_pattern: no training"),
        ({"rank_pattern": {".*\\.gate_up_proj": 10**9}}, "rank_pattern: no training"),
        ({"r": 10**9}, "r: no training"),
        ({"r": True}, "r: no training"),
        ({"lora_alpha": float("inf")}, "lora_alpha: no training"),
        ({"lora_alpha": 10**400}, "lora_alpha: no training"),
        ({"lora_dropout": float("nan")}, "lora_dropout: no training"),
        ({"revision": "evil"}, "revision: no training"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: no training"),
        ({"a_key_of_the_next_version": 1}, "a_key_of_the_next_version: no training"),
    ],
)
def test_a_configuration_that_says_more_than_our_trainings_is_refused(
    tmp_path: Path, folder: Path, config: dict[str, object], reason: str
) -> None:
    """The digests alone do not make an adapter safe: its configuration is read, by a list of what may be."""
    bad = source(tmp_path / "bad", config=config)
    with pytest.raises(AdapterRefusedError, match=reason):
        adapters.publish(bad, adapters=folder, manifest=manifest(bad))


def test_what_our_trainings_write_is_let_through(tmp_path: Path, folder: Path) -> None:
    """PEFT's empty defaults, the names of fused experts, and a pattern where the recipe has it."""
    config = {
        "task_type": "CAUSAL_LM", "bias": "none", "inference_mode": True, "init_lora_weights": True,
        "lora_alpha": 16, "lora_dropout": 0.0, "megatron_core": "megatron.core", "peft_version": "0.21.2",
        "qalora_group_size": 16, "loftq_config": {}, "use_dora": False, "revision": None, "eva_config": None,
        "rank_pattern": {".*\\.gate_up_proj": 8}, "alpha_pattern": {".*\\.gate_up_proj": 16},
        "target_parameters": ["gate.weight", "down_proj"], "target_modules": ["q_proj", "0.k-proj"],
    }  # fmt: skip
    made = source(tmp_path / "made", config=config)
    assert adapters.publish(made, adapters=folder, manifest=manifest(made))
    pattern = source(tmp_path / "pattern", config=config | {"target_modules": r"model\..*_proj"})
    recipe = {"lora": {"target_modules": r"model\..*_proj"}}
    assert adapters.publish(
        pattern, adapters=folder, manifest=manifest(pattern).model_copy(update={"recipe": recipe})
    )


def tensors(**entries: object) -> bytes:
    """A safetensors file of 16 bytes with these entries in its header."""
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + bytes(16)


def entry(shape: object, start: object = 0, stop: object = 16) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, stop]}


def raw(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(16)


@pytest.mark.parametrize(
    "body",
    [
        tensors(a=entry([float("inf")])), tensors(a=entry([-1, -4])), tensors(a=entry("4")),
        tensors(a=entry([2.5, 2.0])), tensors(a=entry([True, 4])), tensors(a=entry([4], "0", 16)),
        tensors(a=entry([1 << 70, 0], 0, 0), b=entry([4])), tensors(a=entry([4], 0.0, 16.0)), tensors(a=[]),
        raw(b"[" * 60_000 + b"]" * 60_000), raw(b'{"a": ' * 60_000), raw(b"[]"), raw(b"\xff\xfe{}"),
        raw(b'{"a": %s, "a": %s}' % ((json.dumps(entry([4])).encode(),) * 2)),
    ],
    ids=range(14),
)  # fmt: skip
def test_a_header_that_is_not_sound_is_refused(tmp_path: Path, folder: Path, body: bytes) -> None:
    """Whatever JSON can say: one kind of refusal, no other error."""
    bad = source(tmp_path / "bad")
    (bad / ADAPTER_WEIGHTS).write_bytes(body)
    with pytest.raises(AdapterRefusedError, match="header is not sound"):
        adapters.publish(bad, adapters=folder, manifest=manifest(bad))


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"r": 1, "r": 2}', b"\xff", b"null", b'{"peft_type": 1}'])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, folder: Path, body: bytes) -> None:
    """Nested without end, doubled, no UTF-8: one kind of refusal, no other error."""
    bad = source(tmp_path / "bad")
    (bad / ADAPTER_CONFIG).write_bytes(body)
    with pytest.raises(AdapterRefusedError, match=f"{ADAPTER_CONFIG}: not"):
        adapters.publish(bad, adapters=folder, manifest=manifest(bad))


def test_more_tensors_than_any_adapter_has_are_refused(tmp_path: Path, folder: Path) -> None:
    """A header of millions is not gone through."""
    bad = source(tmp_path / "bad")
    empty = {f"t{number}": entry([0], 0, 0) for number in range(MOST_TENSORS + 2)}
    (bad / ADAPTER_WEIGHTS).write_bytes(tensors(**empty))
    with pytest.raises(AdapterRefusedError, match="more than 200000 tensors"):
        adapters.publish(bad, adapters=folder, manifest=manifest(bad))


@pytest.mark.parametrize("name", ["../../etc", "support", "support-XYZ", "support-0123456789ab"])
def test_a_name_that_is_not_the_digests_is_refused(made: Path, folder: Path, name: str) -> None:
    """A path, a bare word and another adapter's name are no names of this one."""
    published = adapters.publish(made, adapters=folder, manifest=manifest(made))
    with pytest.raises(AdapterRefusedError):
        adapters.verify(published.path, name)


def test_a_hundred_kills_leave_no_broken_adapter(folder: Path, tmp_path: Path) -> None:
    """Publishers are killed at random moments; whatever has a name verifies, and the rest is swept."""
    assert sweep(kill_sweep, tmp_path, 100) == {"kills": 100}
    published = [path for path in folder.iterdir() if not path.name.startswith(TEMPORARY)]
    for path in published:
        adapters.verify(path, path.name)
    assert published
    assert adapters.sweep(folder) > 10, "hardly any kill fell into a publication"
    assert not list(folder.glob(f"{TEMPORARY}*"))
