"""What the composition gives the parts: adapters reach a model only when they are what the store knows."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.errors import TransientError
from daemon.adapters import adapters
from daemon.cli.rollout import _adapters_text
from daemon.errors import AdapterRefusedError, ConfigError
from daemon.status import listing
from daemon.store import adapters as adapter_rows
from daemon.store import rollouts
from daemon.store.tables import TraceRow
from daemon.wiring import by_hand
from daemon.wiring.conditions import conditions
from daemon.wiring.parts import Wiring
from tests.connectors.decoders.events import native
from tests.daemon.adapters.adapterfiles import BASE, manifest, source
from tests.daemon.adapters.basefiles import write_base
from tests.daemon.configuration import TEXT, settings
from tests.daemon.stages.seeding import rows


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Wiring]:
    parts = Wiring(settings(tmp_path))
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    yield parts
    parts.close()


def published(parts: Wiring, tmp_path: Path, *, digest: str | None = None, ours: bool = False) -> str:
    """An adapter on disk with its row. `digest` stands in the row instead of the manifest's own; `ours`: it
    carries the digest of the base model that is there now.
    """
    now = parts.base_on_disk.now()
    made = source(tmp_path / "made", config={"base_model_name_or_path": now.model} if ours else None)
    said = manifest(made)
    if ours:
        said = said.model_copy(update={"base_model": now.model, "base_digest": now.digest})
    found = adapters.publish(made, adapters=parts.adapters_dir, manifest=said)
    parts.store.write(
        lambda c: adapter_rows.record(
            c, name=found.name, digest=digest or found.digest, path=str(found.path),
            base_model=said.base_model, run_id=None, parent=None,
            manifest=said.model_dump(mode="json"), now=1.0,
        )
    )  # fmt: skip
    return found.name


def told(parts: Wiring, name: str, place: str) -> str:
    """What the place says against the adapter; '' where it has nothing to say."""
    if place == "rollout":
        foreign = parts.rollout._admission.foreign(name, parts.store.read(rollouts.bases)[name])
        refusal = foreign or parts.rollout._admission.intact(name)
        return "" if refusal is None else refusal.message
    if place == "gate":
        return parts.evaluate._refusal(name) or ""
    try:
        parts.policy_work._adapter_path(name)
    except AdapterRefusedError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("place", ["rollout", "gate", "compare", "sample"])
def test_another_manifest_whose_name_is_the_same_is_refused(
    parts: Wiring, tmp_path: Path, place: str
) -> None:
    """The name holds twelve digits of the digest; the store has all of them, and all of them count."""
    name = published(parts, tmp_path, digest="0" * 64)
    if place == "rollout":
        refusal = parts.rollout._admission.intact(name)
        told = "" if refusal is None else refusal.message
    elif place == "gate":
        told = parts.evaluate._refusal(name) or ""
    elif place == "compare":
        told = parts.policy_work.compare([], candidate=name, stable=None, seed=0).reason
    else:
        with pytest.raises(AdapterRefusedError) as caught:
            parts.policy_work.sample([], count=1, adapter=name, seed=0)
        told = str(caught.value)
    assert "MANIFEST.json: its SHA-256" in told


def test_an_adapter_of_another_base_model_is_not_loaded(parts: Wiring, tmp_path: Path) -> None:
    """Neither by the gate nor to sample from: shapes may fit where weights do not."""
    name = published(parts, tmp_path)
    assert "fits no other" in (parts.evaluate._refusal(name) or "")
    with pytest.raises(AdapterRefusedError, match=f"{name} was trained on {BASE}"):
        parts.policy_work.sample([], count=1, adapter=name, seed=0)


PLACES = ["rollout", "gate", "compare and sample"]


@pytest.mark.parametrize("place", PLACES)
def test_another_base_model_under_the_same_name_is_refused(parts: Wiring, tmp_path: Path, place: str) -> None:
    """Replaced in its place while the daemon runs; the line names both digests."""
    name = published(parts, tmp_path, ours=True)
    before = parts.base_on_disk.now()
    assert told(parts, name, place) == ""
    write_base(tmp_path / "base", seed=1)
    parts.rollout._admission.look()
    after = parts.base_on_disk.now()
    assert told(parts, name, place) == (
        f"{name} was trained on {before}, and the policy's base model is {after}: it fits no other"
    )
    assert f"(sha256 {str(after.digest)[:12]})" in str(after)
    assert before.digest != after.digest


def test_a_base_model_that_cannot_be_read_says_nothing_of_the_adapter(parts: Wiring, tmp_path: Path) -> None:
    """It is not rejected for good because a disk is away: the work is tried again, and nothing comes into
    force meanwhile.
    """
    name = published(parts, tmp_path, ours=True)
    (tmp_path / "base" / "config.json").unlink()
    with pytest.raises(TransientError, match=r"cannot be told: .*base: no config.json"):
        parts.evaluate._refusal(name)
    with pytest.raises(TransientError):
        parts.policy_work.compare([], candidate=name, stable=None, seed=0)
    assert "cannot be told" in told(parts, name, "rollout")
    write_base(tmp_path / "base")
    parts.rollout._admission.look()
    assert parts.evaluate._refusal(name) is None
    assert told(parts, name, "rollout") == ""


@pytest.mark.parametrize("place", PLACES)
def test_the_same_base_model_elsewhere_is_accepted(parts: Wiring, tmp_path: Path, place: str) -> None:
    """Moved and renamed."""
    name = published(parts, tmp_path, ours=True)
    (tmp_path / "base").rename(tmp_path / "renamed")
    parts.close()
    moved = Wiring(settings(tmp_path, TEXT.replace("base_model: base", "base_model: renamed")))
    assert told(moved, name, place) == ""
    moved.close()


def test_an_adapter_that_is_held_by_a_name_alone_is_listed_so(parts: Wiring, tmp_path: Path) -> None:
    """Older adapters are accepted by the old rule, and people see which those are."""
    named, known = published(parts, tmp_path), published(parts, tmp_path, ours=True)
    lines = dict(line.split("  ", 1) for line in _adapters_text(listing.adapters(parts.store)).splitlines())
    assert lines[named].endswith("undecided  base model told by its name alone")
    assert lines[known].endswith("undecided")


def test_what_the_store_knows_verifies(parts: Wiring, tmp_path: Path) -> None:
    """The whole digest is the manifest's."""
    policy = parts.settings.policy.model_copy(update={"base_model": BASE})
    parts.settings = parts.settings.model_copy(update={"policy": policy})
    name = published(parts, tmp_path)
    assert parts.rollout._admission.intact(name) is None
    assert parts.evaluate._refusal(name) is None


