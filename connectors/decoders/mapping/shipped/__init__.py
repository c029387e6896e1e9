"""The mappings that come with rlaifd: exports of tools that keep traces."""

from functools import cache
from pathlib import Path

from connectors.decoders.mapping.spec import MappingSpec, read


@cache
def specs() -> tuple[MappingSpec, ...]:
    """All of them, by their names."""
    return tuple(read(file) for file in sorted(Path(__file__).parent.glob("*.yaml")))
