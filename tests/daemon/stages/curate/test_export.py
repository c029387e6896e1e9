"""A snapshot is exported whole, with a card that says what it is, or not at all."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from connectors import parquet
from daemon.cli.app import app
from daemon.errors import RlaifdError, UsageError
from daemon.stages.curate.export import export
from daemon.stages.train.freeze import FrozenSnapshot
from daemon.store.kinds import Draft
from daemon.wiring import by_hand
from daemon.wiring.parts import Wiring
from policies import snapshot
from policies.recipes import RewardRecipe
from policies.records import Split
from policies.selection import Reason
from tests.daemon.configuration import settings as configured
from tests.daemon.preferring import prefer
from tests.daemon.stages.seeding import add_label, add_labelled


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Wiring]:
    parts = Wiring(configured(tmp_path))
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    yield parts
    parts.close()


@pytest.fixture
def frozen(parts: Wiring) -> FrozenSnapshot:
    """Three pairs of two contributors, of which one has a label; two more are left out."""
    ids = prefer(parts.store, ["e1", "e2", "e3"], contributor="subject:|ann|")
    add_label(parts.store, 1, 4, 5, "a")
    return parts.occasion.freezing.write(Draft(tuple(ids), {Reason.ALIKE: 2}))


def test_the_data_is_the_snapshot_and_the_card_says_what_it_is(
    parts: Wiring, frozen: FrozenSnapshot, tmp_path: Path
) -> None:
    """Counts, splits, sources and hashes are those of the store; what only people know is left open."""
    done = export(parts.store, parts.settings, frozen.id[:8], tmp_path / "out" / "set")
    assert (done.snapshot, done.pairs) == (frozen.id, 3)
    assert parquet.read(done.directory / "train.parquet") == snapshot.read(frozen.path)
    card = (done.directory / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---")[1])
    assert head["license_name"] == "(to be filled in by whoever passes this on)"
    assert head["configs"][0]["data_files"] == [{"split": "train", "path": "train.parquet"}]
    for said in (
        f"| snapshot (SHA-256 of its JSONL) | `{frozen.id}` |",
        "3 pairs of answers",
        "| train | 3 |",
        "| agent | 3 |",
        "| contributors | 1 |",
        "| sampled from the base model | 6 |",
        "| labels by people on these pairs | 1 |",
        "| nearly the same as policy.curation.max_alike others | 2 |",
        f"* `train.parquet`: SHA-256 `{done.sha256}`",
    ):
        assert said in card
    assert "ann" not in card
    assert sorted(file.name for file in done.directory.iterdir()) == ["README.md", "train.parquet"]
    assert [file.name for file in done.directory.parent.iterdir()] == ["set"]


def test_pairs_that_people_labelled_are_told_apart(parts: Wiring, tmp_path: Path) -> None:
    """They are in the data with who chose, and the card counts them by themselves."""
    prefer(parts.store, ["e1", "e2"])
    add_labelled(parts.store, {"c1": True}, split=Split.CALIBRATE)
    made = parts.occasion.feed(RewardRecipe()).freezing.freeze()
    done = export(parts.store, parts.settings, made.id, tmp_path / "out")
    found = parquet.read(done.directory / "train.parquet")
    assert [pair.source for pair in found.pairs] == ["judges", "judges", "people"]
    card = (done.directory / "README.md").read_text(encoding="utf-8")
    assert "3 pairs of answers" in card
    assert "people in 1 of them" in card
    assert "nothing but the text is known: 0" in card


def test_nothing_is_written_over_and_nothing_half(
    parts: Wiring, frozen: FrozenSnapshot, tmp_path: Path
) -> None:
    """A directory with something in it, and a snapshot whose file was changed, are refused."""
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("x")
    with pytest.raises(UsageError, match="is there already and not an empty directory"):
        export(parts.store, parts.settings, frozen.id, full)
    empty = tmp_path / "empty"
    empty.mkdir()
    text = frozen.path.read_text(encoding="utf-8")
    frozen.path.write_text(text.replace("good e1", "good e9"), encoding="utf-8")
    with pytest.raises(RlaifdError, match="the file was changed"):
        export(parts.store, parts.settings, frozen.id, empty)
    assert list(empty.iterdir()) == []
    frozen.path.write_text(text, encoding="utf-8")
    assert export(parts.store, parts.settings, frozen.id, empty).directory == empty
    assert sorted(file.name for file in tmp_path.iterdir() if file.name.startswith(".")) == []


def test_a_snapshot_from_elsewhere_has_pairs_of_which_little_is_known(parts: Wiring, tmp_path: Path) -> None:
    """Their number is in the card, and all counts are of the others."""
    given = snapshot.Pair.model_validate(
        {
            "preference": 5,
            "prompt": [{"role": "user", "content": "q"}],
            "chosen": [{"role": "assistant", "content": "a"}],
            "rejected": [{"role": "assistant", "content": "b"}],
        }
    )
    _, path = snapshot.write(tmp_path / "elsewhere", "other", [given])
    name = by_hand._register(parts, path, note="given by ann")
    done = export(parts.store, parts.settings, name, tmp_path / "set")
    card = (done.directory / "README.md").read_text(encoding="utf-8")
    assert "1 pairs of answers" in card
    assert "Pairs of which nothing but the text is known: 1." in card
    assert "(given by ann)" in card
    assert "| none | 0 |" in card


def test_the_command_exports_and_says_what_is_not_there(
    parts: Wiring, frozen: FrozenSnapshot, tmp_path: Path
) -> None:
    """An id that is too short, or of no snapshot, is a wrong command."""
    parts.close()
    out, config, run = str(tmp_path / "set"), str(tmp_path / "rlaifd.yaml"), CliRunner().invoke
    for name, said in (("abc", "named by the first 8 digits or more"), ("a" * 64, "no snapshots begin with")):
        done = run(app, ["export", name, "--parquet", out, "-c", config])
        assert said in str(done.exception)
    done = run(app, ["export", frozen.id, "--parquet", out, "-c", config, "--json"])
    assert json.loads(done.stdout)["pairs"] == 3