@pytest.mark.parametrize("part", ["judge_stage", "recheck", "evaluate", "status"])
def test_a_document_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, part: str) -> None:
    """Whatever is built first from it."""
    parts = Wiring(settings(tmp_path, TEXT.replace("policy:\n", "policy:\n  rubric: ./absent.yaml\n")))
    with pytest.raises(ConfigError, match=f"policy.rubric: {tmp_path}/absent.yaml: No such file"):
        getattr(parts, part)
    parts.close()


@pytest.mark.parametrize("given", [True, False])
def test_what_the_configuration_takes_out_is_taken_out(tmp_path: Path, given: bool) -> None:
    """Of the sources that the daemon reads, and of a file that is ingested by hand."""
    text = TEXT.replace("web:", "redaction: {patterns: [email]}\nweb:")
    parts = Wiring(settings(tmp_path, text))
    log = tmp_path / "logs" / "a.jsonl"
    said = [{"role": "user", "content": "I am ann@mail.example."}]
    log.write_text(json.dumps(native(1, messages=said)) + "\n", encoding="utf-8")
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    try:
        if given:
            by_hand.ingest(parts, log)
        else:
            stage = parts.ingest(parts.settings.sources[0])
            assert stage.step(30.0) == 1
            stage.close()
        (trace,) = rows(parts.store, TraceRow)
        assert trace.payload["messages"][0]["content"] == "I am [email]."
    finally:
        parts.close()


def test_a_source_keeps_its_share_and_pauses_at_its_marks(tmp_path: Path) -> None:
    """As the configuration says; a person is told why nothing is read."""
    text = TEXT.replace("path: logs}", "path: logs, keep: 0.001}").replace(
        "web:", "stages: {pressure: {disk_floor_mb: 1.0e+9, disk_resume_mb: 1.0e+9}}\nweb:"
    )
    parts = Wiring(settings(tmp_path, text))
    log = tmp_path / "logs" / "a.jsonl"
    log.write_text(json.dumps(native(1)) + "\n", encoding="utf-8")
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    try:
        stage = parts.ingest(parts.settings.sources[0])
        assert stage.step(0.0) == 0
        stage.close()
        told = conditions(parts.settings, parts.store, parts.clock, parts.rollout)
        assert any("stages.pressure.disk_floor_mb is 1e+09" in line for line in told)
        assert by_hand.ingest(parts, log).stored == 1, "what a person gives is read, and kept whole"
    finally:
        parts.close()
