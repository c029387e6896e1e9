"""Kill -9 of each process of a training in two: none is left, and the run says why it ended.

`make test` kills the launcher.
"""

import tempfile
from pathlib import Path
from typing import Any, Final, get_args

from daemon.children.child import ChildFailedError
from policies.training.jobs import TrainJob
from tests.policies.training.conftest import job_in
from tests.policies.training.launched import Running, Victim, endless
from tests.soak.bounds import Figures, within
from tests.tiny import build

KILLS: Final = 3


def run() -> Figures:
    """Of each process, how many of its kills ended all. Raises BoundsBrokenError."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="rlaifd-soak-") as folder:
        base = build(Path(folder) / "base")
        for victim in get_args(Victim):
            ended = 0
            for kill in range(KILLS):
                place = Path(folder) / f"{victim}-{kill}"

                def job_for(place: Path = place, **changes: Any) -> TrainJob:
                    return job_in(place, base, **changes)

                found = Running(endless(job_for)).kill(victim)
                ended += isinstance(found, ChildFailedError)
            figures[f"ranks_killed_{victim}"] = float(ended)
    return within(figures, dict.fromkeys(figures, (float(KILLS), float(KILLS))))
