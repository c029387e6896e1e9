"""The two adapters that are bad on purpose, trained by `rlaifd train` beside the daemon's own training.

One learns from the good run's preferences with chosen and rejected swapped. The other learns from them as
they are, by plain DPO without the supervised term.
"""

from contextlib import ExitStack
from pathlib import Path

from daemon.demo import settings
from daemon.demo.processes import Player, PlayError, on_leash, rlaifd
from daemon.demo.screen import Screen
from policies import snapshot


class Villains:
    """Trains the bad adapters one after the other. `advance` never waits."""

    def __init__(
        self, *, directory: Path, document: settings.Document, screen: Screen, stack: ExitStack
    ) -> None:
        self._directory = directory
        self._document = document
        self._screen = screen
        self._stack = stack
        self._commands: list[tuple[str, list[str]]] | None = None
        self._training: tuple[str, Player] | None = None

    def advance(self) -> None:
        """Begins when the good run has frozen its snapshot. Raises PlayError when a training fails."""
        if self._commands is None:
            good = next((self._directory / "state" / "snapshots").glob("*.jsonl"), None)
            if good is None:
                return
            self._commands = self._plan(good)
        if self._training is not None:
            name, player = self._training
            code = player.left()
            if code is None:
                return
            if code != 0:
                raise PlayError(f"training the {name} adapter failed: {player.last_words()}")
            self._training = None
        if self._commands:
            name, command = self._commands.pop(0)
            self._screen.say(f"rlaifd train, bad on purpose: {name}")
            player = on_leash(f"training {name}", command, log=self._directory / "log" / f"{name}.log")
            self._stack.callback(player.leave)
            self._training = name, player

    def _plan(self, good: Path) -> list[tuple[str, list[str]]]:
        """Writes what the trainings read; returns their names and command lines."""
        seen = snapshot.read(good)
        self._screen.say(f"the daemon trains on {len(seen.pairs)} preferences")
        swapped = [pair.flipped for pair in seen.pairs]
        _, file = snapshot.write(self._directory / "flipped", seen.policy, swapped)
        documents = {
            "flipped": (settings.flipped(self._document), str(file)),
            "unanchored": (settings.unanchored(self._document), seen.id),
        }
        commands = []
        for name, (document, source) in documents.items():
            config = self._directory / f"{name}.yaml"
            settings.write(config, document)
            commands.append((name, rlaifd("train", "--snapshot", source, "-c", str(config))))
        return commands
