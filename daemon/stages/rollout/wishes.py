"""What this daemon's rollout file wishes for, and whether that is news.

Which content was seen last, and at which epoch, is kept in a file beside the lock, for it has to outlive the
process: a daemon that comes to lead after another must know whether its file was changed since the other
decided, or is merely old.
"""

import json
from collections.abc import Collection
from pathlib import Path

from daemon import log
from daemon.stages.rollout.file import RolloutFile
from daemon.stages.rollout.mirror import Condition
from policies import durable
from policies.rollout import Assignment, ConditionKind, Noted, RolloutSpec, has_lost

NEVER = -1
"""The epoch of a content that had lost when it was seen first."""


class Wishes:
    """The wishes of one file. Used under its lock."""

    def __init__(self, file: RolloutFile, *, seen: Path) -> None:
        self._file = file
        self._path = seen
        self._log = log.get("rollout")

    def contradiction(
        self, wish: RolloutSpec, state: Assignment, decided: Collection[str], *, leads: bool
    ) -> Condition | None:
        """Why a wish for something else than what is in force is not carried out; None: it may be."""
        wished, served = wish.stable or "the base model", state.stable or "the base model"
        named = f"{self._file.path} names {wished}, and {served} is in force"
        if self.has_lost(wish, state, decided):
            meant = f"`rlaifd promote {wish.stable}`" if wish.stable else "`rlaifd rollback --to base`"
            fix = f"since (epoch {state.epoch}): {meant} if it is meant, else name what is in force"
        elif not leads:
            fix = "while another daemon leads: change the leader's file, or share one"
        else:
            return None
        return Condition(ConditionKind.CONTRADICTED, f"{named} {fix}")

    def has_lost(self, wish: RolloutSpec, state: Assignment, decided: Collection[str] = ()) -> bool:
        """Whether the file is an old wish (`policies.rollout.has_lost`)."""
        return has_lost(wish, self._file.digest(), noted=self._noted(), epoch=state.epoch, decided=decided)

    def note(
        self, wish: RolloutSpec, before: Assignment, state: Assignment, decided: Collection[str]
    ) -> None:
        """Notes the file's content when it agrees with what is in force, and when it is new."""
        noted, digest = self._noted(), self._file.digest()
        if wish.stable == state.stable:
            self._keep(Noted(digest, state.epoch))
        elif noted is None or noted.digest != digest:
            lost = self.has_lost(wish, before, decided)
            self._keep(Noted(digest, NEVER if lost else before.epoch))

    def _noted(self) -> Noted | None:
        """The last note; None where there is none, or none that can be read."""
        try:
            found = json.loads(self._path.read_bytes())
            return Noted(str(found["digest"]), int(found["epoch"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _keep(self, noted: Noted) -> None:
        """Keeps a note. One that cannot be kept is logged: it matters only once another daemon leads."""
        if self._noted() == noted:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            durable.write(self._path, json.dumps({"digest": noted.digest, "epoch": noted.epoch}).encode())
        except OSError as error:
            self._log.warning("rollout_wish_not_noted", path=str(self._path), error=error.strerror)
