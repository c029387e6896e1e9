"""`python -m tests.soak [PART…]`: runs the parts, or all, and leaves soak.json: one flat object of numbers.

Exit 0 if every bound holds, 1 if one is broken or a part cannot run, 2 for a part that there is not.
"""

import importlib
import json
import pkgutil
import sys
import time
from pathlib import Path
from types import ModuleType

from daemon import log
from tests import soak
from tests.servers.realmodel import UnavailableError
from tests.soak.bounds import BoundsBrokenError, Figures

RESULT = Path("soak.json")


def parts() -> dict[str, ModuleType]:
    """Every part by the name it is asked for."""
    names = [info.name for info in pkgutil.iter_modules(soak.__path__)]
    modules = {
        name.replace("_", "-"): importlib.import_module(f"tests.soak.{name}")
        for name in names
        if name != "__main__" and not name.startswith("test_")
    }
    return {name: module for name, module in sorted(modules.items()) if hasattr(module, "run")}


def main(wanted: list[str]) -> int:
    """Returns the exit code."""
    known = parts()
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.stderr.write(f"no part {unknown[0]!r}: there are {', '.join(known)}\n")
        return 2
    log.configure("warning", "auto")
    figures: Figures = {}
    failures: list[str] = []
    for name in wanted or known:
        measured, failed = _measured(name, known[name])
        figures |= measured
        failures += failed
    RESULT.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for failure in failures:
        print(f"failed: {failure}", flush=True)
    return 1 if failures else 0


def _measured(name: str, part: ModuleType) -> tuple[Figures, list[str]]:
    """The part's figures, printed, and what is wrong with them."""
    print(f"{name} …", flush=True)
    started = time.monotonic()
    figures: Figures = {}
    failed: list[str] = []
    try:
        figures = part.run()
    except BoundsBrokenError as error:
        figures, failed = error.figures, error.broken
    except UnavailableError as error:
        failed = [str(error)]
    for figure, value in sorted(figures.items()):
        print(f"  {figure:<42}{value:14.4g}", flush=True)
    print(f"  {time.monotonic() - started:.0f} s", flush=True)
    return figures, [f"{name}: {each}" for each in failed]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
