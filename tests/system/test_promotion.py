"""What may be served, from the command line and from the file: the refusals a user meets."""

import json
from pathlib import Path

import pytest
from sqlalchemy import insert

from daemon.adapters import adapters
from daemon.config.settings import load
from daemon.store import adapters as adapter_rows
from daemon.store.rollouts import EVALUATION
from daemon.wiring.parts import Wiring
from policies.rollout import render
from tests.daemon.adapters.adapterfiles import manifest, source
from tests.daemon.configuration import TEXT, write
from tests.system.command import rlaifd

UNKNOWN = "support-000000000000"


class Site:
    """A configuration with a store, in which adapters can be published and judged."""

    def __init__(self, directory: Path, text: str = TEXT) -> None:
        self.directory = directory
        self.config = write(directory, text)
        self.file = directory / "rollout.yaml"
        self.file.write_text(render(None), encoding="utf-8")
        self.parts = Wiring(load(self.config))
        self.parts.prepare_store()

    def publish(self, seed: int, decision: str | None, *reasons: str) -> str:
        """A real adapter directory with its rows; returns its name."""
        made = source(self.directory / f"made{seed}", seed=seed)
        published = adapters.publish(made, adapters=self.parts.adapters_dir, manifest=manifest(made))
        now = self.parts.clock.now()
        evaluation: dict[str, object] = {
            "adapter": published.name,
            "state": "decided" if decision else "judging",
            "epoch": 0,
            "evidence": {},
            "decision": decision,
            "reasons": list(reasons),
            "created_at": now,
        }
        self.parts.store.write(
            lambda c: (
                adapter_rows.record(
                    c,
                    name=published.name,
                    digest=published.digest,
                    path=str(published.path),
                    base_model=self.parts.settings.policy.base_model,
                    run_id=None,
                    parent=None,
                    manifest=published.manifest.model_dump(mode="json"),
                    now=now,
                ),
                c.execute(insert(EVALUATION).values(evaluation)),
            )
        )
        return published.name

    def corrupt(self, name: str) -> None:
        """Flips one bit of the adapter's weights."""
        path = self.parts.adapters_dir / name / "adapter_model.safetensors"
        path.chmod(0o644)
        body = bytearray(path.read_bytes())
        body[-1] ^= 1
        path.write_bytes(body)

    @property
    def served(self) -> str | None:
        """What the serving directory names."""
        path = self.directory / "serving" / "current.json"
        return json.loads(path.read_text(encoding="utf-8"))["adapter"] if path.exists() else None


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def refused(site: Site, name: str, *words: str) -> None:
    """Both ways of asking for the adapter end with exit 3, the words, and nothing changed."""
    wanted = site.file.read_text(encoding="utf-8")
    by_command = rlaifd("promote", name, cwd=site.directory)
    assert by_command.code == 3
    assert all(word in by_command.said for word in (name, *words)), by_command.err
    assert site.file.read_text(encoding="utf-8") == wanted
    site.file.write_text(render(name), encoding="utf-8")
    by_file = rlaifd("reconcile", cwd=site.directory)
    assert by_file.code == 3
    assert all(word in by_file.out for word in (name, *words)), by_file.out
    assert site.served is None


def test_an_unknown_adapter_is_refused(site: Site) -> None:
    """A name that was never published is refused by command and by file."""
    refused(site, UNKNOWN, "unknown")


def test_a_corrupted_adapter_is_refused(site: Site) -> None:
    """One flipped bit after the gate has passed it is enough."""
    name = site.publish(1, "promote", "good")
    site.corrupt(name)
    refused(site, name, "adapter_model.safetensors")


def test_a_rejected_adapter_is_refused_with_the_gates_reasons(site: Site) -> None:
    """The gate's no holds, whoever asks, and its reasons are said."""
    refused(
        site, site.publish(2, "reject", "KL: 80.0 nats per sequence is above the ceiling of 10"), "KL: 80.0"
    )


def test_an_undecided_adapter_is_refused(site: Site) -> None:
    """No decision is not a yes."""
    refused(site, site.publish(3, None))


def test_a_passed_adapter_is_promoted_by_command_and_rolled_back(site: Site) -> None:
    """Promote switches the pointer, rollback switches it back and keeps the adapter out."""
    name = site.publish(4, "promote", "good")
    assert rlaifd("promote", name, "-r", "it is better", cwd=site.directory).code == 0
    assert site.served == name
    done = rlaifd("rollback", "-r", "it was not", cwd=site.directory)
    assert done.code == 0, done.err
    assert site.served is None
    assert "quarantined" in rlaifd("promote", name, cwd=site.directory).said
    assert rlaifd("ledger", "verify", cwd=site.directory).code == 0


def test_a_passed_adapter_is_promoted_by_the_file(site: Site) -> None:
    """Editing the file is enough, forth and back."""
    name = site.publish(5, "promote", "good")
    site.file.write_text(render(name), encoding="utf-8")
    assert rlaifd("reconcile", cwd=site.directory).code == 0
    assert site.served == name
    site.file.write_text(render(None), encoding="utf-8")
    assert rlaifd("reconcile", cwd=site.directory).code == 0
    assert site.served is None


def test_a_halt_refuses_promotion_until_it_is_resumed(site: Site) -> None:
    """A halted scope is said, with the way out; resuming lets the promotion through."""
    name = site.publish(6, "promote", "good")
    assert rlaifd("halt", "promotion", "-r", "looking at something", cwd=site.directory).code == 0
    done = rlaifd("promote", name, cwd=site.directory)
    assert done.code == 3
    assert "looking at something" in done.said
    assert "rlaifd resume promotion" in done.said
    assert rlaifd("resume", "promotion", "-r", "seen", cwd=site.directory).code == 0
    assert rlaifd("promote", name, cwd=site.directory).code == 0
