"""A published reward model is whole, verified to the last bit, and nothing else."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.adapters import rewardmodels
from daemon.adapters.rewardmodels import HEAD, PublishedReward, RewardManifest
from daemon.errors import AdapterRefusedError
from policies.training.jobs import AdapterFile
from policies.training.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tests.daemon.adapters.adapterfiles import described
from tests.daemon.adapters.rewardfiles import reward_source


def manifest_of(files: dict[str, AdapterFile]) -> RewardManifest:
    return RewardManifest(
        policy="support", base_model="models/base", revision=None, snapshot="s" * 64, run="r1",
        recipe={"method": "reward"}, code_version="0", files=files,
    )  # fmt: skip


@pytest.fixture
def published(tmp_path: Path) -> PublishedReward:
    files = reward_source(tmp_path / "source", folds=2)
    return rewardmodels.publish(
        tmp_path / "source", directory=tmp_path / "rewards", manifest=manifest_of(files)
    )


def test_a_reward_model_is_published_under_its_digest(published: PublishedReward, tmp_path: Path) -> None:
    """Files and manifest, folds in directories, nothing half-made beside it; again it is the same one."""
    assert published.name == f"support-reward-{published.digest[:12]}"
    assert rewardmodels.verify(published.path, published.name, digest=published.digest).folds == (
        "fold-0", "fold-1",
    )  # fmt: skip
    again = rewardmodels.publish(
        tmp_path / "source", directory=tmp_path / "rewards", manifest=published.manifest
    )
    assert again == published
    assert [path.name for path in (tmp_path / "rewards").iterdir()] == [published.name]


def flip_a_bit(directory: Path) -> None:
    head = directory / "fold-1" / "head.safetensors"
    head.chmod(0o644)
    body = bytearray(head.read_bytes())
    body[-1] ^= 1
    head.write_bytes(body)


def lose_the_head(directory: Path) -> None:
    (directory / "fold-0").chmod(0o755)
    (directory / "fold-0" / "head.safetensors").unlink()


def add_a_file(directory: Path) -> None:
    (directory / "fold-0").chmod(0o755)
    (directory / "fold-0" / "evil.py").write_text("boom", encoding="utf-8")


def wait_for_ever(directory: Path) -> None:
    (directory / "fold-0").chmod(0o755)
    (directory / "fold-0" / "head.safetensors").unlink()
    os.mkfifo(directory / "fold-0" / "head.safetensors")


def change_the_manifest(directory: Path) -> None:
    file = directory / "MANIFEST.json"
    file.chmod(0o644)
    file.write_text(file.read_text(encoding="utf-8").replace("r1", "r2"), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_a_bit, r"fold-1/head\.safetensors: its SHA-256 or size"),
        (lose_the_head, r"fold-0/head\.safetensors: missing"),
        (wait_for_ever, r"fold-0/head\.safetensors: not a regular file"),
        (add_a_file, r"fold-0/evil\.py: unknown"),
        (change_the_manifest, r"MANIFEST\.json: its SHA-256 .* is not the name's"),
    ],
)
def test_what_is_not_as_it_was_published_is_refused(
    published: PublishedReward, damage: Callable[[Path], None], reason: str
) -> None:
    """With the file and the reason."""
    damage(published.path)
    with pytest.raises(AdapterRefusedError, match=reason):
        rewardmodels.verify(published.path, published.name)


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        (ADAPTER_CONFIG, {"auto_mapping": {"parent_library": "evil"}}, "auto_mapping: no training of ours"),
        (ADAPTER_CONFIG, {"corda_config": {"cache_file": "/etc/x"}}, "corda_config: no training of ours"),
        (ADAPTER_CONFIG, {"revision": "f" * 40}, "revision: no training of ours"),
        (ADAPTER_WEIGHTS, None, "header is not sound"),
        (HEAD, None, "header is not sound"),
    ],
)
def test_a_fold_is_checked_as_an_adapter_is(
    tmp_path: Path, file: str, change: dict[str, Any] | None, reason: str
) -> None:
    """Keys that a server would load files or code by, and headers with a name twice, are not published."""
    files = reward_source(tmp_path / "source")
    path = tmp_path / "source" / "fold-0" / file
    if change is None:
        entry = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
        header = b"{" + entry + b"," + entry + b"}"
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    else:
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    made = manifest_of(files | {f"fold-0/{file}": described(path)})
    with pytest.raises(AdapterRefusedError, match=reason):
        rewardmodels.publish(tmp_path / "source", directory=tmp_path / "rewards", manifest=made)


@pytest.mark.parametrize(
    "path", ["../fold-0/head.safetensors", "fold-x/head.safetensors", "fold-0/a/b", "extra"]
)
def test_no_path_leaves_the_directory(tmp_path: Path, path: str) -> None:
    """Files of any other name are refused before one is copied."""
    files = reward_source(tmp_path / "source")
    odd = manifest_of(files | {path: files["reward.json"]})
    with pytest.raises(AdapterRefusedError, match="nothing else"):
        rewardmodels.publish(tmp_path / "source", directory=tmp_path / "rewards", manifest=odd)
    assert not (tmp_path / "rewards").exists()
