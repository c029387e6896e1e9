"""Snapshots, checkpoints and jobs as files: whole, or refused with the reason."""

import random
from pathlib import Path

import pytest

from policies import snapshot
from policies.records import Tokens
from policies.snapshot import SnapshotError
from policies.training.jobs import JOBS, RESULTS, CompareJob, SampleJob, TrainJob, TrainResult
from policies.training.model import checkpoints
from tests.policies.training.conftest import pair

PAIRS = [pair(number) for number in range(5)]


def test_a_snapshot_is_named_by_its_bytes_and_read_back_equal(tmp_path: Path) -> None:
    """The same pairs give the same file; what is read back is what was written."""
    name, path = snapshot.write(tmp_path, "support", PAIRS)
    again, other = snapshot.write(tmp_path, "support", PAIRS)
    found = snapshot.read(path, name)
    assert (name, path) == (again, other)
    assert path.name == f"{name}.jsonl"
    assert (found.id, found.policy, list(found.pairs)) == (name, "support", PAIRS)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_flipped_pair_takes_the_tokens_along() -> None:
    """What was sampled belongs to its answer: a swap of the texts alone would train as before."""
    one = pair(1).model_copy(
        update={"chosen_tokens": Tokens(ids=(1, 2), rendering="r"), "rejected_truncated": True}
    )
    flipped = one.flipped
    assert (flipped.chosen, flipped.rejected) == (one.rejected, one.chosen)
    assert (flipped.chosen_tokens, flipped.rejected_tokens) == (None, one.chosen_tokens)
    assert not flipped.rejected_truncated


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda body: body[:-40], "line 6"),
        (lambda body: b"\n".join(body.splitlines()[:-1]) + b"\n", "holds 4 pairs where its header says 5"),
        (lambda body: body.replace(b"rlaifd-snapshot-1", b"rlaifd-snapshot-9"), "line 1: format"),
        (lambda _: b"", "line 1"),
    ],
)
def test_a_damaged_snapshot_is_refused_with_the_line(tmp_path: Path, damage: object, reason: str) -> None:
    """A cut, a missing line and another format are each told."""
    assert callable(damage)
    _, path = snapshot.write(tmp_path, "support", PAIRS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SnapshotError, match=reason):
        snapshot.read(path)


def test_a_changed_snapshot_is_not_the_one_that_was_named(tmp_path: Path) -> None:
    """One changed word gives another digest, and a file that is not there is named."""
    name, path = snapshot.write(tmp_path, "support", PAIRS)
    path.write_bytes(path.read_bytes().replace(b"go away", b"go awry", 1))
    with pytest.raises(SnapshotError, match="the file was changed"):
        snapshot.read(path, name)
    with pytest.raises(SnapshotError, match="No such file"):
        snapshot.read(tmp_path / "none.jsonl", name)


def sealed(folder: Path, step: int) -> Path:
    directory = folder / f"checkpoint-{step}"
    (directory / "ref").mkdir(parents=True)
    for name in ("optimizer.pt", "trainer_state.json", "ref/adapter_model.safetensors"):
        (directory / name).write_bytes(random.Random(f"{step}{name}").randbytes(500))
    checkpoints.seal(directory)
    return directory


def test_the_newest_checkpoint_that_verifies_is_used(tmp_path: Path) -> None:
    """By number, not by name or time; other directories are no checkpoints."""
    sealed(tmp_path, 100)
    sealed(tmp_path, 20)
    (tmp_path / "checkpoint-x").mkdir()
    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-100"
    assert checkpoints.newest(tmp_path / "none") is None


def test_every_damage_to_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    """100 cuts, flips, removals and additions: none verifies; undone, it does."""
    directory = sealed(tmp_path, 3)
    rng = random.Random(2)
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    for trial in range(100):
        file = rng.choice(files)
        good = file.read_bytes()
        spot = rng.randrange(len(good))
        if trial % 4 == 0:
            file.write_bytes(good[:spot])
        elif trial % 4 == 1:
            file.unlink()
        elif trial % 4 == 2:
            file = directory / "more.bin"
            file.write_bytes(b"x")
        else:
            file.write_bytes(good[:spot] + bytes([good[spot] ^ 1]) + good[spot + 1 :])
        assert not checkpoints.verifies(directory), (trial, file)
        if trial % 4 == 2:
            file.unlink()
        else:
            file.write_bytes(good)
    assert checkpoints.verifies(directory)


def test_torn_checkpoints_are_set_aside_one_after_the_other(tmp_path: Path) -> None:
    """Both newer ones are torn: the third is used, and the names of the torn do not clash."""
    sealed(tmp_path, 1)
    for _ in range(2):
        (sealed(tmp_path, 2) / "optimizer.pt").write_bytes(b"")
        assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-1"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint-1", "torn-2-checkpoint-2", "torn-checkpoint-2"]


def test_jobs_and_results_survive_json(tmp_path: Path) -> None:
    """Both sides of the child's files read what the other wrote."""
    train = TrainJob(
        out=tmp_path, base_model="b", snapshot=tmp_path / "s", snapshot_id="0", lock=tmp_path / "l"
    )
    compare = CompareJob(out=tmp_path, base_model="b", candidate=tmp_path, prompts=tmp_path / "p.jsonl")
    sample = SampleJob(out=tmp_path, base_model="b", prompts=(PAIRS[0].prompt,))
    for job in (train, compare, sample):
        assert JOBS.validate_json(job.model_dump_json()) == job
    result = TrainResult(state="done", steps=3, metrics={"loss": 0.5})
    assert RESULTS.validate_json(result.model_dump_json()) == result
