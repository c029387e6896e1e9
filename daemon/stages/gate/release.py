"""The release stage: reward models are held until people's labels release or reject them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import Connection

from daemon.adapters import rewardmodels
from daemon.adapters.basedigest import BaseOnDisk
from daemon.clock import Clock
from daemon.errors import AdapterRefusedError
from daemon.log import get
from daemon.store import alignment, auditpairs, ledger
from daemon.store import rewardmodels as rows
from daemon.store.auditpairs import AuditPair
from daemon.store.rewardmodels import StoredReward
from daemon.store.store import Store
from policies import release
from policies.alignment import adjudicate
from policies.judging.judges import NamedJudge, of_roles
from policies.policy import PolicySpec
from policies.records import Role
from policies.release import Audited, Release
from policies.snapshot import Pair
from policies.training.jobs import GradeResult, RewardFiles

log = get("release")

Grade = Callable[[Sequence[Pair], RewardFiles], GradeResult]


class Releases:
    """Decides on reward models that are held, as often as labels or verdicts were added.

    Those older than one that is released are left alone: nobody would use them. `grade` has the model grade
    pairs; it is asked only where there are labels enough to decide anything.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        spec: PolicySpec,
        judges: Sequence[NamedJudge],
        grade: Grade,
        directory: Path,
        base: BaseOnDisk,
    ) -> None:
        self._store = store
        self._clock = clock
        self._spec = spec
        self._judges = judges
        self._grade = grade
        self._directory = directory.resolve()
        self._base = base
        self._looked: dict[str, tuple[object, ...]] = {}

    def step(self) -> int:
        """Decides on one held reward model; returns whether there was one to decide on.

        Raises TransientError where the model could not be asked: it is asked again.
        """
        mark = self._store.read(alignment.mark)
        held = next((each for each in self._held() if self._looked.get(each.name) != mark), None)
        if held is None:
            return 0
        found = self._decision(held)
        self._looked[held.name] = mark
        now = self._clock.now()

        def write(connection: Connection) -> None:
            if rows.decide(connection, held.name, found, now=now) and found.kind != "hold":
                ledger.append(
                    connection, at=now, actor="release", action=f"reward model {found.kind}",
                    subject=held.name, reason="; ".join(found.reasons), detail={"labels": found.labels},
                )  # fmt: skip

        self._store.write(write)
        log.info("reward_model_decided", name=held.name, decision=found.kind, reasons=list(found.reasons))
        return 1

    def _held(self) -> list[StoredReward]:
        found: list[StoredReward] = []
        for each in self._store.read(rows.newest):
            if each.state == "release":
                break
            if each.state == "hold":
                found.append(each)
        return found

    def _decision(self, held: StoredReward) -> Release:
        """Raises TransientError where the model's child failed."""
        path = self._directory / held.name
        try:
            self._base.check(held.name, rewardmodels.verify(path, held.name, digest=held.digest).base)
        except AdapterRefusedError as error:
            return Release("reject", (str(error),), 0)
        pairs = self._pairs()
        rule = self._spec.release
        if len(pairs) < rule.min_labels:
            return release.decide([_audited(each, 0.0) for each in pairs], rule)
        graded = self._grade([each.pair for each in pairs], RewardFiles(path=path, digest=held.digest))
        if graded.state != "done":
            return Release("hold", (f"it could not be asked: {graded.reason}",), 0)
        known = zip(pairs, graded.leads, strict=True)
        return release.decide([_audited(each, lead) for each, lead in known if lead is not None], rule)

    def _pairs(self) -> list[AuditPair]:
        """Those that people decided, against the judge whose scores made the preferences. The others decide
        nothing, and grading is dear.
        """
        judge = next(iter(of_roles(self._judges, Role.SMALL)), None)
        gap = self._spec.curation.min_margin
        found = self._store.read(lambda c: auditpairs.labelled(c, judge, min_gap=gap))
        return [each for each in found if adjudicate(each.humans) is not None]


def _audited(each: AuditPair, lead: float) -> Audited:
    return Audited(each.cluster, each.humans, lead, each.judge, each.length_a, each.length_b)
