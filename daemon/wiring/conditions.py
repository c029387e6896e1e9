"""What a person is told of the daemon as a whole, line by line."""

from daemon.clock import Clock
from daemon.config.settings import Settings
from daemon.stages.rollout.rollout import Rollout
from daemon.store import losses, stops
from daemon.store.store import Store
from daemon.wiring.outside import brake_of


def conditions(settings: Settings, store: Store, clock: Clock, rollout: Rollout) -> list[str]:
    """What the rollout says, which rules are set aside, and where reading waits for a person or pauses."""
    told = [str(condition) for condition in rollout.status().conditions]
    stopped = [each.line for each in store.read(stops.standing) if not each.accepted]
    aside = [f"{name} is set aside: a model may judge its like" for name in settings.overrides]
    lost = store.read(losses.standing).values()
    return [*told, *aside, *stopped, *lost, *brake_of(settings, store, clock).lines()]
