"""A store with published and judged adapters, a file, a target: what the rollout tests play with."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import yaml
from sqlalchemy import insert

from connectors.base import ServingTarget
from connectors.memory import MemoryTarget
from daemon.clock import FakeClock
from daemon.errors import AdapterRefusedError
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.stages.rollout.rollout import Condition, Rollout
from daemon.store.rollouts import ADAPTER, EVALUATION
from daemon.store.store import Store
from policies.basemodel import Base
from policies.rollout import render

A, B, C = "agent-aaaaaaaaaaaa", "agent-bbbbbbbbbbbb", "agent-cccccccccccc"
WHO = {"actor": "ann", "reason": "it is better"}


def verify(directory: Path, name: str) -> None:
    """Compares the weights with the manifest, as the real one does with all of it."""
    try:
        manifest = json.loads((directory / "MANIFEST.json").read_text())
        weights = (directory / "adapter_model.safetensors").read_bytes()
    except OSError as error:
        raise AdapterRefusedError(f"{name}: {error.filename}: {error.strerror}") from None
    if hashlib.sha256(weights).hexdigest() != manifest["weights"]:
        raise AdapterRefusedError(f"{name}: adapter_model.safetensors is not what was published")


class World:
    """Everything around one rollout. `rollout()` makes another one, as another process would."""

    def __init__(
        self, store: Store, directory: Path, target: ServingTarget | None = None, *, fresh: bool = True
    ) -> None:
        self.store = store
        self.file = directory / "rollout.yaml"
        self.adapters = directory / "state" / "adapters"
        self.base_model = "base"
        self.revision: str | None = None
        self.digest: str | None = None
        self.memory = MemoryTarget()
        self.target = target or self.memory
        self.targets: list[ServingTarget] = [self.target]
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.latch = Latch(store, self.clock, self.metrics)
        if fresh:
            self.file.write_text(render(None))

    def rollout(self, store: Store | None = None) -> Rollout:
        return Rollout(
            store=store or self.store,
            file=self.file,
            targets=self.targets,
            adapters_dir=self.adapters,
            base=lambda: Base(self.base_model, self.revision, self.digest),
            latch=self.latch,
            clock=self.clock,
            metrics=self.metrics,
            verify=verify,
        )

    def publish(
        self,
        name: str,
        decision: str | None = "promote",
        *,
        against: str | None = None,
        reasons: Sequence[str] = (),
    ) -> None:
        """Publishes an adapter and judges it; decision None: the gate has not decided."""
        directory = self.adapters / name
        directory.mkdir(parents=True)
        weights = name.encode() * 10
        (directory / "adapter_model.safetensors").write_bytes(weights)
        manifest = {"weights": hashlib.sha256(weights).hexdigest(), "base_digest": self.digest}
        (directory / "MANIFEST.json").write_text(json.dumps(manifest))
        row = {
            "name": name,
            "digest": hashlib.sha256(name.encode()).hexdigest(),
            "path": str(directory),
            "base_model": "base",
            "manifest": manifest,
            "created_at": self.clock.now(),
        }
        self.store.write(lambda c: c.execute(insert(ADAPTER).values(row)))
        self.judge(name, decision, against=against, reasons=reasons)

    def promoted(self, *names: str) -> Rollout:
        """Publishes and promotes the adapters, each compared with the one before."""
        rollout = self.rollout()
        for name, against in zip(names, (None, *names), strict=False):
            self.publish(name, against=against)
            rollout.promote(name, **WHO)
        return rollout

    def judge(
        self,
        name: str,
        decision: str | None,
        *,
        against: str | None = None,
        reasons: Sequence[str] = (),
    ) -> None:
        """One more attempt of the gate on the adapter."""
        row: dict[str, object] = {
            "adapter": name,
            "stable": against,
            "state": "judging" if decision is None else "decided",
            "epoch": 0,
            "evidence": {},
            "decision": decision,
            "reasons": list(reasons),
            "created_at": self.clock.now(),
            "decided_at": None if decision is None else self.clock.now(),
        }
        self.store.write(lambda c: c.execute(insert(EVALUATION).values(row)))

    def damage(self, name: str) -> None:
        """Flips one bit of the weights."""
        path = self.adapters / name / "adapter_model.safetensors"
        weights = bytearray(path.read_bytes())
        weights[3] ^= 1
        path.write_bytes(weights)

    def edit(self, stable: str | None) -> None:
        """Somebody edits the file."""
        self.file.write_text(render(stable, comments="# edited by hand\n"))

    def value(self, name: str, **labels: str) -> float | None:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(f"rlaifd_{name}", labels)


def wished(world: World) -> str | None:
    """The adapter that the file names."""
    document = yaml.safe_load(world.file.read_text())
    stable: str | None = document["spec"]["stable"]
    return stable


def kinds(conditions: tuple[Condition, ...]) -> list[str]:
    return [condition.kind for condition in conditions]
