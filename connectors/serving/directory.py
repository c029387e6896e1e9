"""A directory as serving target: links that a server on the same file system follows.

```
serving/
  current       -> .live/adapter        the adapter's directory; for the base model it leads nowhere
  current.json  -> .live/current.json   {"adapter", "digest", "epoch", "at", "canary", "share"}
  .live         -> .states/<epoch>-<token>
  .states/…/{adapter -> <adapter directory>, current.json}
```

`.live` is authoritative: one rename of it switches both names at once, so `current` and `current.json` never
disagree, and at every instant, also across a kill, they name one complete adapter or the base model. A reader
that needs both for sure resolves `.live` once and reads below it; states are kept for a while after the
switch. For the base model `current` exists and leads nowhere, and `adapter` is null in `current.json`.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from connectors.base import Served
from connectors.errors import FatalError, TransientError
from policies import durable
from policies.rollout import Assignment

MANIFEST = "MANIFEST.json"
LIVE = ".live"
STATES = ".states"
KEPT_STATES = 4
"""States that stay readable behind the live one, for readers that resolved it before a switch."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """What `current.json` says. `digest` is the SHA-256 of the adapter's manifest; `at` is in seconds."""

    adapter: str | None
    digest: str | None
    epoch: int
    at: float
    canary: str | None = None
    share: float = 0.0

    @property
    def assignment(self) -> Assignment:
        """What it says is served. Raises ValueError where that is nothing that is ever served."""
        return Assignment(self.adapter, self.epoch, self.canary, self.share)


