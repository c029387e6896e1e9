"""One `rlaifd run` per state directory: a file lock that the kernel frees when the process ends, and a name
that stays over restarts.
"""

import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.errors import RlaifdError
from policies import durable

FILE = "daemon.lock"
IDENTITY = "identity"
NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


def identity(state_dir: Path) -> str:
    """The name of the daemon that works here, made once: who asks for it again after a kill is the same.

    Two daemons on copies of one state directory would have one name: delete the file in one of them.
    """
    path = state_dir / IDENTITY
    found = path.read_bytes().strip().decode("ascii", "replace") if path.exists() else ""
    if NAME.fullmatch(found):
        return found
    state_dir.mkdir(parents=True, exist_ok=True)
    name = uuid.uuid4().hex
    durable.write(path, f"{name}\n".encode("ascii"))
    return name


@contextmanager
def sole(state_dir: Path) -> Iterator[None]:
    """Holds `<state_dir>/daemon.lock` while inside. Raises RlaifdError naming the process that holds it."""
    state_dir.mkdir(parents=True, exist_ok=True)
    path = state_dir / FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise RlaifdError(
                f"{path}: another rlaifd runs on this state directory (pid {holder}): stop it, "
                "or set another state_dir"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
