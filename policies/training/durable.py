"""A value as a file that is whole or not there, also across a power loss."""

import os
from pathlib import Path

from policies.records import Frozen


def write_whole(path: Path, value: Frozen) -> None:
    """Writes the value as JSON beside its place, makes it durable, and renames it there."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(value.model_dump_json().encode())
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