class DirectoryTarget:
    """A ServingTarget on a local directory. Several processes may hold one: writes take an flock.

    `at_step` is called with a name before every step that changes the directory: where tests stop it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "directory",
        now: Callable[[], float] = time.time,
        lock_timeout_s: float = 10.0,
        at_step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._directory = directory
        self._now = now
        self._lock_timeout_s = lock_timeout_s
        self._at_step = at_step

    def serve(self, assignment: Assignment, directories: Mapping[str, Path]) -> None:
        """Points `current` at the stable adapter's directory. Raises FatalError for a lower epoch than the
        one that is live, and for a directory without a manifest; TransientError when the lock cannot be had.
        """
        try:
            with self._lock():
                self._serve(assignment, directories)
        except OSError as error:
            raise TransientError(f"serving directory {self._directory}: {error}") from error

    def served(self) -> Served:
        """What the links name now. Raises TransientError when they are damaged, lead to no adapter or cannot
        be read: serving again repairs them, or says what is in the way.
        """
        try:
            return Served(self._served(), checked_at=self._now())
        except OSError as error:
            raise TransientError(f"serving directory {self._directory}: {error}") from error

    def _served(self) -> Assignment:
        state = self._live()
        if state is None:
            return Assignment(None, 0)
        pointer = self._pointer(state)
        link = state / "adapter"
        if pointer is None or link.is_symlink() != (pointer.adapter is not None):
            raise TransientError(f"serving directory {self._directory}: current.json is damaged")
        if pointer.adapter is not None and _digest(link) != pointer.digest:
            raise TransientError(
                f"serving directory {self._directory}: `current` does not lead to {pointer.adapter}"
            )
        for entry, goal in (("current", "adapter"), ("current.json", "current.json")):
            if not _links_to(self._directory / entry, f"{LIVE}/{goal}"):
                raise TransientError(
                    f"serving directory {self._directory}: `{entry}` is not the link to {LIVE}"
                )
        return pointer.assignment

    def _serve(self, assignment: Assignment, directories: Mapping[str, Path]) -> None:
        adapter, epoch = assignment.stable, assignment.epoch
        digest, goal = self._checked(adapter, directories)
        state = self._live()
        seen = self._epoch(state)
        if epoch < seen:
            raise FatalError(
                f"serving directory {self._directory}: epoch {epoch} is older than {seen}, which it serves: "
                "another daemon has gone on"
            )
        self._entry_links()
        if state is not None and self._same(state, adapter, digest, goal, epoch):
            return
        pointer = Pointer(adapter, digest, epoch, self._now(), assignment.canary, assignment.share)
        fresh = self._write_state(pointer, goal)
        self._switch(fresh)
        self._sweep(fresh.name)

    def _checked(self, adapter: str | None, directories: Mapping[str, Path]) -> tuple[str | None, str | None]:
        """The manifest's digest and the absolute directory, both None for the base model."""
        if adapter is None:
            return None, None
        if adapter not in directories:
            raise FatalError(f"{adapter}: an adapter needs its directory")
        goal = directories[adapter].absolute()
        digest = _digest(goal)
        if digest is None:
            raise FatalError(f"{goal}: has no readable {MANIFEST}: not a published adapter")
        return digest, str(goal)

    def _live(self) -> Path | None:
        """The live state's directory, None before the first switch."""
        try:
            return self._directory / (self._directory / LIVE).readlink()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TransientError(f"serving directory {self._directory}: {LIVE}: {error.strerror}") from error

    def _epoch(self, state: Path | None) -> int:
        """The live epoch. It is in the state's name too, so a damaged file does not lose it."""
        if state is None:
            return 0
        head = state.name.partition("-")[0]
        if not head.isdecimal():
            raise FatalError(f"serving directory {self._directory}: {LIVE} leads to {state}, not to a state")
        return int(head)

    def _pointer(self, state: Path) -> Pointer | None:
        try:
            pointer = Pointer(**json.loads((state / "current.json").read_bytes()))
            return pointer if pointer.assignment else None
        except (OSError, ValueError, TypeError):
            return None

    def _same(
        self, state: Path, adapter: str | None, digest: str | None, goal: str | None, epoch: int
    ) -> bool:
        pointer = self._pointer(state)
        if pointer is None or (pointer.adapter, pointer.digest, pointer.epoch) != (adapter, digest, epoch):
            return False
        link = state / "adapter"
        return not os.path.lexists(link) if goal is None else _links_to(link, goal)

    def _write_state(self, pointer: Pointer, goal: str | None) -> Path:
        states = self._directory / STATES
        states.mkdir(parents=True, exist_ok=True)
        fresh = states / f"{pointer.epoch}-{secrets.token_hex(4)}"
        self._at_step("make the state")
        fresh.mkdir()
        self._at_step("write current.json")
        text = json.dumps(asdict(pointer), sort_keys=True)
        durable.create(fresh / "current.json", f"{text}\n".encode())
        if goal is not None:
            self._at_step("link the adapter")
            (fresh / "adapter").symlink_to(goal)
        self._at_step("sync the state")
        durable.sync(fresh)
        durable.sync(states)
        return fresh

    def _switch(self, fresh: Path) -> None:
        self._link(LIVE, f"{STATES}/{fresh.name}")
        self._at_step("sync the switch")
        durable.sync(self._directory)

    def _entry_links(self) -> None:
        """`current` and `current.json` through `.live`. Before the first switch both lead nowhere."""
        for entry, goal in (("current", "adapter"), ("current.json", "current.json")):
            if not _links_to(self._directory / entry, f"{LIVE}/{goal}"):
                self._link(entry, f"{LIVE}/{goal}")

    def _link(self, name: str, goal: str) -> None:
        temporary = self._directory / f".{name.lstrip('.')}.new"
        temporary.unlink(missing_ok=True)
        self._at_step(f"link {name}")
        temporary.symlink_to(goal)
        self._at_step(f"rename {name}")
        temporary.replace(self._directory / name)

    def _sweep(self, live: str) -> None:
        """Removes all but the live state and the newest ones behind it."""
        old = [path for path in (self._directory / STATES).iterdir() if path.name != live]
        old.sort(key=lambda path: path.lstat().st_mtime_ns, reverse=True)
        for path in old[KEPT_STATES:]:
            self._at_step("sweep")
            shutil.rmtree(path)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self._directory.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self._lock_timeout_s
        with (self._directory / ".lock").open("a") as file:  # "w" would empty what a link leads to
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise TransientError(
                            f"serving directory {self._directory}: locked by another process for "
                            f"{self._lock_timeout_s:g} s"
                        ) from None
                    time.sleep(0.01)
            yield


def _links_to(path: Path, goal: str) -> bool:
    try:
        return str(path.readlink()) == goal
    except OSError:
        return False


def _digest(directory: Path) -> str | None:
    """SHA-256 of the manifest in an adapter's directory, None where there is none."""
    try:
        return hashlib.sha256((directory / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return None
