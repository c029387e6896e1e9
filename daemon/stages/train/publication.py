"""What a finished run published: its files under a manifest that says where they came from."""

from pathlib import Path

from daemon import version
from daemon.adapters import adapters, rewardmodels
from daemon.adapters.adapters import Manifest, Published
from daemon.adapters.rewardmodels import PublishedReward, RewardManifest
from policies.training.jobs import TrainJob, TrainResult
from policies.training.layout import ADAPTER, REWARD


def adapter(job: TrainJob, run: str, result: TrainResult, *, policy: str, to: Path) -> Published:
    """The run's adapter, in its directory under `to`. Raises AdapterRefusedError."""
    manifest = Manifest(
        policy=policy,
        base_model=job.base_model,
        revision=job.revision,
        parent=None if job.parent is None else job.parent.name,
        snapshot=job.snapshot_id,
        run=run,
        recipe=(result.plan.recipe if result.plan else job.recipe).model_dump(mode="json"),
        code_version=version(),
        files=result.files,
        base_digest=job.base_digest,
        served_as=job.served_as,
        probe=result.probe,
    )
    return adapters.publish(job.out / ADAPTER, adapters=to, manifest=manifest)


def reward_model(job: TrainJob, run: str, result: TrainResult, *, policy: str, to: Path) -> PublishedReward:
    """The run's reward model, in its directory under `to`. Raises AdapterRefusedError."""
    manifest = RewardManifest(
        policy=policy,
        base_model=job.base_model,
        revision=job.revision,
        snapshot=job.snapshot_id,
        run=run,
        recipe=(result.plan.recipe if result.plan else job.recipe).model_dump(mode="json"),
        code_version=version(),
        files=result.files,
        base_digest=job.base_digest,
    )
    return rewardmodels.publish(job.out / REWARD, directory=to, manifest=manifest)
