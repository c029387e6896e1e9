"""rollout.yaml on disk: read strictly, replaced whole, under a lock that commands and the daemon take."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.config.yamlfile import read_yaml
from daemon.errors import ConfigError, RlaifdError
from policies import durable
from policies.rollout import HEADER, RolloutSpec, RolloutSpecError, parse, render, top_comments

LARGEST = 1 << 14
"""Characters of a rollout file. Its seven lines and some comments are a tenth of that."""
MOST_BYTES = 1 << 24
"""Of what is in its place, this much is read at most: what has no end is no file."""


class RolloutFile:
    """The file that names the wanted adapter. People and git may write it too, at any time."""

    def __init__(self, path: Path, *, lock: Path) -> None:
        self.path = path
        self._lock = lock

    def read(self) -> RolloutSpec:
        """What is wanted. Raises ConfigError, one line, when the file is missing, cut off or wrong."""
        document = read_yaml(self.path, largest=LARGEST)
        try:
            return parse(document)
        except RolloutSpecError as error:
            raise ConfigError(f"{self.path}: {error}") from None

    def digest(self) -> str:
        """A digest of the bytes, '' when there is no file: equal bytes are the same wish."""
        content = self.content()
        return "" if content is None else hashlib.sha256(content).hexdigest()

    def content(self) -> bytes | None:
        """The bytes as they are, None when there is no file."""
        try:
            with self.path.open("rb") as file:
                return file.read(MOST_BYTES)
        except OSError:
            return None

    def write(self, stable: str | None) -> None:
        """Names an adapter; comment lines above the first key stay. Raises RlaifdError if it cannot."""
        before = (self.content() or b"").decode("utf-8", errors="replace")
        self.put(render(stable, comments=top_comments(before) or HEADER).encode())

    def put(self, content: bytes) -> None:
        """Replaces the file in one rename, synced before and after. Raises RlaifdError."""
        # A link is followed, so that a file that is mounted or kept elsewhere stays a link.
        goal = self.path.resolve()
        try:
            goal.parent.mkdir(parents=True, exist_ok=True)
            durable.write(goal, content)
        except OSError as error:
            raise RlaifdError(f"{self.path}: cannot be written: {error.strerror}") from error

    def restore(self, content: bytes | None) -> None:
        """Puts back what `content` returned before a change. Raises RlaifdError."""
        if content is not None:
            self.put(content)
        else:
            self.path.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock: one process at a time writes the file and acts on it. Waits for the others."""
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            file = self._lock.open("a")  # "w" would empty what a link leads to
        except OSError as error:
            raise RlaifdError(f"{self._lock}: cannot be opened: {error.strerror}") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
